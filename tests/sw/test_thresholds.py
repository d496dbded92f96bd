"""Exact thresholds against brute force over whole accumulator ranges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dorefabric.sw.thresholds import ThresholdError, exact_thresholds


class Table:
    """Monotone code functions given by their values at low .. high; refuses to be asked elsewhere."""

    def __init__(self, low: np.ndarray, codes: list[np.ndarray]) -> None:
        self.low, self.values, self.calls = low, codes, 0

    def __call__(self, accumulators: np.ndarray) -> np.ndarray:
        self.calls += 1
        index = accumulators - self.low[:, None]
        assert (index >= 0).all() and all((row < len(v)).all() for row, v in zip(index, self.values, strict=True))
        return np.stack([v[row] for row, v in zip(index, self.values, strict=True)])


def random_table(rng: np.random.Generator, bits: int, channels: int, longest: int) -> tuple[Table, np.ndarray]:
    low = rng.integers(-longest, longest, channels)
    lengths = rng.integers(1, longest + 1, channels)
    codes = []
    for length in lengths:
        ends = np.sort(rng.integers(0, 1 << bits, 2))
        row = np.sort(rng.integers(ends[0], ends[1] + 1, length))
        codes.append(row[::-1] if rng.random() < 0.5 else row)
    return Table(low, codes), low + lengths - 1


@settings(max_examples=150)
@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_thresholds_reproduce_any_monotone_function(bits: int, seed: int) -> None:
    table, high = random_table(np.random.default_rng(seed), bits, 4, 400)
    thresholds, falling = exact_thresholds(table, table.low, high, (1 << bits) - 1)
    assert thresholds.shape == (4, (1 << bits) - 1) and thresholds.dtype == np.int64
    for low, row, t, falls in zip(table.low, table.values, thresholds, falling, strict=True):
        y = low + np.arange(len(row))[:, None]
        np.testing.assert_array_equal((y <= t if falls else y >= t).sum(1), row)
        assert ((t >= low - 1) & (t <= low + len(row))).all()
        assert (np.diff(t) <= 0).all() if falls else (np.diff(t) >= 0).all()
        assert falls == (row[0] > row[-1])


def test_constant_channels() -> None:
    low, high = np.array([-5, -5, -5]), np.array([9, 9, 9])
    table = Table(low, [np.full(15, code) for code in (0, 2, 3)])
    thresholds, falling = exact_thresholds(table, low, high, 3)
    np.testing.assert_array_equal(thresholds, [[10, 10, 10], [-5, -5, 10], [-5, -5, -5]])
    assert not falling.any()


def test_wide_ranges_take_few_evaluations() -> None:
    """2**40 accumulators: about 40 evaluations, each of all thresholds of all channels at once."""
    steps = np.array([[-(2**39) + 1, 0, 2**39 - 1], [5, 6, 7]])
    calls = 0

    def codes(y: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        return (y[:, :, None] >= steps[:, None, :]).sum(2)

    thresholds, _ = exact_thresholds(codes, np.full(2, -(2**39)), np.full(2, 2**39), 3)
    np.testing.assert_array_equal(thresholds, steps)
    assert calls <= 45


def test_a_function_that_is_not_monotone_is_refused() -> None:
    table = Table(np.array([0, -1]), [np.array([0, 1, 1]), np.array([0, 1, 0, 1])])
    with pytest.raises(ThresholdError) as error:
        exact_thresholds(table, table.low, np.array([2, 2]), 1)
    assert str(error.value) == ("channel 1: the activation is not a monotone function of the accumulator; at 1 its "
                                "code is 0, the thresholds give 1")
