"""Sixth pass: which weights and thresholds stay in the circuit, and which are streamed for every image.

Everything stays where it fits. Otherwise each memory that overflows keeps a window for streaming; stages are split
into *pieces*, groups of channel tiles that fit the window, and as many pieces as possible stay resident beside it.
"""

from dataclasses import dataclass, replace

import numpy as np

from dorefabric.hw.config import FabricConfig

from .packing import pack_thresholds, pack_weights
from .stages import CompileError, Slice, Stage

__all__ = ["Piece", "Residency", "place_weights"]


@dataclass(frozen=True, eq=False)
class Piece:
    """Channel tiles ``first_tile`` … of one slice of a stage, run by one descriptor.

    weights : uint32 (tiles, words, columns, bus_words); thresholds : uint32 (tiles, entries, columns), entries 0
    when raw. A base is an address of the memory, or None where the piece is streamed into that memory's window.
    """

    stage: int
    slice: Slice
    first_tile: int
    weights: np.ndarray
    thresholds: np.ndarray
    weight_base: int | None = None
    threshold_base: int | None = None

    @property
    def tiles(self) -> int:
        return len(self.weights)

    @property
    def needs(self) -> tuple[int, int]:
        """Words of the weight and of the threshold memory."""
        return self.tiles * self.weights.shape[1], self.tiles * self.thresholds.shape[1]

    @property
    def resident(self) -> bool:
        return self.weight_base is not None and self.threshold_base is not None


@dataclass(frozen=True)
class Residency:
    """Pieces in order of execution, and where the streaming windows of the two memories start (depth: no window)."""

    pieces: list[Piece]
    window_start: tuple[int, int]


def place_weights(stages: list[Stage], config: FabricConfig) -> Residency:
    """Pack all weights and thresholds and give them addresses. `CompileError` where one channel tile is too large."""
    pieces = [_pack(index, part, config) for index, stage in enumerate(stages) for part in stage.slices]
    depths = (config.weight_depth, config.threshold_depth)
    totals = _distinct_words(pieces)
    starts = list(depths)
    for memory, name in enumerate(("weight_depth", "threshold_depth")):
        if totals[memory] <= depths[memory]:
            continue
        largest = max(pieces, key=lambda piece: piece.needs[memory] // piece.tiles)
        tile = largest.needs[memory] // largest.tiles
        if tile > depths[memory]:
            raise CompileError(
                f"{stages[largest.stage].name}: one channel tile needs {tile} words, but {name} is "
                f"{depths[memory]}: generate a configuration with {name} of at least {tile}"
            )
        starts[memory] = depths[memory] - max(tile, depths[memory] // 4)
    window = tuple(depth - start for depth, start in zip(depths, starts, strict=True))
    store = _Store(starts, overflow=[total > depth for total, depth in zip(totals, depths, strict=True)])
    placed = [store.place(part) for piece in pieces for part in _split(piece, window, store.overflow)]
    return Residency(_merge(placed), (starts[0], starts[1]))


def _pack(stage: int, part: Slice, config: FabricConfig) -> Piece:
    weights = pack_weights(part.planes.bits, config)
    if part.limits is None:
        thresholds = np.zeros((len(weights), 0, config.columns), np.uint32)
    else:
        thresholds = pack_thresholds(part.limits, config)
    return Piece(stage, part, 0, weights, thresholds)


def _distinct_words(pieces: list[Piece]) -> tuple[int, int]:
    """Words of both memories when equal contents are stored once."""
    weights = {piece.weights.tobytes(): piece.needs[0] for piece in pieces}
    thresholds = {piece.thresholds.tobytes(): piece.needs[1] for piece in pieces}
    return sum(weights.values()), sum(thresholds.values())


def _split(piece: Piece, window: tuple[int, ...], overflow: list[bool]) -> list[Piece]:
    """Groups of channel tiles that fit the windows of the memories that overflow."""
    most = piece.tiles
    for memory in (0, 1):
        tile = piece.needs[memory] // piece.tiles
        if overflow[memory] and tile:
            most = min(most, window[memory] // tile)
    return [
        replace(piece, first_tile=first, weights=piece.weights[first : first + most],
                thresholds=piece.thresholds[first : first + most])
        for first in range(0, piece.tiles, most)
    ]  # fmt: skip


class _Store:
    """The resident parts of both memories, filled in order; equal contents share an address."""

    def __init__(self, capacity: list[int], overflow: list[bool]) -> None:
        self.capacity, self.overflow = capacity, overflow
        self.used = [0, 0]
        self.known: list[dict[bytes, int]] = [{}, {}]

    def place(self, piece: Piece) -> Piece:
        contents = (piece.weights.tobytes(), piece.thresholds.tobytes())
        added = [0 if contents[m] in self.known[m] else piece.needs[m] for m in (0, 1)]
        fits = [self.used[m] + added[m] <= self.capacity[m] for m in (0, 1)]
        bases: list[int | None] = [None, None]
        for m in (0, 1):
            if not self.overflow[m] or all(fits):
                bases[m] = self.known[m].setdefault(contents[m], self.used[m])
                self.used[m] += added[m]
        return replace(piece, weight_base=bases[0], threshold_base=bases[1])


def _merge(pieces: list[Piece]) -> list[Piece]:
    """Resident neighbours of one slice become one piece again where their addresses follow each other."""
    merged: list[Piece] = []
    for piece in pieces:
        last = merged[-1] if merged else None
        if (
            last is not None and last.slice is piece.slice and last.resident and piece.resident
            and piece.weight_base == (last.weight_base or 0) + last.needs[0]
            and piece.threshold_base == (last.threshold_base or 0) + last.needs[1]
        ):  # fmt: skip
            merged[-1] = replace(last, weights=np.concatenate([last.weights, piece.weights]),
                                 thresholds=np.concatenate([last.thresholds, piece.thresholds]))  # fmt: skip
        else:
            merged.append(piece)
    return merged
