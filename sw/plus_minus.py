"""Decomposition of odd integers into planes of -1 and +1 (arXiv 1905.13389), and activations that have it.

With n = 2^M - 1, an odd integer v in [-n, n] is v = sum_m 2^m c_m with c_m in {-1, +1}, uniquely. A product of two such
numbers is a sum of products of planes alone, without cross terms:

    sum_k v_k u_k = sum_(i,j) 2^(i+j) sum_k c_ik d_jk = sum_(i,j) 2^(i+j) (N - 2 popcount(c_i xor d_j))

Weights of DoReFa-Net already are odd integers over n. The activations here are their signed counterpart: the hard tanh
of a value, rounded to v / n.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .autograd import Function, clip_gradient
from .layers import QuantActivation
from .quantize import FLOAT_BITS, check_bits, levels

__all__ = [
    "PlusMinusActivation",
    "compose_planes",
    "decompose_planes",
    "plane_product",
    "plus_minus_codes",
    "quantize_plus_minus",
]


def decompose_planes(values: np.ndarray, bits: int) -> np.ndarray:
    """Planes c_m, int64 (bits, ...) of -1 and +1, least significant first, of odd integers in [-n, n].

    Raises
    ------
    ValueError
        If a value is even or out of range.
    """
    values = np.asarray(values, np.int64)
    n = levels(bits)
    if (np.abs(values) > n).any() or (values % 2 == 0).any():
        raise ValueError(f"values must be odd integers from {-n} to {n} to have {bits} planes of -1 and +1")
    code = (values + n) >> 1
    return np.stack([2 * (code >> m & 1) - 1 for m in range(bits)])


def compose_planes(planes: np.ndarray) -> np.ndarray:
    """The integers of planes (bits, ...): the inverse of `decompose_planes`."""
    values: np.ndarray = np.tensordot(1 << np.arange(len(planes)), planes, axes=1)
    return values


def plane_product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Inner products of planes (M, ..., K) and (L, ..., K) over the last axis, by mismatch counts alone."""
    length = first.shape[-1]
    total = np.zeros(np.broadcast_shapes(first.shape[1:-1], second.shape[1:-1]), np.int64)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            total += (length - 2 * np.count_nonzero(a != b, axis=-1)) << (i + j)
    return total


class _PlusMinus(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, n: int | None) -> Tensor:
        ctx.save_for_backward(x)
        clipped = x.clamp(-1.0, 1.0)
        return clipped if n is None else clipped.add_(1.0).mul_(0.5 * n).round_().mul_(2.0).sub_(n).div_(n)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return clip_gradient(grad, ctx.saved_tensors[0], -1), None


def quantize_plus_minus(x: Tensor, bits: int) -> Tensor:
    """``(2 round(n (clip(x, -1, 1) + 1) / 2) - n) / n``, any shape; the gradient is 1 where ``|x| <= 1``.

    32 bits is the hard tanh alone.

    Raises
    ------
    ValueError
        If ``bits`` is not 1 to 8 or 32.
    """
    return _PlusMinus.call(x, None if check_bits("activation", bits) == FLOAT_BITS else levels(bits))


def plus_minus_codes(x: Tensor, bits: int) -> Tensor:
    """Codes p in [0, n], int64: `quantize_plus_minus` is ``(2 p - n) / n``.

    Raises
    ------
    ValueError
        If ``x`` contains NaN.
    """
    if torch.isnan(x).any():
        raise ValueError("activations contain NaN: they have no codes")
    n = levels(bits)
    return x.detach().clamp(-1.0, 1.0).add(1.0).mul(0.5 * n).round().to(torch.int64)


class PlusMinusActivation(QuantActivation):
    """Hard tanh, then ``2**bits`` levels ``(2 p - n) / n``; 32 bits is the hard tanh alone. Any shape."""

    @property
    def unit(self) -> float:
        return 2.0 / levels(self.bits)

    @property
    def zero(self) -> float:
        return levels(self.bits) / 2

    def codes(self, x: Tensor) -> Tensor:
        return plus_minus_codes(x, self.bits)

    def forward(self, x: Tensor) -> Tensor:
        return quantize_plus_minus(x, self.bits)
