"""Sixth pass: which weights and thresholds stay in the circuit, and where.

Everything stays in its own memory where it fits. Otherwise each memory that overflows keeps a window, and stages are
split into *pieces*, groups of channel tiles that fit the window. Pieces are *parked* in the feature memory as far as
there is room, from where descriptors copy them into the window: then all of the overflowing memory is window. What is
not parked is streamed into the window by the host for every image; where nothing is parked, as many pieces as possible
stay resident beside a small window.
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
    when raw. A base is an address of the memory, or None where the piece comes into that memory's window: from its
    source, a feature address, or from the host where that is None too.
    """

    stage: int
    slice: Slice
    first_tile: int
    weights: np.ndarray
    thresholds: np.ndarray
    weight_base: int | None = None
    threshold_base: int | None = None
    weight_source: int | None = None
    threshold_source: int | None = None

    @property
    def tiles(self) -> int:
        return len(self.weights)

    @property
    def needs(self) -> tuple[int, int]:
        """Words of the weight and of the threshold memory."""
        return self.tiles * self.weights.shape[1], self.tiles * self.thresholds.shape[1]

    @property
    def bases(self) -> tuple[int | None, int | None]:
        return self.weight_base, self.threshold_base

    @property
    def sources(self) -> tuple[int | None, int | None]:
        return self.weight_source, self.threshold_source

    @property
    def resident(self) -> bool:
        return None not in self.bases

    @property
    def streamed(self) -> tuple[bool, bool]:
        """Whether the host writes the weights, and the thresholds, for every image."""
        contents = (self.weights, self.thresholds)
        pairs = zip(self.bases, self.sources, contents, strict=True)
        weights, thresholds = (base is None and source is None and words.size > 0 for base, source, words in pairs)
        return weights, thresholds


@dataclass(frozen=True)
class Residency:
    """Pieces in order of execution, where the windows of the two memories start (depth: no window), and how many
    addresses at the top of the feature memory are taken by what is parked there."""

    pieces: list[Piece]
    window_start: tuple[int, int]
    parked: int = 0

    @property
    def streamed_words(self) -> int:
        """Bus words that the host writes at least once for every image."""
        return sum(
            words.size for piece in self.pieces
            for words, streamed in zip((piece.weights, piece.thresholds), piece.streamed, strict=True) if streamed
        )  # fmt: skip


def place_weights(stages: list[Stage], config: FabricConfig, parking: int = 0) -> Residency:
    """Pack all weights and thresholds and give them addresses; park at most ``parking`` addresses of them in the
    feature memory. `CompileError` where one channel tile is too large."""
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
        starts[memory] = 0 if parking else depths[memory] - max(tile, depths[memory] // 4)
    window = tuple(depth - start for depth, start in zip(depths, starts, strict=True))
    store = _Store(starts, overflow=[total > depth for total, depth in zip(totals, depths, strict=True)])
    lot = _ParkingLot(config, parking)
    placed = [lot.park(store.place(part)) for piece in pieces for part in _split(piece, window, store.overflow)]
    return Residency(_merge(placed), (starts[0], starts[1]), lot.used)


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


class _ParkingLot:
    """The top of the feature memory, filled downwards; equal contents share an address."""

    def __init__(self, config: FabricConfig, limit: int) -> None:
        self.config, self.limit = config, limit
        self.used = 0
        self._known: dict[bytes, int] = {}
        # A bus word of the feature memory has to hold a threshold.
        self._possible = (True, config.threshold_bits <= min(32, config.lanes))

    def park(self, piece: Piece) -> Piece:
        """The piece with sources for what has no base, as far as there is room."""
        sources = [
            self._source(words) if base is None and possible else None
            for base, words, possible in zip(piece.bases, (piece.weights, piece.thresholds), self._possible,
                                             strict=True)
        ]  # fmt: skip
        return replace(piece, weight_source=sources[0], threshold_source=sources[1])

    def _source(self, words: np.ndarray) -> int | None:
        contents = words.tobytes()
        size = -(-words.size // (self.config.rows * self.config.bus_words))
        if contents not in self._known and size and self.used + size <= self.limit:
            self.used += size
            self._known[contents] = self.config.feature_depth - self.used
        return self._known.get(contents)


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
