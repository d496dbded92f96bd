"""The integer graph: what a network computes, in integers, with shapes and ranges on every edge.

A graph is a tuple of nodes in topological order. Every node has one output *edge*, named after the node:
a channel-first (C, H, W) tensor of either unsigned **codes** (a known number of bits) or signed
**accumulators** (a known range). Fully connected layers are convolutions whose kernel covers the map.
"""

from dataclasses import dataclass

import numpy as np

from dorefabric.hw.errors import DorefabricError

__all__ = ["Add", "Convolution", "Edge", "Flatten", "Graph", "GraphError", "Input", "MaxPool", "Node", "Threshold"]


class GraphError(DorefabricError, ValueError):
    """A graph that is inconsistent; the message names the node."""


@dataclass(frozen=True)
class Edge:
    """A tensor between nodes.

    Attributes
    ----------
    shape : (C, H, W)
    low, high : inclusive bounds of every element (exact or conservative)
    bits : planes of an unsigned code tensor (high <= 2**bits - 1, low >= 0); None for accumulators
    scale : real value of one unit, a float or a float64 vector of C per-channel scales
    """

    shape: tuple[int, int, int]
    low: int
    high: int
    bits: int | None
    scale: float | tuple[float, ...] = 1.0


@dataclass(frozen=True)
class Node:
    """A named operation; `inputs` are names of earlier nodes."""

    name: str
    inputs: tuple[str, ...]
    edge: Edge


@dataclass(frozen=True)
class Input(Node):
    """Unsigned codes from the host."""


@dataclass(frozen=True, eq=False)
class Convolution(Node):
    """Cross-correlation with zero padding (zero codes), dilation 1; a fully connected layer when the kernel equals
    the map. Output accumulators: Σ weights · codes, exactly.

    weights : int64 (C_out, C_in / groups, kernel height, kernel width). bipolar=True: odd integers
    2q − (2**weight_bits − 1); bipolar=False: two's complement of weight_bits bits.
    groups : the channels fall into as many equal parts, and an output channel sees those of its own part
    bias : int64 (C_out,) added to the accumulators, or None
    """

    weights: np.ndarray
    weight_bits: int
    bipolar: bool
    stride: tuple[int, int]
    padding: tuple[int, int]
    groups: int = 1
    bias: np.ndarray | None = None


@dataclass(frozen=True)
class Add(Node):
    """Integer weighted sum of code tensors of one shape: Σ factors[i] · inputs[i]. Output accumulators."""

    factors: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Threshold(Node):
    """Accumulators to codes: code = #{i : y >= thresholds[c, i]}, or <= where falling[c].

    thresholds : int64 (C, 2**bits − 1), non-decreasing along i where rising, non-increasing where falling.
    falling : bool (C,).
    """

    thresholds: np.ndarray
    falling: np.ndarray


@dataclass(frozen=True)
class MaxPool(Node):
    """Maximum over windows of codes; padded positions count as code 0."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True)
class Flatten(Node):
    """(C, H, W) to (C·H·W, 1, 1), in channel-first order as in PyTorch."""


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order; the last one is the output, and accumulators there are the result."""

    name: str
    nodes: tuple[Node, ...]

    def __getitem__(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    @property
    def input(self) -> Node:
        return self.nodes[0]

    @property
    def output(self) -> Node:
        return self.nodes[-1]

    def consumers(self, name: str) -> list[Node]:
        return [node for node in self.nodes if name in node.inputs]
