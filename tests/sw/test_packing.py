"""Words of the memories against the formulas of `hw/layout.py`, `hw/README.md` and a plain convolution."""

import numpy as np
import pytest

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.layout import FeatureLayout
from dorefabric.sw.packing import pack_features, pack_thresholds, pack_weights, unfold, unpack_features
from dorefabric.sw.program import InputForm
from dorefabric.sw.weight_planes import WeightPlanes, mismatch_limits


@pytest.mark.parametrize(("rows", "lanes"), [(1, 8), (2, 16), (4, 32), (2, 64)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_features_lie_where_the_layout_says(rows: int, lanes: int, stride: int) -> None:
    rng = np.random.default_rng([rows, lanes, stride])
    config = FabricConfig(rows=rows, columns=8, lanes=lanes)
    layout = FeatureLayout.of(config, base=0, height=3, width=7, channels=lanes + 5, planes=3, stride=stride)
    codes = rng.integers(0, 8, (2, layout.channels, 3, 7)).astype(np.uint8)
    words = pack_features(codes, layout)
    assert words.dtype == np.uint32
    assert words.shape == (2, layout.size * rows * config.bus_words)
    by_address = words.reshape(2, layout.size, rows, config.bus_words)
    for _ in range(200):
        n, c, y, x, p = (int(rng.integers(limit)) for limit in (2, layout.channels, 3, 7, 3))
        word = by_address[n, layout.address(y, x, p, c // lanes), layout.bank(y, x), c % lanes // 32]
        assert int(word) >> c % lanes % 32 & 1 == int(codes[n, c, y, x]) >> p & 1
    np.testing.assert_array_equal(unpack_features(words, layout), codes)
    used = int(codes.astype(np.int64).sum())
    weights = np.array([1 << p for p in range(3)])
    bits = np.unpackbits(by_address.view(np.uint8), bitorder="little").reshape(
        2, 3, -1, 3, layout.chunks, rows, 32 * config.bus_words
    )
    assert (bits.sum(axis=(0, 1, 2, 4, 5, 6)) * weights).sum() == used  # nothing is stored elsewhere


def test_unfold_is_a_convolutions_operand() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (2, 3, 6, 7))
    weights = rng.integers(-3, 4, (5, 3, 3, 2))
    padded = np.pad(codes, ((0, 0), (0, 0), (1, 1), (2, 2)))
    expected = np.zeros((2, 5, 3, 10), int)
    for y in range(3):
        for x in range(10):
            window = padded[:, :, 2 * y : 2 * y + 3, x : x + 2]
            expected[:, :, y, x] = np.tensordot(window, weights, axes=((1, 2, 3), (1, 2, 3)))
    columns = unfold(codes, (3, 2), (2, 1), (1, 2))
    np.testing.assert_array_equal(np.einsum("ok,nkyx->noyx", weights.reshape(5, -1), columns), expected)


def test_rows_of_an_unfolded_input() -> None:
    """Bands put together are the whole, padding above and below included."""
    rng = np.random.default_rng(1)
    config = FabricConfig(rows=2, columns=8, lanes=32)
    images = rng.integers(0, 256, (2, 2, 9, 8)).astype(np.uint8)
    whole = FeatureLayout.of(config, base=0, height=5, width=8, channels=18, planes=8, stride=1)
    form = InputForm(((3, 3), (2, 1), (1, 1)), whole)
    everything = form.pack(images, 0, 5)
    parts = [form.pack(images, first, rows) for first, rows in ((0, 2), (2, 1), (3, 2))]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), everything)
    np.testing.assert_array_equal(unpack_features(everything, whole), unfold(images, (3, 3), (2, 1), (1, 1)))


def test_weight_words_are_in_the_order_of_the_steps() -> None:
    rng = np.random.default_rng(2)
    config = FabricConfig(rows=1, columns=4, lanes=16)
    bits = rng.integers(0, 2, (3, 6, 20, 2)).astype(np.uint8)  # planes, outputs, inputs, taps
    words = pack_weights(bits, config)
    assert words.shape == (2, 3 * 2 * 2, 4, 1)
    for tile in range(2):
        k = 0
        for plane in range(3):
            for tap in range(2):
                for chunk in range(2):
                    for column in range(4):
                        for lane in range(16):
                            o, i = 4 * tile + column, 16 * chunk + lane
                            expected = bits[plane, o, i, tap] if o < 6 and i < 20 else 0
                            assert int(words[tile, k, column, 0]) >> lane & 1 == expected
                    k += 1


@pytest.mark.parametrize("bits", [1, 2, 3, 5])
def test_threshold_trees_count(bits: int) -> None:
    rng = np.random.default_rng(bits)
    config = FabricConfig(rows=1, columns=4, lanes=16)
    limits = np.sort(rng.integers(0, 40, (6, (1 << bits) - 1)), axis=1)[:, ::-1]
    trees = pack_thresholds(limits, config)
    assert trees.shape == (2, 1 << bits, 4)
    for output in range(8):
        for count in range(42):
            node = 1
            for _ in range(bits):
                node = 2 * node + int(count < trees[output // 4, node, output % 4])
            expected = int((count < limits[output]).sum()) if output < 6 else 0
            assert node - (1 << bits) == expected


RANGES = [(0, 1), (-1, 0), (-1, 1), (-2, 1), (-1, 2), (-128, 127), (-127, 128), (0, 0), (5, 9)]


@pytest.mark.parametrize("values", RANGES)
def test_general_weights_reproduce_products(values: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    weights = rng.integers(values[0], values[1] + 1, (3, 7, 2))
    weights[0, 0, 0], weights[0, 1, 0] = values
    planes = WeightPlanes.general(weights)
    _compare_products(planes, weights, rng)
    falling = np.array([True, False, True])
    _compare_products(planes.negated(falling), np.where(falling[:, None, None], -weights, weights), rng)
    assert len(WeightPlanes.general(np.array([[[0]], [[1]]])).bits) == 2


@pytest.mark.parametrize("weight_bits", [1, 2, 8])
def test_bipolar_weights_reproduce_products(weight_bits: int) -> None:
    rng = np.random.default_rng(weight_bits)
    weights = 2 * rng.integers(0, 1 << weight_bits, (3, 7, 2)) - (1 << weight_bits) + 1
    planes = WeightPlanes.bipolar(weights, weight_bits)
    assert (len(planes.bits), planes.divisor) == (weight_bits, 1)
    _compare_products(planes, weights, rng)


def _compare_products(planes: WeightPlanes, weights: np.ndarray, rng: np.random.Generator) -> None:
    """K − M against the products themselves, and the largest count against every count reached."""
    x = rng.integers(0, 8, weights.shape[1:])
    counts = _mismatches(planes, x)
    products = planes.divisor * (weights * x).sum(axis=(1, 2))
    np.testing.assert_array_equal(planes.constants(3) - counts, products)
    assert counts.max() <= planes.largest_count(3)
    # Each plane of the worst activations is the same, so the worst count is reached with codes 0 and 7 alone.
    sums = np.tensordot([1 << s for s in planes.significance], planes.bits.astype(int), axes=1)
    total = sum(1 << s for s in planes.significance)
    worst = [_mismatches(planes, np.where(total - sums[o] > sums[o], 7, 0))[o] for o in range(len(weights))]
    assert max(worst) == planes.largest_count(3)


def _mismatches(planes: WeightPlanes, x: np.ndarray) -> np.ndarray:
    total = np.zeros(planes.bits.shape[1], int)
    for i in range(3):
        for j, s in enumerate(planes.significance):
            total += ((x >> i & 1) ^ planes.bits[j]).sum(axis=(1, 2)) << i + s
    return total


def test_limits_keep_comparisons_exactly() -> None:
    rng = np.random.default_rng(4)
    weights = rng.integers(-2, 2, (4, 5, 1))
    falling = np.array([False, True, False, True])
    thresholds = np.sort(rng.integers(-20, 21, (4, 3)), axis=1)
    thresholds[falling] = thresholds[falling, ::-1]
    planes, limits = mismatch_limits(WeightPlanes.general(weights), 3, thresholds, falling, 12)
    assert limits.min() >= 0
    assert (np.diff(limits, axis=1) <= 0).all()
    for _ in range(100):
        x = rng.integers(0, 8, (5, 1))
        y = (weights * x).sum(axis=(1, 2))[:, None]
        expected = np.where(falling[:, None], y <= thresholds, y >= thresholds)
        np.testing.assert_array_equal(_mismatches(planes, x)[:, None] < limits, expected)
