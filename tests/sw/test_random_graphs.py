"""Random layers and networks: reproducible, consistent, and with codes worth testing."""

import numpy as np
import pytest

from dorefabric.sw.check import check_graph
from dorefabric.sw.graph import Add, Convolution, MaxPool, Threshold
from dorefabric.sw.random_graphs import random_images, random_layer, random_network, random_weights
from dorefabric.sw.reference import evaluate


@pytest.mark.parametrize("bits", range(1, 9))
def test_weights_reach_both_ends(bits: int) -> None:
    rng = np.random.default_rng(bits)
    bipolar = random_weights(rng, (5000,), bits)
    assert (bipolar.min(), bipolar.max()) == (-(2**bits - 1), 2**bits - 1) and (bipolar % 2 == 1).all()
    signed = random_weights(rng, (5000,), bits, bipolar=False)
    assert (signed.min(), signed.max()) == (-(2**bits) // 2, 2**bits // 2 - 1)


def test_the_same_seed_gives_the_same_graph() -> None:
    first, second = (random_network(np.random.default_rng(7)) for _ in range(2))
    assert [(n.name, n.inputs, n.edge) for n in first.nodes] == [(n.name, n.inputs, n.edge) for n in second.nodes]
    images = random_images(np.random.default_rng(1), first, 2)
    for name, tensor in evaluate(first, images).items():
        np.testing.assert_array_equal(tensor, evaluate(second, images)[name])


def test_layer_is_what_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    graph = random_layer(rng, 3, 5, 2, kernel=5, stride=2, padding=1, pool=True, channels_in=7, channels_out=11,
                         size=(12, 9))
    conv = graph["conv"]
    assert isinstance(conv, Convolution)
    assert (conv.weights.shape, conv.stride, conv.padding, conv.weight_bits) == ((11, 7, 5, 5), (2, 2), (1, 1), 3)
    assert (graph.input.edge.shape, graph.input.edge.bits) == ((7, 12, 9), 5)
    assert [node.name for node in graph.nodes] == ["input", "conv", "act", "pool"]
    assert graph["act"].edge.bits == 2
    raw = random_layer(rng, 3, 5)
    assert [node.name for node in raw.nodes] == ["input", "conv"]


def test_networks_cover_every_kind_of_node() -> None:
    kinds: set[type] = set()
    falling = rising = overlapping = padded = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        graph = check_graph(random_network(rng))
        kinds |= {type(node) for node in graph.nodes}
        for node in graph.nodes:
            if isinstance(node, Threshold):
                falling += int(node.falling.sum())
                rising += int((~node.falling).sum())
            elif isinstance(node, MaxPool):
                overlapping += node.stride[0] < node.kernel[0]
                padded += node.padding != (0, 0)
        assert graph.output.edge.bits is None
    assert {Add, Convolution, MaxPool, Threshold} <= kinds
    assert min(falling, rising, overlapping, padded) > 10


def test_every_code_occurs() -> None:
    """All four codes of 2 bits in nearly all layers whose tensors are not tiny."""
    complete = layers = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        graph = random_layer(rng, 1 + seed % 8, 1 + seed // 8, 2, pool=False)
        codes = evaluate(graph, random_images(rng, graph, 4))["act"]
        if codes.size >= 64:
            layers += 1
            complete += len(np.unique(codes)) == 4
    assert layers > 30 and complete >= 0.95 * layers


def test_images_are_codes_with_extremes() -> None:
    rng = np.random.default_rng(0)
    graph = random_layer(rng, 1, 3, channels_in=4, size=(9, 9))
    images = random_images(rng, graph, 5)
    assert images.dtype == np.uint8 and images.shape == (5, 4, 9, 9)
    assert set(np.unique(images)) == set(range(8))
