"""Layers of AQE / MINW-Net: weights and signed activations of few levels; see `aqe` for the formulas."""

import torch
from torch import Tensor

from . import aqe
from .layers import QuantActivation, QuantConv2d, QuantLinear, QuantWeight

__all__ = ["AsymptoticActivation", "AsymptoticConv2d", "AsymptoticLinear"]


class AsymptoticWeight(QuantWeight):
    """Weight quantizer of AQE: 1 to 4 bits, and 32 for float as elsewhere.

    Members
    -------
    alpha : float
        Of the estimator during training, set by the training loop; eval mode has 1.
    delta : float or None
        See `aqe.quantized_integers`.
    """

    alpha: float = 1.0
    delta: float | None = None

    @property
    def bipolar(self) -> bool:
        return self.weight_bits == 1

    @property
    def integer_bits(self) -> int:
        # Two's complement holds +-2^q in q + 2 bits.
        return 1 if self.weight_bits == 1 else aqe.level_integers(self.weight_bits)[1].bit_length() + 1

    def quantized_weight(self) -> Tensor:
        if self.weight_bits == 32:
            return self.weight
        alpha = self.alpha if self.training else 1.0
        return aqe.quantize_weight(self.weight, self.weight_bits, alpha, self.delta)

    def weight_codes(self) -> tuple[Tensor, float | Tensor]:
        """Integers of `aqe.level_integers`, and the real value of 1."""
        aqe.check_aqe_bits("weight", self.weight_bits)
        weight = self.weight.detach()
        if not torch.isfinite(weight).all():
            raise ValueError("weights contain NaN or infinity: they have no codes")
        normal = aqe.normalize_weight(weight).clamp(-1.0, 1.0)
        integers = aqe.quantized_integers(normal, self.weight_bits, self.delta)
        return integers.to(torch.int64), 1.0 / aqe.level_integers(self.weight_bits)[1]


class AsymptoticConv2d(AsymptoticWeight, QuantConv2d):
    """`QuantConv2d` with the weight quantizer of AQE."""


class AsymptoticLinear(AsymptoticWeight, QuantLinear):
    """`QuantLinear` with the weight quantizer of AQE."""


class AsymptoticActivation(QuantActivation):
    """Hard tanh, then the levels of AQE, 1 to 4 bits; any shape.

    Codes are ``level + one``, the levels as integers: 0 and 1 at one bit, 0 to 2 at two, and 0, 2, 3, 4, 5, 6, 8 at
    three, where the gaps let the array multiply them as plain binary numbers.
    """

    alpha: float = 1.0
    delta: float | None = None

    def __init__(self, bits: int) -> None:
        super().__init__(aqe.check_aqe_bits("activation", bits))

    @property
    def code_bits(self) -> int:
        return self.largest_code.bit_length()

    @property
    def largest_code(self) -> int:
        return 1 if self.bits == 1 else 2 * aqe.level_integers(self.bits)[1]

    @property
    def unit(self) -> float:
        return 2.0 if self.bits == 1 else 1.0 / aqe.level_integers(self.bits)[1]

    @property
    def zero(self) -> float:
        return 0.5 if self.bits == 1 else float(aqe.level_integers(self.bits)[1])

    def codes(self, x: Tensor) -> Tensor:
        if torch.isnan(x).any():
            raise ValueError("activations contain NaN: they have no codes")
        integers = aqe.quantized_integers(x.detach().clamp(-1.0, 1.0), self.bits, self.delta).to(torch.int64)
        return (integers + 1) // 2 if self.bits == 1 else integers + aqe.level_integers(self.bits)[1]

    def forward(self, x: Tensor) -> Tensor:
        return aqe.quantize_asymptotic(x, self.bits, self.alpha if self.training else 1.0, self.delta)
