"""Comparison of a PyTorch model with its integer graph, code for code; and the first difference of two tensors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from .capture import record
from .graph import Flatten, Graph, GraphError, Input, MaxPool, Node
from .images import check_images
from .lower import lower_traced
from .lowered import Activation, Lowered
from .quantize import levels
from .reference import BATCH, evaluate_node

__all__ = ["Comparison", "LayerComparison", "compare", "first_difference"]

ROUNDING = 2.0 ** -24
"""Largest relative error of one float32 operation."""


def first_difference(name: str, expected: np.ndarray, actual: np.ndarray) -> str | None:
    """Where two tensors (N, C, H, W) or (C, H, W) first differ, in words, or None where they are equal.

    ``layer conv1: channel 3, pixel (2, 5): expected 1, got 0; 7 of 4096 differ``, with ``image 4,`` in front of
    the channel if it is a batch. Tensors of different shapes are a difference too.
    """
    expected, actual = np.asarray(expected), np.asarray(actual)
    if expected.shape != actual.shape:
        return f"layer {name}: expected shape {expected.shape}, got {actual.shape}"
    different = np.argwhere(expected != actual)
    if not len(different):
        return None
    at = tuple(int(index) for index in different[0])
    image = f"image {at[0]}, " if len(at) == 4 else ""
    channel, y, x = at[-3:]
    return (f"layer {name}: {image}channel {channel}, pixel ({y}, {x}): expected {expected[at]}, got {actual[at]}; "
            f"{len(different)} of {expected.size} differ")


@dataclass
class LayerComparison:
    """One quantized tensor of the model.

    Members
    -------
    path, node : str
        The QuantActivation in the model, and the node of the graph that holds its codes.
    values, different, ties : int
        Codes compared; codes that differ; how many of those are float ties (see `compare`).
    deviation : float
        Largest distance, in accumulator units, between PyTorch's float value and the exact one at a tie.
    first : str or None
        The first difference that is no tie.
    """

    path: str
    node: str
    shape: tuple[int, int, int]
    values: int = 0
    different: int = 0
    ties: int = 0
    deviation: float = 0.0
    first: str | None = None


@dataclass
class Comparison:
    """What `compare` found.

    Members
    -------
    layers : list of LayerComparison
        In the order of the model.
    images, same_class : int
        Images compared; those whose greatest output is of the same class in both, end to end.
    output_error : float
        Largest difference of an output, real value of the integer one against PyTorch's, end to end. A tie in a
        hidden layer can make it as large as a code's influence.
    """

    layers: list[LayerComparison]
    images: int = 0
    same_class: int = 0
    output_error: float = 0.0

    @property
    def values(self) -> int:
        return sum(layer.values for layer in self.layers)

    @property
    def differences(self) -> int:
        """Codes that differ, ties among them."""
        return sum(layer.different for layer in self.layers)

    @property
    def ties(self) -> int:
        return sum(layer.ties for layer in self.layers)

    @property
    def first(self) -> str | None:
        """The first difference that is no float tie, in the order of the layers."""
        return next((layer.first for layer in self.layers if layer.first is not None), None)

    def to_dict(self) -> dict[str, Any]:
        layers = [{**vars(layer), "shape": list(layer.shape)} for layer in self.layers]
        return {"images": self.images, "values": self.values, "differences": self.differences, "ties": self.ties,
                "same_class": self.same_class, "output_error": self.output_error, "first": self.first,
                "layers": layers}

    def table(self) -> Table:
        table = Table(title="golden model against PyTorch", title_justify="left")
        for index, column in enumerate(("layer", "shape", "codes", "different", "float ties")):
            table.add_column(column, justify="left" if index == 0 else "right")
        for layer in self.layers:
            shape = "×".join(map(str, layer.shape))
            table.add_row(layer.path, shape, f"{layer.values:,}", f"{layer.different:,}", f"{layer.ties:,}")
        table.add_row("output", "", f"{self.images:,} images", f"{self.images - self.same_class:,} classes", "")
        return table


def compare(model: nn.Module, graph: Graph, images: np.ndarray, *,
            progress: Callable[[int], None] | None = None) -> Comparison:
    """Compare every QuantActivation of a model with the graph, on the same images.

    Each layer of the graph is fed the codes that PyTorch's previous layers yielded, so a difference is counted in
    the layer that makes it and nowhere else. The outputs are compared end to end: the graph runs on the images.

    A difference is a **float tie** if float rounding alone explains it: the graph's code is the one that the
    reference expression (see `thresholds`) gives for the exact accumulator, and PyTorch's float value v is as close
    to the exact one v* as float32 guarantees,

        |v - v*| <= (√length + 8) · 2^-24 · (|v*(high) - v*(low)| + |v*(0)|),

    where length is the number of terms of the sum and low to high the accumulator's range: the probabilistic bound
    √n u Σ|w x| of N. Higham and T. Mary (SIAM J. Sci. Comput. 41, 2019) on the rounding of a sum of n products,
    plus a few operations of the chain. At few bits it is far less than the step of one accumulator unit.

    Parameters
    ----------
    graph : Graph
        As `lower` made it from ``model``, or transformed with the names of its activations kept.
    images : integers (N, C, H, W)
        Input codes; PyTorch gets them divided by 2**bits - 1.
    progress : callable or None
        Called with the number of images done.

    Raises
    ------
    InputError
        If the images do not fit the graph.
    GraphError
        If the graph lacks an activation of the model.
    LoweringError
        If the model cannot be lowered.
    """
    check_images(images, graph.input.edge.shape, graph.input.edge.high)
    lowered = lower_traced(model, graph.input.edge.shape)
    names = {node.name for node in graph.nodes}
    for item in lowered.activations:
        if not {item.node, item.threshold} <= names:
            raise GraphError(f"{graph.name}: no node {item.node} for the model's layer {item.path}")
    layers = [LayerComparison(item.path, item.node, graph[item.node].edge.shape) for item in lowered.activations]
    result = Comparison(layers)
    for start in range(0, len(images), BATCH):
        batch = images[start:start + BATCH]
        _compare_batch(lowered, graph, batch, start, result)
        result.images += len(batch)
        if progress is not None:
            progress(result.images)
    return result


def _compare_batch(lowered: Lowered, graph: Graph, images: np.ndarray, start: int, result: Comparison) -> None:
    captured = lowered.captured
    scaled = torch.from_numpy(images.astype(np.float64)).to(captured.dtype) / levels(graph.input.edge.bits or 0)
    recorded = record(captured, scaled)
    by_node = {item.node: (item, layer) for item, layer in zip(lowered.activations, result.layers, strict=True)}

    forced: dict[str, np.ndarray] = {}  # each node from PyTorch's codes
    free: dict[str, np.ndarray] = {}    # each node from the images; the same arrays until a code differs
    for node in graph.nodes:
        if isinstance(node, Input):
            forced[node.name] = free[node.name] = images.astype(np.int64)
            continue
        forced[node.name] = free[node.name] = evaluate_node(graph, node, [forced[name] for name in node.inputs])
        if any(free[name] is not forced[name] for name in node.inputs):
            free[node.name] = evaluate_node(graph, node, [free[name] for name in node.inputs])
        if node.name in by_node:
            item, layer = by_node[node.name]
            given = recorded[item.call.all_input_nodes[0]]
            expected = item.expression.codes_of(given).reshape(len(images), *node.edge.shape)
            if _compare_layer(graph, item, layer, forced, expected=expected, given=given, start=start):
                forced[node.name] = expected
    _compare_output(graph, free[graph.output.name], recorded[_returned(captured)], result)


def _returned(captured: Any) -> Any:
    return next(node for node in captured.module.graph.nodes if node.op == "output").args[0]


def _compare_layer(graph: Graph, item: Activation, layer: LayerComparison, forced: dict[str, np.ndarray], *,
                   expected: np.ndarray, given: Tensor, start: int) -> bool:
    """Count the differences of one activation, whose codes in PyTorch are ``expected`` for the input ``given``."""
    node = graph[item.node]
    actual = forced[node.name]
    different = expected != actual
    layer.values += actual.size
    if not different.any():
        return False
    values, limit, unit = _exact_values(graph, item, forced)
    deviation = (given.reshape(values.shape).double() - values.double()).abs().numpy()
    agrees = item.expression.codes_of(values) == actual
    ties = different & agrees & (deviation <= limit)
    layer.different += int(different.sum())
    layer.ties += int(ties.sum())
    if ties.any():
        layer.deviation = max(layer.deviation, float((deviation / unit)[ties].max()))
    wrong = different & ~ties
    if wrong.any() and layer.first is None:
        image = int(np.argwhere(wrong)[0][0])
        text = first_difference(item.path, np.where(wrong, expected, actual)[image], actual[image])
        layer.first = f"image {start + image}, {text}"
    return True


def _exact_values(graph: Graph, item: Activation, forced: dict[str, np.ndarray]) -> tuple[
        Tensor, np.ndarray, np.ndarray]:
    """Input of the activation by the reference expression, and the limit of a tie and the unit beside it.

    Values (N, C, H, W) have the shape of the activation's node, limit and unit (1, C or C·H·W, 1, 1).
    """
    threshold = graph[item.threshold]
    accumulators = forced[threshold.inputs[0]]
    count, channels, height, width = accumulators.shape
    rows = np.swapaxes(accumulators, 0, 1).reshape(channels, -1)
    values = item.expression.values(rows).reshape(channels, count, height, width).swapaxes(0, 1)
    ends = item.expression.values(np.stack([item.low, item.high, np.zeros_like(item.low)], 1)).double().numpy()
    span = np.abs(ends[:, 1] - ends[:, 0])
    unit = span / np.maximum(item.high - item.low, 1)
    limit = (np.sqrt(item.length) + 8) * ROUNDING * (span + np.abs(ends[:, 2]))
    for node in _between(graph, threshold, item.node):
        if isinstance(node, MaxPool):
            values = functional.max_pool2d(values, node.kernel, node.stride, node.padding)
        elif isinstance(node, Flatten):
            area = values.shape[2] * values.shape[3]
            values = values.reshape(count, -1, 1, 1)
            limit, unit = np.repeat(limit, area), np.repeat(unit, area)
    return values, limit[None, :, None, None], np.maximum(unit, np.finfo(np.float64).tiny)[None, :, None, None]


def _between(graph: Graph, first: Node, last: str) -> list[Node]:
    """The nodes after ``first`` up to ``last``, a chain."""
    chain: list[Node] = []
    name = last
    while name != first.name:
        chain.insert(0, graph[name])
        name = chain[0].inputs[0]
    return chain


def _compare_output(graph: Graph, output: np.ndarray, expected: Tensor, result: Comparison) -> None:
    scale = np.asarray(graph.output.edge.scale, np.float64).reshape(1, -1, 1, 1)
    actual = (output * scale).reshape(len(output), -1)
    wanted = expected.reshape(len(output), -1).double().numpy()
    result.output_error = max(result.output_error, float(np.abs(actual - wanted).max()))
    result.same_class += int((actual.argmax(1) == wanted.argmax(1)).sum())
