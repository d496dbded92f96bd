"""The useful share that `dorefabric bench networks` reports, on the networks that compile in seconds."""

import numpy as np

from dorefabric.sim.networks import REFERENCE, convolution, is_wide, share
from dorefabric.sw.compile import compile_graph
from dorefabric.sw.graph import Graph, Node
from dorefabric.sw.nodes import (
    make_average_pool,
    make_convolution,
    make_flatten,
    make_input,
    make_max_pool,
    make_threshold,
)
from dorefabric.sw.random_graphs import random_weights


def block(nodes: list[Node], name: str, channels: int, kernel: int, groups: int = 1) -> Node:
    rng = np.random.default_rng(len(nodes))
    weights = random_weights(rng, (channels, nodes[-1].edge.shape[0] // groups, kernel, kernel), 1)
    nodes.append(make_convolution(f"{name}.conv", nodes[-1], weights, weight_bits=1, groups=groups,
                                  padding=(kernel // 2, kernel // 2)))  # fmt: skip
    thresholds = np.zeros((channels, 3), np.int64)
    nodes.append(make_threshold(name, nodes[-1], thresholds, np.zeros(channels, bool)))
    return nodes[-1]


def test_which_layers_count_and_what_they_use() -> None:
    nodes: list[Node] = [make_input("input", (3, 14, 14), 8)]
    block(nodes, "first", 64, 3)
    block(nodes, "a", 64, 3)
    block(nodes, "b", 64, 3, groups=2)
    nodes.append(make_max_pool("pool", nodes[-1], (3, 3), (2, 2), (1, 1)))
    nodes.append(make_average_pool("mean.sum", nodes[-1], (7, 7), (7, 7)))
    nodes.append(make_threshold("mean", nodes[-1], np.zeros((64, 3), np.int64), np.zeros(64, bool)))
    nodes.append(make_flatten("flat", nodes[-1]))
    block(nodes, "full", 64, 1)
    graph = Graph("mixed", tuple(nodes))
    program = compile_graph(graph, REFERENCE)
    kinds = {layer.name: (convolution(graph, layer) is not None, is_wide(graph, layer)) for layer in program.layers}
    assert kinds == {"first": (True, False), "a": (True, True), "b": (True, True), "pool": (False, False),
                     "mean": (False, False), "full": (False, False)}  # fmt: skip
    layer = next(layer for layer in program.layers if layer.name == "a")
    useful, offered = share([layer], REFERENCE)
    assert useful == 14 * 14 * 64 * 64 * 9 * 2
    # 14 × 14 pixels are 49 tiles of 4: only the pipeline's filling and draining is lost.
    assert layer.steps * REFERENCE.total_lanes == useful
    assert offered == layer.cycles * REFERENCE.total_lanes
