"""The graph checker accepts consistent graphs and names the node of every inconsistency."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from dorefabric.sw.check import check_graph
from dorefabric.sw.graph import Edge, Graph, GraphError, Node
from dorefabric.sw.nodes import (
    make_add,
    make_convolution,
    make_flatten,
    make_input,
    make_max_pool,
    make_threshold,
)
from dorefabric.sw.random_graphs import random_layer, random_network


def network() -> dict[str, Node]:
    """x -> conv -> act -> (pool, plus act -> add -> join) -> flat -> last, two bits throughout."""
    x = make_input("x", (2, 4, 4), 2)
    conv = make_convolution("conv", x, np.full((2, 2, 3, 3), 3), weight_bits=2, padding=(1, 1))
    act = make_threshold("act", conv, np.array([[1, 2, 3], [3, 2, 1]]), np.array([False, True]))
    add = make_add("add", (act, x))
    join = make_threshold("join", add, np.array([[1, 2, 3], [1, 2, 3]]), np.array([False, False]))
    pool = make_max_pool("pool", join, (2, 2))
    flat = make_flatten("flat", pool)
    last = make_convolution("last", flat, np.full((5, 8, 1, 1), -4), weight_bits=3, bipolar=False)
    return {node.name: node for node in (x, conv, act, add, join, pool, flat, last)}


def changed(name: str, /, **fields: Any) -> Graph:
    nodes = network()
    nodes[name] = dataclasses.replace(nodes[name], **fields)
    return Graph("net", tuple(nodes.values()))


def edge(name: str, /, **fields: Any) -> Graph:
    return changed(name, edge=dataclasses.replace(network()[name].edge, **fields))


def test_consistent_graph_is_returned() -> None:
    graph = Graph("net", tuple(network().values()))
    assert check_graph(graph) is graph


def test_wider_range_is_conservative_and_accepted() -> None:
    check_graph(edge("conv", low=-1000, high=1000))


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_are_consistent(seed: int) -> None:
    rng = np.random.default_rng(seed)
    check_graph(random_network(rng))
    check_graph(random_layer(rng, 1 + seed % 8, 1 + seed % 3, None, bipolar=seed % 2 == 0))


NODES = network()
ERRORS = {
    "net: the first node must be an Input": Graph("net", tuple(NODES.values())[1:]),
    "net: a node name must be a non-empty string, not ''": changed("last", name=""),
    "conv: two nodes have this name": changed("act", name="conv"),
    "conv: input 'act' is not an earlier node": changed("conv", inputs=("act",)),
    "last: input 'nothing' is not an earlier node": changed("last", inputs=("nothing",)),
    "flat: its output is never used, and only the last node may be the output":
        Graph("net", (*tuple(NODES.values())[:-1], dataclasses.replace(NODES["join"], name="other"))),
    "conv: shape must be three positive integers (C, H, W), not (2, 4)": edge("conv", shape=(2, 4)),
    "conv: shape must be three positive integers (C, H, W), not (2, 4, 0)": edge("conv", shape=(2, 4, 0)),
    "conv: range must be two integers low <= high, not 5 to 4": edge("conv", low=5, high=4),
    "conv: range must be two integers low <= high, not 0.5 to 4": edge("conv", low=0.5, high=4),
    "x: code bits must be 1 to 8, not 9": edge("x", bits=9),
    "x: codes from 0 to 4 do not fit 2 bits": edge("x", high=4),
    "x: codes from -1 to 3 do not fit 2 bits": edge("x", low=-1),
    "conv: 3 scales for 2 channels": edge("conv", scale=(1.0, 2.0, 3.0)),
    "conv: scales must be finite numbers": edge("conv", scale=float("nan")),
    "x: an Input has no inputs and yields codes": edge("x", bits=None),
    "add: an Add has two or more inputs and a factor for each, not 2 and 1": changed("add", factors=(1,)),
    "pool: a MaxPool has one input, not 2": changed("pool", inputs=("join", "act")),
    "pool: input add must be codes, not accumulators": changed("pool", inputs=("add",)),
    "join: input act must be accumulators, not codes": changed("join", inputs=("act",)),
    "conv: declared shape (2, 3, 4), computed (2, 4, 4)": edge("conv", shape=(2, 3, 4)),
    "act: declared bits 3, computed 2": edge("act", bits=3),
    "conv: declared range 0 to 161, computed 0 to 162": edge("conv", high=161),
    "add: factors must be integers other than 0, not (0, 1)": changed("add", factors=(0, 1)),
    "pool: padding must be less than the kernel 2x2, not 2x0": changed("pool", padding=(2, 0)),
    "conv: weights must be int64, not float64": changed("conv", weights=np.ones((2, 2, 3, 3))),
    "conv: weight bits must be 1 to 8, not 0": changed("conv", weight_bits=0),
    "conv: bipolar weights of 1 bits must be odd, from -1 to 1": changed("conv", weight_bits=1),
    "conv: bipolar weights of 2 bits must be odd, from -3 to 3":
        changed("conv", weights=np.full((2, 2, 3, 3), 2)),
    "last: two's complement weights of 2 bits must be from -2 to 1, not -4 to -4": changed("last", weight_bits=2),
    "act: thresholds must be int64, not int32":
        changed("act", thresholds=np.zeros((2, 3), np.int32)),
    "act: falling must be bool of shape (2,), not bool of shape (3,)": changed("act", falling=np.zeros(3, bool)),
    "act: falling must be bool of shape (2,), not int64 of shape (2,)":
        changed("act", falling=np.zeros(2, np.int64)),
    "act: thresholds must have the shape (2, 2**bits - 1), not (3, 3)":
        changed("act", thresholds=np.zeros((3, 3), np.int64)),
    "act: thresholds of channel 0 must be non-decreasing": changed("act", thresholds=np.array([[1, 0, 3], [3, 2, 1]])),
    "act: thresholds of channel 1 must be non-increasing": changed("act", thresholds=np.array([[1, 2, 3], [3, 2, 5]])),
}  # fmt: skip


@pytest.mark.parametrize("message", ERRORS)
def test_errors(message: str) -> None:
    with pytest.raises(GraphError) as error:
        check_graph(ERRORS[message])
    assert str(error.value) == message


def test_unknown_kinds_of_node_are_refused() -> None:
    class Softmax(Node):
        pass

    nodes = network()
    odd = Softmax("odd", ("act",), Edge((2, 4, 4), 0, 3, 2))
    with pytest.raises(GraphError, match=r"^odd: Softmax is not a node of the integer graph$"):
        check_graph(Graph("net", (nodes["x"], nodes["conv"], nodes["act"], odd)))
