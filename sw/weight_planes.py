"""Weights as bit planes for an array that counts mismatches, and thresholds on the counts.

The array computes M = Σ 2^d popcount(X_i ⊕ Q_j). With unsigned activations x and planes q_j of significance s_j

    divisor · Σ v x = K − M,      K = (2^A − 1) Σ_j 2^s_j Σ_k q_jk

where the integer weight v is written in one of two forms:

    bipolar, divisor 1:   v = Σ_j 2^j (2 q_j − 1)                     odd v, |v| < 2^W
    general, divisor 2:  2v = Σ_j 2^j (2 q_j − 1) + (2 e − 1)         any v; one more plane e of significance 0

With B planes q the general form covers −2^(B−1) … 2^(B−1): e is 1 for the greatest of these and 0 for all others, so
ternary weights take two planes and {0, ±1, ±2, ±4} four. Complementing every plane of a filter negates it, which turns
`y <= t` into `−y >= −t`.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["WeightPlanes", "mismatch_limits"]

_FAR = 1 << 40
"""Thresholds further from zero than any accumulator are brought here first, so that products cannot overflow."""


@dataclass(frozen=True, eq=False)
class WeightPlanes:
    """Planes of a set of filters.

    bits : uint8 (planes, outputs, inputs, taps); significance : exponent of two of each plane; divisor : 1 or 2.
    """

    bits: np.ndarray
    significance: tuple[int, ...]
    divisor: int

    @classmethod
    def bipolar(cls, weights: np.ndarray, weight_bits: int) -> "WeightPlanes":
        """Odd integers (outputs, inputs, taps) between −(2**weight_bits − 1) and 2**weight_bits − 1."""
        code = (weights + (1 << weight_bits) - 1) >> 1
        return cls(_split(code, weight_bits), tuple(range(weight_bits)), 1)

    @classmethod
    def general(cls, weights: np.ndarray) -> "WeightPlanes":
        """Any integers (outputs, inputs, taps), in as few planes as their range needs."""
        low, high = int(weights.min()), int(weights.max())
        count = 1
        while low < -(1 << count - 1) or high > 1 << count - 1:
            count += 1
        extra = weights == 1 << count - 1
        planes = _split(weights + (1 << count - 1) - extra, count)
        return cls(np.concatenate([planes, extra[None].astype(np.uint8)]), (*range(count), 0), 2)

    def negated(self, outputs: np.ndarray) -> "WeightPlanes":
        """The filters selected by a boolean vector, negated."""
        flip = outputs.astype(np.uint8)[None, :, None, None]
        return WeightPlanes(self.bits ^ flip, self.significance, self.divisor)

    def _sums(self) -> np.ndarray:
        """Σ_j 2^s_j q_j: int64 (outputs, inputs * taps)."""
        weights = np.array([1 << s for s in self.significance], np.int64)
        return np.tensordot(weights, self.bits.reshape(*self.bits.shape[:2], -1), axes=1)

    def constants(self, activation_bits: int) -> np.ndarray:
        """K of every output: int64 (outputs,)."""
        return ((1 << activation_bits) - 1) * self._sums().sum(axis=1)

    def largest_count(self, activation_bits: int) -> int:
        """The largest mismatch count that any activations can cause in any output: exact."""
        sums = self._sums()
        worst = np.maximum(sums, sum(1 << s for s in self.significance) - sums)
        return ((1 << activation_bits) - 1) * int(worst.sum(axis=1).max())


def _split(codes: np.ndarray, count: int) -> np.ndarray:
    return np.stack([(codes >> j & 1).astype(np.uint8) for j in range(count)])


def mismatch_limits(
    planes: WeightPlanes, activation_bits: int, thresholds: np.ndarray, falling: np.ndarray, threshold_bits: int
) -> tuple[WeightPlanes, np.ndarray]:
    """Thresholds on accumulators, `y >= t` or `y <= t` where falling, as limits on counts, `M < limit`.

    thresholds : int64 (outputs, 2**bits - 1). Returns the planes with falling filters negated, and int64 limits of
    the same shape within 0 … 2**threshold_bits − 1, exact for every count below 2**threshold_bits − 1.
    """
    planes = planes.negated(falling)
    signed = np.where(falling[:, None], -1, 1) * np.clip(thresholds, -_FAR, _FAR)
    limits = planes.constants(activation_bits)[:, None] - planes.divisor * signed + 1
    return planes, np.clip(limits, 0, (1 << threshold_bits) - 1)
