"""A trained PyTorch model to the integer graph.

The model's calls are walked in order. What each yields is either *codes*, with a node of the graph, or *pending*
accumulators: a node of the graph plus the float operations that the model has applied since. A
`QuantActivation` turns a pending value into a Threshold whose thresholds are exact (`thresholds`), followed by
the max pools and flattens that lay between, which commute with a monotone function.

Nodes are named after the layers' paths in the model: ``features.0`` for a convolution, ``features.3`` for the
Threshold of a QuantActivation. What a layer yields at its second call is named ``features.0#2``.
"""

import operator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from .capture import SUPPORTED, Captured, LoweringError, capture, flattens, image_shape
from .check import check_graph
from .expression import Expression
from .geometry import average_geometry, convolution_geometry, pool_geometry
from .graph import Graph, GraphError, Node
from .layers import QuantActivation, QuantAdd, QuantConv2d, QuantInput, QuantLinear
from .lowered import Activation, Codes, Lowered, Pending, Raw, Value
from .nodes import (
    accumulator_bounds,
    make_add,
    make_average_pool,
    make_convolution,
    make_flatten,
    make_input,
    make_max_pool,
    make_threshold,
)
from .quantize import FLOAT_BITS, levels
from .thresholds import ThresholdError, exact_thresholds

__all__ = ["Activation", "Lowered", "LoweringError", "lower", "lower_traced"]


def lower(model: nn.Module, input_shape: tuple[int, int, int] | None = None, *, name: str = "network") -> Graph:
    """The integer graph of a trained model in eval mode, checked.

    Parameters
    ----------
    model : Module
        Made of the layers in `capture.SUPPORTED`; it is not changed.
    input_shape : (C, H, W) or None
        Of an input image; ``None`` takes the model's attribute ``input_shape``.
    name : str
        Of the graph.

    Raises
    ------
    LoweringError
        If the model has no integer graph; the message names the layer, its path and what is supported.
    """
    return lower_traced(model, input_shape, name=name).graph


def lower_traced(model: nn.Module, input_shape: tuple[int, int, int] | None = None, *,
                 name: str = "network") -> Lowered:
    """As `lower`, with the correspondence between model and graph."""
    shape = image_shape(model, input_shape)
    return _Lowering(capture(model, shape), shape).run(name)


class _Lowering:
    def __init__(self, captured: Captured, shape: tuple[int, int, int]) -> None:
        self.captured = captured
        self.shape = shape
        self.nodes: dict[str, Node] = {}
        self.values: dict[fx.Node, Value] = {}
        self.activations: list[Activation] = []

    def run(self, name: str) -> Lowered:
        for call in self.captured.module.graph.nodes:
            if call.op == "placeholder":
                self.values[call] = Raw()
            elif call.op == "output":
                output = self._output(call)
            elif call.op != "get_attr" and isinstance(self.captured.results[call], Tensor):
                self.values[call] = self._call(call)
        if not self.captured.faithful:
            raise LoweringError("the model yields something else when traced; it must not change tensors in place that "
                                "are used again")
        graph = check_graph(Graph(name, _reachable(self.nodes, output)))
        kept = {node.name for node in graph.nodes}
        activations = tuple(item for item in self.activations if item.node in kept)
        return Lowered(graph, self.captured, activations)

    # Dispatch ------------------------------------------------------------------------------------

    def _call(self, call: fx.Node) -> Value:
        where = self.captured.describe(call)
        if call.op == "call_module":
            return self._layer(call, where, self.captured.layer(call))
        if call.target in (operator.add, torch.add, "add"):
            if call.kwargs:
                raise LoweringError(f"{where} has the option {next(iter(call.kwargs))}; supported: a + b")
            return self._add(call, where)
        if call.target in (torch.flatten, torch.reshape, "flatten", "view", "reshape"):
            return self._flatten(call, where)
        if call.target is functional.dropout:
            if call.kwargs.get("training", call.args[2] if len(call.args) > 2 else True):
                raise LoweringError(f"{where} is in training mode; pass training=self.training")
            return self._operand(call, where)
        if call.target == "contiguous":
            return self._operand(call, where)
        raise LoweringError(f"{where} is not supported; supported: {SUPPORTED}")

    def _layer(self, call: fx.Node, where: str, layer: nn.Module) -> Value:
        match layer:
            case QuantInput():
                return self._input(call, where, layer)
            case QuantConv2d() | QuantLinear():
                return self._weighted(call, where, layer)
            case QuantActivation():
                return self._activation(call, where, layer)
            case QuantAdd():
                return self._add(call, where, layer.scales)
            case nn.BatchNorm1d() | nn.BatchNorm2d():
                return self._batch_norm(call, where, layer)
            case nn.AvgPool2d() | nn.AdaptiveAvgPool2d():
                return self._average_pool(call, where, layer)
            case nn.MaxPool2d():
                return self._max_pool(call, where, layer)
            case nn.Flatten():
                return self._flatten(call, where)
            case nn.Identity() | nn.Dropout() | nn.Dropout1d() | nn.Dropout2d():
                return self._operand(call, where)
            case nn.Conv2d() | nn.Linear():
                raise LoweringError(f"{where} has float weights; replace it with Quant{type(layer).__name__}, or "
                                    f"the model's layers with layers.prepare")
        raise LoweringError(f"{where} is not supported; supported: {SUPPORTED}")

    def _source(self, call: fx.Node, where: str) -> fx.Node:
        """The call whose result is the first argument."""
        source = call.args[0] if call.args else next(iter(call.kwargs.values()), None)
        if not isinstance(source, fx.Node) or source not in self.values:
            raise LoweringError(f"{where} does not take the output of a layer")
        return source

    def _operand(self, call: fx.Node, where: str) -> Value:
        return self.values[self._source(call, where)]

    def _codes(self, call: fx.Node, where: str) -> Node:
        value = self._operand(call, where)
        if isinstance(value, Raw):
            raise LoweringError(f"{where} takes the model's input, which has no codes; put a QuantInput before it")
        if isinstance(value, Pending):
            raise LoweringError(f"{where} follows {value.origin} without a QuantActivation between them")
        return value.node

    def _pending(self, call: fx.Node, where: str) -> Pending:
        value = self._operand(call, where)
        if not isinstance(value, Pending):
            before = "the model's input" if isinstance(value, Raw) else "codes"
            raise LoweringError(f"{where} takes {before}; supported after QuantConv2d, QuantLinear and QuantAdd")
        return value

    def _append(self, node: Node) -> Node:
        assert node.name not in self.nodes
        self.nodes[node.name] = node
        return node

    def _name(self, path: str) -> str:
        name, count = path, 1
        while name in self.nodes:
            count += 1
            name = f"{path}#{count}"
        return name

    # Layers --------------------------------------------------------------------------------------

    def _input(self, call: fx.Node, where: str, layer: QuantInput) -> Value:
        if not isinstance(self._operand(call, where), Raw):
            raise LoweringError(f"{where} must take the model's input")
        if self.nodes:
            raise LoweringError(f"{where} is a second QuantInput; supported: 1")
        if layer.bits == FLOAT_BITS:
            raise LoweringError(f"{where} has float outputs (bits=32); choose 1 to 8")
        return Codes(self._append(make_input(self._name(self.captured.path(call)), self.shape, layer.bits)))

    def _weighted(self, call: fx.Node, where: str, layer: QuantConv2d | QuantLinear) -> Value:
        source = self._codes(call, where)
        if layer.weight_bits == FLOAT_BITS:
            raise LoweringError(f"{where} has float weights (weight_bits=32); choose 1 to 8")
        stride, padding = (1, 1), (0, 0)
        if isinstance(layer, QuantConv2d):
            stride, padding = convolution_geometry(where, layer)
        elif not flattens(self.captured.results[self._source(call, where)], source.edge.shape):
            raise LoweringError(f"{where} takes a map of shape {source.edge.shape}; put a Flatten before it")
        try:
            codes, weight_scale = layer.weight_codes()
        except ValueError as error:
            raise LoweringError(f"{where}: {error}") from error
        # The fake-quantized weights are codes times the scale as the parameters' dtype holds it.
        scales = torch.as_tensor(weight_scale, dtype=self.captured.dtype).double().flatten().tolist()
        weights = codes.numpy()
        bias, offset = self._zero_bias(call, where, layer, weights, padding != (0, 0))
        node = self._append(make_convolution(
            self._name(self.captured.path(call)), source, weights.reshape(*weights.shape, 1, 1)
            if weights.ndim == 2 else weights, weight_bits=layer.integer_bits, bipolar=layer.bipolar, stride=stride,
            padding=padding, groups=getattr(layer, "groups", 1), weight_scale=scales[0] if len(scales) == 1 else scales,
            bias=bias))
        low, high = accumulator_bounds(weights, source.edge, padding != (0, 0))
        if bias is not None:
            low, high = low + bias, high + bias
        unit = np.array(node.edge.scale) if isinstance(node.edge.scale, tuple) else node.edge.scale
        return Pending(node, where, where, weights[0].size, unit, low, high,
                       None if layer.bias is None else layer.bias.detach(), offset)

    def _zero_bias(self, call: fx.Node, where: str, layer: QuantConv2d | QuantLinear, weights: np.ndarray,
                   padded: bool) -> tuple[np.ndarray | None, np.ndarray | None]:
        """What the zero of the input's codes adds to the accumulators: whole numbers, and what is left of halves."""
        value = self._operand(call, where)
        assert isinstance(value, Codes)
        scale = value.node.edge.scale
        assert isinstance(scale, float)
        if padded and layer.padding_value != -value.zero * scale:
            raise LoweringError(f"{where} pads with {layer.padding_value}, but the code 0 of its input stands for "
                                f"{-value.zero * scale}; set padding_value to that")
        if not value.zero:
            return None, None
        total = -value.zero * weights.reshape(len(weights), -1).sum(1)
        bias = np.floor(total)
        return bias.astype(np.int64), total - bias

    def _add(self, call: fx.Node, where: str, scales: tuple[float, float] = (1.0, 1.0)) -> Value:
        operands = [*call.args, *call.kwargs.values()]
        values = [self.values.get(item) if isinstance(item, fx.Node) else None for item in operands]
        sources = [value.node for value in values if isinstance(value, Codes)]
        if any(isinstance(value, Codes) and not _is_plain(value) for value in values):
            raise LoweringError(f"{where} adds codes other than those of QuantActivation, p / (2**bits - 1)")
        if len(sources) != 2 or len(values) != 2:
            raise LoweringError(f"{where} must add the outputs of two QuantActivations")
        first, second = sources
        if first.edge.shape != second.edge.shape:
            raise LoweringError(f"{where} adds maps of different shapes, {first.edge.shape} and {second.edge.shape}")
        try:
            node = self._append(make_add(self._name(self.captured.path(call)), sources, scales=scales))
        except GraphError as error:
            raise LoweringError(f"{where} cannot be added in integers: {error}") from error
        channels = node.edge.shape[0]
        assert isinstance(node.edge.scale, float)
        return Pending(node, where, where, 2, node.edge.scale, np.full(channels, node.edge.low),
                        np.full(channels, node.edge.high))

    def _average_pool(self, call: fx.Node, where: str, layer: nn.AvgPool2d | nn.AdaptiveAvgPool2d) -> Value:
        source = self._codes(call, where)
        value = self._operand(call, where)
        if isinstance(value, Codes) and value.zero:
            raise LoweringError(f"{where} takes signed codes; supported: the unsigned ones of QuantActivation")
        kernel, stride, padding = average_geometry(where, layer, source.edge.shape[1:])
        node = self._append(make_average_pool(self._name(self.captured.path(call)), source, kernel, stride, padding))
        channels = node.edge.shape[0]
        assert isinstance(node.edge.scale, float)
        return Pending(node, where, where, kernel[0] * kernel[1], node.edge.scale, np.full(channels, node.edge.low),
                       np.full(channels, node.edge.high))

    def _batch_norm(self, call: fx.Node, where: str, layer: nn.BatchNorm1d | nn.BatchNorm2d) -> Value:
        value = self._pending(call, where)
        if layer.running_mean is None:
            raise LoweringError(f"{where} has no running statistics; set track_running_stats=True")
        if layer.num_features != value.node.edge.shape[0]:
            raise LoweringError(f"{where} follows a flattened map; put it before the Flatten")
        return replace(value, modules=(*value.modules, layer), last=where,
                       normed_after_pool=where if value.pool else value.normed_after_pool)

    def _max_pool(self, call: fx.Node, where: str, layer: nn.MaxPool2d) -> Value:
        kernel, stride, padding = pool_geometry(where, layer)

        def pool(source: Node) -> Node:
            name = self._name(self.captured.path(call))
            return self._append(make_max_pool(name, source, kernel, stride, padding))

        value = self._operand(call, where)
        if isinstance(value, Pending):
            return replace(value, after=(*value.after, pool), last=where, pool=value.pool or where)
        assert isinstance(value, Codes | Raw)
        return Codes(pool(self._codes(call, where)), value.zero if isinstance(value, Codes) else 0.0)

    def _flatten(self, call: fx.Node, where: str) -> Value:
        value = self._operand(call, where)
        result = self.captured.results[call]
        given = self.captured.results[self._source(call, where)]
        if not flattens(result, tuple(given.shape[1:])):
            raise LoweringError(f"{where} turns shape {_shape(given)} into {_shape(result)}; supported: (N, C·H·W)")
        if isinstance(value, Raw):
            raise LoweringError(f"{where} takes the model's input, which has no codes; put a QuantInput before it")
        if given.dim() == 2 or given.shape[2:].numel() == 1:  # (C, 1, 1) already is a vector
            return value

        def flat(source: Node) -> Node:
            return self._append(make_flatten(self._name(self.captured.path(call)), source))

        if isinstance(value, Pending):
            return replace(value, after=(*value.after, flat), last=where)
        return Codes(flat(value.node), value.zero)

    def _activation(self, call: fx.Node, where: str, layer: QuantActivation) -> Value:
        value = self._operand(call, where)
        if layer.bits == FLOAT_BITS:
            raise LoweringError(f"{where} has float outputs (bits=32); choose 1 to 8")
        if isinstance(value, Codes) and type(layer) is QuantActivation and _is_plain(value) \
                and value.node.edge.bits == layer.bits:
            return value  # rounding codes to their own levels changes nothing
        value = self._pending(call, where)
        expression = Expression(value.unit, value.offset, self.captured.dtype, value.bias, value.modules, layer)
        ends = expression.values(np.stack([value.low, value.high], 1))
        if not torch.isfinite(ends).all():
            raise LoweringError(f"{value.last} yields NaN or infinity before {where}; train the model again")
        try:
            thresholds, falling = exact_thresholds(expression.codes, value.low, value.high,
                                                   levels(layer.code_bits))
        except ThresholdError as error:
            raise LoweringError(f"{where}: {error}") from error
        if value.normed_after_pool is not None and falling.any():
            raise LoweringError(
                f"{value.normed_after_pool} follows {value.pool} and has a negative gain in channel "
                f"{int(np.flatnonzero(falling)[0])}; put the max pooling after the batch norm")
        path = self.captured.path(call)
        threshold = self._append(make_threshold(self._name(path), value.node, thresholds, falling, layer.unit))
        node = threshold
        for build in value.after:
            node = build(node)
        self.activations.append(Activation(path, call, node.name, threshold.name, expression, value.length,
                                           value.low, value.high))
        return Codes(node, layer.zero)

    def _output(self, call: fx.Node) -> Node:
        source = call.args[0]
        if not isinstance(source, fx.Node) or source not in self.values:
            raise LoweringError("the model must return one tensor, the output of a layer")
        value = self.values[source]
        if isinstance(value, Raw):
            raise LoweringError("the model returns its input")
        if isinstance(value, Codes):
            return value.node
        if value.offset is not None and np.ptp(value.offset):
            raise LoweringError(f"{value.origin} returns accumulators that differ by halves between its channels")
        if value.bias is not None and value.bias.any():
            raise LoweringError(f"{value.origin} returns accumulators and has a bias, which they cannot hold exactly; "
                                f"set bias=False")
        if value.modules or value.pool:
            raise LoweringError(f"the model returns the float output of {value.last}; end it with QuantConv2d, "
                                f"QuantLinear or QuantActivation")
        node = value.node
        for build in value.after:
            node = build(node)
        return node


def _shape(tensor: Tensor) -> str:
    return f"(N, {', '.join(map(str, tensor.shape[1:]))})"


def _is_plain(value: Codes) -> bool:
    """Whether codes p mean p / (2**bits - 1)."""
    return value.zero == 0 and value.node.edge.scale == 1.0 / levels(value.node.edge.bits or 0)


def _reachable(nodes: dict[str, Node], output: Node) -> tuple[Node, ...]:
    """The nodes that the output needs, in order, with the output last."""
    needed = {output.name}
    for node in reversed(nodes.values()):
        if node.name in needed:
            needed.update(node.inputs)
    return tuple(node for node in nodes.values() if node.name in needed)
