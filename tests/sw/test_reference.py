"""The golden model against torch's float64 operators and plain Python, and its checks of what it is given."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from dorefabric.sw.graph import Edge, Graph, GraphError, Node
from dorefabric.sw.images import InputError
from dorefabric.sw.nodes import (
    make_add,
    make_convolution,
    make_flatten,
    make_input,
    make_max_pool,
    make_threshold,
)
from dorefabric.sw.random_graphs import random_images, random_network, random_weights
from dorefabric.sw.reference import BATCH, evaluate, evaluate_node, evaluate_output


def run(node: Node, *tensors: np.ndarray) -> np.ndarray:
    """One node on given tensors; only the range of its first input matters."""
    sources = tuple(make_input(name, tensor.shape[1:], 8)  # type: ignore[arg-type]
                    for name, tensor in zip(node.inputs, tensors, strict=True))
    return evaluate_node(Graph("one", (*sources, node)), node, tensors)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_convolution_equals_torch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight_bits, bits = int(rng.integers(1, 9)), int(rng.integers(1, 9))
    kernel, stride = tuple(rng.integers(1, 6, 2).tolist()), tuple(rng.integers(1, 4, 2).tolist())
    padding = tuple(rng.integers(0, 3, 2).tolist())
    shape = (int(rng.integers(1, 20)), *(int(rng.integers(max(1, k - 2 * p), 9))
                                         for k, p in zip(kernel, padding, strict=True)))
    source = make_input("x", shape, bits)
    weights = random_weights(rng, (int(rng.integers(1, 6)), shape[0], *kernel), weight_bits, bool(rng.integers(2)))
    node = make_convolution("c", source, weights, weight_bits=weight_bits, stride=stride, padding=padding)
    codes = rng.integers(0, 1 << bits, (3, *shape))
    expected = functional.conv2d(torch.from_numpy(codes).double(), torch.from_numpy(weights).double(), None,
                                 stride, padding)
    actual = evaluate_node(Graph("one", (source, node)), node, [codes])
    assert actual.dtype == np.int64 and actual.flags.c_contiguous
    np.testing.assert_array_equal(actual, expected.numpy().astype(np.int64))


@pytest.mark.parametrize("magnitude", [1, 2**16 - 1, 2**16 + 1, 2**44 + 1, 2**53 + 1])
def test_convolution_is_exact_in_every_arithmetic(magnitude: int) -> None:
    """Sums just below and above 2**24 and 2**53, where float32 and float64 end and int64 begins."""
    weights = np.array([magnitude, magnitude - 1, -magnitude, 1], np.int64).reshape(1, 4, 1, 1)
    codes = np.array([255, 255, 253, 1]).reshape(1, 4, 1, 1)
    node = make_convolution("c", make_input("x", (4, 1, 1), 8), weights, weight_bits=8)
    expected = sum(int(w) * int(x) for w, x in zip(weights.ravel(), codes.ravel(), strict=True))
    assert run(node, codes).item() == expected


def test_accumulators_beyond_int64_are_refused() -> None:
    node = make_convolution("c", make_input("x", (1, 1, 1), 8), np.full((1, 1, 1, 1), 2**54), weight_bits=8)
    wide = dataclasses.replace(node, weights=np.full((1, 1, 1, 1), 2**56))
    with pytest.raises(GraphError, match=f"^c: accumulators up to {255 * 2**56} exceed 63 bits$"):
        run(wide, np.ones((1, 1, 1, 1), np.int64))


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_threshold_equals_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bits, channels = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    source = dataclasses.replace(make_input("x", (channels, 3, 4), 8), edge=Edge((channels, 3, 4), -20, 20, None))
    thresholds = np.sort(rng.integers(-22, 23, (channels, (1 << bits) - 1)), 1)
    falling = rng.random(channels) < 0.5
    thresholds[falling] = thresholds[falling, ::-1]
    values = rng.integers(-20, 21, (2, channels, 3, 4))
    actual = evaluate_node(Graph("one", (source,)), make_threshold("t", source, thresholds, falling), [values])
    for index in np.ndindex(values.shape):
        y, row = values[index], thresholds[index[1]]
        assert actual[index] == sum(y <= t if falling[index[1]] else y >= t for t in row)


@settings(max_examples=40)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2),
       st.integers(0, 2), st.integers(0, 2**32 - 1))
def test_max_pool_equals_torch(ky: int, kx: int, sy: int, sx: int, py: int, px: int, seed: int) -> None:
    py, px = min(py, ky // 2), min(px, kx // 2)
    codes = np.random.default_rng(seed).integers(0, 4, (2, 3, 5, 6))
    node = make_max_pool("p", make_input("x", (3, 5, 6), 2), (ky, kx), (sy, sx), (py, px))
    expected = functional.max_pool2d(torch.from_numpy(codes).double(), (ky, kx), (sy, sx), (py, px))
    np.testing.assert_array_equal(run(node, codes), expected.numpy())


def test_padding_of_a_pool_counts_as_code_zero() -> None:
    node = make_max_pool("p", make_input("x", (1, 2, 2), 2), (2, 2), (3, 3), (1, 1))
    np.testing.assert_array_equal(run(node, np.full((1, 1, 2, 2), 3)), [[[[3]]]])
    beyond = make_max_pool("p", make_input("x", (1, 1, 1), 2), (2, 2), (2, 2), (2, 2))
    np.testing.assert_array_equal(run(beyond, np.full((1, 1, 1, 1), 3)), [[[[0, 0], [0, 3]]]])


def test_add_and_flatten() -> None:
    a, b = np.arange(12).reshape(1, 3, 2, 2) % 4, np.arange(12).reshape(1, 3, 2, 2) % 16
    node = make_add("s", (make_input("a", (3, 2, 2), 2), make_input("b", (3, 2, 2), 4)))
    np.testing.assert_array_equal(run(node, a, b), 5 * a + b)
    np.testing.assert_array_equal(run(make_flatten("f", make_input("b", (3, 2, 2), 4)), b).ravel(), np.arange(12))


# Whole graphs ----------------------------------------------------------------------------------------

def small() -> tuple[Graph, np.ndarray]:
    rng = np.random.default_rng(5)
    graph = random_network(rng)
    return graph, random_images(rng, graph, 2 * BATCH + 3)


def test_every_tensor_in_the_order_of_the_nodes() -> None:
    graph, images = small()
    tensors = evaluate(graph, images)
    assert list(tensors) == [node.name for node in graph.nodes]
    for node in graph.nodes:
        assert tensors[node.name].shape == (len(images), *node.edge.shape)
        assert tensors[node.name].dtype == np.int64
    np.testing.assert_array_equal(tensors[graph.input.name], images)


def test_keep_output_and_batches() -> None:
    graph, images = small()
    tensors = evaluate(graph, images)
    some = evaluate(graph, images, keep=("full.act", "input"))
    assert list(some) == ["input", "full.act"]
    np.testing.assert_array_equal(some["full.act"], tensors["full.act"])
    done: list[int] = []
    output = evaluate_output(graph, images, progress=done.append)
    np.testing.assert_array_equal(output, tensors[graph.output.name])
    assert done == [BATCH, 2 * BATCH, 2 * BATCH + 3]
    one = np.concatenate([evaluate_output(graph, images[i:i + 1]) for i in range(4)])
    np.testing.assert_array_equal(one, output[:4])


def test_no_images_give_empty_tensors() -> None:
    graph, images = small()
    assert evaluate_output(graph, images[:0]).shape == (0, *graph.output.edge.shape)


def test_a_range_that_is_too_narrow_is_found() -> None:
    graph, images = small()
    node = graph.output
    narrow = dataclasses.replace(node, edge=dataclasses.replace(node.edge, low=0, high=0))
    with pytest.raises(GraphError, match=r"^last: computed values from -?\d+ to -?\d+, declared 0 to 0$"):
        evaluate(dataclasses.replace(graph, nodes=(*graph.nodes[:-1], narrow)), images)


def test_a_wrong_shape_is_found() -> None:
    graph, images = small()
    wrong = dataclasses.replace(graph.output, edge=dataclasses.replace(graph.output.edge, shape=(9, 1, 1)))
    with pytest.raises(GraphError, match=r"^last: computed shape \(10, 1, 1\), declared \(9, 1, 1\)$"):
        evaluate(dataclasses.replace(graph, nodes=(*graph.nodes[:-1], wrong)), images)


def test_unknown_nodes_are_refused() -> None:
    class Softmax(Node):
        pass

    graph, images = small()
    odd = Softmax("odd", ("last",), graph.output.edge)
    with pytest.raises(GraphError, match=r"^odd: the golden model does not know Softmax nodes$"):
        evaluate(dataclasses.replace(graph, nodes=(*graph.nodes, odd)), images)


def test_images_that_are_no_codes() -> None:
    graph = Graph("net", (make_input("x", (1, 2, 3), 2),))
    with pytest.raises(InputError, match=r"^input values must be from 0 to 3, not 0 to 4$"):
        evaluate(graph, np.arange(6).reshape(1, 1, 2, 3).clip(0, 4))
    with pytest.raises(InputError, match=r"^input must have shape \(N, 1, 2, 3\), not \(4, 1, 3, 2\)$"):
        evaluate(graph, np.zeros((4, 1, 3, 2), int))
