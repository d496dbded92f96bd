"""Drop-in ``nn.Module`` layers with DoReFa quantization, and ``prepare`` to put them into a model.

The order inside a block is convolution (no bias), batch norm, max pool where there is one, then
:class:`QuantActivation`; the gradient quantizer sits on the output of the convolution. The classes derive
from ``nn.Conv2d`` and ``nn.Linear`` and add no parameter, so a state dict loads into either kind.
"""

import copy
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dorefabric.sw import quantize

__all__ = ["QuantActivation", "QuantAdd", "QuantConv2d", "QuantInput", "QuantLinear", "prepare"]


class QuantConv2d(nn.Conv2d):
    """2-D convolution with quantized weights and a quantized gradient of its output.

    (N, in, H, W) -> (N, out, H', W'). ``weight`` stays float and is quantized in every forward pass.

    Parameters
    ----------
    weight_bits, gradient_bits : int
        1 to 8, or 32 for float.
    groups, dilation
        As in ``nn.Conv2d``. Padding is with zeros only.

    Members
    -------
    generator : torch.Generator or None
        Source of the noise of the gradient quantizer; ``None`` takes torch's default one.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int],
                 stride: int | tuple[int, int] = 1, padding: int | tuple[int, int] | str = 0, *,
                 weight_bits: int = 1, gradient_bits: int = 32, bias: bool = False,
                 dilation: int | tuple[int, int] = 1, groups: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.weight_bits = quantize.check_bits("weight", weight_bits)
        self.gradient_bits = quantize.check_bits("gradient", gradient_bits)
        self.generator: torch.Generator | None = None

    def weight_codes(self) -> tuple[Tensor, float]:
        """Integer weights (out, in / groups, kh, kw), int64, and their scale: `quantize.weight_codes`."""
        return quantize.weight_codes(self.weight, self.weight_bits)

    def forward(self, x: Tensor) -> Tensor:
        weight = quantize.quantize_weight(self.weight, self.weight_bits)
        return quantize.gradient_quantizer(
            self._conv_forward(x, weight, self.bias), self.gradient_bits, self.generator)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, weight_bits={self.weight_bits}, gradient_bits={self.gradient_bits}"


class QuantLinear(nn.Linear):
    """Fully connected layer with quantized weights, (N, in) -> (N, out); the rest as `QuantConv2d`."""

    def __init__(self, in_features: int, out_features: int, weight_bits: int = 1,
                 gradient_bits: int = 32, bias: bool = False) -> None:
        super().__init__(in_features, out_features, bias)
        self.weight_bits = quantize.check_bits("weight", weight_bits)
        self.gradient_bits = quantize.check_bits("gradient", gradient_bits)
        self.generator: torch.Generator | None = None

    def weight_codes(self) -> tuple[Tensor, float]:
        """Integer weights (out, in), int64, and their scale: `quantize.weight_codes`."""
        return quantize.weight_codes(self.weight, self.weight_bits)

    def forward(self, x: Tensor) -> Tensor:
        weight = quantize.quantize_weight(self.weight, self.weight_bits)
        return quantize.gradient_quantizer(
            functional.linear(x, weight, self.bias), self.gradient_bits, self.generator)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, weight_bits={self.weight_bits}, gradient_bits={self.gradient_bits}"


class QuantActivation(nn.Module):
    """Clip to [0, 1], then round to ``2**bits`` levels ``p / (2**bits - 1)``. Any shape.

    ``bits`` is 1 to 8, or 32 for the clip alone.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = quantize.check_bits("activation", bits)

    def forward(self, x: Tensor) -> Tensor:
        return quantize.quantize_activation(x, self.bits)

    def extra_repr(self) -> str:
        return f"bits={self.bits}"


class QuantInput(nn.Module):
    """Declares the network's input: values in [0, 1], rounded to the unsigned codes ``p / (2**bits - 1)``.

    With the default of 8 bits an image ``uint8 / 255`` passes unchanged, and the codes are its pixels.
    """

    def __init__(self, bits: int = 8) -> None:
        super().__init__()
        self.bits = quantize.check_bits("input", bits)

    def forward(self, x: Tensor) -> Tensor:
        return quantize.quantize_activation(x, self.bits)

    def extra_repr(self) -> str:
        return f"bits={self.bits}"


class QuantAdd(nn.Module):
    """Residual addition ``scales[0] · a + scales[1] · b`` of two outputs of a `QuantActivation` of any bits.

    A `QuantActivation`, after a batch norm or not, must follow. An integer graph holds the sum exactly, so the ratio
    of the scales has to be one of small integers, such as 0.75 to 1 (`nodes.sum_factors`).
    """

    def __init__(self, scales: tuple[float, float] = (1.0, 1.0)) -> None:
        super().__init__()
        self.scales = scales

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b if self.scales == (1.0, 1.0) else self.scales[0] * a + self.scales[1] * b

    def extra_repr(self) -> str:
        return f"scales={self.scales}"


_RELU_LIKE = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.Hardtanh, nn.Hardsigmoid, nn.Sigmoid)


def _quantized_layer(layer: nn.Conv2d | nn.Linear, weight_bits: int, gradient_bits: int) -> nn.Module:
    """The quantized twin of a layer, sharing its parameters (and so its device, dtype and values)."""
    new: QuantConv2d | QuantLinear
    if isinstance(layer, nn.Conv2d):
        if layer.padding_mode != "zeros":
            raise ValueError(f"only zero padding can be quantized, not {layer.padding_mode!r}")
        new = QuantConv2d(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride,  # type: ignore[arg-type]
            layer.padding, weight_bits=weight_bits, gradient_bits=gradient_bits,     # type: ignore[arg-type]
            bias=layer.bias is not None, dilation=layer.dilation, groups=layer.groups)  # type: ignore[arg-type]
    else:
        new = QuantLinear(layer.in_features, layer.out_features, weight_bits, gradient_bits,
                          layer.bias is not None)
    new.weight, new.bias = layer.weight, layer.bias
    return new.train(layer.training)


def prepare(model: nn.Module, weight_bits: int, activation_bits: int, gradient_bits: int = 32, *,
            first_weight_bits: int | None = None, last_weight_bits: int = 8,
            input_bits: int = 8) -> nn.Module:
    """Copy of an ordinary model with its layers swapped for quantized ones; the argument is not changed.

    Every ``nn.Conv2d`` and ``nn.Linear`` becomes a `QuantConv2d` or `QuantLinear` with the same parameters,
    and every ReLU-like module a `QuantActivation` (functions such as ``functional.relu`` are not seen: write
    them as modules). First and last mean the order in which the model registers its layers. Both keep float
    gradients, as in the paper's networks.

    Parameters
    ----------
    weight_bits, activation_bits, gradient_bits : int
        1 to 8, or 32 for float.
    first_weight_bits : int or None
        Weight bits of the first layer; ``None`` takes ``weight_bits``.
    last_weight_bits : int
        Weight bits of the last layer.
    input_bits : int
        Bits of the `QuantInput` put in front, unless the model has one: under the name ``quant_input`` if
        the model is an ``nn.Sequential``, otherwise around it, as ``Sequential(quant_input, model)``.

    Raises
    ------
    ValueError
        For bits out of range, a model without a layer to quantize, or padding other than with zeros.
    """
    weight_bits = quantize.check_bits("weight", weight_bits)
    activation_bits = quantize.check_bits("activation", activation_bits)
    gradient_bits = quantize.check_bits("gradient", gradient_bits)
    model = nn.Sequential(copy.deepcopy(model))  # a parent even for a model that is a single layer
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    if not layers:
        raise ValueError(f"{type(model[0]).__name__} has no nn.Conv2d or nn.Linear to quantize")

    swapped: dict[int, nn.Module] = {}  # a module used twice stays one module
    for layer in layers:
        bits, layer_gradient_bits = weight_bits, gradient_bits
        if layer is layers[0] or layer is layers[-1]:
            layer_gradient_bits = quantize.FLOAT_BITS
        if layer is layers[0] and first_weight_bits is not None:
            bits = first_weight_bits
        if layer is layers[-1]:
            bits = last_weight_bits
        swapped[id(layer)] = _quantized_layer(layer, bits, layer_gradient_bits)
    for module in model.modules():
        if isinstance(module, _RELU_LIKE):
            swapped[id(module)] = QuantActivation(activation_bits).train(module.training)
    for parent in list(model.modules()):
        children: dict[str, Any] = parent._modules
        for name, child in children.items():
            if id(child) in swapped:
                children[name] = swapped[id(child)]

    inner = model[0]
    if any(isinstance(m, QuantInput) for m in inner.modules()):
        return inner
    front: OrderedDict[str, nn.Module] = OrderedDict(quant_input=QuantInput(input_bits))
    if type(inner) is nn.Sequential:
        front.update(inner.named_children())
    else:
        front["model"] = inner
    return nn.Sequential(front).train(inner.training)
