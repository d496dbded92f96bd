"""Export of a trained network as QONNX (arXiv 2206.07527): ONNX with the nodes Quant and BipolarQuant in it.

A Quant node maps x to ``(round(clip(x / scale + zero_point)) - zero_point) * scale`` with an integer of ``bitwidth``
bits in between, a BipolarQuant node to ``±scale``. Weights are stored quantized already and pass their node unchanged;
the node tells a reader the integers. Level sets of AQE with more than 2 bits are not evenly spaced: as weights they
are two's complement integers, as activations they have no such node and are refused.

================  ============================================================
module            nodes
================  ============================================================
QuantInput        Quant, unsigned, scale 1 / n
QuantConv2d       (Pad), weight → Quant or BipolarQuant → Conv
QuantLinear       weight (in, out) → Quant or BipolarQuant → MatMul, (Add)
BatchNorm         BatchNormalization
QuantActivation   (Abs), Quant or BipolarQuant; Clip where it is float
QuantAdd          (Mul), Add
pools, Flatten    MaxPool, AveragePool, GlobalAveragePool, Flatten
================  ============================================================
"""

import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper, save_model
from torch import Tensor, fx, nn

from .aqe_layers import AsymptoticActivation
from .capture import LoweringError, capture, image_shape
from .layers import QuantActivation, QuantAdd, QuantConv2d, QuantInput, QuantLinear
from .learned_clip import LearnedClipActivation
from .plus_minus import PlusMinusActivation
from .quantize import FLOAT_BITS, levels
from .whole_file import whole_file

__all__ = ["DOMAIN", "OPSET", "export_qonnx", "qonnx_model"]

DOMAIN = "qonnx.custom_op.general"
OPSET = 17


def export_qonnx(model: nn.Module, path: str | Path, *, name: str = "network") -> ModelProto:
    """Write `qonnx_model` to a file, whole or not at all, and return it.

    Raises
    ------
    LoweringError
        As `qonnx_model`.
    DorefabricError
        If the file cannot be written.
    """
    result = qonnx_model(model, name=name)
    with whole_file(path) as scratch:
        save_model(result, scratch, format="protobuf")
    return result


def qonnx_model(model: nn.Module, input_shape: tuple[int, int, int] | None = None, *,
                name: str = "network") -> ModelProto:
    """A network in eval mode as a checked QONNX model, from ``global_in`` (N, C, H, W) in [0, 1] to ``global_out``.

    Parameters
    ----------
    input_shape : (C, H, W) or None
        Of an image; ``None`` takes the model's attribute ``input_shape``.

    Raises
    ------
    LoweringError
        If a layer has no QONNX form, named by its path in the model, or the model cannot be captured.
    """
    graph = _Export(model, image_shape(model, input_shape)).run(name)
    result = helper.make_model(
        graph, producer_name="dorefabric", ir_version=8,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)])  # fmt: skip
    checker.check_model(result, full_check=False)
    return result


class _Export:
    def __init__(self, model: nn.Module, shape: tuple[int, int, int]) -> None:
        self.captured = capture(model, shape)
        if self.captured.dtype != torch.float32:
            raise LoweringError(f"parameters must be float32 to be exported, not {self.captured.dtype}")
        self.shape = shape
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.values: dict[fx.Node, str] = {}

    def run(self, name: str) -> Any:
        if not self.captured.faithful:
            raise LoweringError("the model yields something else when traced; it must not change tensors in place that "
                                "are used again")
        for call in self.captured.module.graph.nodes:
            if call.op == "placeholder":
                self.values[call] = "global_in"
            elif call.op == "output":
                source = call.args[0]
                self._node("Identity", [self.values[source]], "global_out")
                features = list(self.captured.results[source].shape[1:])
            elif call.op != "get_attr" and isinstance(self.captured.results[call], Tensor):
                self.values[call] = self._call(call)
        make = helper.make_tensor_value_info
        return helper.make_graph(
            self.nodes, name,
            [make("global_in", TensorProto.FLOAT, ["N", *self.shape])],
            [make("global_out", TensorProto.FLOAT, ["N", *features])],
            [numpy_helper.from_array(value, key) for key, value in self.constants.items()],
        )  # fmt: skip

    # Pieces --------------------------------------------------------------------------------------

    def _constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        array = value.detach().numpy() if isinstance(value, Tensor) else value
        self.constants[name] = np.array(array, dtype, order="C")
        return name

    def _node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def _quant(self, source: str, output: str, *, scale: Any, zero: float, bits: int, signed: bool,
               narrow: bool = False, rounding: str = "ROUND") -> str:
        inputs = [source, *(self._constant(f"{output}.{key}", value) for key, value in
                            (("scale", scale), ("zero_point", zero), ("bitwidth", bits)))]
        return self._node("Quant", inputs, output, domain=DOMAIN, signed=int(signed), narrow=int(narrow),
                          rounding_mode=rounding)

    def _bipolar(self, source: str, output: str, scale: Any) -> str:
        return self._node("BipolarQuant", [source, self._constant(f"{output}.scale", scale)], output, domain=DOMAIN)

    # Calls ---------------------------------------------------------------------------------------

    def _call(self, call: fx.Node) -> str:
        where, path = self.captured.describe(call), self.captured.path(call)
        if path in {node.name for node in self.nodes}:
            path = f"{path}#{call.name}"
        sources = [self.values[item] for item in call.args if isinstance(item, fx.Node)]
        if call.op == "call_module":
            return self._layer(where, path, sources, self.captured.layer(call))
        if call.target in (operator.add, torch.add, "add") and len(sources) == 2 and not call.kwargs:
            return self._node("Add", sources, path)
        if call.target in (torch.flatten, torch.reshape, "flatten", "view", "reshape"):
            if self.captured.results[call].dim() != 2:
                raise LoweringError(f"{where} yields no vector of an image, so it has no QONNX form here")
            return self._node("Flatten", sources, path, axis=1)
        if call.target == "contiguous":
            return sources[0]
        raise LoweringError(f"{where} has no QONNX form here")

    def _layer(self, where: str, path: str, sources: list[str], layer: nn.Module) -> str:
        source = sources[0]
        match layer:
            case QuantInput():
                return self._quant(source, path, scale=1 / levels(layer.bits), zero=0, bits=layer.bits, signed=False)
            case QuantConv2d():
                return self._convolution(where, path, source, layer)
            case QuantLinear():
                output = path if layer.bias is None else f"{path}.product"
                result = self._node("MatMul", [source, self._weight(where, path, layer)], output)
                if layer.bias is None:
                    return result
                return self._node("Add", [result, self._constant(f"{path}.bias", layer.bias)], path)
            case QuantActivation():
                return self._activation(where, path, source, layer)
            case QuantAdd():
                return self._addition(path, sources, layer.scales)
            case nn.BatchNorm1d() | nn.BatchNorm2d():
                return self._batch_norm(where, path, source, layer)
            case nn.MaxPool2d():
                return self._node("MaxPool", [source], path, kernel_shape=_pair(layer.kernel_size),
                                  strides=_pair(layer.stride), pads=_pair(layer.padding) * 2,
                                  dilations=_pair(layer.dilation), ceil_mode=int(layer.ceil_mode))
            case nn.AvgPool2d() if layer.divisor_override is None:
                return self._node("AveragePool", [source], path, kernel_shape=_pair(layer.kernel_size),
                                  strides=_pair(layer.stride), pads=_pair(layer.padding) * 2,
                                  ceil_mode=int(layer.ceil_mode), count_include_pad=int(layer.count_include_pad))
            case nn.AdaptiveAvgPool2d() if layer.output_size in (1, (1, 1)):
                return self._node("GlobalAveragePool", [source], path)
            case nn.Flatten() if layer.start_dim == 1 and layer.end_dim == -1:
                return self._node("Flatten", [source], path, axis=1)
            case nn.Identity() | nn.Dropout() | nn.Dropout1d() | nn.Dropout2d():
                return source
        raise LoweringError(f"{where} has no QONNX form here")

    def _weight(self, where: str, path: str, layer: QuantConv2d | QuantLinear) -> str:
        """The quantized weight of a layer, (out, in, ...) of a convolution, (in, out) of a fully connected one."""
        linear = isinstance(layer, QuantLinear)
        with torch.no_grad():
            weight = layer.quantized_weight()
        source = self._constant(f"{path}.weight", weight.T if linear else weight)
        if layer.weight_bits == FLOAT_BITS:
            if not torch.equal(weight, layer.weight):
                raise LoweringError(f"{where}: {type(layer).__name__} has weights that are no multiples of integers")
            return source
        codes, scale = layer.weight_codes()
        if not torch.equal(codes.to(weight.dtype) * scale, weight):
            raise LoweringError(f"{where}: {type(layer).__name__} has weights that are no multiples of integers")
        factor: Any = scale.T if linear and isinstance(scale, Tensor) else scale
        output = f"{path}.weight_quant"
        if not layer.bipolar:
            return self._quant(source, output, scale=factor, zero=0, bits=layer.integer_bits, signed=True)
        if layer.weight_bits == 1:
            return self._bipolar(source, output, factor)
        # Odd integers c are (q - n / 2) * 2 with q of W bits.
        return self._quant(source, output, scale=2 * factor, zero=levels(layer.weight_bits) / 2,
                           bits=layer.weight_bits, signed=False)

    def _addition(self, path: str, sources: list[str], scales: tuple[float, float]) -> str:
        scaled = []
        for place, (source, scale) in enumerate(zip(sources, scales, strict=True)):
            factor = [] if scale == 1 else [self._constant(f"{path}.scale{place}", scale)]
            scaled.append(self._node("Mul", [source, *factor], f"{path}.operand{place}") if factor else source)
        return self._node("Add", scaled, path)

    def _convolution(self, where: str, path: str, source: str, layer: QuantConv2d) -> str:
        if isinstance(layer.padding, str):
            raise LoweringError(f"{where} has padding {layer.padding!r}; give it in pixels")
        pads = _pair(layer.padding) * 2
        if layer.padding_value and any(pads):
            amounts = self._constant(f"{path}.pads", [0, 0, *pads[:2], 0, 0, *pads[2:]], np.int64)
            value = self._constant(f"{path}.padding_value", layer.padding_value)
            source, pads = self._node("Pad", [source, amounts, value], f"{path}.padded"), [0, 0, 0, 0]
        inputs = [source, self._weight(where, path, layer)]
        if layer.bias is not None:
            inputs.append(self._constant(f"{path}.bias", layer.bias))
        return self._node("Conv", inputs, path, kernel_shape=_pair(layer.kernel_size), strides=_pair(layer.stride),
                          pads=pads, dilations=_pair(layer.dilation), group=layer.groups)

    def _batch_norm(self, where: str, path: str, source: str, layer: nn.BatchNorm1d | nn.BatchNorm2d) -> str:
        if layer.running_mean is None or layer.running_var is None:
            raise LoweringError(f"{where} keeps no running statistics")
        channels = layer.num_features
        weight, bias = layer.weight, layer.bias
        values = {"weight": np.ones(channels) if weight is None else weight,
                  "bias": np.zeros(channels) if bias is None else bias,
                  "mean": layer.running_mean, "variance": layer.running_var}  # fmt: skip
        inputs = [source, *(self._constant(f"{path}.{key}", value) for key, value in values.items())]
        return self._node("BatchNormalization", inputs, path, epsilon=layer.eps)

    def _activation(self, where: str, path: str, source: str, layer: QuantActivation) -> str:
        signed = isinstance(layer, PlusMinusActivation | AsymptoticActivation)
        rounding = "ROUND"
        if type(layer) is QuantActivation:
            rounding = "ROUND" if layer.conventions.rounding == "even" else "HALF_UP"
            if layer.conventions.activation == "abs":
                source = self._node("Abs", [source], f"{path}.magnitude")
        elif isinstance(layer, AsymptoticActivation):
            if layer.bits == 1:
                return self._bipolar(source, path, 1.0)
            if layer.bits > 2 or layer.delta is not None:
                what = f"{layer.bits}-bit levels" if layer.bits > 2 else f"delta {layer.delta}"
                raise LoweringError(f"{where}: activations of AQE with {what} are not evenly spaced, and QONNX has no "
                                    f"such node")
            return self._quant(source, path, scale=1, zero=0, bits=2, signed=True, narrow=True)
        elif not isinstance(layer, PlusMinusActivation | LearnedClipActivation):
            raise LoweringError(f"{where} has no QONNX form here")
        if layer.bits == FLOAT_BITS:
            high = layer.clip.detach() if isinstance(layer, LearnedClipActivation) else 1.0
            limits = [self._constant(f"{path}.low", -1.0 if signed else 0.0), self._constant(f"{path}.high", high)]
            return self._node("Clip", [source, *limits], path)
        return self._quant(source, path, scale=layer.unit, zero=layer.zero, bits=layer.bits, signed=False,
                           rounding=rounding)


def _pair(value: Any) -> list[int]:
    return [int(item) for item in value] if isinstance(value, Sequence) else [int(value)] * 2
