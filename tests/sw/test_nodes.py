"""Constructors of graph nodes: shapes, exact ranges, bits and scales of the edges they compute."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dorefabric.sw.graph import Edge, GraphError
from dorefabric.sw.nodes import (
    accumulator_bounds,
    make_add,
    make_convolution,
    make_flatten,
    make_input,
    make_max_pool,
    make_threshold,
    output_size,
)


def ones(channels_out: int, channels_in: int, *kernel: int) -> np.ndarray:
    return np.ones((channels_out, channels_in, *kernel), np.int64)


def test_input() -> None:
    assert make_input("x", (3, 4, 5), 2).edge == Edge((3, 4, 5), 0, 3, 2, 1 / 3)


@given(st.integers(1, 3), st.lists(st.integers(-3, 3), min_size=1, max_size=4), st.booleans())
def test_accumulator_bounds_are_reached(bits: int, weights: list[int], padded: bool) -> None:
    high = (1 << bits) - 1
    array = np.array([weights], np.int64).reshape(1, -1, 1, 1)
    sums = [sum(w * x for w, x in zip(weights, codes, strict=True))
            for codes in itertools.product(range(high + 1), repeat=len(weights))]
    low, top = accumulator_bounds(array, Edge((len(weights), 1, 1), 0, high, bits), padded)
    assert (low[0], top[0]) == (min(sums), max(sums))


def test_padding_adds_code_zero_to_the_range() -> None:
    edge = Edge((1, 1, 1), 2, 3, 2)
    weights = np.array([[[[1]]]], np.int64)
    assert [int(bound[0]) for bound in accumulator_bounds(weights, edge, padded=False)] == [2, 3]
    assert [int(bound[0]) for bound in accumulator_bounds(weights, edge, padded=True)] == [0, 3]


def test_convolution_edge() -> None:
    source = make_input("x", (2, 8, 9), 2)
    weights = np.array([[1, -1], [3, 1], [-3, -3]], np.int64).reshape(3, 2, 1, 1)
    node = make_convolution("c", source, weights, weight_bits=2, stride=(2, 1), padding=(1, 0), weight_scale=0.5)
    assert node.edge == Edge((3, 5, 9), -18, 12, None, 0.5 / 3)
    per_channel = make_convolution("c", source, weights, weight_bits=2, weight_scale=(1.0, 2.0, 3.0))
    assert per_channel.edge.scale == pytest.approx((1 / 3, 2 / 3, 1.0))


def test_add_of_different_bits_has_one_scale() -> None:
    two, four = make_input("a", (1, 2, 2), 2), make_input("b", (1, 2, 2), 4)
    node = make_add("s", (two, four))  # p / 3 + q / 15 = (5 p + q) / 15
    assert node.factors == (5, 1)
    assert node.edge == Edge((1, 2, 2), 0, 30, None, 1 / 15)


@given(st.integers(1, 8), st.integers(1, 8))
def test_factors_of_an_add_are_bipolar_weights_of_8_bits(first: int, second: int) -> None:
    node = make_add("s", (make_input("a", (1, 1, 1), first), make_input("b", (1, 1, 1), second)))
    assert all(factor % 2 == 1 and factor <= 255 for factor in node.factors)
    for factor, bits in zip(node.factors, (first, second), strict=True):
        assert factor * node.edge.scale == pytest.approx(1 / ((1 << bits) - 1))  # type: ignore[operator]


def test_threshold_pool_and_flatten_edges() -> None:
    source = make_convolution("c", make_input("x", (1, 7, 7), 1), ones(2, 1, 1, 1), weight_bits=1)
    act = make_threshold("t", source, np.zeros((2, 7), np.int64), np.zeros(2, bool))
    assert act.edge == Edge((2, 7, 7), 0, 7, 3, 1 / 7)
    pool = make_max_pool("p", act, (3, 2), (2, 2), (1, 0))
    assert pool.edge == Edge((2, 4, 3), 0, 7, 3, 1 / 7)
    assert make_max_pool("p", act, (3, 3)).stride == (3, 3)
    assert make_flatten("f", pool).edge == Edge((24, 1, 1), 0, 7, 3, 1 / 7)


def test_output_size_equals_the_number_of_windows() -> None:
    for size, kernel, stride, padding in itertools.product(range(1, 7), range(1, 5), range(1, 4), range(3)):
        starts = range(-padding, size + padding - kernel + 1, stride)
        if starts:
            assert output_size("n", (size, size), (kernel, kernel), (stride, stride), (padding, padding)) == (
                len(starts), len(starts))


INPUT = make_input("x", (2, 4, 4), 2)
CONV = make_convolution("c", INPUT, ones(3, 2, 1, 1), weight_bits=1)

ERRORS = {
    "n: kernel must be at least 1, not 0x1": lambda: output_size("n", (4, 4), (0, 1), (1, 1), (0, 0)),
    "n: stride must be at least 1, not 1x0": lambda: output_size("n", (4, 4), (1, 1), (1, 0), (0, 0)),
    "n: padding must be at least 0, not -1x0": lambda: output_size("n", (4, 4), (1, 1), (1, 1), (-1, 0)),
    "n: kernel 5x5 does not fit an input of 4x4 with padding 0x0":
        lambda: make_convolution("n", INPUT, ones(1, 2, 5, 5), weight_bits=1),
    "n: weights of shape (1, 3, 1, 1) do not fit an input of 2 channels (x)":
        lambda: make_convolution("n", INPUT, ones(1, 3, 1, 1), weight_bits=1),
    "n: input c must be codes, not accumulators": lambda: make_add("n", (INPUT, CONV)),
    "n: inputs x and y have different shapes, (2, 4, 4) and (2, 4, 5)":
        lambda: make_add("n", (INPUT, make_input("y", (2, 4, 5), 2))),
    "n: thresholds must have the shape (3, 2**bits - 1), not (3, 2)":
        lambda: make_threshold("n", CONV, np.zeros((3, 2), np.int64), np.zeros(3, bool)),
    "n: thresholds must have the shape (3, 2**bits - 1), not (2, 3)":
        lambda: make_threshold("n", CONV, np.zeros((2, 3), np.int64), np.zeros(3, bool)),
    "n: thresholds must have the shape (3, 2**bits - 1), not (3,)":
        lambda: make_threshold("n", CONV, np.ones(3, np.int64), np.zeros(3, bool)),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(message: str) -> None:
    with pytest.raises(GraphError) as error:
        ERRORS[message]()
    assert str(error.value) == message
