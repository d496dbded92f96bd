"""Layers whose weights, inputs and errors all have the MLS format of `mls`, in floats; see also `mls_arithmetic`."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .autograd import Function
from .layers import QuantConv2d, QuantLinear, QuantWeight
from .mls import MlsFormat, mls_values, quantize_mls

__all__ = ["MlsConv2d", "MlsLinear"]


class _QuantizeError(Function):
    """Identity whose gradient is encoded on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, fmt: MlsFormat, generator: torch.Generator | None) -> Tensor:
        ctx.options = fmt, generator
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return mls_values(grad, *ctx.options), None, None


class MlsWeight(QuantWeight):
    """Three formats: of the weight, the layer's input and the gradient of its output."""

    weight_format = MlsFormat()
    input_format = MlsFormat()
    error_format = MlsFormat(stochastic=True)

    def quantized_weight(self) -> Tensor:
        return quantize_mls(self.weight, self.weight_format)

    def weight_codes(self) -> tuple[Tensor, float | Tensor]:
        raise ValueError("MLS weights have a scale for every group of inputs, which the integer graph does not hold")

    def _output(self, y: Tensor) -> Tensor:
        return _QuantizeError.call(y, self.error_format, self.generator)


class MlsConv2d(MlsWeight, QuantConv2d):
    """`QuantConv2d` in the MLS format."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(quantize_mls(x, self.input_format))


class MlsLinear(MlsWeight, QuantLinear):
    """`QuantLinear` in the MLS format: every sample's input is one group, and every output's weights are."""

    weight_format = MlsFormat(axes=(0,))
    input_format = MlsFormat(axes=(0,))
    error_format = MlsFormat(axes=(0,), stochastic=True)

    def forward(self, x: Tensor) -> Tensor:
        return self._output(functional.linear(quantize_mls(x, self.input_format), self.current_weight(), self.bias))
