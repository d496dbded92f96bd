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

from .conventions import AUTHORS, Conventions

__all__ = ["QuantActivation", "QuantAdd", "QuantConv2d", "QuantInput", "QuantLinear", "QuantWeight", "prepare"]


class QuantWeight(nn.Module):
    """What quantized convolutions and fully connected layers have in common: a float weight and its quantizer.

    A method of training derives from `QuantConv2d` and `QuantLinear` and overrides the quantizer, in both views.

    Members
    -------
    weight_bits, gradient_bits : int
    conventions : Conventions
        Of the quantizers of weights and gradients.
    generator : torch.Generator or None
        Source of the noise of the gradient quantizer; ``None`` takes torch's default one.
    padding_value : float
        What padding holds: the real value of the input's code 0.
    """

    weight: Tensor
    weight_bits: int
    gradient_bits: int
    conventions: Conventions = AUTHORS
    generator: torch.Generator | None = None
    padding_value: float = 0.0
    _cached: tuple[int, Tensor, Tensor] | None = None

    @property
    def bipolar(self) -> bool:
        """Whether integer weights are the odd integers of DoReFa-Net; else any of ``integer_bits``."""
        return True

    @property
    def integer_bits(self) -> int:
        """Bits of an integer weight."""
        return self.weight_bits

    def weight_codes(self) -> tuple[Tensor, float | Tensor]:
        """Integer weights, int64, and their scale: `quantize.weight_codes`."""
        return quantize.weight_codes(self.weight, self.weight_bits, self.conventions)

    def quantized_weight(self) -> Tensor:
        """The weight that the layer computes with, fake-quantized."""
        return quantize.quantize_weight(self.weight, self.weight_bits, self.conventions)

    def current_weight(self) -> Tensor:
        """`quantized_weight`, remembered until the weight changes where no gradient is wanted."""
        if torch.is_grad_enabled() or self.training:
            return self.quantized_weight()
        version, source, value = self._cached or (-1, None, None)
        if value is None or source is not self.weight or version != self.weight._version:
            value = self.quantized_weight()
            self._cached = self.weight._version, self.weight, value
        return value

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cached": None}

    def _output(self, y: Tensor) -> Tensor:
        return quantize.gradient_quantizer(y, self.gradient_bits, self.generator, self.conventions)

    def _bits_text(self) -> str:
        return f"weight_bits={self.weight_bits}, gradient_bits={self.gradient_bits}"


class QuantConv2d(QuantWeight, nn.Conv2d):
    """2-D convolution with quantized weights and a quantized gradient of its output.

    (N, in, H, W) -> (N, out, H', W'). ``weight`` stays float and is quantized in every forward pass.

    Parameters
    ----------
    weight_bits, gradient_bits : int
        1 to 8, or 32 for float.
    groups, dilation
        As in ``nn.Conv2d``. Padding is with zeros, or with another ``padding_value``.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int],
                 stride: int | tuple[int, int] = 1, padding: int | tuple[int, int] | str = 0, *,
                 weight_bits: int = 1, gradient_bits: int = 32, bias: bool = False,
                 dilation: int | tuple[int, int] = 1, groups: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.weight_bits = quantize.check_bits("weight", weight_bits)
        self.gradient_bits = quantize.check_bits("gradient", gradient_bits)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.current_weight()
        if self.padding_value:
            x = functional.pad(x, self._reversed_padding_repeated_twice, value=self.padding_value)
            return self._output(functional.conv2d(
                x, weight, self.bias, self.stride, 0, self.dilation, self.groups))
        return self._output(self._conv_forward(x, weight, self.bias))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {self._bits_text()}"


class QuantLinear(QuantWeight, nn.Linear):
    """Fully connected layer with quantized weights, (N, in) -> (N, out); the rest as `QuantConv2d`."""

    def __init__(self, in_features: int, out_features: int, weight_bits: int = 1,
                 gradient_bits: int = 32, bias: bool = False) -> None:
        super().__init__(in_features, out_features, bias)
        self.weight_bits = quantize.check_bits("weight", weight_bits)
        self.gradient_bits = quantize.check_bits("gradient", gradient_bits)

    def forward(self, x: Tensor) -> Tensor:
        return self._output(functional.linear(x, self.current_weight(), self.bias))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {self._bits_text()}"


class QuantActivation(nn.Module):
    """Clip to [0, 1], then round to ``2**bits`` levels ``p / (2**bits - 1)``. Any shape.

    ``bits`` is 1 to 8, or 32 for the clip alone. Other activations derive from it: the real value of a code p is
    ``(p - zero) * unit``, and p is a monotone function of the input.
    """

    conventions: Conventions = AUTHORS

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = quantize.check_bits("activation", bits)

    @property
    def code_bits(self) -> int:
        """Bits of a code."""
        return self.bits

    @property
    def largest_code(self) -> int:
        return quantize.levels(self.bits)

    @property
    def unit(self) -> float:
        """Real value of one step between codes."""
        return 1.0 / quantize.levels(self.bits)

    @property
    def zero(self) -> float:
        """The code that stands for 0, which may be a half."""
        return 0.0

    def codes(self, x: Tensor) -> Tensor:
        """Codes, int64, of an input of any shape: what `forward` yields is ``(codes - zero) * unit``."""
        return quantize.activation_codes(x, self.bits, self.conventions)

    def forward(self, x: Tensor) -> Tensor:
        return quantize.quantize_activation(x, self.bits, self.conventions)

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


def _pair(value: tuple[int, ...]) -> tuple[int, int]:
    return value[0], value[1]


def _quantized_layer(layer: nn.Conv2d | nn.Linear, weight_bits: int, gradient_bits: int) -> nn.Module:
    """The quantized twin of a layer, sharing its parameters (and so its device, dtype and values)."""
    new: QuantConv2d | QuantLinear
    if isinstance(layer, nn.Conv2d):
        if layer.padding_mode != "zeros":
            raise ValueError(f"only zero padding can be quantized, not {layer.padding_mode!r}")
        new = QuantConv2d(
            layer.in_channels, layer.out_channels, _pair(layer.kernel_size), _pair(layer.stride),
            layer.padding if isinstance(layer.padding, str) else _pair(layer.padding), weight_bits=weight_bits,
            gradient_bits=gradient_bits, bias=layer.bias is not None, dilation=_pair(layer.dilation),
            groups=layer.groups)
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
