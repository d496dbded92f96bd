"""What `dorefabric bench networks` reports, on a network that compiles in seconds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from dorefabric.hw.config import FabricConfig
from dorefabric.sim import networks as bench
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
from dorefabric.sw.program import Program
from dorefabric.sw.random_graphs import random_weights
from dorefabric.sw.stages import CompileError


def block(nodes: list[Node], name: str, channels: int, kernel: int, groups: int = 1) -> Node:
    rng = np.random.default_rng(len(nodes))
    weights = random_weights(rng, (channels, nodes[-1].edge.shape[0] // groups, kernel, kernel), 1)
    nodes.append(make_convolution(f"{name}.conv", nodes[-1], weights, weight_bits=1, groups=groups,
                                  padding=(kernel // 2, kernel // 2)))  # fmt: skip
    thresholds = np.zeros((channels, 3), np.int64)
    nodes.append(make_threshold(name, nodes[-1], thresholds, np.zeros(channels, bool)))
    return nodes[-1]


def mixed() -> Graph:
    nodes: list[Node] = [make_input("input", (3, 14, 14), 8)]
    block(nodes, "first", 64, 3)
    block(nodes, "a", 64, 3)
    block(nodes, "b", 64, 3, groups=2)
    nodes.append(make_max_pool("pool", nodes[-1], (3, 3), (2, 2), (1, 1)))
    nodes.append(make_average_pool("mean.sum", nodes[-1], (7, 7), (7, 7)))
    nodes.append(make_threshold("mean", nodes[-1], np.zeros((64, 3), np.int64), np.zeros(64, bool)))
    nodes.append(make_flatten("flat", nodes[-1]))
    block(nodes, "full", 64, 1)
    return Graph("mixed", tuple(nodes))


def test_which_layers_count_and_what_they_use() -> None:
    graph = mixed()
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


@contextmanager
def silent(_title: str, _count: int) -> Iterator[Callable[[int], None]]:
    yield lambda _done: None


def test_a_network_that_the_configuration_refuses_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = ["cnv"]

    def compiled(name: str, _bits: object, config: FabricConfig, _seed: int) -> tuple[Graph, Program]:
        if name not in runs:
            raise CompileError(f"{name} needs wider counts")
        return mixed(), compile_graph(mixed(), config)

    monkeypatch.setattr(bench, "_compiled", compiled)
    report = bench.networks(None, False, 0, silent)
    (_, _, rows), *_ = report["tables"]
    assert [row[0] for row in rows] == [*(title for *_, title in bench.NETWORKS), "**all**"]
    assert rows[2][1:] == ["–", "–", "–", "–", "svhn needs wider counts"]
    assert report["networks"]["AlexNet W1A2"] == {"refused": "alexnet needs wider counts"}
    cycles = report["networks"]["CNV W1A1"]["cycles"]
    assert rows[0][1] == f"{cycles:,}" and report["networks"]["CNV W1A1"]["images_per_second"] == 1e8 / cycles

    runs.clear()
    with pytest.raises(CompileError, match="cnv needs wider counts"):
        bench.networks(None, False, 0, silent)
