"""The memory map that the host sees: 32-bit words, 28-bit word addresses, the space in the top four bits.

| space | name       | offset                                                  | access |
|-------|------------|---------------------------------------------------------|--------|
| 0     | registers  | index                                                   | R/W    |
| 1     | program    | word                                                    | R/W    |
| 2     | taps       | word                                                    | W      |
| 3     | thresholds | entry * columns + column                                | W      |
| 4     | weights    | (word * columns + column) * bus_words + slice           | W      |
| 5     | features   | (address * pitch + bank) * bus_words + slice            | R/W    |

A feature word's address and bank are those of `layout`; *pitch* is ``rows`` rounded up to a power of two, and nothing
is in the banks beyond ``rows``. Slice s of a ``lanes``-bit word is its bits 32 s to 32 s + 31. Reads of a write-only
space return 0. Nothing but registers may be accessed while the circuit is busy.
"""

from dataclasses import dataclass

from .config import ISA_VERSION, FabricConfig

__all__ = [
    "ADDRESS_BITS", "MAGIC", "OFFSET_BITS", "REGISTERS", "SCRATCH_BITS", "SPACES", "Register", "address", "constants",
]  # fmt: skip

ADDRESS_BITS = 28
OFFSET_BITS = 24
MAGIC = 0x44464142  # "DFAB"
SCRATCH_BITS = 8

SPACES = {"registers": 0, "program": 1, "taps": 2, "thresholds": 3, "weights": 4, "features": 5}


@dataclass(frozen=True)
class Register:
    """A 32-bit register of space 0."""

    name: str
    index: int
    access: str
    doc: str


REGISTERS = (
    Register("magic", 0, "R", f"0x{MAGIC:08x}, the letters DFAB"),
    Register("version", 1, "R", "version of the instruction set"),
    Register("fingerprint", 2, "R", "identity of the configuration; a program names the one it is for"),
    Register("shape", 3, "R", "rows [7:0], columns [15:8], lanes [31:16]"),
    Register("control", 4, "W", "bit 0 starts at the descriptor address; bit 1 (with bit 0) stops after one"),
    Register("status", 5, "R", "bit 0 busy; bits [31:8] runs completed since reset"),
    Register("descriptor", 6, "R/W", "program address of the next descriptor; advances as descriptors complete"),
    Register("cycles", 7, "R", "clock cycles busy in the current or latest run"),
    Register("idle", 8, "R", "clock cycles since the latest run ended; while busy, of the current descriptor"),
    Register("scratch", 9, "R/W", f"no effect; for link tests; bits [{SCRATCH_BITS - 1}:0], the others read as 0"),
)


def address(space: str, offset: int = 0) -> int:
    """Bus word address of ``offset`` in ``space``; `ValueError` when out of range."""
    if not 0 <= offset < 1 << OFFSET_BITS:
        raise ValueError(f"offset must be from 0 to {(1 << OFFSET_BITS) - 1}, not {offset}")
    return SPACES[space] << OFFSET_BITS | offset


def constants(config: FabricConfig) -> dict[str, int]:
    """Values of the read-only identity registers of a configuration."""
    return {
        "magic": MAGIC,
        "version": ISA_VERSION,
        "fingerprint": config.fingerprint,
        "shape": config.rows | config.columns << 8 | config.lanes << 16,
    }
