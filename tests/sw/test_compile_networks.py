"""Networks of full size on a configuration like a board's: the CNV topology of FINN (arXiv 1612.07119)."""

import dataclasses

import numpy as np
import pytest

from dorefabric.hw.config import FabricConfig
from dorefabric.sw.compile import compile_graph
from dorefabric.sw.graph import Graph, Node
from dorefabric.sw.interpret import interpret
from dorefabric.sw.nodes import make_convolution, make_flatten, make_input, make_max_pool, make_threshold
from dorefabric.sw.random_graphs import random_images, random_weights
from dorefabric.sw.reference import evaluate

CONFIG = FabricConfig(name="large", rows=4, columns=32, lanes=64, weight_depth=1024, feature_depth=2000,
                      threshold_depth=512, program_depth=1024, tap_depth=1024, accumulator_bits=20,
                      threshold_bits=20)  # fmt: skip


def cnv(activation_bits: int) -> Graph:
    """Random weights; thresholds spread over the accumulators' usual range, so that codes stay mixed to the end."""
    rng = np.random.default_rng(activation_bits)
    nodes: list[Node] = [make_input("input", (3, 32, 32), 8)]

    def block(name: str, channels: int, kernel: int) -> None:
        source = nodes[-1]
        weights = random_weights(rng, (channels, source.edge.shape[0], kernel, kernel), 1)
        nodes.append(make_convolution(f"{name}.conv", source, weights, weight_bits=1))
        spread = source.edge.high * np.sqrt(weights[0].size) / 3
        levels = rng.normal(0, spread, (channels, (1 << activation_bits) - 1))
        # Half of the weights' sum is the mean, since codes are not centred.
        centre = weights.reshape(channels, -1).sum(axis=1, keepdims=True) * source.edge.high / 2
        thresholds = np.sort(np.rint(levels + centre), axis=1).astype(np.int64)
        nodes.append(make_threshold(name, nodes[-1], thresholds, np.zeros(channels, bool)))

    for index, (channels, pooled) in enumerate([(64, 0), (64, 1), (128, 0), (128, 1), (256, 0), (256, 0)]):
        block(f"conv{index}", channels, 3)
        if pooled:
            nodes.append(make_max_pool(f"pool{index}", nodes[-1], (2, 2)))
    nodes.append(make_flatten("flat", nodes[-1]))
    block("full0", 512, 1)
    block("full1", 512, 1)
    weights = random_weights(rng, (10, 512, 1, 1), 8)
    nodes.append(make_convolution("out", nodes[-1], weights, weight_bits=8))
    return Graph("cnv", tuple(nodes))


@pytest.mark.parametrize("activation_bits", [1, 2])
def test_cnv(activation_bits: int) -> None:
    graph = cnv(activation_bits)
    program = compile_graph(graph, CONFIG)
    images = random_images(np.random.default_rng(0), graph, 2)
    expected = evaluate(graph, images)
    result, tensors = interpret(program, images, trace=True)
    np.testing.assert_array_equal(result, expected["out"])
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, expected[name], err_msg=name)
        assert len(np.unique(tensor)) > 1, f"{name} is constant, so the comparison shows nothing"
    report = program.report()
    assert not report["streamed"]
    assert report["layers"][0]["useful"] > 0.35
    assert report["useful"] > 0.6
    assert len(program.steps) == 2  # the unfolded input comes in two bands


def test_cnv_with_streamed_weights() -> None:
    """A quarter of the weight memory: the same results, and every word that does not fit is sent for every image."""
    graph = cnv(1)
    config = dataclasses.replace(CONFIG, weight_depth=256)
    program = compile_graph(graph, config)
    report = program.report()
    whole = compile_graph(graph, CONFIG).report()
    weights_and_thresholds = whole["resident_words"]
    assert report["streamed"]
    assert report["streamed_words"] + report["resident_words"] >= weights_and_thresholds
    assert report["streamed_words"] < weights_and_thresholds
    images = random_images(np.random.default_rng(1), graph, 1)
    np.testing.assert_array_equal(interpret(program, images)[0], evaluate(graph, images)["out"])
