"""The multi-level scaling (MLS) tensor format of arXiv 2006.02804, and its convolution in integers.

From the abstract: weights, activations and errors of training all have the format; the scale has three levels, of the
tensor, of a group of elements and of the element itself; an element has an exponent and a mantissa of <Ex, Mx> bits,
where <2, 1> keeps CIFAR-10 within 1 % and <2, 4> ImageNet.

**Assumed here**, because the abstract does not say it:

* value = sign * S_tensor * S_group * q / top, with q the integer magnitude of the element and top the largest one, so
  the largest magnitude of a group whose scale is exact is representable.
* q is an unsigned minifloat with subnormals: q = m for exponent field 0, else (2^Mx + m) 2^(e - 1), m of Mx bits. For
  <2, 1>: 0, 1, 2, 3, 4, 6, 8, 12.
* S_tensor is the largest magnitude of the tensor, S_group a minifloat <Eg, Mg> in (0, 1]: (1 + m / 2^Mg) 2^-(1 + e)
  with e from 0 to 2^Eg - 1, or 1; it is rounded up from the group's largest magnitude over S_tensor, so that no
  element exceeds the range, and never below its least value.
* groups are the elements that share their indices along ``axes``: (0, 1), which is (sample, channel) of activations
  and errors and (output, input) of weights.
* rounding to the elements' grid is to nearest (ties to even mantissa), or stochastic between the two neighbours.
* the gradient passes straight through.

An all-zero tensor has S_tensor = 0 and stays zero.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .autograd import Function

__all__ = ["MlsFormat", "MlsTensor", "Multiply", "mls_convolution", "mls_encode", "mls_input_gradient",
           "mls_linear", "mls_values", "mls_weight_gradient", "multiply_codes", "quantize_mls"]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MlsFormat:
    """Parameters of the format.

    Members
    -------
    element : (Ex, Mx)
        Exponent bits 0 to 3 and mantissa bits 0 to 7 of an element, not both 0.
    group : (Eg, Mg)
        Exponent bits 0 to 8 and mantissa bits 0 to 3 of a group's scale.
    axes : tuple of int
        Axes along which every index has groups of its own; empty for one group.
    stochastic : bool
        Whether elements are rounded at random.

    Raises
    ------
    ValueError
        For a value out of range.
    """

    element: tuple[int, int] = (2, 1)
    group: tuple[int, int] = (8, 1)
    axes: tuple[int, ...] = (0, 1)
    stochastic: bool = False

    def __post_init__(self) -> None:
        for name, pair, most in (("element", self.element, (3, 7)), ("group", self.group, (8, 3))):
            if len(pair) != 2 or not all(isinstance(b, int) and 0 <= b <= m for b, m in zip(pair, most, strict=True)):
                raise ValueError(f"{name} of MLS must be <exponent bits 0 to {most[0]}, mantissa bits 0 to {most[1]}>, "
                                 f"not {pair!r}")
        if self.element == (0, 0):
            raise ValueError("an element of MLS needs exponent or mantissa bits")

    @property
    def magnitudes(self) -> tuple[int, ...]:
        """The integer magnitudes of an element in rising order."""
        exponent, mantissa = self.element
        first = 1 << mantissa
        normal = [(first + m) << e for e in range((1 << exponent) - 1) for m in range(first)]
        return (*range(first), *normal)

    @property
    def top(self) -> int:
        """The largest magnitude; elements are fractions of it."""
        return self.magnitudes[-1]


@dataclass(frozen=True, eq=False)
class MlsTensor:
    """A tensor in the format: ``codes / top * group_scale * tensor_scale``.

    codes : int64, the shape of the tensor, signed magnitudes; group_scale : float64, broadcast to it, multiples of
    2^-(2^Eg + Mg); tensor_scale : float; top : int.
    """

    codes: Tensor
    group_scale: Tensor
    tensor_scale: float
    top: int

    def values(self) -> Tensor:
        """float64; exact but for the last division and the tensor's scale."""
        return self.codes.double() * self.group_scale / self.top * self.tensor_scale


def _group_scale(ratio: Tensor, fmt: MlsFormat) -> Tensor:
    """The least scale of the format that is not below ``ratio`` in [0, 1], float64."""
    exponent_bits, mantissa_bits = fmt.group
    fraction, exponent = torch.frexp(ratio.double())       # fraction in [1/2, 1): 1.m times 2^(exponent - 1)
    steps = 1 << mantissa_bits
    up = torch.ceil(fraction * 2 * steps) / steps          # 1 to 2
    # The least exponent has scales from 2^-(2^Eg) up; below it the least scale of all serves.
    least = -(1 << exponent_bits)
    scale = torch.ldexp(up, exponent - 1)
    return scale.clamp(min=2.0 ** least, max=1.0)


def mls_encode(x: Tensor, fmt: MlsFormat, generator: torch.Generator | None = None) -> MlsTensor:
    """Encode a float tensor of any shape.

    Parameters
    ----------
    generator : torch.Generator or None
        Of stochastic rounding; ``None`` takes torch's default one.

    Raises
    ------
    ValueError
        If ``x`` contains NaN or infinity, or has not the axes of the groups.
    """
    signed, group_scale, tensor_scale = _encode(x.detach(), fmt, generator)
    return MlsTensor(signed.to(torch.int64), group_scale, tensor_scale, fmt.top)


def _encode(x: Tensor, fmt: MlsFormat, generator: torch.Generator | None) -> tuple[Tensor, Tensor, float]:
    """Signed magnitudes in the dtype of ``x``, the scales of the groups in float64, and that of the tensor."""
    if any(not 0 <= axis < x.dim() for axis in fmt.axes):
        raise ValueError(f"groups along axes {fmt.axes} need more dimensions than {x.dim()}")
    magnitude = x.abs()
    over = [axis for axis in range(x.dim()) if axis not in fmt.axes]
    peak = (magnitude.amax(over, keepdim=True) if over else magnitude).double()
    tensor_scale = float(peak.max()) if x.numel() else 0.0
    if not math.isfinite(tensor_scale):
        raise ValueError("values contain NaN or infinity: MLS cannot hold them")
    group_scale = _group_scale(peak / tensor_scale if tensor_scale else torch.zeros_like(peak), fmt)
    scale = tensor_scale * group_scale
    low = (peak > 0) & (scale < 1024 * torch.finfo(x.dtype).tiny)
    if bool(low.any()):
        # The reciprocal of such a scale overflows: a power of two changes nothing else.
        lift = torch.where(low, 2.0**64, 1.0)
        magnitude, scale = magnitude * lift.to(x.dtype), scale * lift
    # A group of zeros may have a scale too small for this dtype: its elements stay zero whatever the factor.
    factor = fmt.top / scale if tensor_scale else torch.zeros_like(group_scale)
    fraction = magnitude.mul_(factor.clamp(max=torch.finfo(x.dtype).max).to(x.dtype)).clamp_(max=fmt.top)
    if fmt.element[0]:
        # Neighbours lie a power of two apart that depends on the value's octave alone; frexp is exact.
        _, exponent = torch.frexp(fraction.clamp(min=1 << fmt.element[1]))
        exponent -= fmt.element[1] + 1
        fraction = torch.ldexp(fraction, -exponent)
    if fmt.stochastic:
        device = x.device if generator is None else generator.device
        fraction = fraction.add_(torch.rand(x.shape, generator=generator, device=device, dtype=x.dtype).to(x.device))
        fraction = fraction.floor_()
    else:
        fraction = fraction.round_()
    if fmt.element[0]:
        fraction = torch.ldexp(fraction, exponent)
    return fraction.clamp_(max=fmt.top).copysign_(x), group_scale, tensor_scale


class _QuantizeMls(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, fmt: MlsFormat, generator: torch.Generator | None) -> Tensor:
        return mls_values(x, fmt, generator)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad, None, None


def mls_values(x: Tensor, fmt: MlsFormat, generator: torch.Generator | None = None) -> Tensor:
    """What `mls_encode` stands for, in the dtype of ``x``; without a gradient."""
    signed, group_scale, tensor_scale = _encode(x.detach(), fmt, generator)
    return signed.mul_((group_scale * (tensor_scale / fmt.top)).to(x.dtype))


def quantize_mls(x: Tensor, fmt: MlsFormat, generator: torch.Generator | None = None) -> Tensor:
    """Fake-quantized tensor of the same shape and dtype, with a straight-through gradient."""
    return _QuantizeMls.call(x, fmt, generator)


Multiply = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Signed codes int64 (pixels, length) and (filters, length) to their sums of products int64 (pixels, filters)."""


def multiply_codes(pixels: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """`Multiply` in NumPy."""
    return pixels @ filters.T


def mls_convolution(x: MlsTensor, weight: MlsTensor, *, stride: int | tuple[int, int] = 1,
                    padding: int | tuple[int, int] = 0, multiply: Multiply = multiply_codes) -> np.ndarray:  # fmt: skip
    """The golden model of a convolution in the format, float64 (N, C_out, H', W').

    ``x`` (N, C, H, W) and ``weight`` (C_out, C, kh, kw) have groups along axes (0, 1). Inside a group, which is the
    kernel's taps of one sample, input and output channel, sums are exact integers, which ``multiply`` computes: here or
    on the array (`mls_arithmetic`). Each is scaled by the product of its two group scales when its group closes, and
    added to an outer sum in the order of the input channels, exactly as well while that spans less than 53 bits.

    Raises
    ------
    ValueError
        If the groups are along other axes.
    """
    codes, kernel = x.codes.numpy(), weight.codes.numpy()
    if x.group_scale.shape != (*codes.shape[:2], 1, 1) or weight.group_scale.shape != (*kernel.shape[:2], 1, 1):
        raise ValueError("the convolution needs groups along axes (0, 1) of both tensors")
    (down, right), (top, left) = ((v, v) if isinstance(v, int) else v for v in (stride, padding))
    padded = np.pad(codes, ((0, 0), (0, 0), (top, top), (left, left)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], (2, 3))[:, :, ::down, ::right]
    samples, channels, high, wide = windows.shape[:4]
    outer = np.zeros((samples, high, wide, len(kernel)))
    for channel in range(channels):
        inside = multiply(windows[:, channel].reshape(samples * high * wide, -1),
                          kernel[:, channel].reshape(len(kernel), -1))  # fmt: skip
        scale = x.group_scale.numpy()[:, channel] * weight.group_scale.numpy()[:, channel, 0, 0]  # (N, 1, C_out)
        outer += inside.reshape(outer.shape) * scale[:, :, None]
    result: np.ndarray = outer.transpose(0, 3, 1, 2) * _common_scale(x, weight)
    return result


def mls_input_gradient(error: MlsTensor, weight: MlsTensor, size: tuple[int, int], *, stride: tuple[int, int],
                       padding: tuple[int, int], multiply: Multiply = multiply_codes) -> np.ndarray:  # fmt: skip
    """The gradient of `mls_convolution` to its input, float64 (N, C, H, W) of height and width ``size``, from the
    encoded gradient of its output ``error`` (N, C_out, H', W'): itself a convolution in the format, of the errors with
    zeros between them and the flipped kernels, whose groups (C, C_out) are added in the order of the output channels.
    `ValueError` where padding is not less than the kernel."""
    kernel = weight.codes.shape[2:]
    if any(p >= k for p, k in zip(padding, kernel, strict=True)):
        raise ValueError(f"padding {padding} must be less than the kernel {tuple(kernel)}")
    spread = _spread(error.codes, stride)
    # Behind, as much as the input's size needs: its last rows and columns may be in no window.
    (top, low), (left, right) = [
        (k - 1 - p, n - e + p) for k, p, n, e in zip(kernel, padding, size, spread.shape[2:], strict=True)
    ]
    padded = torch.nn.functional.pad(spread, (left, right, top, low))
    flipped = replace(weight, codes=weight.codes.flip(2, 3).transpose(0, 1),
                      group_scale=weight.group_scale.transpose(0, 1))  # fmt: skip
    return mls_convolution(replace(error, codes=padded), flipped, multiply=multiply)


def mls_weight_gradient(x: MlsTensor, error: MlsTensor, kernel: tuple[int, int], *, stride: tuple[int, int],
                        padding: tuple[int, int], multiply: Multiply = multiply_codes) -> np.ndarray:  # fmt: skip
    """The gradient of `mls_convolution` to its weight, float64 (C_out, C, kh, kw): a convolution of the input with the
    errors as kernels, whose groups are of one sample and are added in the order of the samples."""
    inputs = replace(x, codes=x.codes.transpose(0, 1), group_scale=x.group_scale.transpose(0, 1))
    errors = replace(error, codes=_spread(error.codes, stride).transpose(0, 1),
                     group_scale=error.group_scale.transpose(0, 1))  # fmt: skip
    # Just the windows of the kernel's taps: rows and columns that are in no window of the layer are left out.
    low, right = (e + k - 1 - p - n for e, k, p, n in
                  zip(errors.codes.shape[2:], kernel, padding, x.codes.shape[2:], strict=True))  # fmt: skip
    padded = torch.nn.functional.pad(inputs.codes, (padding[1], right, padding[0], low))
    return mls_convolution(replace(inputs, codes=padded), errors, multiply=multiply).transpose(1, 0, 2, 3)


def _spread(codes: Tensor, stride: tuple[int, int]) -> Tensor:
    """Codes (N, C, H, W) with stride - 1 zeros between neighbours."""
    if stride == (1, 1):
        return codes
    samples, channels, high, wide = codes.shape
    result = codes.new_zeros(samples, channels, (high - 1) * stride[0] + 1, (wide - 1) * stride[1] + 1)
    result[:, :, :: stride[0], :: stride[1]] = codes
    return result


def mls_linear(x: MlsTensor, weight: MlsTensor, multiply: Multiply = multiply_codes) -> np.ndarray:
    """The golden model of a fully connected layer, float64 (N, out): of ``x`` (N, in) and ``weight`` (out, in) with
    groups along axis 0, so that every sum is inside one group. `ValueError` for other groups."""
    codes, matrix = x.codes.numpy(), weight.codes.numpy()
    if x.group_scale.shape != (len(codes), 1) or weight.group_scale.shape != (len(matrix), 1):
        raise ValueError("the fully connected layer needs groups along axis 0 of both tensors")
    scale = x.group_scale.numpy() * weight.group_scale.numpy()[:, 0]
    result: np.ndarray = multiply(codes, matrix) * scale * _common_scale(x, weight)
    return result


def _common_scale(x: MlsTensor, weight: MlsTensor) -> float:
    return x.tensor_scale * weight.tensor_scale / (x.top * weight.top)
