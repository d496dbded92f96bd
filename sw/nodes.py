"""Constructors of graph nodes: they compute the output edge (shape, exact range, bits, scale) from the inputs.

Nobody writes an `Edge` by hand: the lowering, the tests and the passes build nodes here, and `check`
computes the same edges again after every pass.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from .graph import Add, Convolution, Edge, Flatten, GraphError, Input, MaxPool, Node, Threshold

__all__ = [
    "accumulator_bounds",
    "make_add",
    "make_average_pool",
    "make_convolution",
    "make_flatten",
    "make_input",
    "make_max_pool",
    "make_threshold",
    "output_size",
    "sum_factors",
]


def output_size(name: str, size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int],
                padding: tuple[int, int]) -> tuple[int, int]:
    """(H, W) after a sliding window: floor((size + 2 padding - kernel) / stride) + 1 along both axes.

    Raises
    ------
    GraphError
        If the window does not fit the padded map, or kernel, stride or padding is out of range.
    """
    for word, pair, low in (("kernel", kernel, 1), ("stride", stride, 1), ("padding", padding, 0)):
        if min(pair) < low:
            raise GraphError(f"{name}: {word} must be at least {low}, not {pair[0]}x{pair[1]}")
    out = [(s + 2 * p - k) // d + 1 for s, k, d, p in zip(size, kernel, stride, padding, strict=True)]
    if min(out) < 1:
        raise GraphError(f"{name}: kernel {kernel[0]}x{kernel[1]} does not fit an input of {size[0]}x{size[1]} "
                         f"with padding {padding[0]}x{padding[1]}")
    return out[0], out[1]


def accumulator_bounds(weights: np.ndarray, edge: Edge, padded: bool) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest accumulator of every output channel, int64 (C_out,), by interval arithmetic.

    Exact if each input element can take both ends of the input's range independently of the others; for a
    padded layer the code 0 of padding counts as one of the values.
    """
    low, high = (min(edge.low, 0), max(edge.high, 0)) if padded else (edge.low, edge.high)
    flat = weights.reshape(len(weights), -1)
    positive, negative = np.maximum(flat, 0).sum(1), np.minimum(flat, 0).sum(1)
    return positive * low + negative * high, positive * high + negative * low


def _scaled(scale: float | tuple[float, ...], factor: float | Sequence[float]) -> float | tuple[float, ...]:
    """Product of an input scale, one number, and a factor, one number or one a channel."""
    if isinstance(scale, tuple):
        raise TypeError("an input with per-channel scales cannot be reduced over its channels")
    if isinstance(factor, int | float):
        return float(scale * factor)
    return tuple(float(scale * value) for value in factor)


def make_input(name: str, shape: tuple[int, int, int], bits: int) -> Input:
    """Codes of ``bits`` bits from the host; the real value of a code is code / (2**bits - 1)."""
    high = (1 << bits) - 1
    return Input(name, (), Edge(shape, 0, high, bits, 1.0 / high))


def make_convolution(name: str, source: Node, weights: np.ndarray, *, weight_bits: int, bipolar: bool = True,
                     stride: tuple[int, int] = (1, 1), padding: tuple[int, int] = (0, 0), groups: int = 1,
                     weight_scale: float | Sequence[float] = 1.0, bias: np.ndarray | None = None) -> Convolution:
    """A convolution of the codes of ``source``; a fully connected layer when the kernel covers the map.

    Parameters
    ----------
    weights : integers (C_out, C_in / groups, kernel height, kernel width)
        See `graph.Convolution`; kept as int64.
    weight_scale : float or C_out floats
        Real value of a weight of 1, for the scale of the output edge.
    bias : integers (C_out,) or None
        Added to the accumulators.

    Raises
    ------
    GraphError
        If the shapes do not fit.
    """
    weights = np.ascontiguousarray(weights, np.int64)
    if weights.ndim != 4 or weights.shape[1] * groups != source.edge.shape[0]:
        parts = f" in {groups} groups" if groups != 1 else ""
        raise GraphError(f"{name}: weights of shape {weights.shape} do not fit an input of "
                         f"{source.edge.shape[0]} channels{parts} ({source.name})")
    if len(weights) % groups:
        raise GraphError(f"{name}: {len(weights)} output channels do not fall into {groups} groups")
    kernel = (weights.shape[2], weights.shape[3])
    size = output_size(name, source.edge.shape[1:], kernel, stride, padding)
    low, high = accumulator_bounds(weights, source.edge, padding != (0, 0))
    if bias is not None:
        bias = np.ascontiguousarray(bias, np.int64)
        if bias.shape != (len(weights),):
            raise GraphError(f"{name}: a bias of shape {bias.shape} does not fit {len(weights)} output channels")
        low, high = low + bias, high + bias
    edge = Edge((len(weights), *size), int(low.min()), int(high.max()), None,
                _scaled(source.edge.scale, weight_scale))
    return Convolution(name, (source.name,), edge, weights, weight_bits, bipolar, stride, padding, groups, bias)


def make_average_pool(name: str, source: Node, kernel: tuple[int, int], stride: tuple[int, int],
                      padding: tuple[int, int] = (0, 0)) -> Convolution:
    """Sums of codes over windows, channel by channel: accumulators whose scale makes them averages.

    It is a convolution of as many groups as channels whose weights are all 1. Padding counts as code 0.

    Raises
    ------
    GraphError
        If the window does not fit.
    """
    channels = source.edge.shape[0]
    return make_convolution(name, source, np.ones((channels, 1, *kernel), np.int64), weight_bits=1, stride=stride,
                            padding=padding, groups=channels, weight_scale=1.0 / (kernel[0] * kernel[1]))


def sum_factors(name: str, steps: Sequence[int], scales: Sequence[float]) -> tuple[tuple[int, ...], float]:
    """Integers f and a unit u with scales[i] / steps[i] = f[i] · u, the f without a common divisor.

    A scale counts as the fraction with a denominator of at most 256 that it is the nearest float of.

    Raises
    ------
    GraphError
        If a scale is no such fraction or zero, or an f exceeds 4095, for which the array would need 13 planes.
    """
    fractions = [Fraction(scale).limit_denominator(256) for scale in scales]
    for scale, fraction in zip(scales, fractions, strict=True):
        if float(fraction) != scale or not fraction:
            raise GraphError(f"{name}: a scale must be a fraction other than 0 with a denominator of at most 256, "
                             f"not {scale!r}")
    values = [fraction / step for fraction, step in zip(fractions, steps, strict=True)]
    unit = Fraction(math.gcd(*(value.numerator for value in values)),
                    math.lcm(*(value.denominator for value in values)))
    factors = tuple(int(value / unit) for value in values)
    if max(abs(factor) for factor in factors) > 4095:
        raise GraphError(f"{name}: scales {', '.join(map(str, scales))} of codes with {', '.join(map(str, steps))} "
                         f"steps need factors {', '.join(map(str, factors))}; supported: up to 4095")
    return factors, float(unit)


def make_add(name: str, sources: Sequence[Node], factors: Sequence[int] | None = None,
             scales: Sequence[float] | None = None) -> Add:
    """Weighted sum of code tensors.

    Without ``factors`` it is the sum of the real values times their ``scales`` (1 unless given): Σ s_i p_i / n_i with
    n_i = 2**bits - 1, in the unit of `sum_factors`.

    Raises
    ------
    GraphError
        If the shapes differ or a tensor is not codes.
    """
    first = sources[0]
    for source in sources:
        if source.edge.bits is None:
            raise GraphError(f"{name}: input {source.name} must be codes, not accumulators")
        if source.edge.shape != first.edge.shape:
            raise GraphError(f"{name}: inputs {first.name} and {source.name} have different shapes, "
                             f"{first.edge.shape} and {source.edge.shape}")
    scale: float = 1.0
    if factors is None:
        steps = [(1 << (source.edge.bits or 0)) - 1 for source in sources]
        factors, scale = sum_factors(name, steps, scales or [1.0] * len(steps))
    low = sum(min(f * s.edge.low, f * s.edge.high) for f, s in zip(factors, sources, strict=True))
    high = sum(max(f * s.edge.low, f * s.edge.high) for f, s in zip(factors, sources, strict=True))
    return Add(name, tuple(source.name for source in sources), Edge(first.edge.shape, low, high, None, scale),
               tuple(int(f) for f in factors))


def make_threshold(name: str, source: Node, thresholds: np.ndarray, falling: np.ndarray,
                   unit: float | None = None) -> Threshold:
    """Accumulators of ``source`` to codes of as many bits as 2**bits - 1 thresholds a channel ask for.

    ``unit`` is the real value of one step between codes; ``None`` is 1 / (2**bits - 1).

    Raises
    ------
    GraphError
        If the thresholds have the wrong shape.
    """
    thresholds = np.ascontiguousarray(thresholds, np.int64)
    falling = np.ascontiguousarray(falling, np.bool_)
    channels = source.edge.shape[0]
    count = thresholds.shape[1] if thresholds.ndim == 2 else 0
    if thresholds.shape != (channels, count) or count == 0 or count & (count + 1):
        raise GraphError(f"{name}: thresholds must have the shape ({channels}, 2**bits - 1), "
                         f"not {thresholds.shape}")
    edge = Edge(source.edge.shape, 0, count, count.bit_length(), 1.0 / count if unit is None else unit)
    return Threshold(name, (source.name,), edge, thresholds, falling)


def make_max_pool(name: str, source: Node, kernel: tuple[int, int], stride: tuple[int, int] | None = None,
                  padding: tuple[int, int] = (0, 0)) -> MaxPool:
    """Maximum over windows; without ``stride`` the windows do not overlap.

    Raises
    ------
    GraphError
        If the window does not fit.
    """
    stride = kernel if stride is None else stride
    size = output_size(name, source.edge.shape[1:], kernel, stride, padding)
    given = source.edge
    edge = Edge((given.shape[0], *size), given.low, given.high, given.bits, given.scale)
    return MaxPool(name, (source.name,), edge, kernel, stride, padding)


def make_flatten(name: str, source: Node) -> Flatten:
    """(C, H, W) to (C·H·W, 1, 1)."""
    given = source.edge
    edge = Edge((math.prod(given.shape), 1, 1), given.low, given.high, given.bits, given.scale)
    return Flatten(name, (source.name,), edge)
