"""How an integer matrix product is cut into tiles that fit a configuration's memories, and a tile's descriptor.

The product of unsigned codes X (pixels, length) and Q (filters, length) is a convolution of one tap: rows of X are the
pixels of an image one pixel high, rows of Q are filters, the reduction axis lies in the lanes. The array counts

    M = (2^b - 1) Σ x + (2^a - 1) Σ q - 2 Σ x q,        so        Σ x q = ((2^b - 1) Σ x + (2^a - 1) Σ q - M) / 2

for a planes of X and b planes of Q, and stores M itself. Unused lanes hold 0 in both and count nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.errors import DorefabricError
from dorefabric.hw.isa import DESCRIPTOR_WORDS
from dorefabric.hw.layout import FeatureLayout
from dorefabric.hw.timing import raw_planes

from .cycles import Cycles, descriptor_cycles, run_cycles
from .emit import Run, emit
from .placement import Placement
from .residency import Piece
from .stages import Slice, Stage, Tensor
from .weight_planes import WeightPlanes

__all__ = ["MatrixError", "Plan", "Tile", "TileProgram", "cheapest_plan", "plan_product", "tile_program"]


class MatrixError(DorefabricError, ValueError):
    """A product that the array cannot compute; the message names the size and the way out."""


@dataclass(frozen=True)
class Tile:
    """A product that one descriptor computes: (pixels, length) by (filters, length), of a and b planes."""

    pixels: int
    filters: int
    length: int
    pixel_bits: int
    filter_bits: int

    @property
    def largest_count(self) -> int:
        """The largest mismatch count."""
        return self.length * ((1 << self.pixel_bits) - 1) * ((1 << self.filter_bits) - 1)

    @property
    def pair_operations(self) -> int:
        """Binary multiply-accumulates: one for every plane pair of every two codes that meet."""
        return self.pixels * self.filters * self.length * self.pixel_bits * self.filter_bits


@dataclass(frozen=True, eq=False)
class TileProgram:
    """A tile's descriptor without addresses, where its operand and its counts lie, its predicted counters, and how many
    cycles the circuit is busy with it."""

    run: Run
    source: FeatureLayout
    target: FeatureLayout
    cycles: Cycles
    busy: int

    @property
    def words(self) -> int:
        """Words of program memory."""
        return DESCRIPTOR_WORDS + len(self.run.pairs)


@dataclass(frozen=True)
class Plan:
    """Tile sizes of a product; every size but the last of an axis is equal."""

    size: Tile
    pixels: int
    filters: int
    length: int

    def tiles(self) -> Iterator[tuple[slice, slice, slice]]:
        """(pixels, filters, length) of every tile; the filters of neighbours are equal as long as possible."""
        size = self.size
        for k in range(0, size.length, self.length):
            for n in range(0, size.filters, self.filters):
                for m in range(0, size.pixels, self.pixels):
                    yield (slice(m, min(size.pixels, m + self.pixels)), slice(n, min(size.filters, n + self.filters)),
                           slice(k, min(size.length, k + self.length)))  # fmt: skip

    def tile(self, m: slice, n: slice, k: slice) -> Tile:
        """The product of one element of `tiles`."""
        return Tile(m.stop - m.start, n.stop - n.start, k.stop - k.start, self.size.pixel_bits, self.size.filter_bits)

    def cost(self, config: FabricConfig) -> int:
        """Clock cycles of computing, and of a bus word a cycle for operands and counts."""
        total, last = 0, None
        for m, n, k in self.tiles():
            tile = self.tile(m, n, k)
            program = tile_program(config, tile)
            words = (program.source.size + program.target.size) * config.bank_pitch
            if (n, k) != last:
                last = n, k
                words += _tiles(tile.filters, config) * tile.filter_bits * _chunks(tile.length, config) * config.columns
            total += program.busy + words * config.bus_words
        return total


@lru_cache(maxsize=4096)
def cheapest_plan(config: FabricConfig, size: Tile) -> tuple[Plan, bool]:
    """The plan with the fewest cycles and bus words of the two orders of the operands, and whether they are swapped:
    then the rows of filters are the pixels. `MatrixError` where neither is possible, for the order as it is."""
    swapped = Tile(size.filters, size.pixels, size.length, size.filter_bits, size.pixel_bits)
    plans: list[tuple[int, bool, Plan]] = []
    refusal: MatrixError | None = None
    for one in (size, swapped):
        try:
            plan = plan_product(config, one)
            plans.append((plan.cost(config), one is swapped, plan))
        except MatrixError as error:
            refusal = refusal or error
    if not plans:
        assert refusal is not None
        raise refusal
    _, turned, best = min(plans, key=lambda item: item[:2])
    return best, turned


def _chunks(length: int, config: FabricConfig) -> int:
    return -(-length // config.lanes)


def _tiles(filters: int, config: FabricConfig) -> int:
    return -(-filters // config.columns)


def _planes(tile: Tile, config: FabricConfig) -> int:
    return raw_planes(config, tile.largest_count)


def _even(size: int, most: int, unit: int) -> int:
    """A tile size of at most ``most``: equal parts of ``size``, rounded up to units where they are larger."""
    parts = -(-size // most)
    part = -(-size // parts)
    return min(most, -(-part // unit) * unit)


def plan_product(config: FabricConfig, size: Tile) -> Plan:
    """The largest tiles that the memories and the accumulators hold, the reduction axis first.

    Raises
    ------
    MatrixError
        For an empty matrix, bits that the configuration lacks, or where not even one tile of ``rows`` pixels and
        ``columns`` filters fits.
    """
    if min(size.pixels, size.filters, size.length) < 1:
        raise MatrixError(f"a product of {size.pixels} × {size.length} by {size.length} × {size.filters} is empty")
    for side, bits, most in (("pixel", size.pixel_bits, config.activation_bits),
                             ("filter", size.filter_bits, config.weight_bits)):  # fmt: skip
        if not 1 <= bits <= most:
            raise MatrixError(f"codes of {bits} bits on the {side} side: configuration {config.name!r} has 1 to {most}")
    longest = min(size.length, ((1 << config.accumulator_bits) - 1) // Tile(1, 1, 1, *_bits(size)).largest_count)
    if not longest:
        raise MatrixError(f"one product of {size.pixel_bits} by {size.filter_bits} bits exceeds accumulator_bits of "
                          f"{config.accumulator_bits}: generate a configuration with more")  # fmt: skip
    for chunks in range(_chunks(longest, config), 0, -1):
        length = min(longest, chunks * config.lanes)
        planes = _planes(Tile(1, 1, length, *_bits(size)), config)
        features = size.pixel_bits * chunks + planes
        if size.filter_bits * chunks <= config.weight_depth and features <= config.feature_depth:
            break
    else:
        raise MatrixError(
            f"{size.pixel_bits}-bit pixels by {size.filter_bits}-bit filters need a weight_depth of at least "
            f"{size.filter_bits} and a feature_depth of at least {features}, not {config.weight_depth} "
            f"and {config.feature_depth}: generate a larger configuration"
        )
    length = _even(size.length, length, config.lanes)
    chunks, planes = _chunks(length, config), _planes(Tile(1, 1, length, *_bits(size)), config)
    # Filters: as many channel tiles as the weights hold, and as the counts of one row of pixels leave room for.
    room = (config.feature_depth - size.pixel_bits * chunks) // planes * config.segments
    most = min(config.weight_depth // (size.filter_bits * chunks), room)
    if _tiles(size.filters, config) > most > config.segments:
        most -= most % config.segments
    filters = _even(size.filters, most * config.columns, config.columns)
    words = size.pixel_bits * chunks + planes * -(-_tiles(filters, config) // config.segments)
    groups = min(config.feature_depth // words, config.image_size // config.rows)
    if not groups:
        raise MatrixError(f"image_size is {config.image_size}, but a tile has {config.rows} pixels: generate a "
                          f"configuration with image_size of at least {config.rows}")  # fmt: skip
    return Plan(size, _even(size.pixels, groups * config.rows, config.rows), filters, length)


def _bits(size: Tile) -> tuple[int, int]:
    return size.pixel_bits, size.filter_bits


@lru_cache(maxsize=4096)
def tile_program(config: FabricConfig, tile: Tile) -> TileProgram:
    """The descriptor of a tile, with the operand from feature address 0 on and the counts after it.

    Raises
    ------
    MatrixError
        If the program memory cannot hold the descriptor with its plane pairs.
    """
    planes = _planes(tile, config)
    pixels = Tensor("pixels", (tile.length, 1, tile.pixels), tile.pixel_bits)
    counts = Tensor("counts", (tile.filters, 1, tile.pixels), planes)
    source = FeatureLayout.of(config, base=0, height=1, width=tile.pixels, channels=tile.length,
                              planes=tile.pixel_bits, stride=1)  # fmt: skip
    target = FeatureLayout.of(config, base=source.size, height=1, width=tile.pixels, channels=tile.filters,
                              planes=planes, stride=1)  # fmt: skip
    # Only shapes matter: what the filters are is known when the product is computed.
    shape = (tile.filter_bits, tile.filters, tile.length, 1)
    part = Slice(WeightPlanes(np.broadcast_to(np.uint8(0), shape), tuple(range(tile.filter_bits)), 1), None)
    tiles, words = _tiles(tile.filters, config), tile.filter_bits * _chunks(tile.length, config)
    piece = Piece(
        0, part, 0, np.broadcast_to(np.uint32(0), (tiles, words, config.columns, config.bus_words)),
        np.broadcast_to(np.uint32(0), (tiles, 0, config.columns)),
    )  # fmt: skip
    name = f"product {tile.pixels} × {tile.length} × {tile.filters}"
    stage = Stage(name, (pixels,), counts, (part,))
    placement = Placement({"pixels": source, "counts": target}, {})
    run = emit(stage, piece, (0, 0), (0, 1), placement, config)
    program = TileProgram(run, source, target, descriptor_cycles(config, run.fields),
                          run_cycles(config, [run.fields]))  # fmt: skip
    if program.words > config.program_depth:
        raise MatrixError(f"{name}: a descriptor of {len(run.pairs)} plane pairs needs {program.words} words, but "
                          f"program_depth is {config.program_depth}: generate a configuration with more")  # fmt: skip
    return program

