"""Integer matrix products on the array, at the other end of any `Link`: a circuit, a simulated one, the interpreter.

The host cuts a product into tiles (`matrix_plan`), writes their operands, runs one descriptor a tile, reads mismatch
counts, and adds what belongs to rows and columns alone. A tile's descriptor is written once and stays in the program
memory while there is room, so that only operands move from then on.
"""

from dataclasses import astuple, dataclass

import numpy as np

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.isa import COUNTER_WORDS, DESCRIPTOR_FIELDS, DESCRIPTOR_WORDS, encode_fields
from dorefabric.hw.registers import address

from .driver import Accelerator
from .link import Link
from .matrix_plan import MatrixError, Plan, Tile, TileProgram, cheapest_plan, tile_program
from .packing import pack_features, pack_weights, unpack_features

__all__ = ["Codes", "MatrixUnit", "Usage"]


@dataclass(frozen=True, eq=False)
class Codes:
    """An integer matrix as unsigned codes: ``gain * codes + offset``.

    codes : uint8 (rows, length), each below 2**bits; the reduction axis of a product comes last
    """

    codes: np.ndarray
    bits: int
    gain: int = 1
    offset: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8:
            raise MatrixError(f"codes must have 1 to 8 bits, not {self.bits}")
        if self.codes.ndim != 2 or self.codes.dtype != np.uint8:
            raise MatrixError(f"codes must be a matrix of unsigned 8-bit integers, not {self.codes.dtype} of shape "
                              f"{self.codes.shape}")  # fmt: skip
        if self.codes.size and int(self.codes.max()) >> self.bits:
            raise MatrixError(f"a code is {int(self.codes.max())}, which {self.bits} bits cannot hold")

    @classmethod
    def odd(cls, values: np.ndarray, bits: int) -> "Codes":
        """The odd integers 2 q − n, n = 2**bits − 1, of DoReFa-Net's weights and gradients; others: `MatrixError`."""
        top = (1 << bits) - 1
        if (values & 1 == 0).any():
            raise MatrixError(f"{int(values[values & 1 == 0][0])} is no odd integer, which weights and gradients are")
        return cls(_narrow(values + top >> 1, bits), bits, 2, -top)

    @classmethod
    def unsigned(cls, values: np.ndarray, bits: int) -> "Codes":
        """Codes of ``bits`` bits of any integer type; `MatrixError` for values beyond them."""
        return cls(_narrow(values, bits), bits)

    @classmethod
    def integers(cls, values: np.ndarray) -> "Codes":
        """Any integers, the largest at most 255 above the least, in as few bits as they need."""
        low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
        bits = max(1, (high - low).bit_length())
        return cls(_narrow(values - low, bits), bits, 1, low)

    def values(self) -> np.ndarray:
        """int64, the shape of the codes."""
        return self.gain * self.codes.astype(np.int64) + self.offset


def _narrow(codes: np.ndarray, bits: int) -> np.ndarray:
    if codes.size and (int(codes.min()) < 0 or int(codes.max()) >> bits or bits > 8):
        raise MatrixError(f"codes reach from {int(codes.min())} to {int(codes.max())}, which {min(bits, 8)} bits "
                          f"cannot hold")  # fmt: skip
    return codes.astype(np.uint8)


@dataclass(frozen=True)
class Usage:
    """What products have cost.

    cycles : for which the circuit was busy, as far as it counts them itself; predicted : all from the cycle model;
    steps, stalls : the circuit's counters; runs : descriptors;
    pair_operations : binary multiply-accumulates of the products; written, read : bus words, counters left out
    """

    cycles: int = 0
    steps: int = 0
    stalls: int = 0
    predicted: int = 0
    runs: int = 0
    pair_operations: int = 0
    written: int = 0
    read: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))


class MatrixUnit:
    """Multiplies integer matrices on the circuit behind ``link``, which has configuration ``config``.

    The circuit's memories are the unit's as long as it is used: after anything else has written them, make a new one.

    Members
    -------
    usage : Usage
        Of all products so far.

    Raises
    ------
    MatrixError
        If the circuit has another configuration.
    LinkError
        From every method, when the circuit stops answering.
    """

    def __init__(self, link: Link, config: FabricConfig) -> None:
        self.config = config
        self.usage = Usage()
        self._link = link
        self._accelerator = Accelerator(link)
        if self._accelerator.fingerprint != config.fingerprint:
            raise MatrixError(f"the circuit is configuration 0x{self._accelerator.fingerprint:08x}, not "
                              f"{config.name!r} (0x{config.fingerprint:08x})")  # fmt: skip
        self._programs: dict[Tile, int] = {}
        self._program_words = 0

    def multiply(self, left: Codes, right: Codes) -> np.ndarray:
        """int64 (rows of left, rows of right): the sums over the last axis of products of values, exactly.

        Either operand may take the place of the filters; the order with fewer cycles and bus words is chosen.
        `MatrixError` where the matrices do not match or do not fit the circuit.
        """
        if left.codes.shape[1] != right.codes.shape[1]:
            raise MatrixError(f"the reduction axes have {left.codes.shape[1]} and {right.codes.shape[1]} elements")
        counted = self._count(left, right)
        # Σ (g x + o) (h q + p) = g h Σ x q + g p Σ x + o h Σ q + K o p
        row = left.codes.sum(axis=1, dtype=np.int64)[:, None]
        column = right.codes.sum(axis=1, dtype=np.int64)[None, :]
        tops = (1 << left.bits) - 1, (1 << right.bits) - 1
        products = (tops[1] * row + tops[0] * column - counted) // 2
        result: np.ndarray = (
            left.gain * right.gain * products + left.gain * right.offset * row + left.offset * right.gain * column
            + left.codes.shape[1] * left.offset * right.offset
        )  # fmt: skip
        return result

    def _count(self, left: Codes, right: Codes) -> np.ndarray:
        """Mismatch counts int64 (rows of left, rows of right)."""
        plan, swapped = cheapest_plan(self.config, _size(left, right))
        return self._run_plan(plan, right, left).T if swapped else self._run_plan(plan, left, right)

    def _run_plan(self, plan: Plan, pixels: Codes, filters: Codes) -> np.ndarray:
        """Mismatch counts int64 (pixels, filters)."""
        size = plan.size
        counts = np.zeros((size.pixels, size.filters), np.int64)
        self.usage += Usage(pair_operations=size.pair_operations)
        held = None
        for m, n, k in plan.tiles():
            program = tile_program(self.config, plan.tile(m, n, k))
            start = self._resident(plan.tile(m, n, k), program)
            if held != (n, k):
                held = n, k
                planes = np.stack([filters.codes[n, k] >> j & 1 for j in range(filters.bits)])[..., None]
                self._write(address("weights"), pack_weights(planes, self.config))
            image = np.ascontiguousarray(pixels.codes[m, k].T)[None, :, None, :]
            self._write(self._feature_address(program.source.base), pack_features(image, program.source))
            counts[m, n] += self._run(start, program)
        return counts

    def _resident(self, tile: Tile, program: TileProgram) -> int:
        """Program address of the tile's descriptor, which is written unless it is there."""
        if tile not in self._programs:
            if self._program_words + program.words > self.config.program_depth:
                self._programs, self._program_words = {}, 0
            start = self._program_words
            fields = program.run.fields | {"last": 1, "pair_base": start + DESCRIPTOR_WORDS, "tap_base": 0}
            words = [*encode_fields(DESCRIPTOR_FIELDS, fields, DESCRIPTOR_WORDS), *program.run.pairs]
            self._write(address("program", start), np.array(words, np.uint32))
            self._write(address("taps"), np.array(program.run.taps, np.uint32))  # the same one for all
            self._programs[tile] = start
            self._program_words += program.words
        return self._programs[tile]

    def _run(self, start: int, program: TileProgram) -> np.ndarray:
        """Run the descriptor; its counts int64 (pixels, filters)."""
        self._accelerator.execute(start, program.busy)
        first = min(COUNTER_WORDS.values())
        words = [int(word) for word in self._link.read(address("program", start + first), DESCRIPTOR_WORDS - first)]
        cycles, steps, stalls = (words[COUNTER_WORDS[name] - first] for name in ("cycles", "steps", "stalls"))
        pitch = self.config.bank_pitch * self.config.bus_words
        count = program.target.size * pitch
        words_read = self._link.read(self._feature_address(program.target.base), count)
        cycles += program.busy - program.cycles.cycles
        self.usage += Usage(cycles=cycles, steps=steps, stalls=stalls, predicted=program.busy, runs=1, read=count)
        return unpack_features(words_read[None], program.target)[0, :, 0].T

    def _feature_address(self, base: int) -> int:
        return address("features", base * self.config.bank_pitch * self.config.bus_words)

    def _write(self, where: int, words: np.ndarray) -> None:
        flat = np.ascontiguousarray(words.reshape(-1), dtype=np.uint32)
        self._link.write(where, flat)
        self.usage += Usage(written=flat.size)


def _size(pixels: Codes, filters: Codes) -> Tile:
    return Tile(len(pixels.codes), len(filters.codes), pixels.codes.shape[1], pixels.bits, filters.bits)
