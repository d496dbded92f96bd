"""Exact integer thresholds of a quantized activation.

**The reference expression.** After a convolution, a trained network computes a chain of float operations on
every element: add a bias, batch norm, clip, multiply by ``2**bits - 1``, round half to even. In eval mode all of
them are monotone, also as floats (rounding is monotone), so the code is a monotone function of the convolution's
exact integer result y, one function a channel. The reference expression is this chain itself, the same torch
operations in the same dtype, applied to

    x = float32(y * unit),      unit = float32(weight scale) * input scale,

the product in float64 and rounded once. `expression.Expression` holds it. PyTorch's own convolution adds rounded
products instead, and may be a few units in the last place away from x: where a threshold happens to lie between
the two, PyTorch's code differs from the exact one. `compare` counts such float ties.

Thresholds are found by bisection on y over the whole range of the channel's accumulator. No formula for a
threshold is ever evaluated in floats, so there is nothing to round wrongly.
"""

from collections.abc import Callable

import numpy as np

from dorefabric.hw.errors import DorefabricError

__all__ = ["ThresholdError", "exact_thresholds"]

SAMPLES = 256
"""Accumulators a channel at which the found thresholds are compared with the reference expression."""


class ThresholdError(DorefabricError, ValueError):
    """The reference expression is not a monotone function of the accumulator; the message names the channel."""


def exact_thresholds(codes: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray,
                     count: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a monotone function of an integer steps, in every channel.

    Parameters
    ----------
    codes : callable
        The reference expression: int64 accumulators (C, M) to integer codes (C, M) in 0 .. count, where row c is
        evaluated as channel c. Monotone along each row, in either direction.
    low, high : int64 (C,)
        Least and greatest accumulator of each channel.
    count : int
        2**bits - 1.

    Returns
    -------
    thresholds : int64 (C, count)
        Rising channel: ``thresholds[c, i - 1]`` is the least y of low .. high with a code >= i, or high + 1.
        Falling channel: the greatest y with a code >= i, or low - 1.
    falling : bool (C,)
        Whether the code at ``high`` is below the one at ``low``. A constant channel counts as rising.

    Raises
    ------
    ThresholdError
        If the thresholds do not reproduce the function at a sample of accumulators (all of them where there are
        at most `SAMPLES`) or on either side of each threshold: then it is not monotone.
    """
    low, high = np.asarray(low, np.int64), np.asarray(high, np.int64)
    ends = codes(np.stack([low, high], 1))
    falling = ends[:, 0] > ends[:, 1]
    # z runs from 0 at the end with the least code to `span` at the other: y = start + sign * z.
    sign = np.where(falling, -1, 1)[:, None]
    start = np.where(falling, high, low)[:, None]
    span = (high - low)[:, None]
    steps = np.arange(1, count + 1)[None, :]

    below = np.broadcast_to(np.int64(-1), (len(low), count)).copy()  # code < step here (-1: before the range)
    above = np.broadcast_to(span + 1, (len(low), count)).copy()      # code >= step here (span + 1: after it)
    while (above - below > 1).any():
        middle = (below + above) >> 1
        # Where the search has ended the middle may lie outside the range; its answer is not used there.
        reached = codes(start + sign * np.clip(middle, 0, span)) >= steps
        active = above - below > 1
        above = np.where(active & reached, middle, above)
        below = np.where(active & ~reached, middle, below)
    thresholds = start + sign * above
    _verify(codes, low, high, thresholds, falling)
    return thresholds, falling


def _verify(codes: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray, thresholds: np.ndarray,
            falling: np.ndarray) -> None:
    sign = np.where(falling, -1, 1)[:, None]
    around = np.concatenate([thresholds, thresholds - sign], 1)
    fractions = np.linspace(0.0, 1.0, SAMPLES)[None, :]
    spread = low[:, None] + np.rint(fractions * (high - low)[:, None]).astype(np.int64)
    points = np.clip(np.concatenate([around, spread], 1), low[:, None], high[:, None])
    actual = codes(points)
    for channel in range(len(low)):
        edge = np.searchsorted(sign[channel] * thresholds[channel], sign[channel] * points[channel], side="right")
        wrong = np.flatnonzero(edge != actual[channel])
        if len(wrong):
            raise ThresholdError(
                f"channel {channel}: the activation is not a monotone function of the accumulator; at "
                f"{points[channel, wrong[0]]} its code is {actual[channel, wrong[0]]}, the thresholds give "
                f"{edge[wrong[0]]}")
