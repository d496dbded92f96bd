"""`FabricConfig`: the one description of a generated accelerator, validated in one place."""

import dataclasses
import json
import math
import tomllib
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .errors import DorefabricError

__all__ = ["FRONTS", "ISA_VERSION", "MINIMUM_FEATURE_DEPTH", "TECHNOLOGIES", "ConfigError", "FabricConfig"]

ISA_VERSION = 2
MINIMUM_FEATURE_DEPTH = 16
TECHNOLOGIES = ("generic", "ice40", "ecp5", "gowin", "xilinx")
FRONTS = ("uart", "axi", "bus")


class ConfigError(DorefabricError, ValueError):
    """A configuration field that is out of range or inconsistent; the message names it."""


def _check_range(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name} must be an integer from {low} to {high}, not {value!r}")


def _check_power_of_two(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high or value & (value - 1):
        raise ConfigError(f"{name} must be a power of two from {low} to {high}, not {value!r}")


def _check_flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be true or false, not {value!r}")


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


@dataclass(frozen=True, kw_only=True)
class FabricConfig:
    """One generated accelerator.

    The array holds ``rows`` × ``columns`` processing elements, each of which reduces ``lanes`` bits a
    clock cycle: ``rows`` output pixels of one image row, ``columns`` output channels, ``lanes``
    positions of the reduction axis.

    Attributes
    ----------
    rows : int
        1..16.
    columns, lanes : int
        Powers of two: 1..128 and 8..256. ``columns`` must not exceed ``lanes``.
    tile_columns : int
        Columns that share one set of operand registers; operands move one tile a cycle. Divides ``columns``.
    threshold_columns : int
        Columns that share one threshold unit and its memory, one after another. Divides ``tile_columns``; with
        ``rows`` at most 64 results a unit.
    weight_bits, activation_bits : int
        Largest precision, 1..8, that a layer may ask for at run time.
    row_wrap : bool
        Whether a tile of pixels may go on in the next image row: then no row of the array waits at the end of one.
    prefetch : bool
        Whether the next descriptor is fetched while the last results of the one before drain, into a second set of
        registers: saves some 20 cycles a descriptor for as many flip-flops as it has bits.
    accumulator_bits : int
        8..32. A layer fits when its largest mismatch count is below 2**accumulator_bits - 1.
    threshold_bits : int
        8..accumulator_bits: the same limit for layers that return codes rather than accumulators.
    weight_depth : int
        Words of the weight memory; a word is columns × lanes bits.
    feature_depth : int
        Words of each of the ``rows`` banks of the feature-map memory; a word is ``lanes`` bits.
    image_size : int
        Largest height, width and stride of a feature map, windows that the host unfolds included: the bits of what
        counts pixels.
    feature_ports : int
        2: the feature-map memory reads and stores in one cycle. 1: a store takes the cycle of a read, and the array
        waits for it; on an iCE40 UltraPlus the banks may then be its single-port RAM.
    threshold_depth : int
        Thresholds per column.
    program_depth, tap_depth : int
        32-bit words of the program memory (descriptors, plane pairs) and of the tap memory.
    technology : str
        Fabric whose cells the popcount is mapped to.
    front : str
        What connects the core to the outside: a UART, AXI4-Lite with AXI4-Stream, or the bare bus.
    clock_frequency, baud_rate : int
        Hertz and bit/s; only the UART front end uses them.
    """

    name: str = "custom"
    rows: int = 4
    columns: int = 8
    lanes: int = 32
    tile_columns: int = 4
    threshold_columns: int = 1
    row_wrap: bool = True
    prefetch: bool = True
    weight_bits: int = 8
    activation_bits: int = 8
    accumulator_bits: int = 24
    threshold_bits: int = 24
    weight_depth: int = 1024
    feature_depth: int = 1024
    image_size: int = 65535
    feature_ports: int = 2
    threshold_depth: int = 512
    program_depth: int = 512
    tap_depth: int = 512
    technology: str = "generic"
    front: str = "uart"
    clock_frequency: int = 12_000_000
    baud_rate: int = 1_000_000

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ConfigError(f"name must be a non-empty string, not {self.name!r}")
        _check_range("rows", self.rows, 1, 16)
        _check_power_of_two("columns", self.columns, 1, 128)
        _check_power_of_two("lanes", self.lanes, 8, 256)
        if self.columns > self.lanes:
            raise ConfigError(f"columns must not exceed lanes ({self.lanes}), not {self.columns}")
        _check_power_of_two("tile_columns", self.tile_columns, 1, self.columns)
        _check_power_of_two("threshold_columns", self.threshold_columns, 1, self.tile_columns)
        if self.rows * self.threshold_columns > 64:
            raise ConfigError(
                f"threshold_columns must not exceed 64 / rows ({64 // self.rows}), not {self.threshold_columns}"
            )
        _check_flag("row_wrap", self.row_wrap)
        _check_flag("prefetch", self.prefetch)
        _check_range("weight_bits", self.weight_bits, 1, 8)
        _check_range("activation_bits", self.activation_bits, 1, 8)
        _check_range("accumulator_bits", self.accumulator_bits, 8, 32)
        _check_range("threshold_bits", self.threshold_bits, 8, self.accumulator_bits)
        _check_range("weight_depth", self.weight_depth, 16, 1 << 15)
        _check_range("feature_depth", self.feature_depth, MINIMUM_FEATURE_DEPTH, 1 << 16)
        _check_range("image_size", self.image_size, 1, 65535)
        _check_range("feature_ports", self.feature_ports, 1, 2)
        _check_range("threshold_depth", self.threshold_depth, 16, 1 << 16)
        _check_range("program_depth", self.program_depth, 64, 1 << 16)
        _check_range("tap_depth", self.tap_depth, 16, 1 << 16)
        _check_choice("technology", self.technology, TECHNOLOGIES)
        _check_choice("front", self.front, FRONTS)
        _check_range("clock_frequency", self.clock_frequency, 1_000, 1_000_000_000)
        _check_range("baud_rate", self.baud_rate, 300, 50_000_000)
        if self.front == "uart" and self.clock_frequency < 4 * self.baud_rate:
            raise ConfigError(
                f"baud_rate must not exceed a quarter of clock_frequency "
                f"({self.clock_frequency // 4}), not {self.baud_rate}"
            )

    # Derived parameters -------------------------------------------------------------------------

    @property
    def total_lanes(self) -> int:
        """Binary multiply-accumulates a clock cycle."""
        return self.rows * self.columns * self.lanes

    @property
    def tiles(self) -> int:
        """Column tiles, each one register stage further from the feature-map memory."""
        return self.columns // self.tile_columns

    @property
    def segments(self) -> int:
        """Channel tiles that fill one feature-map word (lanes / columns)."""
        return self.lanes // self.columns

    @property
    def drain_slots(self) -> int:
        """Cycles the drain spends on one plane of a tile.

        One per result of a threshold unit, and at least the time of a comparison, which the results are interleaved
        to hide.
        """
        return max(self.rows * self.threshold_columns, self.threshold_latency)

    @property
    def threshold_latency(self) -> int:
        """Cycles from a node register to the next node of the same result: address, memory, comparison, node.

        On ECP5 the memory has an output register, which fast clocks need.
        """
        return 5 if self.technology == "ecp5" else 4

    @property
    def row_slots(self) -> int:
        """Rows that the drain passes on one plane of a tile, those beyond ``rows`` included."""
        return self.drain_slots // self.threshold_columns

    @property
    def bank_pitch(self) -> int:
        """Feature-memory words of one address in the host's memory map: ``rows``, rounded up to a power of two."""
        return 1 << (self.rows - 1).bit_length()

    @property
    def bus_words(self) -> int:
        """32-bit bus words that carry one ``lanes``-bit word."""
        return max(1, self.lanes // 32)

    def peak_operations(self, frequency: float) -> float:
        """Binary operations per second (one AND/XNOR and one addition count as two)."""
        return 2.0 * self.total_lanes * frequency

    @property
    def fingerprint(self) -> int:
        """32-bit identity of everything a program depends on; the circuit reports it."""
        keys = (
            "rows", "columns", "lanes", "row_wrap", "weight_bits", "activation_bits", "accumulator_bits",
            "threshold_bits", "weight_depth", "feature_depth", "threshold_depth", "program_depth", "tap_depth",
            "image_size",
        )  # fmt: skip
        text = json.dumps([ISA_VERSION, *(getattr(self, key) for key in keys)], separators=(",", ":"))
        return zlib.crc32(text.encode())

    # Serialization ------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "FabricConfig":
        known = {field.name for field in fields(cls)}
        for key in values:
            if key not in known:
                raise ConfigError(f"unknown configuration field {key!r}; known fields: {', '.join(sorted(known))}")
        return cls(**values)

    def to_toml(self) -> str:
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in self.to_dict().items())

    @classmethod
    def from_toml(cls, path: str | Path) -> "FabricConfig":
        """Read a configuration from a TOML file of ``field = value`` lines."""
        try:
            values = tomllib.loads(Path(path).read_text())
        except OSError as error:
            raise ConfigError(f"cannot read configuration {path}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"configuration {path} is not valid TOML: {error}") from None
        return cls.from_dict(values)

    # Address widths -----------------------------------------------------------------------------

    @property
    def feature_address_bits(self) -> int:
        return max(1, math.ceil(math.log2(self.feature_depth)))

    @property
    def weight_address_bits(self) -> int:
        return max(1, math.ceil(math.log2(self.weight_depth)))

    @property
    def threshold_address_bits(self) -> int:
        return max(1, math.ceil(math.log2(self.threshold_depth)))
