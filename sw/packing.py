"""Between arrays of numbers and words of the circuit's memories: features, input windows, weights, thresholds."""

import numpy as np

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.layout import FeatureLayout

from .memories import bits_to_words, words_to_bits

__all__ = ["pack_features", "pack_thresholds", "pack_weights", "unfold", "unpack_features"]


def unfold(codes: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> np.ndarray:
    """Every window of a convolution as one pixel: (N, C, H, W) to (N, C * kernel height * kernel width, H', W').

    Channels of the result are in the order of flattened weights (C, kernel height, kernel width).
    """
    (top, left), (down, right) = padding, stride
    padded = np.pad(codes, ((0, 0), (0, 0), (top, top), (left, left)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(2, 3))[:, :, ::down, ::right]
    n, c, height, width = windows.shape[:4]
    return windows.transpose(0, 1, 4, 5, 2, 3).reshape(n, c * kernel[0] * kernel[1], height, width)


def pack_features(codes: np.ndarray, layout: FeatureLayout) -> np.ndarray:
    """Unsigned codes (N, C, height, width) to the bus words of a map: (N, size * bank_pitch * bus_words)."""
    n, channels, height, width = codes.shape
    places, stride = height * layout.pitch, layout.stride
    # image, chunk, lane, place, position in the stride
    padded = np.zeros((n, layout.chunks * layout.lanes, height, layout.pitch * stride), codes.dtype)
    padded[:, :channels, :, :width] = codes
    spread = padded.reshape(n, layout.chunks, layout.lanes, places, stride)
    groups, absent = -(-places // layout.rows), layout.bank_pitch - layout.rows
    spread = np.pad(spread, ((0, 0),) * 3 + ((0, groups * layout.rows - places), (0, 0)))
    spread = spread.reshape(n, layout.chunks, layout.lanes, groups, layout.rows, stride)
    # image, group, position, chunk, bank, lane
    ordered = np.pad(spread.transpose(0, 3, 5, 1, 4, 2), ((0, 0),) * 4 + ((0, absent), (0, 0)))
    ordered = np.ascontiguousarray(ordered)
    planes = [bits_to_words(ordered >> codes.dtype.type(p) & codes.dtype.type(1)) for p in range(layout.planes)]
    return np.stack(planes, axis=3).reshape(n, -1)


def unpack_features(words: np.ndarray, layout: FeatureLayout) -> np.ndarray:
    """Inverse of `pack_features`: int64 (N, C, height, width), from (N, size * bank_pitch * bus_words) words."""
    n, places = words.shape[0], layout.height * layout.pitch
    groups = -(-places // layout.rows)
    shape = (n, groups, layout.stride, layout.planes, layout.chunks, layout.bank_pitch, -1)
    bits = words_to_bits(words.reshape(shape))[..., : layout.rows, : layout.lanes]
    codes = np.zeros(bits.shape[:3] + bits.shape[4:], np.int64)
    for plane in range(layout.planes):
        codes |= bits[:, :, :, plane].astype(np.int64) << plane
    # image, group, position, chunk, bank, lane -> image, chunk, lane, group, bank, position
    result = codes.transpose(0, 3, 5, 1, 4, 2).reshape(n, layout.chunks * layout.lanes, -1, layout.stride)
    result = result[:, :, :places].reshape(n, layout.chunks * layout.lanes, layout.height, -1)
    return result[:, : layout.channels, :, : layout.width]


def pack_weights(bits: np.ndarray, config: FabricConfig) -> np.ndarray:
    """Weight planes uint8 (planes, outputs, inputs, taps) to words uint32 (tiles, words, columns, bus_words).

    The words of a channel tile are ordered plane, tap, chunk: the order in which the array reads them.
    """
    planes, outputs, inputs, taps = bits.shape
    tiles, chunks = -(-outputs // config.columns), -(-inputs // config.lanes)
    padded = np.zeros((planes, tiles * config.columns, chunks * config.lanes, taps), np.uint8)
    padded[:, :outputs, :inputs] = bits
    split = padded.reshape(planes, tiles, config.columns, chunks, config.lanes, taps)
    ordered = np.ascontiguousarray(split.transpose(1, 0, 5, 3, 2, 4))
    return bits_to_words(ordered).reshape(tiles, planes * taps * chunks, config.columns, config.bus_words)


def pack_thresholds(limits: np.ndarray, config: FabricConfig) -> np.ndarray:
    """Limits (outputs, 2**bits - 1), non-increasing along codes, to trees uint32 (tiles, 2**bits, columns).

    Entry n of a tree is node n in heap order: the root, node 1, decides the most significant bit of the code.
    Entry 0 is unused; columns beyond the last output have limit 0 and so code 0.
    """
    outputs, count = limits.shape
    tiles, bits = -(-outputs // config.columns), (count + 1).bit_length() - 1
    heap = np.zeros((tiles * config.columns, count + 1), np.uint32)
    for level in range(bits):
        step = 1 << bits - 1 - level
        # Node prefix of this level asks whether the code is at least (2 prefix + 1) step.
        heap[:outputs, 1 << level : 2 << level] = limits[:, step - 1 :: 2 * step]
    return np.ascontiguousarray(heap.reshape(tiles, config.columns, count + 1).transpose(0, 2, 1))
