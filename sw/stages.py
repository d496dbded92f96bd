"""Stages: what the array does in one go, between the integer graph and descriptors.

A stage slides a window over its input tensors, counts mismatches with weight planes, takes thresholds, keeps the
maximum over pool positions and stores one tensor. Its weights are one or several *slices*: a convolution has one,
from all input chunks to all output channels; a grouped convolution has several (`groups`); a channel-by-channel stage
(identity, residual addition) has one per chunk of ``lanes`` channels, because outputs of a chunk depend on that chunk
alone.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.errors import DorefabricError

from .cycles import descriptor_cycles
from .groups import stored_channels, stored_positions
from .weight_planes import WeightPlanes, mismatch_limits

__all__ = ["CompileError", "Slice", "Stage", "Tensor", "channelwise_slices", "identity_stage", "tile_cost"]


class CompileError(DorefabricError, ValueError):
    """A network that this configuration cannot run; the message names the layer and the way out."""


@dataclass(frozen=True)
class Tensor:
    """A tensor between stages.

    shape : (C, H, W); bits : planes stored; edge : the graph edge it is, None for a copy or an input form;
    stride, pitch : x stride of its consumers, and places of an image row, which decide its banks
        (`dorefabric.hw.layout`); without a pitch, image rows begin in bank 0
    parts : the channels are stored in as many equal parts, each beginning with a chunk of its own (`groups`)
    """

    name: str
    shape: tuple[int, int, int]
    bits: int
    edge: str | None = None
    stride: int = 1
    parts: int = 1
    pitch: int | None = None

    def channels(self, config: FabricConfig) -> int:
        """Channels stored, with those between the parts, which are 0."""
        return stored_channels(self.shape[0], self.parts, config.lanes)

    def positions(self, config: FabricConfig) -> np.ndarray:
        """Where each channel is stored: int64 (C,)."""
        return stored_positions(self.shape[0], self.parts, config.lanes)

    def chunks(self, config: FabricConfig) -> int:
        return -(-self.channels(config) // config.lanes)


@dataclass(frozen=True, eq=False)
class Slice:
    """Weights of input channels from chunk ``chunk`` on, and of output channels from channel tile ``tile`` on.

    planes : bits (planes, outputs, inputs, taps); limits : int64 (outputs, 2**bits − 1), None where raw
    """

    planes: WeightPlanes
    limits: np.ndarray | None
    chunk: int = 0
    tile: int = 0


@dataclass(frozen=True, eq=False)
class Stage:
    """One pass of the array over ``inputs`` (several only for a residual addition) that stores ``output``.

    An output pixel (y, x) reads input rows y * stride * pool stride + pool position * stride + tap − padding.
    channelwise : whether every output chunk reads the input chunk of its own number only (identity, addition)
    useful : binary operations of the graph that it performs
    constants : int64 (C,) K of raw outputs
    """

    name: str
    inputs: tuple[Tensor, ...]
    output: Tensor
    slices: tuple[Slice, ...]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    pool: tuple[int, int] = (1, 1)
    pool_stride: tuple[int, int] = (1, 1)
    channelwise: bool = False
    useful: int = 0
    constants: np.ndarray | None = None

    @property
    def raw(self) -> bool:
        return self.slices[0].limits is None

    @property
    def divisor(self) -> int:
        return self.slices[0].planes.divisor

    @property
    def step(self) -> tuple[int, int]:
        """Input rows and columns between neighbouring output pixels."""
        return self.stride[0] * self.pool_stride[0], self.stride[1] * self.pool_stride[1]

    def rewired(self, tensors: dict[str, Tensor]) -> "Stage":
        """The stage with input and output tensors replaced by name."""
        inputs = tuple(tensors.get(tensor.name, tensor) for tensor in self.inputs)
        return replace(self, inputs=inputs, output=tensors.get(self.output.name, self.output))


def channelwise_slices(
    factors: tuple[int, ...], channels: int, activation_bits: int, thresholds: np.ndarray | None,
    falling: np.ndarray | None, config: FabricConfig
) -> tuple[Slice, ...]:  # fmt: skip
    """Σ factors[i] · input i, channel by channel: one slice per chunk, with one tap per input.

    Every chunk has weights for all of its lanes, used or not, so that chunks share one copy in the weight memory.
    """
    lanes = config.lanes
    weights = np.eye(lanes, dtype=np.int64)[:, :, None] * np.array(factors, np.int64)
    planes = WeightPlanes.general(weights)
    slices = []
    for chunk in range(-(-channels // lanes)):
        part = slice(chunk * lanes, min(channels, (chunk + 1) * lanes))
        used = part.stop - part.start
        own = WeightPlanes(planes.bits[:, :used], planes.significance, planes.divisor)
        if thresholds is None or falling is None:
            slices.append(Slice(own, None, chunk, chunk * config.segments))
        else:
            slices.append(Slice(*mismatch_limits(own, activation_bits, thresholds[part], falling[part],
                                                 config.threshold_bits), chunk, chunk * config.segments))  # fmt: skip
    return tuple(slices)


def identity_stage(
    name: str, source: Tensor, output: Tensor, config: FabricConfig, *, kernel: tuple[int, int] = (1, 1),
    stride: tuple[int, int] = (1, 1), padding: tuple[int, int] = (0, 0),
) -> Stage:  # fmt: skip
    """A stage that stores the codes it reads, or their maximum over a window (padding counts as code 0)."""
    channels = source.channels(config)
    levels = np.broadcast_to(np.arange(1, 1 << output.bits), (channels, (1 << output.bits) - 1))
    slices = channelwise_slices((1,), channels, source.bits, levels, np.zeros(channels, bool), config)
    return Stage(name, (source,), output, slices, padding=padding, pool=kernel, pool_stride=stride, channelwise=True)


def tile_cost(
    config: FabricConfig, *, channels: int, height: int, width: int, pool_taps: int, steps: int, planes: int,
    step: int = 1,
) -> int:  # fmt: skip
    """Cycles of a stage in one descriptor, to compare alternatives; ``steps`` are those of one tile of results, and
    ``step`` are the input rows between output rows."""
    if config.row_wrap and width >= config.rows and width % math.gcd(step, config.rows) == 0:
        height, width = 1, height * width
    descriptor = {
        "channel_tiles": -(-channels // config.columns), "y_count": height, "x_tiles": -(-width // config.rows),
        "pool_taps": pool_taps, "pairs": steps, "taps": 1, "chunks": 1, "planes": planes,
        "weight_words": 0, "threshold_entries": 0,
    }  # fmt: skip
    return descriptor_cycles(config, descriptor).cycles
