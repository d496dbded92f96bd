"""`run_descriptor` against the loop nest, on descriptors that no compiler would make."""

import dataclasses

import numpy as np
import pytest
from random_descriptors import random_case
from scalar_model import run_scalar

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.timing import LOOP_COUNTS
from dorefabric.sw.execute import read_descriptor, run_descriptor
from dorefabric.sw.memories import InterpreterError, Memories

CONFIGS = [
    FabricConfig(rows=1, columns=8, lanes=8, tile_columns=8, weight_depth=64, feature_depth=1024, threshold_depth=256),
    FabricConfig(rows=2, columns=2, lanes=16, tile_columns=1, weight_depth=128, feature_depth=1024,
                 threshold_depth=512, activation_bits=3),
    FabricConfig(rows=4, columns=8, lanes=32, weight_depth=128, feature_depth=1024, threshold_depth=256,
                 activation_bits=2, accumulator_bits=8, threshold_bits=8),
    FabricConfig(rows=4, columns=16, lanes=64, weight_depth=32, feature_depth=1024, threshold_depth=256,
                 accumulator_bits=10, threshold_bits=9),
    FabricConfig(rows=2, columns=8, lanes=8, weight_depth=64, feature_depth=1024, threshold_depth=256,
                 accumulator_bits=32, threshold_bits=32),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.rows}x{c.columns}x{c.lanes}")
def test_vectorised_equals_loop_nest(config: FabricConfig, seed: int) -> None:
    rng = np.random.default_rng([seed, config.lanes])
    memories, descriptor = random_case(config, rng, batch=2)
    assert read_descriptor(memories, 0) == descriptor
    expected = [run_scalar(config, memories, descriptor, image) for image in range(2)]
    before = memories.features.copy()
    run_descriptor(memories, descriptor)
    assert (before != memories.features).any()
    for image in range(2):
        np.testing.assert_array_equal(memories.features[image], expected[image])


@pytest.mark.parametrize("seed", range(4))
def test_blocks_do_not_change_the_result(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    memories, descriptor = random_case(CONFIGS[1], np.random.default_rng(seed), batch=3)
    expected = [run_scalar(CONFIGS[1], memories, descriptor, image) for image in range(3)]
    monkeypatch.setattr("dorefabric.sw.execute._GATHER_ELEMENTS", 64)
    run_descriptor(memories, descriptor)
    np.testing.assert_array_equal(memories.features, expected)


@pytest.mark.parametrize("doubles", [20, 30, 70])
def test_deep_doubling_is_exact(doubles: int) -> None:
    """Products beyond the exact range of float32, of float64, and beyond the accumulator's width."""
    config = FabricConfig(rows=1, columns=8, lanes=8, accumulator_bits=32, threshold_bits=32, weight_depth=64,
                          feature_depth=1024)  # fmt: skip
    memories, descriptor = random_case(config, np.random.default_rng(doubles))
    descriptor |= {"pairs": doubles}
    memories.program[32 : 32 + doubles] = memories.program[32] | 1 << 31
    expected = run_scalar(config, memories, descriptor)
    run_descriptor(memories, descriptor)
    np.testing.assert_array_equal(memories.features[0], expected)


@pytest.mark.parametrize("name", [*LOOP_COUNTS, "out_width"])
def test_empty_loops_do_nothing(name: str) -> None:
    memories, descriptor = random_case(CONFIGS[0], np.random.default_rng(1))
    before = memories.features.copy()
    run_descriptor(memories, descriptor | {name: 0})
    np.testing.assert_array_equal(memories.features, before)


def test_undefined_behaviour_is_refused() -> None:
    memories, descriptor = random_case(CONFIGS[0], np.random.default_rng(1))
    with pytest.raises(InterpreterError, match=r"^descriptor field out_stride must not be 0$"):
        run_descriptor(memories, descriptor | {"out_stride": 0})
    with pytest.raises(
        InterpreterError, match=r"^the descriptor reaches address \d+ of taps, which has 512 words$"
    ):
        run_descriptor(memories, descriptor | {"tap_base": 600})
    with pytest.raises(InterpreterError, match=r"^the descriptor stores feature words that it also reads$"):
        tap = int(memories.taps[descriptor["tap_base"]]) & 0xFFFF
        pair = int(memories.program[32]) & 0xFFFF
        memories.taps[descriptor["tap_base"]] = tap  # no displacement: always inside the image
        run_descriptor(memories, descriptor | {"out_base": descriptor["feature_base"] + tap + pair})
    shifting = Memories(dataclasses.replace(memories.config, technology="ice40"))
    with pytest.raises(InterpreterError, match=r"^descriptor field planes is 3, but raw results of technology 'ice40' "
                       r"have \d+$"):  # fmt: skip
        run_descriptor(shifting, descriptor | {"raw": 1, "planes": 3})
    with pytest.raises(
        InterpreterError, match=r"^descriptor address 493 exceeds the program memory, which has 512 words$"
    ):
        read_descriptor(memories, 493)
