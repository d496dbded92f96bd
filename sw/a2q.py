"""Weights whose accumulators cannot overflow: A2Q (arXiv 2308.13504) and A2Q+ (arXiv 2401.10432).

An output channel has a vector v, a norm 2^t and a scale s = 2^d, all learned. Its integer weights are

    w = clip(trunc(2^min(t, T) v / (|v|_1 s))),        T = d + log2 L

with N-bit unsigned inputs and W-bit two's complement weights. Rounding to zero only shrinks, so |w|_1 is at most L, and
every partial sum fits P bits whatever the inputs are. The loss gets the sum of max(t - T, 0), which pulls norms under
their limit.

========  ======================  =====================================================================
method    v                       L
========  ======================  =====================================================================
A2Q       the weight              (2^(P-1) - 1) 2^-N
A2Q+      the weight less its     (2^P - 2) / (2^N - 1), about twice as much: positive and negative
          mean over the channel   weights each sum to at most L / 2, and no input adds both
========  ======================  =====================================================================

Both start from the weight as it is, the largest of a channel being the largest integer; A2Q+'s initialisation by
projection is not used. The integer graph holds the exact range of every accumulator; `accumulator_width` is what it
needs.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from .autograd import Function, inside
from .layers import QuantConv2d, QuantLinear, QuantWeight

__all__ = ["BoundedConv2d", "BoundedLinear", "BoundedWeight", "accumulator_width", "norm_limit"]


def norm_limit(accumulator_bits: int, input_bits: int, signed: bool = False, centred: bool = False) -> float:
    """The largest sum of magnitudes of integer weights for which no sum of products leaves the accumulator.

    Parameters
    ----------
    accumulator_bits : int
        P, of a two's complement accumulator.
    input_bits : int
        N, of unsigned inputs, or two's complement ones if ``signed``.
    centred : bool
        Whether positive and negative weights of a channel sum to at most half of it each (A2Q+); inputs are unsigned.

    Raises
    ------
    ValueError
        If not even one weight of 1 fits.
    """
    if centred:
        limit = ((1 << accumulator_bits) - 2) / ((1 << input_bits) - 1)
        least, smallest = 2, ((1 << input_bits + 1) - 1).bit_length()
    else:
        limit = ((1 << accumulator_bits - 1) - 1) * 2.0 ** (int(signed) - input_bits)
        least, smallest = 1, input_bits + 2 - int(signed)
    if limit < least:
        raise ValueError(f"{accumulator_bits}-bit accumulators hold no weight at all with {input_bits}-bit inputs: "
                         f"accumulator bits must be at least {smallest}")
    return limit


def accumulator_width(low: int, high: int) -> int:
    """Bits of the narrowest two's complement number that holds ``low`` to ``high``."""
    return max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + 1


class _TowardZero(Function):
    """Truncation and clip; the gradient is 1 inside the clip."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: int, high: int) -> Tensor:
        ctx.save_for_backward(inside(x, low, high))
        return x.trunc().clamp_(low, high)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad * ctx.saved_tensors[0], None, None


class BoundedWeight(QuantWeight):
    """Weight quantizer of A2Q for ``weight_bits`` of 2 to 8; call `bound` before use.

    Members
    -------
    log_scale, log_norm : Parameter (out, 1, ...)
        d and t.
    accumulator_bits, input_bits : int
        P and N; inputs are unsigned codes.
    centred : bool
        Whether weights lose the mean of their channel, as in A2Q+.
    """

    log_scale: Tensor
    log_norm: Tensor
    accumulator_bits: int
    input_bits: int
    centred: bool = False

    def bound(self, accumulator_bits: int, input_bits: int, centred: bool = False) -> None:
        """Set P, N and the method, and start from the weight as it is, its largest being the largest integer.

        Raises
        ------
        ValueError
            For ``weight_bits`` out of range, or accumulators that hold no weight at all (`norm_limit`).
        """
        if not 2 <= self.weight_bits <= 8:
            raise ValueError(f"weight bits of A2Q must be 2 to 8, not {self.weight_bits}")
        norm_limit(accumulator_bits, input_bits, centred=centred)
        self.accumulator_bits, self.input_bits, self.centred = accumulator_bits, input_bits, centred
        weight = self._vector().detach()
        over = list(range(1, weight.dim()))
        largest = weight.abs().amax(over, keepdim=True).clamp(min=1e-8)
        self.log_scale = nn.Parameter(torch.log2(largest / ((1 << self.weight_bits - 1) - 1)))
        self.log_norm = nn.Parameter(torch.log2(weight.abs().sum(over, keepdim=True).clamp(min=1e-8)))

    @property
    def bipolar(self) -> bool:
        return False

    def _limit(self) -> Tensor:
        # A part in a million below, so that rounding errors of the division cannot lift a sum above it.
        limit = norm_limit(self.accumulator_bits, self.input_bits, centred=self.centred) * (1 - 1e-6)
        return self.log_scale + math.log2(limit)

    def _vector(self) -> Tensor:
        over = list(range(1, self.weight.dim()))
        return self.weight - self.weight.mean(over, keepdim=True) if self.centred else self.weight

    def _integers(self) -> Tensor:
        vector = self._vector()
        norm = vector.abs().sum(list(range(1, vector.dim())), keepdim=True).clamp(min=1e-30)
        exponent = torch.minimum(self.log_norm, self._limit()) - self.log_scale
        high = (1 << self.weight_bits - 1) - 1
        return _TowardZero.call(torch.exp2(exponent) * (vector / norm), -high - 1, high)

    def quantized_weight(self) -> Tensor:
        return self._integers() * torch.exp2(self.log_scale)

    def weight_codes(self) -> tuple[Tensor, float | Tensor]:
        """Two's complement integers, and the scale of each output channel."""
        with torch.no_grad():
            integers, scale = self._integers(), torch.exp2(self.log_scale)
        if not (torch.isfinite(integers).all() and torch.isfinite(scale).all()):
            raise ValueError("weights contain NaN or infinity: they have no codes")
        return integers.to(torch.int64), scale

    def excess(self) -> Tensor:
        """Sum of max(t - T, 0) over the channels."""
        return torch.relu(self.log_norm - self._limit()).sum()


class BoundedConv2d(BoundedWeight, QuantConv2d):
    """`QuantConv2d` with the weight quantizer of A2Q."""


class BoundedLinear(BoundedWeight, QuantLinear):
    """`QuantLinear` with the weight quantizer of A2Q."""
