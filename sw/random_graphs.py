"""Random layers and networks for tests and benchmarks.

A seeded generator gives the same graph every time. Thresholds follow the quantiles of each channel's
accumulators on random inputs, so that every code occurs; a few channels are constant, and about a third fall.
"""

import numpy as np

from .graph import Convolution, Graph, Node
from .nodes import (
    accumulator_bounds,
    make_add,
    make_convolution,
    make_flatten,
    make_input,
    make_max_pool,
    make_threshold,
)
from .reference import evaluate_output

__all__ = ["random_images", "random_layer", "random_network", "random_weights"]

CALIBRATION = 4
"""Random images whose accumulators set the thresholds."""


def random_images(rng: np.random.Generator, graph: Graph, count: int) -> np.ndarray:
    """Input codes, uint8 (count, C, H, W): uniform over the whole range, with the extremes more often."""
    edge = graph.input.edge
    shape = (count, *edge.shape)
    images = rng.integers(edge.low, edge.high + 1, shape)
    extremes = np.where(rng.random(shape) < 0.5, edge.low, edge.high)
    return np.where(rng.random(shape) < 0.1, extremes, images).astype(np.uint8)


def random_weights(rng: np.random.Generator, shape: tuple[int, ...], bits: int, bipolar: bool = True) -> np.ndarray:
    """int64 weights: odd 2q - (2**bits - 1) where bipolar, otherwise two's complement."""
    codes = rng.integers(0, 1 << bits, shape)
    return 2 * codes - ((1 << bits) - 1) if bipolar else codes - (1 << bits >> 1)


def random_layer(rng: np.random.Generator, weight_bits: int, activation_bits_in: int,
                 activation_bits_out: int | None = None, *, kernel: int | None = None, stride: int | None = None,
                 padding: int | None = None, pool: bool | None = None, channels_in: int | None = None,
                 channels_out: int | None = None, size: tuple[int, int] | None = None,
                 bipolar: bool = True) -> Graph:
    """One convolution on input codes, with thresholds and perhaps a max pool. What is not given is drawn.

    Nodes: ``input``, ``conv``, then ``act`` unless ``activation_bits_out`` is None (raw accumulators), then
    ``pool`` where pooled.

    Parameters
    ----------
    activation_bits_out : int or None
        Bits of the output codes; None for raw accumulators.
    kernel, stride, padding : int or None
        Of both axes; drawn from 1, 3, 5, from 1, 2 and from 0 to 2.
    pool : bool or None
        Max pooling after the thresholds; drawn kernels 2 and 3, strides 1 to 3, with and without padding.
    channels_in, channels_out : int or None
        Drawn from 1 to 24, multiples of nothing.
    size : (H, W) or None
        Of the input; drawn so that the layer has at least one output.
    """
    kernel = int(rng.choice([1, 3, 5])) if kernel is None else kernel
    stride = int(rng.integers(1, 3)) if stride is None else stride
    padding = int(rng.integers(0, 3)) if padding is None else padding
    channels_in = int(rng.integers(1, 25)) if channels_in is None else channels_in
    channels_out = int(rng.integers(1, 25)) if channels_out is None else channels_out
    if size is None:
        low = max(1, kernel - 2 * padding)
        size = (int(rng.integers(low, low + 9)), int(rng.integers(low, low + 9)))
    build = _Builder(rng, (channels_in, *size), activation_bits_in)
    build.convolution("conv", channels_out, bits=weight_bits, kernel=kernel, stride=stride, padding=padding,
                      bipolar=bipolar)
    if activation_bits_out is not None:
        build.threshold("act", activation_bits_out)
        if rng.random() < 0.4 if pool is None else pool:
            build.max_pool("pool")
    return build.graph("layer")


def random_network(rng: np.random.Generator, *, weight_bits: int | None = None,
                   activation_bits: int | None = None, input_bits: int = 8, blocks: int = 4,
                   size: int = 10, channels: int = 16) -> Graph:
    """Convolutions, max pools and residual additions, then flatten and fully connected layers.

    Each layer draws its own bits (1 to 8) unless they are given. The last layer has 8-bit weights and returns
    raw accumulators.

    Parameters
    ----------
    blocks : int
        Convolutional blocks; each is a convolution, pooled or not, or a residual block.
    size, channels : int
        Largest input height and width, and most channels of a layer.
    """
    def bits(given: int | None) -> int:
        return int(rng.integers(1, 9)) if given is None else given

    def width() -> int:
        return int(rng.integers(1, channels + 1))

    shape = (int(rng.integers(1, 4)), int(rng.integers(4, size + 1)), int(rng.integers(4, size + 1)))
    build = _Builder(rng, shape, input_bits)
    for index in range(blocks):
        name = f"block{index}"
        skip = build.last
        if index and rng.random() < 0.4:
            kernel = int(rng.choice([1, 3, 5]))
            build.convolution(f"{name}.conv", skip.edge.shape[0], bits=bits(weight_bits), kernel=kernel,
                              padding=kernel // 2)
            build.threshold(f"{name}.act", bits(activation_bits))
            build.append(make_add(f"{name}.add", (build.last, skip)))  # factors are odd and at most 255
            build.threshold(f"{name}.join", bits(activation_bits))
            continue
        height, row = skip.edge.shape[1:]
        padding = int(rng.integers(0, 3))
        fitting = [k for k in (1, 3, 5) if k <= min(height, row) + 2 * padding]
        kernel, stride = int(rng.choice(fitting)), int(rng.integers(1, 3))
        build.convolution(f"{name}.conv", width(), bits=bits(weight_bits), kernel=kernel, stride=stride,
                          padding=padding)
        build.threshold(f"{name}.act", bits(activation_bits))
        if rng.random() < 0.4:
            build.max_pool(f"{name}.pool")
    build.append(make_flatten("flatten", build.last))
    build.convolution("full.linear", width(), bits=bits(weight_bits))
    build.threshold("full.act", bits(activation_bits))
    build.convolution("last", 10, bits=8)
    return build.graph("network")


class _Builder:
    """Appends layers, and keeps the accumulators of a few random images to place thresholds by."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int, int], bits: int) -> None:
        self.rng = rng
        self.nodes: list[Node] = [make_input("input", shape, bits)]
        self.images = random_images(rng, self.graph("calibration"), CALIBRATION)

    @property
    def last(self) -> Node:
        return self.nodes[-1]

    def graph(self, name: str) -> Graph:
        return Graph(name, tuple(self.nodes))

    def append(self, node: Node) -> None:
        self.nodes.append(node)

    def convolution(self, name: str, channels: int, *, bits: int, kernel: int = 1, stride: int = 1,
                    padding: int = 0, bipolar: bool = True) -> None:
        shape = (channels, self.last.edge.shape[0], kernel, kernel)
        self.append(make_convolution(
            name, self.last, random_weights(self.rng, shape, bits, bipolar), weight_bits=bits, bipolar=bipolar,
            stride=(stride, stride), padding=(padding, padding)))

    def threshold(self, name: str, bits: int) -> None:
        values = evaluate_output(self.graph("calibration"), self.images)
        channels, count = values.shape[1], (1 << bits) - 1
        values = np.swapaxes(values, 0, 1).reshape(channels, -1)
        # Where the quantiles of few values coincide, noise of a tenth of the spread takes them apart.
        spread = values.std(1, keepdims=True) + 1.0
        quantiles = np.quantile(values, (np.arange(count) + 0.5) / count, axis=1).T
        quantiles += self.rng.normal(0.0, 0.1, quantiles.shape) * spread
        thresholds = np.sort(np.rint(quantiles).astype(np.int64), 1)
        low, high = (bound[:, None] for bound in self._bounds())
        constant = self.rng.random((channels, 1)) < 0.05
        reached = self.rng.integers(0, count + 1, (channels, 1))
        ends = np.where(np.arange(count) < reached, low, high + 1)
        thresholds = np.where(constant, ends, np.clip(thresholds, low, high + 1))
        falling = self.rng.random((channels, 1)) < 0.3
        # y <= t falls where y >= t + 1 rises; the mirrored thresholds keep the codes as well spread.
        thresholds = np.where(falling, thresholds[:, ::-1] - 1, thresholds)
        self.append(make_threshold(name, self.last, thresholds, falling[:, 0]))

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        node = self.last
        if not isinstance(node, Convolution):
            channels = node.edge.shape[0]
            return np.full(channels, node.edge.low), np.full(channels, node.edge.high)
        source = next(other for other in self.nodes if other.name == node.inputs[0])
        return accumulator_bounds(node.weights, source.edge, node.padding != (0, 0))

    def max_pool(self, name: str) -> None:
        height, width = self.last.edge.shape[1:]
        kernel = int(self.rng.integers(2, 4))
        padding = int(self.rng.integers(0, kernel // 2 + 1))
        while kernel > min(height, width) + 2 * padding:
            kernel, padding = kernel - 1, min(padding, (kernel - 1) // 2)
        stride = int(self.rng.integers(1, kernel + 1))
        self.append(make_max_pool(name, self.last, (kernel, kernel), (stride, stride), (padding, padding)))
