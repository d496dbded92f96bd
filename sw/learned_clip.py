"""Activations with a learned clipping level (PACT, arXiv 1805.06085)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from .autograd import Function, inside
from .layers import QuantActivation
from .quantize import FLOAT_BITS, levels

__all__ = ["LearnedClipActivation", "quantize_learned_clip"]


class _LearnedClip(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, clip: Tensor, n: int | None) -> Tensor:
        y = torch.clamp(x, min=0.0).minimum(clip)
        ctx.save_for_backward(x, clip)
        return y if n is None else y.mul_(n / clip).round_().mul_(clip / n)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, clip = ctx.saved_tensors
        above = torch.gt(x, clip, out=torch.empty_like(grad)).mul_(grad)
        return inside(x, 0.0, float(clip)).mul_(grad), above.sum(dtype=torch.float64).to(clip.dtype), None


def quantize_learned_clip(x: Tensor, clip: Tensor, bits: int) -> Tensor:
    """``clip / n * round(n / clip * min(max(x, 0), clip))`` with n = 2**bits - 1; 32 bits clips only.

    The gradient is 1 to ``x`` where 0 <= x <= clip, and 1 to ``clip``, a scalar, where x is above it.
    """
    return _LearnedClip.call(x, clip, None if bits == FLOAT_BITS else levels(bits))


class LearnedClipActivation(QuantActivation):
    """Clip to [0, clip] with ``clip`` a parameter, then ``2**bits`` levels. Any shape.

    The published penalty is a weight decay on ``clip`` (`methods.Method`). Training stops with an error where it is
    not positive.
    """

    def __init__(self, bits: int, clip: float = 2.0) -> None:
        super().__init__(bits)
        self.clip = nn.Parameter(torch.tensor(clip))

    def _positive(self) -> float:
        value = float(self.clip.detach())
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"a learned clipping level became {value}: lower the learning rate or its decay")
        return value

    @property
    def unit(self) -> float:
        return self._positive() / levels(self.bits)

    def codes(self, x: Tensor) -> Tensor:
        if torch.isnan(x).any():
            raise ValueError("activations contain NaN: they have no codes")
        n, clip = levels(self.bits), self.clip.detach()
        return torch.clamp(x.detach(), min=0.0).minimum(clip).mul(n / clip).round().to(torch.int64)

    def forward(self, x: Tensor) -> Tensor:
        self._positive()
        return quantize_learned_clip(x, self.clip, self.bits)
