"""A network of MLS layers in the format's own arithmetic: integer sums inside groups, scaled sums of groups.

`mls_layers` computes on decoded values in float32, which is fast. Here every layer encodes its operands and computes
the golden model of `mls`, whose integer sums are either NumPy's or the array's: signed codes become unsigned ones with
a zero point, 5 planes for elements <2, 1>, and a group closes when the array stores its raw sums; scaling and adding
groups is the host's. Convolutions do so forward and backward: the input gradient is a convolution of errors and
weights, the weight gradient one of inputs and errors. A fully connected layer does forward; backward, every product is
a group of its own, and the host computes it on decoded values.

Batch norm, pooling and activations between the layers stay in floats, as in the abstract, which speaks of convolutions
alone; what else is assumed is in `mls`. As S_tensor is one number for all samples of a batch, results depend on the
batch.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .autograd import Function
from .matrix_unit import Codes, MatrixUnit, Usage
from .meter import Meter, Work
from .mls import (
    Multiply,
    mls_convolution,
    mls_encode,
    mls_input_gradient,
    mls_linear,
    mls_weight_gradient,
    multiply_codes,
)
from .mls_layers import MlsConv2d, MlsLinear

__all__ = ["ArrayMultiply", "MlsArithmetic", "mls_arithmetic"]


class ArrayMultiply:
    """`Multiply` on the circuit of a `MatrixUnit`, which raises `MatrixError` where codes do not fit."""

    def __init__(self, unit: MatrixUnit) -> None:
        self.unit = unit

    def __call__(self, pixels: np.ndarray, filters: np.ndarray) -> np.ndarray:
        return self.unit.multiply(Codes.integers(pixels), Codes.integers(filters))


class MlsArithmetic(nn.Module):
    """An MLS layer computed by the golden model, in the dtype of its input; made by `mls_arithmetic`."""

    def __init__(self, label: str, layer: MlsConv2d | MlsLinear, multiply: Multiply, meter: Meter) -> None:
        super().__init__()
        self.label, self.layer, self.multiply, self.meter = label, layer, multiply, meter

    def forward(self, x: Tensor) -> Tensor:
        function: type[Function] = _Linear if isinstance(self.layer, MlsLinear) else _Convolution
        y = function.call(x, self.layer.weight, self)
        return y if self.layer.bias is None else y + self.layer.bias.reshape(-1, *[1] * (y.dim() - 2))

    def measured(self, kind: str, macs: int, run: Callable[[], np.ndarray]) -> Tensor:
        """The result as a tensor, its cost noted."""
        before = self._usage()
        result = torch.from_numpy(np.ascontiguousarray(run()))
        usage = self._usage() - before
        self.meter.works.append(Work(self.label, kind, macs, usage.pair_operations, usage, True))
        return result

    def _usage(self) -> Usage:
        return self.multiply.unit.usage if isinstance(self.multiply, ArrayMultiply) else Usage()


class _Convolution(Function):
    """The gradient goes straight through the encodings of input and weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, module: MlsArithmetic) -> Tensor:
        layer = module.layer
        assert isinstance(layer, MlsConv2d) and not isinstance(layer.padding, str)
        inputs, filters = mls_encode(x, layer.input_format), mls_encode(weight, layer.weight_format)
        window = {"stride": (layer.stride[0], layer.stride[1]), "padding": (layer.padding[0], layer.padding[1])}
        high, wide = ((x.shape[2 + i] + 2 * window["padding"][i] - weight.shape[2 + i]) // window["stride"][i] + 1
                      for i in (0, 1))  # fmt: skip
        ctx.operands, ctx.module, ctx.window = (inputs, filters), module, window
        ctx.macs, ctx.dtypes = weight.numel() * len(x) * high * wide, (x.dtype, weight.dtype)
        result = module.measured(
            "forward", ctx.macs, lambda: mls_convolution(inputs, filters, **window, multiply=module.multiply)
        )
        return result.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        module, window, (inputs, filters) = ctx.module, ctx.window, ctx.operands
        error = mls_encode(grad, module.layer.error_format, module.layer.generator)
        size, kernel = inputs.codes.shape[2:], filters.codes.shape[2:]
        to_input = to_weight = None
        if ctx.needs_input_grad[0]:
            to_input = module.measured(
                "input gradient", ctx.macs,
                lambda: mls_input_gradient(error, filters, size, **window, multiply=module.multiply),
            ).to(ctx.dtypes[0])  # fmt: skip
        if ctx.needs_input_grad[1]:
            to_weight = module.measured(
                "weight gradient", ctx.macs,
                lambda: mls_weight_gradient(inputs, error, kernel, **window, multiply=module.multiply),
            ).to(ctx.dtypes[1])  # fmt: skip
        return to_input, to_weight, None


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, module: MlsArithmetic) -> Tensor:
        inputs, matrix = mls_encode(x, module.layer.input_format), mls_encode(weight, module.layer.weight_format)
        ctx.module, ctx.macs = module, weight.numel() * len(x)
        ctx.save_for_backward(inputs.values().to(x.dtype), matrix.values().to(weight.dtype))
        return module.measured("forward", ctx.macs, lambda: mls_linear(inputs, matrix, module.multiply)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        layer = ctx.module.layer
        error = mls_encode(grad, layer.error_format, layer.generator).values().to(grad.dtype)
        for kind, needed in zip(("input gradient", "weight gradient"), ctx.needs_input_grad, strict=False):
            if needed:
                ctx.module.meter.host(ctx.module.label, kind, ctx.macs)
        return (error @ weight if ctx.needs_input_grad[0] else None,
                error.T @ x if ctx.needs_input_grad[1] else None, None)  # fmt: skip


def mls_arithmetic(model: nn.Module, multiply: Multiply = multiply_codes) -> Meter:
    """Swap the MLS layers of a network in place, for inference or training; returns the meter of all of them.

    Parameters keep their values, under names that end in ``layer.weight``.

    Raises
    ------
    ValueError
        For a convolution with groups, dilation, or padding that is no number of zeros below the kernel's size, or a
        network without MLS layers.
    """
    meter = Meter()
    twins: dict[int, MlsArithmetic] = {}
    for name, child in model.named_modules():
        if isinstance(child, MlsConv2d):
            plain = child.groups == 1 and child.dilation == (1, 1) and not child.padding_value
            if not plain or isinstance(child.padding, str):
                raise ValueError(f"{name}: the arithmetic of MLS has no groups of channels, dilation or padding but "
                                 f"with zeros, given as numbers")  # fmt: skip
            if any(p >= k for p, k in zip(child.padding, child.kernel_size, strict=True)):
                raise ValueError(f"{name}: padding {child.padding} must be less than the kernel {child.kernel_size}")
        if isinstance(child, MlsConv2d | MlsLinear):
            twins[id(child)] = MlsArithmetic(name, child, multiply, meter)
    if not twins:
        raise ValueError("the network has no MLS layer: train it with the method 'mls'")
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if id(child) in twins:
                setattr(parent, name, twins[id(child)])
    return meter
