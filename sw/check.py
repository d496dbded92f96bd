"""The graph checker, run after every pass: names, arity, shapes, ranges, bits, weights, thresholds."""

import math
from typing import Any

import numpy as np

from .graph import Add, Convolution, Edge, Flatten, Graph, GraphError, Input, MaxPool, Node, Threshold
from .nodes import make_add, make_convolution, make_flatten, make_max_pool, make_threshold

__all__ = ["check_graph"]


def check_graph(graph: Graph) -> Graph:
    """Return ``graph`` if it is consistent.

    Every node's edge is computed again from its inputs: shape and bits must be equal, and the declared range
    must contain the computed one.

    Raises
    ------
    GraphError
        At the first inconsistency; the message begins with the node's name.
    """
    if not graph.nodes or not isinstance(graph.nodes[0], Input):
        raise GraphError(f"{graph.name}: the first node must be an Input")
    known: dict[str, Node] = {}
    for node in graph.nodes:
        if not isinstance(node.name, str) or not node.name:
            raise GraphError(f"{graph.name}: a node name must be a non-empty string, not {node.name!r}")
        if node.name in known:
            raise GraphError(f"{node.name}: two nodes have this name")
        for name in node.inputs:
            if name not in known:
                raise GraphError(f"{node.name}: input {name!r} is not an earlier node")
        _check_edge(node)
        _check_node(node, [known[name] for name in node.inputs])
        known[node.name] = node
    used = {name for node in graph.nodes for name in node.inputs}
    for node in graph.nodes[:-1]:
        if node.name not in used:
            raise GraphError(f"{node.name}: its output is never used, and only the last node may be the output")
    return graph


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _check_edge(node: Node) -> None:
    edge = node.edge
    if len(edge.shape) != 3 or not all(_is_integer(size) and size > 0 for size in edge.shape):
        raise GraphError(f"{node.name}: shape must be three positive integers (C, H, W), not {edge.shape}")
    if not _is_integer(edge.low) or not _is_integer(edge.high) or edge.low > edge.high:
        raise GraphError(f"{node.name}: range must be two integers low <= high, not {edge.low} to {edge.high}")
    if edge.bits is not None:
        if not _is_integer(edge.bits) or not 1 <= edge.bits <= 8:
            raise GraphError(f"{node.name}: code bits must be 1 to 8, not {edge.bits!r}")
        if edge.low < 0 or edge.high >= 1 << edge.bits:
            raise GraphError(f"{node.name}: codes from {edge.low} to {edge.high} do not fit {edge.bits} bits")
    scales = edge.scale if isinstance(edge.scale, tuple) else (edge.scale,)
    if isinstance(edge.scale, tuple) and len(scales) != edge.shape[0]:
        raise GraphError(f"{node.name}: {len(scales)} scales for {edge.shape[0]} channels")
    if not all(isinstance(scale, int | float) and math.isfinite(scale) for scale in scales):
        raise GraphError(f"{node.name}: scales must be finite numbers")


def _check_node(node: Node, inputs: list[Node]) -> None:
    if isinstance(node, Input):
        if node.inputs or node.edge.bits is None:
            raise GraphError(f"{node.name}: an Input has no inputs and yields codes")
        return
    if isinstance(node, Add):
        if len(inputs) < 2 or len(node.factors) != len(inputs):
            raise GraphError(f"{node.name}: an Add has two or more inputs and a factor for each, "
                             f"not {len(inputs)} and {len(node.factors)}")
    elif len(inputs) != 1:
        raise GraphError(f"{node.name}: a {type(node).__name__} has one input, not {len(inputs)}")
    wants_codes = not isinstance(node, Threshold | Flatten)
    for source in inputs:
        if wants_codes and source.edge.bits is None:
            raise GraphError(f"{node.name}: input {source.name} must be codes, not accumulators")
        if isinstance(node, Threshold) and source.edge.bits is not None:
            raise GraphError(f"{node.name}: input {source.name} must be accumulators, not codes")
    _check_inferred(node, _infer(node, inputs))


def _check_inferred(node: Node, edge: Edge) -> None:
    if node.edge.shape != edge.shape:
        raise GraphError(f"{node.name}: declared shape {node.edge.shape}, computed {edge.shape}")
    if node.edge.bits != edge.bits:
        raise GraphError(f"{node.name}: declared bits {node.edge.bits}, computed {edge.bits}")
    if node.edge.low > edge.low or node.edge.high < edge.high:
        raise GraphError(f"{node.name}: declared range {node.edge.low} to {node.edge.high}, "
                         f"computed {edge.low} to {edge.high}")


def _infer(node: Node, inputs: list[Node]) -> Edge:
    """The output edge computed from the input edges, after a check of the node's own parameters."""
    match node:
        case Convolution():
            _check_weights(node)
            return make_convolution(node.name, inputs[0], node.weights, weight_bits=node.weight_bits,
                                    bipolar=node.bipolar, stride=node.stride, padding=node.padding,
                                    groups=node.groups, bias=node.bias).edge
        case Add():
            if not all(_is_integer(factor) and factor for factor in node.factors):
                raise GraphError(f"{node.name}: factors must be integers other than 0, not {node.factors}")
            return make_add(node.name, inputs, node.factors).edge
        case Threshold():
            _check_thresholds(node)
            return make_threshold(node.name, inputs[0], node.thresholds, node.falling).edge
        case MaxPool():
            if any(p >= k for p, k in zip(node.padding, node.kernel, strict=True)):
                raise GraphError(f"{node.name}: padding must be less than the kernel "
                                 f"{node.kernel[0]}x{node.kernel[1]}, not {node.padding[0]}x{node.padding[1]}")
            return make_max_pool(node.name, inputs[0], node.kernel, node.stride, node.padding).edge
        case Flatten():
            return make_flatten(node.name, inputs[0]).edge
    raise GraphError(f"{node.name}: {type(node).__name__} is not a node of the integer graph")


def _check_weights(node: Convolution) -> None:
    weights, bits = node.weights, node.weight_bits
    if not _is_integer(node.groups) or node.groups < 1:
        raise GraphError(f"{node.name}: groups must be an integer of at least 1, not {node.groups!r}")
    if weights.dtype != np.int64:
        raise GraphError(f"{node.name}: weights must be int64, not {weights.dtype}")
    if not _is_integer(bits) or not 1 <= bits <= 8:
        raise GraphError(f"{node.name}: weight bits must be 1 to 8, not {bits!r}")
    if not weights.size:
        raise GraphError(f"{node.name}: weights of shape {weights.shape} are empty")
    if node.bipolar:
        largest = (1 << bits) - 1
        if np.abs(weights).max() > largest or not (weights & 1).all():
            raise GraphError(f"{node.name}: bipolar weights of {bits} bits must be odd, from -{largest} to {largest}")
    elif weights.min() < -(1 << bits >> 1) or weights.max() >= 1 << bits >> 1:
        raise GraphError(f"{node.name}: two's complement weights of {bits} bits must be from {-(1 << bits >> 1)} "
                         f"to {(1 << bits >> 1) - 1}, not {weights.min()} to {weights.max()}")


def _check_thresholds(node: Threshold) -> None:
    if node.thresholds.dtype != np.int64:
        raise GraphError(f"{node.name}: thresholds must be int64, not {node.thresholds.dtype}")
    channels = node.edge.shape[0]
    if node.falling.dtype != np.bool_ or node.falling.shape != (channels,):
        raise GraphError(f"{node.name}: falling must be bool of shape ({channels},), "
                         f"not {node.falling.dtype} of shape {node.falling.shape}")
    if node.thresholds.ndim != 2 or len(node.thresholds) != channels:
        return  # make_threshold says it
    steps = np.diff(node.thresholds, axis=1) * np.where(node.falling, -1, 1)[:, None]
    for channel in np.flatnonzero((steps < 0).any(1)):
        direction = "non-increasing" if node.falling[channel] else "non-decreasing"
        raise GraphError(f"{node.name}: thresholds of channel {channel} must be {direction}")
