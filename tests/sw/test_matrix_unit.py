"""Integer matrix products on the circuit model against NumPy, and what is said where a product does not fit."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dorefabric.hw.config import FabricConfig
from dorefabric.sw.device_model import DeviceModel
from dorefabric.sw.matrix_plan import MatrixError, Tile, plan_product, tile_program
from dorefabric.sw.matrix_unit import Codes, MatrixUnit, Usage

CONFIG = FabricConfig(name="unit", rows=4, columns=8, lanes=32, weight_depth=256, feature_depth=512)


class Recorder(DeviceModel):
    """Remembers the spaces that were written."""

    def __init__(self, config):
        super().__init__(config)
        self.written = []

    def write(self, address, words):
        self.written.append(address >> 24)
        super().write(address, words)


@st.composite
def configs(draw):
    rows, lanes = draw(st.integers(1, 5)), draw(st.sampled_from([8, 16, 32, 64]))
    columns = draw(st.sampled_from([size for size in (1, 2, 4, 8, 16) if size <= lanes]))
    accumulator = draw(st.integers(17, 32))
    return FabricConfig(
        rows=rows, lanes=lanes, columns=columns, tile_columns=1, accumulator_bits=accumulator, threshold_bits=8,
        weight_depth=draw(st.integers(16, 80)), feature_depth=draw(st.integers(48, 200)),
        program_depth=draw(st.sampled_from([96, 256])), image_size=draw(st.sampled_from([8, 64, 65535])),
        technology=draw(st.sampled_from(["generic", "ice40", "ecp5", "gowin"])), front="bus",
    )  # fmt: skip


@st.composite
def matrices(draw, length):
    bits = draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    codes = rng.integers(0, 1 << bits, (draw(st.integers(1, 40)), length), dtype=np.uint8)
    if draw(st.booleans()):
        codes[:] = (1 << bits) - 1      # the largest counts
    return Codes(codes, bits, draw(st.integers(-3, 3)), draw(st.integers(-300, 300)))


@settings(max_examples=60)
@given(st.data(), configs(), st.integers(1, 150))
def test_products_equal_numpy(data, config, length):
    unit = MatrixUnit(DeviceModel(config), config)
    for _ in range(2):
        left, right = data.draw(matrices(length)), data.draw(matrices(length))
        assert np.array_equal(unit.multiply(left, right), left.values() @ right.values().T)
    assert unit.usage.cycles == unit.usage.predicted > 0


@given(st.integers(1, 8), st.integers(0, 2**32))
def test_codes_stand_for_values(bits, seed):
    rng = np.random.default_rng(seed)
    odd = 2 * rng.integers(0, 1 << bits, (3, 5)) - (1 << bits) + 1
    assert np.array_equal(Codes.odd(odd, bits).values(), odd)
    any_values = rng.integers(-(1 << bits - 1), 1 << bits - 1, (3, 5))
    codes = Codes.integers(any_values)
    assert codes.bits <= bits and np.array_equal(codes.values(), any_values)


def test_only_operands_move_once_a_shape_is_known():
    link = Recorder(CONFIG)
    unit = MatrixUnit(link, CONFIG)
    rng = np.random.default_rng(0)
    shapes = [(20, 9, 40, 2, 1), (9, 30, 12, 3, 4), (5, 5, 5, 1, 1)]

    def products():
        for rows, columns, length, left, right in shapes:
            unit.multiply(Codes(rng.integers(0, 1 << left, (rows, length), dtype=np.uint8), left),
                          Codes(rng.integers(0, 1 << right, (columns, length), dtype=np.uint8), right))  # fmt: skip

    products()
    assert set(link.written) == {0, 1, 2, 4, 5}
    link.written.clear()
    before = unit.usage
    products()
    assert set(link.written) == {0, 4, 5}       # registers, weights, features
    used = unit.usage - before
    assert used.runs == 3 and used.cycles == used.predicted
    assert used.pair_operations == sum(int(np.prod(shape)) for shape in shapes)
    assert used + Usage() == used


def test_the_cheaper_order_is_chosen():
    """Codes of more bits than the weights of a configuration may have can still be the pixels."""
    config = dataclasses.replace(CONFIG, weight_bits=2, activation_bits=6)
    unit = MatrixUnit(DeviceModel(config), config)
    wide, narrow = Codes(np.full((3, 4), 63, np.uint8), 6), Codes(np.full((5, 4), 3, np.uint8), 2)
    assert (unit.multiply(narrow, wide) == 4 * 63 * 3).all()
    assert (unit.multiply(wide, narrow) == 4 * 63 * 3).all()
    with pytest.raises(MatrixError, match=r"^codes of 6 bits on the filter side: configuration 'unit' has 1 to 2$"):
        unit.multiply(wide, wide)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300), st.integers(1, 8), st.integers(1, 8))
def test_plans_cover_a_product_once_and_fit(pixels, filters, length, a, b):
    config = dataclasses.replace(CONFIG, weight_depth=64, feature_depth=128)
    plan = plan_product(config, Tile(pixels, filters, length, a, b))
    seen = np.zeros((pixels, filters, length), np.uint8) if pixels * filters * length < 1 << 22 else None
    for m, n, k in plan.tiles():
        tile = plan.tile(m, n, k)
        program = tile_program(config, tile)
        assert tile.largest_count < 1 << config.accumulator_bits
        assert program.source.size + program.target.size <= config.feature_depth
        words = -(-tile.filters // config.columns) * b * -(-tile.length // config.lanes)
        assert words <= config.weight_depth
        if seen is not None:
            seen[m, n, k] += 1
    assert seen is None or (seen == 1).all()


def codes(rows, length, bits):
    return Codes(np.zeros((rows, length), np.uint8), bits)


@pytest.mark.parametrize("changes, left, right, message", [
    ({}, codes(2, 3, 1), codes(2, 4, 1), r"^the reduction axes have 3 and 4 elements$"),
    ({}, codes(0, 3, 1), codes(2, 3, 1), r"^a product of 0 × 3 by 3 × 2 is empty$"),
    ({"feature_depth": 16}, codes(2, 3, 8), codes(2, 3, 8),
     r"^8-bit pixels by 8-bit filters need a weight_depth of at least 8 and a feature_depth of at least 26, not 256 "
     r"and 16: generate a larger configuration$"),
    ({"accumulator_bits": 8, "threshold_bits": 8}, codes(2, 3, 8), codes(2, 3, 4),
     r"^one product of 8 by 4 bits exceeds accumulator_bits of 8: generate a configuration with more$"),
    ({"program_depth": 64}, codes(2, 3, 8), codes(2, 3, 8),
     r"^product 2 × 3 × 2: a descriptor of 64 plane pairs needs 86 words, but program_depth is 64: generate a "
     r"configuration with more$"),
    ({"image_size": 3}, codes(2, 3, 1), codes(2, 3, 1),
     r"^image_size is 3, but a tile has 4 pixels: generate a configuration with image_size of at least 4$"),
])  # fmt: skip
def test_what_does_not_fit_is_named(changes, left, right, message):
    config = dataclasses.replace(CONFIG, **changes)
    with pytest.raises(MatrixError, match=message):
        MatrixUnit(DeviceModel(config), config).multiply(left, right)


def test_bad_codes_are_named():
    with pytest.raises(MatrixError, match=r"^codes must have 1 to 8 bits, not 9$"):
        Codes(np.zeros((2, 2), np.uint8), 9)
    with pytest.raises(MatrixError, match=r"^a code is 4, which 2 bits cannot hold$"):
        Codes(np.full((2, 2), 4, np.uint8), 2)
    with pytest.raises(MatrixError, match=r"^codes must be a matrix of unsigned 8-bit integers, not int64 of shape"):
        Codes(np.zeros((2, 2), np.int64), 2)
    with pytest.raises(MatrixError, match=r"^codes reach from 0 to 511, which 8 bits cannot hold$"):
        Codes.integers(np.array([[-256, 255]]))
    with pytest.raises(MatrixError, match=r"^codes reach from -1 to 1, which 1 bits cannot hold$"):
        Codes.odd(np.array([[-3, 1]]), 1)
    with pytest.raises(MatrixError, match=r"^2 is no odd integer, which weights and gradients are$"):
        Codes.odd(np.array([[-3, 2]]), 2)
    with pytest.raises(MatrixError, match=r"^codes reach from 0 to 256, which 8 bits cannot hold$"):
        Codes.unsigned(np.array([[0, 256]]), 8)


def test_another_circuit_is_refused():
    with pytest.raises(MatrixError, match=r"^the circuit is configuration 0x[0-9a-f]{8}, not 'unit' \(0x[0-9a-f]+\)$"):
        MatrixUnit(DeviceModel(dataclasses.replace(CONFIG, lanes=64)), CONFIG)
