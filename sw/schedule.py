"""Seventh pass: descriptors in order of execution, cut into steps where the host has to write or load something."""

from dataclasses import dataclass, field, replace

import numpy as np

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.isa import DESCRIPTOR_FIELDS, DESCRIPTOR_WORDS, encode_fields
from dorefabric.hw.registers import address

from .emit import Run, emit
from .placement import Placement
from .program import Load, Step, Write
from .residency import Piece, Residency
from .stages import CompileError, Stage

__all__ = ["Chain", "link_program", "resident_writes", "schedule"]


@dataclass
class Chain:
    """A step whose descriptors have no addresses yet: (stage number, descriptor) in order."""

    writes: list[Write] = field(default_factory=list)
    load: Load | None = None
    runs: list[tuple[int, Run]] = field(default_factory=list)


def schedule(
    stages: list[Stage], forms: list[str], residency: Residency, placement: Placement, config: FabricConfig
) -> list[Chain]:
    """Chains of one image. ``forms`` are the names of the input forms, in the order in which `Load` counts them."""
    chains = [Chain()]
    window = _Window(residency.window_start, (config.weight_depth, config.threshold_depth))
    for index, stage in enumerate(stages):
        pieces = [piece for piece in residency.pieces if piece.stage == index]
        form = next((tensor.name for tensor in stage.inputs if tensor.name in placement.bands), None)
        height = stage.output.shape[1]
        rows = placement.bands[form] if form is not None else height
        bands = [(first, min(height, first + rows)) for first in range(0, height, rows)]
        loaded = None
        for piece, band in _order(pieces, bands):
            if form is not None and loaded != band:
                if chains[-1].runs or chains[-1].load is not None:
                    chains.append(Chain())
                count = (band[1] - band[0] - 1) * stage.step[0] + stage.pool[0]
                if len(bands) == 1:
                    count = placement.layouts[form].height
                chains[-1].load = Load(forms.index(form), band[0] * stage.step[0], count)
                loaded = band
            if not piece.resident and not window.fits(piece):
                window.clear()
            if any(piece.streamed) and not window.holds(piece) and window.cleared and chains[-1].runs:
                # The host writes before a chain runs, so not over what the chain itself still puts there.
                chains.append(Chain())
            if not chains[-1].runs:
                window.cleared = False
            bases, copied, writes = window.bases(piece, config)
            chains[-1].writes += writes
            run = emit(stage, piece, bases, band, placement, config)
            chains[-1].runs.append((index, replace(run, fields=run.fields | copied)))
    assert all(chain.runs for chain in chains)
    return chains


def _order(pieces: list[Piece], bands: list[tuple[int, int]]) -> list[tuple[Piece, tuple[int, int]]]:
    """Bands outside when the host streams no weights, so that rows are loaded once; else pieces outside."""
    if not any(any(piece.streamed) for piece in pieces):
        return [(piece, band) for band in bands for piece in pieces]
    return [(piece, band) for piece in pieces for band in bands]


class _Window:
    """What the windows of the weight and the threshold memory hold at a point of the schedule.

    cleared : whether something is overwritten since the chain began
    """

    def __init__(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        self._start, self._end = start, end
        self._next = list(start)
        self._held: dict[int, tuple[int, int]] = {}
        self.cleared = False

    def clear(self) -> None:
        self._next = list(self._start)
        self._held = {}
        self.cleared = True

    def holds(self, piece: Piece) -> bool:
        return id(piece) in self._held

    def fits(self, piece: Piece) -> bool:
        """Whether the piece is in the windows or can be added to them."""
        added = self._added(piece)
        return self.holds(piece) or all(self._next[m] + added[m] <= self._end[m] for m in (0, 1))

    def bases(self, piece: Piece, config: FabricConfig) -> tuple[tuple[int, int], dict[str, int], list[Write]]:
        """Addresses of a piece's weights and thresholds, the descriptor fields that copy parked ones there, and the
        writes that put streamed ones there."""
        own = piece.bases
        if self.holds(piece) or piece.resident:
            held = self._held.get(id(piece), (0, 0))
            return (held[0] if own[0] is None else own[0], held[1] if own[1] is None else own[1]), {}, []
        bases = tuple(self._next[m] if base is None else base for m, base in enumerate(own))
        added = self._added(piece)
        for m in (0, 1):
            self._next[m] += added[m]
        self._held[id(piece)] = (bases[0], bases[1])
        writes: list[Write] = []
        copied: dict[str, int] = {}
        if piece.streamed[0]:
            writes.append(_write("weights", bases[0] * config.columns * config.bus_words, piece.weights))
        if piece.streamed[1]:
            writes.append(_write("thresholds", bases[1] * config.columns, piece.thresholds))
        if piece.weight_source is not None:
            copied |= {"weight_source": piece.weight_source, "weight_words": piece.needs[0]}
        if piece.threshold_source is not None:
            copied |= {"threshold_source": piece.threshold_source, "threshold_entries": piece.needs[1]}
        return (bases[0], bases[1]), copied, writes

    def _added(self, piece: Piece) -> tuple[int, int]:
        return piece.needs[0] if piece.bases[0] is None else 0, piece.needs[1] if piece.bases[1] is None else 0


def resident_writes(residency: Residency, config: FabricConfig) -> list[Write]:
    """Weights and thresholds that are written once, those that are parked included. Pieces that share contents share an
    address; the longest counts."""
    by_length = sorted(residency.pieces, key=lambda piece: piece.tiles)
    weights = {piece.weight_base: piece.weights for piece in by_length}
    thresholds = {piece.threshold_base: piece.thresholds for piece in by_length}
    writes = [_write("weights", base * config.columns * config.bus_words, words)
              for base, words in weights.items() if base is not None]  # fmt: skip
    writes += [_write("thresholds", base * config.columns, words)
               for base, words in thresholds.items() if base is not None and words.size]  # fmt: skip
    sources = {source: words for piece in residency.pieces
               for source, words in zip(piece.sources, (piece.weights, piece.thresholds), strict=True)}  # fmt: skip
    writes += [_write("features", source * config.bank_pitch * config.bus_words, _across_banks(words, config))
               for source, words in sources.items() if source is not None]  # fmt: skip
    return writes


def _across_banks(words: np.ndarray, config: FabricConfig) -> np.ndarray:
    """A block as it is parked: the words of each address, and nothing for the banks that do not exist."""
    used, pitch = config.rows * config.bus_words, config.bank_pitch * config.bus_words
    flat = np.pad(words.reshape(-1), (0, -words.size % used)).reshape(-1, used)
    return np.pad(flat, ((0, 0), (0, pitch - used)))


def _write(space: str, offset: int, words: np.ndarray) -> Write:
    return Write(address(space, offset), np.ascontiguousarray(words.reshape(-1), dtype=np.uint32))


# Program and tap memory -------------------------------------------------------------------------


def link_program(
    chains: list[Chain], names: list[str], config: FabricConfig
) -> tuple[list[Write], list[Step], list[tuple[int, int, int]]]:
    """Give descriptors, pairs and taps addresses.

    Returns the resident writes, the steps, and (stage, step, position) of every descriptor in order. Where all
    chains fit the program memory together, it is written once; else each step brings its own. The same for taps.
    """
    resident_program = _program_words(chains) <= config.program_depth
    resident_taps = _tap_words(chains) <= config.tap_depth
    chains = [part for chain in chains for part in _split(chain, names, config, resident_program, resident_taps)]
    whole = _Image()
    images = [whole if resident_program else _Image() for _ in chains]
    tap_whole: dict[tuple[int, ...], int] = {}
    tap_images = [tap_whole if resident_taps else {} for _ in chains]
    for chain, image in zip(chains, images, strict=True):
        image.reserve(chain)
    steps, where = [], []
    for number, (chain, image, taps) in enumerate(zip(chains, images, tap_images, strict=True)):
        start = image.add(chain, taps)
        where += [(stage, number, position) for position, (stage, _) in enumerate(chain.runs)]
        writes = list(chain.writes)
        if not resident_taps:
            writes.append(_tap_write(taps))
        if not resident_program:
            writes.append(Write(address("program"), image.words()))
        steps.append(Step(tuple(writes), chain.load, start, len(chain.runs)))
    resident = [Write(address("program"), whole.words())] if resident_program else []
    return resident + ([_tap_write(tap_whole)] if resident_taps else []), steps, where


def _program_words(chains: list[Chain]) -> int:
    runs = [run for chain in chains for _, run in chain.runs]
    return len(runs) * DESCRIPTOR_WORDS + sum(map(len, {run.pairs for run in runs}))


def _tap_words(chains: list[Chain]) -> int:
    return sum(map(len, {run.taps for chain in chains for _, run in chain.runs}))


def _split(chain: Chain, names: list[str], config: FabricConfig, resident_program: bool,
           resident_taps: bool) -> list[Chain]:  # fmt: skip
    """A chain in parts that fit the program and tap memories where these are written step by step."""
    parts = [Chain(chain.writes, chain.load)]
    for stage, run in chain.runs:
        for memory, words, depth in (("program_depth", DESCRIPTOR_WORDS + len(run.pairs), config.program_depth),
                                     ("tap_depth", len(run.taps), config.tap_depth)):  # fmt: skip
            if words > depth:
                raise CompileError(
                    f"{names[stage]}: one descriptor needs {words} words, but {memory} is {depth}: "
                    f"generate a configuration with {memory} of at least {words}"
                )
        trial = [Chain(runs=[*parts[-1].runs, (stage, run)])]
        too_long = not resident_program and _program_words(trial) > config.program_depth
        if too_long or (not resident_taps and _tap_words(trial) > config.tap_depth):
            parts.append(Chain())
        parts[-1].runs.append((stage, run))
    return parts


class _Image:
    """The program memory: chains of descriptors first, then the lists of plane pairs that they share."""

    def __init__(self) -> None:
        self._descriptors: list[int] = []
        self._reserved = 0
        self._pairs: list[int] = []
        self._known: dict[tuple[int, ...], int] = {}

    def reserve(self, chain: Chain) -> None:
        self._reserved += len(chain.runs) * DESCRIPTOR_WORDS

    def add(self, chain: Chain, taps: dict[tuple[int, ...], int]) -> int:
        """Append a chain, its pairs, and its taps to ``taps``; returns the address of the first descriptor."""
        start = len(self._descriptors)
        for position, (_, run) in enumerate(chain.runs):
            if run.pairs not in self._known:
                self._known[run.pairs] = self._reserved + len(self._pairs)
                self._pairs += run.pairs
            tap_base = taps.setdefault(run.taps, sum(map(len, taps)))
            fields = run.fields | {
                "last": int(position == len(chain.runs) - 1), "pair_base": self._known[run.pairs], "tap_base": tap_base,
            }  # fmt: skip
            self._descriptors += encode_fields(DESCRIPTOR_FIELDS, fields, DESCRIPTOR_WORDS)
        return start

    def words(self) -> np.ndarray:
        return np.array(self._descriptors + self._pairs, np.uint32)


def _tap_write(taps: dict[tuple[int, ...], int]) -> Write:
    return Write(address("taps"), np.array([word for words in taps for word in words], np.uint32))
