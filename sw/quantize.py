"""DoReFa-Net quantizers for weights, activations and gradients (arXiv 1606.06160).

Each quantizer exists in two views that cannot drift apart, because the first is computed from the second:

* the *fake-quantized* float tensor that training sees, with straight-through gradients;
* the integer *codes* that the hardware sees, with ``codes * scale`` equal to the float tensor bit for bit.

Throughout, ``n`` is ``2**bits - 1`` and 32 bits means "left as float". What the paper leaves open is taken from
`conventions.Conventions`; by default rounding is half to even and the sign of zero is plus.
"""

import math
import numbers
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .autograd import Function, clip_gradient
from .conventions import AUTHORS, Conventions

__all__ = [
    "activation_codes",
    "check_bits",
    "gradient_codes",
    "gradient_quantizer",
    "levels",
    "quantize_activation",
    "quantize_gradient",
    "quantize_unit",
    "quantize_weight",
    "weight_codes",
]

FLOAT_BITS = 32


def check_bits(kind: str, bits: object) -> int:
    """Return ``bits`` as a plain ``int`` if it is 1 to 8 or 32.

    Parameters
    ----------
    kind : str
        What the bits are of, for the message: ``"weight"``, ``"activation"``, ``"gradient"``, ``"input"``.

    Raises
    ------
    ValueError
        For any other value; booleans and non-integers are refused too.
    """
    if isinstance(bits, numbers.Integral) and not isinstance(bits, bool):
        value = int(bits)
        if 1 <= value <= 8 or value == FLOAT_BITS:
            return value
    raise ValueError(f"{kind} bits must be 1 to 8, or 32 for float, not {bits!r}")


def levels(bits: int) -> int:
    """``2**bits - 1``: the number of steps between the lowest and the highest of ``2**bits`` levels."""
    return (1 << bits) - 1


def _code_bits(kind: str, bits: object) -> int:
    if check_bits(kind, bits) == FLOAT_BITS:
        raise ValueError(f"float {kind}s have no codes: {kind} bits must be 1 to 8, not {bits!r}")
    return int(bits)  # type: ignore[call-overload, no-any-return]


class _StraightThrough(Function):
    """Forward: ``value``. Backward: the gradient goes to ``surrogate`` unchanged.

    The usual ``surrogate + (value - surrogate).detach()`` rounds twice and may miss ``value`` by one ulp.
    """

    @staticmethod
    def forward(ctx: Any, surrogate: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def _straight_through(surrogate: Tensor, value: Tensor) -> Tensor:
    return _StraightThrough.call(surrogate, value.detach())


def _round(x: Tensor, rounding: str) -> Tensor:
    return torch.round(x) if rounding == "even" else torch.floor(x + 0.5)


def quantize_unit(r: Tensor, bits: int, conventions: Conventions = AUTHORS) -> Tensor:
    """``round(n r) / n`` for ``r`` in [0, 1], any shape; the gradient passes straight through (eq. 5, 6)."""
    n = levels(bits)
    return _straight_through(r, _round(r * n, conventions.rounding) / n)


# Weights ---------------------------------------------------------------------------------------------

def _over(weight: Tensor, conventions: Conventions) -> list[int]:
    """The axes that share a scale: all, or all but the output channel."""
    return list(range(1 if conventions.weight_scale == "channel" and weight.dim() > 1 else 0, weight.dim()))


def _tanh(x: Tensor) -> Tensor:
    """tanh with the strides of ``x``: a convolution takes its layout, and so the speed of what follows, from them."""
    result = torch.empty_like(x)
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64):
        np.tanh(x.numpy(), out=result.numpy())      # a vector function, seven times as fast as torch's
        return result
    return torch.tanh(x, out=result)


def _vectors(x: Tensor) -> Tensor:
    """The storage of a dense tensor as (rows, columns), so that reductions run along memory whatever its strides."""
    rows = x.shape[0] if x.dim() > 1 and x.shape[0] else 1
    return x.as_strided((rows, x.numel() // rows), (x.numel() // rows, 1))


def _squashed(weight: Tensor, conventions: Conventions) -> tuple[Tensor, Tensor, Tensor | None]:
    """tanh w; the largest magnitude of it over the layer or each channel, an all-zero one counting as 1; that of each
    row of `_vectors`, with one peak for the layer."""
    squashed = _tanh(weight.detach())
    largest = None
    if conventions.weight_scale == "channel":
        over = _over(weight, conventions)
        peak = torch.maximum(squashed.amax(over, keepdim=True), -squashed.amin(over, keepdim=True))
    else:
        rows = _vectors(squashed)
        largest = torch.maximum(rows.amax(1), -rows.amin(1))
        peak = largest.amax()
    return squashed, torch.where(peak > 0, peak, 1.0), largest


def _half_codes(squashed: Tensor, peak: Tensor, n: int, conventions: Conventions) -> Tensor:
    """``round(n (tanh w / (2 max |tanh w|) + 1/2)) - n / 2``, half of the odd codes, in a new tensor."""
    factor = 0.5 * n / peak
    if not (factor.is_meta or float(factor.amax()) < math.inf):
        # Subnormal weights, whose reciprocal overflows: a power of two changes nothing else.
        squashed = squashed * 2.0**64
        factor = 0.5 * n / (peak * 2.0**64)
    scaled = torch.mul(squashed, factor, out=torch.empty_like(squashed)).add_(0.5 * n)
    return (scaled.round_() if conventions.rounding == "even" else scaled.add_(0.5).floor_()).sub_(0.5 * n)


def _binary_scale(weight: Tensor, conventions: Conventions, buffer: Tensor | None = None) -> Tensor:
    """E|w|: a scalar, or one for each output channel shaped (out, 1, ...). ``buffer`` is overwritten."""
    # With the strides of the weight: a convolution takes its layout, and so the speed of what follows, from them.
    magnitude = torch.abs(weight, out=torch.empty_like(weight) if buffer is None else buffer)
    over = _over(weight, conventions)
    if not over:
        return magnitude.clone()
    # Summed in float64 so that the scale does not depend on the order of summation (threads, device).
    keep = conventions.weight_scale == "channel"
    return magnitude.mean(over, keepdim=keep, dtype=torch.float64).to(weight.dtype)


def _signed(weight: Tensor, value: Tensor, conventions: Conventions, buffer: Tensor | None = None) -> Tensor:
    """``sign(w) * value``, in ``buffer`` if there is one."""
    result = torch.ge(weight, 0, out=torch.empty_like(weight) if buffer is None else buffer).mul_(2 * value).sub_(value)
    if conventions.sign_of_zero != 1:
        result = torch.where(weight == 0, value * conventions.sign_of_zero, result)
    return result


class _BinaryWeight(Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, conventions: Conventions) -> Tensor:
        buffer = torch.empty_like(weight)       # fresh memory costs as much as an operation on it
        return _signed(weight, _binary_scale(weight, conventions, buffer), conventions, buffer)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class _MultibitWeight(Function):
    """Straight through the rounding: the gradient is that of ``t / p`` with t = tanh w and p = max |t|."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, n: int, conventions: Conventions) -> Tensor:
        squashed, peak, largest = _squashed(weight, conventions)
        ctx.save_for_backward(squashed, peak, largest)
        ctx.over = _over(weight, conventions)
        return _half_codes(squashed, peak, n, conventions).mul_(2.0 / n)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        squashed, peak, largest = ctx.saved_tensors
        result = torch.div(grad, peak, out=torch.empty_like(squashed))
        # dp: the largest magnitudes share it. An all-zero layer has p = 1, a constant, and no such magnitude.
        if largest is None:
            at_peak = squashed.abs() == peak
            total = (result * squashed).sum(ctx.over, keepdim=True)
            share = total / peak / at_peak.sum(ctx.over, keepdim=True).clamp(min=1)
            result -= (at_peak * squashed.sign()).mul_(share)
        else:
            # Both are dense with the same strides, so that vectors over their storage pair up.
            flat, values = _vectors(result), _vectors(squashed)
            rows = torch.nonzero(largest >= peak).flatten()
            signs = (values[rows] / peak).trunc_()      # 0 but for those of magnitude 1
            share = torch.dot(flat.view(-1), values.view(-1)) / peak / signs.count_nonzero()
            flat.index_add_(0, rows, signs.mul_(share), alpha=-1)
        return torch.ops.aten.tanh_backward.grad_input(result, squashed, grad_input=result), None, None


def quantize_weight(weight: Tensor, bits: int, conventions: Conventions = AUTHORS) -> Tensor:
    """Fake-quantized weight of a layer, same shape, with straight-through gradients.

    One bit gives ``sign(w) * mean |w|`` (eq. 7, gradient passed to ``w`` as it is); more bits give
    ``2 quantize(tanh w / (2 max |tanh w|) + 1/2) - 1`` (eq. 9, gradient through tanh and the maximum);
    32 returns ``weight`` itself.

    Raises
    ------
    ValueError
        If ``bits`` is not 1 to 8 or 32.
    """
    bits = check_bits("weight", bits)
    if bits == FLOAT_BITS:
        return weight
    if bits == 1:
        return _BinaryWeight.call(weight, conventions)
    return _MultibitWeight.call(weight, levels(bits), conventions)


def weight_codes(weight: Tensor, bits: int, conventions: Conventions = AUTHORS) -> tuple[Tensor, float | Tensor]:
    """Integer view of :func:`quantize_weight`.

    Returns
    -------
    codes : Tensor
        int64, same shape: the odd integers ``2 q - n`` in [-n, n] (one bit: -1 or +1).
    scale : float or Tensor
        ``1 / n``; for one bit the layer's ``mean |w|``, or one for each channel shaped (out, 1, ...) where the
        conventions say so. ``codes.to(weight.dtype) * scale`` is the fake-quantized weight bit for bit.

    Raises
    ------
    ValueError
        If ``bits`` is not 1 to 8, a weight is NaN or infinite, or the sign of a zero is 0.
    """
    bits = _code_bits("weight", bits)
    weight = weight.detach()
    if not torch.isfinite(weight).all():
        raise ValueError("weights contain NaN or infinity: they have no codes")
    n = levels(bits)
    if bits > 1:
        squashed, peak, _ = _squashed(weight, conventions)
        return _half_codes(squashed, peak, n, conventions).mul_(2).to(torch.int64), 1.0 / n
    scale = _binary_scale(weight, conventions)
    signs = _signed(weight, torch.ones_like(scale), conventions)
    if (signs == 0).any():
        raise ValueError("a weight is exactly 0, whose sign by these conventions is 0: one bit has no code for it")
    return signs.to(torch.int64), float(scale) if scale.dim() == 0 else scale


# Activations -----------------------------------------------------------------------------------------

class _QuantizeActivation(Function):
    """Clip, scale, round and unscale in one buffer: they are most of the memory traffic of training.

    ``n`` of None clips only.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, n: int | None, rounding: str) -> Tensor:
        ctx.save_for_backward(x)
        y = torch.clamp(x, 0.0, 1.0)
        if n is None:
            return y
        y.mul_(n)
        return (y.round_() if rounding == "even" else y.add_(0.5).floor_()).div_(n)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return clip_gradient(grad, ctx.saved_tensors[0], 0), None, None


def quantize_activation(x: Tensor, bits: int, conventions: Conventions = AUTHORS) -> Tensor:
    """``quantize(clip(x, 0, 1))``, any shape (eq. 11 with h = clip); 32 bits clips only.

    The gradient is 1 where ``0 <= x <= 1`` and 0 elsewhere; with the convention ``abs``, its sign where
    ``|x| <= 1``.

    Raises
    ------
    ValueError
        If ``bits`` is not 1 to 8 or 32.
    """
    bits = check_bits("activation", bits)
    if conventions.activation == "abs":
        x = x.abs()
    return _QuantizeActivation.call(x, None if bits == FLOAT_BITS else levels(bits), conventions.rounding)


def activation_codes(x: Tensor, bits: int, conventions: Conventions = AUTHORS) -> Tensor:
    """Codes ``p`` in [0, n], int64, same shape: ``p.to(x.dtype) / n`` is :func:`quantize_activation`.

    Raises
    ------
    ValueError
        If ``bits`` is not 1 to 8, or ``x`` contains NaN.
    """
    bits = _code_bits("activation", bits)
    if torch.isnan(x).any():
        raise ValueError("activations contain NaN: they have no codes")
    x = x.detach()
    if conventions.activation == "abs":
        x = x.abs()
    return _round(torch.clamp(x, 0.0, 1.0) * levels(bits), conventions.rounding).to(torch.int64)


# Gradients -------------------------------------------------------------------------------------------

def _integer_gradient(grad: Tensor, bits: int, generator: torch.Generator | None,
                      conventions: Conventions) -> tuple[Tensor, Tensor]:
    """Codes as integer-valued floats, and the scale of each sample shaped (N, 1, 1, ...)."""
    n = levels(bits)
    peak = grad.abs()
    if grad.dim() > 1:
        peak = peak.amax(dim=tuple(range(1, grad.dim())), keepdim=True)
    # A sample whose gradient is all zero has scale 0, so its value is 0 whatever its codes are.
    scaled = torch.div(grad, torch.where(peak > 0, peak, 1.0)).mul_(0.5).add_(0.5).mul_(n)
    if conventions.gradient_noise:
        device = grad.device if generator is None else generator.device
        noise = torch.rand(grad.shape, generator=generator, device=device, dtype=grad.dtype)
        scaled.add_(noise.sub_(0.5).to(grad.device))
    if conventions.gradient_clip:
        scaled.clamp_(0.0, n)
    codes = scaled.round_() if conventions.rounding == "even" else scaled.add_(0.5).floor_()
    return codes.mul_(2).sub_(n), peak / n


def quantize_gradient(grad: Tensor, bits: int, generator: torch.Generator | None = None,
                      conventions: Conventions = AUTHORS) -> Tensor:
    """Gradient (N, ...) rounded at random to ``2**bits`` levels, one scale for each sample (eq. 12).

    ``2 m [quantize(g / (2 m) + 1/2 + noise) - 1/2]`` with ``m`` the sample's largest magnitude and noise
    uniform in ``[-1/2, 1/2) / n`` for every element, clipped to [0, 1] before rounding. A sample that is all
    zero stays zero. 32 bits returns ``grad`` itself and draws no noise.

    Parameters
    ----------
    generator : torch.Generator or None
        Source of the noise; ``None`` takes torch's default one.

    Raises
    ------
    ValueError
        If ``bits`` is not 1 to 8 or 32.
    """
    bits = check_bits("gradient", bits)
    if bits == FLOAT_BITS:
        return grad
    codes, scale = _integer_gradient(grad, bits, generator, conventions)
    return codes.mul_(scale)


def gradient_codes(
    grad: Tensor, bits: int, generator: torch.Generator | None = None, conventions: Conventions = AUTHORS
) -> tuple[Tensor, Tensor]:
    """Integer view of :func:`quantize_gradient` for the same state of ``generator``.

    Returns
    -------
    codes : Tensor
        int64, shape of ``grad``: the odd integers ``2 q - n`` in [-n, n].
    scale : Tensor
        (N, 1, 1, ...), dtype of ``grad``: ``max |g| / n`` of each sample, 0 for a sample that is all zero.

    Raises
    ------
    ValueError
        If ``bits`` is not 1 to 8, or a gradient is NaN or infinite.
    """
    bits = _code_bits("gradient", bits)
    if not torch.isfinite(grad).all():
        raise ValueError("gradients contain NaN or infinity: they have no codes")
    codes, scale = _integer_gradient(grad.detach(), bits, generator, conventions)
    return codes.to(torch.int64), scale


class _QuantizeGradient(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bits: int, generator: torch.Generator | None, conventions: Conventions) -> Tensor:
        ctx.options = bits, generator, conventions
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        # Codes of 8 bits and their noise need more than the eight bits that bfloat16 has.
        wide = grad if grad.dtype.itemsize >= 4 else grad.float()
        return quantize_gradient(wide, *ctx.options).to(grad.dtype), None, None, None


def gradient_quantizer(x: Tensor, bits: int, generator: torch.Generator | None = None,
                       conventions: Conventions = AUTHORS) -> Tensor:
    """Identity on ``x`` (N, ...) whose gradient goes through :func:`quantize_gradient` on the way back."""
    bits = check_bits("gradient", bits)
    if bits == FLOAT_BITS:
        return x
    return _QuantizeGradient.call(x, bits, generator, conventions)
