"""The cycle model's closed form against the rule it stands for, and its latencies against their definition."""

import random
from dataclasses import replace

import pytest
from nest import random_descriptor, tile_levels

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.timing import LOOP_COUNTS, Cycles, Pipeline, copy_cycles, descriptor_cycles, fetch_cycles, run_cycles

CONFIG = FabricConfig(rows=8, columns=8, lanes=32, tile_columns=2, prefetch=False)


@pytest.mark.parametrize("seed", range(20))
def test_last_steps_are_a_drain_apart(seed: int) -> None:
    d = random_descriptor(CONFIG, random.Random(seed))
    drain = d["planes"] * CONFIG.drain_slots
    now, last, stalls = 0, -drain, 0
    for _ in tile_levels(d):
        now += d["pairs"] * d["taps"] * d["chunks"]  # the cycle after the tile's last step, if that does not wait
        wait = max(0, last + drain - (now - 1))
        now, stalls = now + wait, stalls + wait
        last = now - 1
    cycles = descriptor_cycles(CONFIG, d)
    assert cycles.stalls == stalls
    assert cycles.steps + stalls == now
    fetch = fetch_cycles(CONFIG.technology) + copy_cycles(CONFIG, d)
    assert cycles.cycles == fetch + d["planes"] + 1 + now + Pipeline.of(CONFIG).bits + drain + 1


@pytest.mark.parametrize("name", LOOP_COUNTS)
def test_a_loop_that_never_runs_takes_the_fetch(name: str) -> None:
    d = random_descriptor(CONFIG, random.Random(0)) | {name: 0}
    assert descriptor_cycles(CONFIG, d) == Cycles(fetch_cycles(CONFIG.technology) + copy_cycles(CONFIG, d), 0, 0)


def test_a_run_without_prefetch_is_busy_a_cycle_longer_for_each_descriptor() -> None:
    descriptors = [random_descriptor(CONFIG, random.Random(seed)) for seed in range(5)]
    counted = [descriptor_cycles(CONFIG, d).cycles for d in descriptors]
    assert run_cycles(CONFIG, descriptors) == sum(counted) + len(counted)
    ahead = replace(CONFIG, prefetch=True)
    saved = fetch_cycles(CONFIG.technology) - 1
    assert [descriptor_cycles(ahead, d).cycles for d in descriptors] == [count - saved for count in counted]


def test_pipeline_of_a_small_ice40() -> None:
    config = FabricConfig(rows=4, columns=4, lanes=32, tile_columns=4, technology="ice40")
    expected = Pipeline(sums=3, memory=1, activations=7, accumulate=9, drain=8, bits=12)
    assert Pipeline.of(config) == expected
