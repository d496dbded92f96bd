"""Chains of random descriptors, empty ones among them: memories, counters and the time of a run, with both fetches."""

import numpy as np
import pytest
from core_cases import REGISTER, check, load, start
from random_descriptors import PAIR_BASE, random_case

from dorefabric.hw.config import ConfigError, FabricConfig
from dorefabric.hw.isa import COUNTER_WORDS, DESCRIPTOR_FIELDS, DESCRIPTOR_WORDS, encode_fields
from dorefabric.hw.registers import address
from dorefabric.hw.timing import LOOP_COUNTS, descriptor_cycles, drain_cycles, fetch_cycles, is_empty, run_cycles
from dorefabric.sim.verilator import VerilatorLink
from dorefabric.sw.interpret import DeviceModel
from dorefabric.sw.memories import Memories

LONGEST = 5
PAIRS = 8
BASE = {"rows": 3, "columns": 4, "lanes": 8, "tile_columns": 2, "feature_depth": 256, "accumulator_bits": 10,
        "threshold_bits": 9, "activation_bits": 3, "weight_depth": 32, "threshold_depth": 32, "tap_depth": 32,
        "program_depth": LONGEST * (DESCRIPTOR_WORDS + PAIRS)}  # fmt: skip
CONFIGS = {
    "generic": FabricConfig(**BASE),
    "ecp5": FabricConfig(**BASE | {"columns": 8, "tile_columns": 1, "technology": "ecp5"}),
    "ice40": FabricConfig(**BASE, prefetch=False, technology="ice40", feature_ports=1),
}


def chain(config: FabricConfig, rng: np.random.Generator) -> tuple[Memories, list[dict[str, int]]]:
    """One to `LONGEST` descriptors from program address 0 on, then their plane pairs, on the memories of the first."""
    count = int(rng.integers(1, LONGEST + 1))
    cases = [random_case(config, rng) for _ in range(count)]
    memories = cases[0][0]
    program, descriptors = np.zeros(config.program_depth, np.uint32), []
    for number, (own, d) in enumerate(cases):
        pairs = count * DESCRIPTOR_WORDS + number * PAIRS
        d |= {"last": int(number == count - 1), "pair_base": pairs}
        if not rng.integers(4):
            d |= {str(rng.choice(LOOP_COUNTS)): 0}
        program[number * DESCRIPTOR_WORDS :][:DESCRIPTOR_WORDS] = encode_fields(DESCRIPTOR_FIELDS, d, DESCRIPTOR_WORDS)
        program[pairs : pairs + PAIRS] = own.program[PAIR_BASE : PAIR_BASE + PAIRS]
        descriptors.append(d)
    memories.program[:] = program
    return memories, descriptors


@pytest.mark.parametrize("name", CONFIGS)
def test_chains(name: str) -> None:
    config, rng = CONFIGS[name], np.random.default_rng(len(name))
    kinds = set()
    with VerilatorLink(config, stalls=0.1) as link:
        model = DeviceModel(config)
        for number in range(60):
            memories, descriptors = chain(config, rng)
            load(link, memories)
            load(model, memories)
            message = f"chain {number} of {descriptors}"
            single = not rng.integers(3)
            runs = [[d] for d in descriptors] if single else [descriptors] * 2
            for position, run in enumerate(runs):
                for device in (model, link):
                    start(device, position * DESCRIPTOR_WORDS if single else 0, single=single)
                check(link, model, message)
                assert link.read(REGISTER["cycles"], 1) == [run_cycles(config, run)], message
                kinds |= {(len(run) > 1, is_empty(d), is_empty(after))
                          for d, after in zip(run, [*run[1:], run[-1]], strict=True)}  # fmt: skip
            words = link.read(address("program"), len(descriptors) * DESCRIPTOR_WORDS).reshape(-1, DESCRIPTOR_WORDS)
            counted = words[:, [COUNTER_WORDS[key] for key in ("cycles", "steps", "stalls", "completed")]].tolist()
            told = [descriptor_cycles(config, d) for d in descriptors]
            times = 1 if single else 2
            assert counted == [[item.cycles, item.steps, item.stalls, times] for item in told], message
    assert len(kinds) == 6


def test_a_prefetched_descriptor_adds_nothing_to_the_drain_before_it() -> None:
    config, rng = CONFIGS["ecp5"], np.random.default_rng(0)
    descriptors = [random_case(config, rng)[1] for _ in range(20)]
    counted = sum(descriptor_cycles(config, d).cycles for d in descriptors)
    assert run_cycles(config, descriptors) == fetch_cycles("ecp5") + counted + 1
    # A short pipeline drains sooner than the next descriptor is there.
    config, d = CONFIGS["generic"], descriptors[0] | {"planes": 1}
    left = fetch_cycles("generic") + 2 - drain_cycles(config, d)
    assert left > 0
    counted = 3 * descriptor_cycles(config, d).cycles
    assert run_cycles(config, [d] * 3) == fetch_cycles("generic") + counted + 2 * left + 1


@pytest.mark.parametrize("name", ["prefetch", "row_wrap"])
def test_flags_are_no_numbers(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} must be true or false, not 1$"):
        FabricConfig(**{name: 1})
