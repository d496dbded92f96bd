"""The asymptotic quantization estimator and the level sets of MINW-Net (arXiv 2003.04296).

A quantizer h maps the hard tanh of a value, in [-1, 1], to one of the levels

=====  ==========================================  ==============================
bits   levels                                      integers, times the unit
=====  ==========================================  ==============================
1      -1, 1                                       -1, 1 (unit 1); h(0) = 1
2      -1, 0, 1; 0 where |a| <= delta              -1, 0, 1 (unit 1)
n > 2  0 and +-2^-p, p = 0 .. 2^(n-1) - 2          0, +-2^q (unit 2^-(2^(n-1) - 2))
=====  ==========================================  ==============================

During training the forward pass mixes, a~ = alpha h(a) + (1 - alpha) a, and the backward pass yields
dL/da = 2 alpha dL/da~ where |a| <= 1, else 0. With alpha = 1/2 the gradient is the straight-through estimator's; alpha
goes to 1, where the network is the one of inference.

What the paper leaves open is set here: between two levels the nearest is taken, the smaller at a tie, so that delta is
1/2 at 2 bits and half the least level at more (a parameter); weights, which have no batch norm in front, are first
divided by `WEIGHT_RANGE` times their mean magnitude, a constant in the backward pass, because a fresh layer's weights
would all be 0 otherwise; the schedule of alpha is `alpha_schedule`; batch norms in front of a max pool start where the
activation behind it is in the middle of its levels, worth 1 to 2 points on the digits (`methods.Method.initialise`);
the loss sees the logits of a 1-bit last layer times a smaller factor than others (`train`).
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .autograd import Function, clip_gradient

__all__ = [
    "MOST_BITS",
    "WEIGHT_RANGE",
    "alpha_schedule",
    "check_aqe_bits",
    "check_delta",
    "check_schedule",
    "level_integers",
    "normalize_weight",
    "quantize_asymptotic",
    "quantize_weight",
    "quantized_integers",
]

MOST_BITS = 4
"""With 5 the levels would span 14 octaves."""

WEIGHT_RANGE = 2.0
"""Weights this many times the mean magnitude become +-1; those of a uniform distribution then fill [-1, 1]."""


def check_aqe_bits(kind: str, bits: object) -> int:
    """Return ``bits`` if it is 1 to `MOST_BITS`. `ValueError` otherwise."""
    if isinstance(bits, int) and not isinstance(bits, bool) and 1 <= bits <= MOST_BITS:
        return bits
    raise ValueError(f"{kind} bits of AQE must be 1 to {MOST_BITS}, not {bits!r}")


def level_integers(bits: int) -> tuple[tuple[int, ...], int]:
    """The levels as integers in rising order, and the integer that stands for 1: (-4, -2, -1, 0, 1, 2, 4), 4."""
    check_aqe_bits("level", bits)
    if bits == 1:
        return (-1, 1), 1
    powers = [1 << q for q in range((1 << bits - 1) - 1)]
    return (*(-q for q in reversed(powers)), 0, *powers), powers[-1]


def _boundaries(bits: int, delta: float | None) -> list[float]:
    """Magnitudes that a value must exceed to leave each non-negative level for the next larger one."""
    integers, one = level_integers(bits)
    positive = [value / one for value in integers if value >= 0]
    boundaries = [(a + b) / 2 for a, b in pairwise(positive)]
    if delta is not None:
        check_delta(bits, delta)
        boundaries[0] = delta
    return boundaries


def check_delta(bits: int, delta: float) -> None:
    """`ValueError` unless magnitudes up to ``delta`` can be 0 at these bits, 2 or more."""
    integers, one = level_integers(bits)
    least = min(value for value in integers if value > 0) / one
    if not 0 <= delta < least:
        raise ValueError(f"delta must be at least 0 and below the least level {least}, not {delta!r}")


def quantized_integers(a: Tensor, bits: int, delta: float | None = None) -> Tensor:
    """h(a) as integers of `level_integers` in the dtype of ``a``, values in [-1, 1] of any shape.

    Raises
    ------
    ValueError
        For bits or delta out of range.
    """
    # Every result has the strides of its input: a convolution takes its layout, and so its speed, from its weight.
    if check_aqe_bits("level", bits) == 1:
        return torch.ge(a, 0, out=torch.empty_like(a)).mul_(2).sub_(1)
    if bits == 2 and delta is None:
        return torch.round(a, out=torch.empty_like(a))      # half to even is 0, the smaller
    return _levels_of(torch.abs(a, out=torch.empty_like(a)), a, bits, delta)


def _levels_of(magnitude: Tensor, a: Tensor, bits: int, delta: float | None) -> Tensor:
    """`quantized_integers` for more than 1 bit, of values ``a`` and their magnitudes, which are overwritten."""
    positive = [value for value in level_integers(bits)[0] if value >= 0]
    least, *others = _boundaries(bits, delta)
    result = torch.gt(magnitude, least, out=torch.empty_like(a))      # the least positive level is 1
    above = torch.empty_like(a) if len(others) > 1 else magnitude
    for place, (boundary, (low, high)) in enumerate(zip(others, pairwise(positive[1:]), strict=True)):
        last = place == len(others) - 1
        result.add_(torch.gt(magnitude, boundary, out=magnitude if last else above), alpha=high - low)
    return result.copysign_(a)


def _estimate(a: Tensor, bits: int, alpha: float, delta: float | None, buffer: Tensor) -> Tensor:
    """``alpha h(a) + (1 - alpha) a`` of the hard tanh of ``a``; ``buffer``, of the same strides, is overwritten."""
    one = level_integers(bits)[1]
    if alpha == 1 and bits > 1 and (bits > 2 or delta is not None):
        # What is beyond 1 lies above every boundary, so that it needs no clipping.
        h = _levels_of(torch.abs(a, out=buffer), a, bits, delta)
        return h if one == 1 else h.div_(one)
    clipped = torch.clamp(a, -1.0, 1.0, out=buffer)
    if alpha == 1 and bits == 2:
        return clipped.round_()
    h = quantized_integers(clipped, bits, delta)
    factor = alpha / one        # division by a power of two is exact
    if factor != 1:
        h.mul_(factor)
    return h if alpha == 1 else h.add_(clipped, alpha=1 - alpha)


class _Asymptotic(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, bits: int, alpha: float, delta: float | None) -> Tensor:
        ctx.save_for_backward(a)
        ctx.alpha = alpha
        return _estimate(a, bits, alpha, delta, torch.empty_like(a))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return clip_gradient(grad, ctx.saved_tensors[0], -1).mul_(2 * ctx.alpha), None, None, None


class _AsymptoticWeight(Function):
    """`quantize_asymptotic` of `normalize_weight`."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bits: int, alpha: float, delta: float | None) -> Tensor:
        buffer = torch.empty_like(weight)       # fresh memory costs as much as an operation on it
        factor = _weight_factor(weight, buffer)
        normal = torch.mul(weight, factor, out=torch.empty_like(weight))
        ctx.save_for_backward(normal, factor)
        ctx.alpha = alpha
        return _estimate(normal, bits, alpha, delta, buffer)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        normal, factor = ctx.saved_tensors
        return clip_gradient(grad, normal, -1).mul_(2 * ctx.alpha * factor), None, None, None


def quantize_asymptotic(a: Tensor, bits: int, alpha: float = 1.0, delta: float | None = None) -> Tensor:
    """``alpha h(a) + (1 - alpha) a`` of the hard tanh of ``a``, any shape; the gradient is ``2 alpha`` in [-1, 1].

    Parameters
    ----------
    bits : int
        1 to 4.
    alpha : float
        In (0, 1]; 1 is the quantizer itself.
    delta : float or None
        Magnitudes up to this are 0; ``None`` takes half the least level. Without meaning at 1 bit.

    Raises
    ------
    ValueError
        For a value out of range.
    """
    _check(bits, alpha)
    return _Asymptotic.call(a, bits, float(alpha), delta)


def quantize_weight(weight: Tensor, bits: int, alpha: float = 1.0, delta: float | None = None) -> Tensor:
    """`quantize_asymptotic` of a layer's `normalize_weight`, same shape; parameters and errors as there."""
    _check(bits, alpha)
    return _AsymptoticWeight.call(weight, bits, float(alpha), delta)


def _check(bits: int, alpha: float) -> None:
    check_aqe_bits("level", bits)
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha must be above 0 and at most 1, not {alpha!r}")


def _weight_factor(weight: Tensor, buffer: Tensor) -> Tensor:
    # Summed in float64 so that the scale does not depend on the order of summation (threads, device).
    mean = torch.abs(weight.detach(), out=buffer).mean(dtype=torch.float64)
    return torch.where(mean > 0, 1 / (WEIGHT_RANGE * mean), 0.0).to(weight.dtype)


def normalize_weight(weight: Tensor) -> Tensor:
    """``w / (WEIGHT_RANGE E|w|)`` with E over the layer, a constant of the backward pass. All-zero layer: zeros."""
    return weight * _weight_factor(weight, torch.empty_like(weight))


def check_schedule(start: float, reach: float) -> None:
    """`ValueError` unless the schedule begins in (0, 1] and reaches 1 before training ends."""
    if not 0 < start <= 1:
        raise ValueError(f"alpha must start above 0 and at most at 1, not at {start!r}")
    if not 0 <= reach <= 1:
        raise ValueError(f"alpha must reach 1 during training: after the part 0 to 1 of all steps, not {reach!r}")


def alpha_schedule(done: float, start: float = 0.5, reach: float = 0.7) -> float:
    """alpha when the part ``done`` of all steps is behind: linear from ``start`` to 1 at ``reach``, then 1.

    It begins as the straight-through estimator, and the last part of training sees the network of inference, so that
    the statistics of batch norm belong to it.

    Raises
    ------
    ValueError
        As `check_schedule`.
    """
    check_schedule(start, reach)
    return 1.0 if done >= reach else start + (1 - start) * done / reach
