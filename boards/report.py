"""`BuildReport`: what a build used, how fast it is, and what made it; and how that is read from the tools."""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .board import Board
from .tools import BuildError

__all__ = ["BuildReport", "Clock", "Usage", "parse_nextpnr_report", "parse_yosys_statistics"]


@dataclass(frozen=True)
class Usage:
    """Cells used. ``other`` names the rest: multipliers, carry cells, distributed memory."""

    lut: int
    flip_flops: int
    block_ram: float
    other: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Clock:
    """One clock after routing, in MHz."""

    name: str
    achieved: float
    required: float

    @property
    def met(self) -> bool:
        return self.achieved >= self.required


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """One build of one board.

    Attributes
    ----------
    clocks : tuple of Clock
        Empty when the design was not routed (boards of a vendor's tool).
    array : Usage or None
        Cells of the array alone, in the netlist that is placed; None where they are not told apart.
    seconds : dict
        Wall time by step.
    date : str
        ISO 8601, UTC.
    bitstream : str or None
        File name in the build folder.
    """

    board: Board
    usage: Usage
    clocks: tuple[Clock, ...]
    seed: int
    tools: dict[str, str]
    seconds: dict[str, float]
    date: str
    bitstream: str | None
    array: Usage | None = None

    @property
    def fmax(self) -> float | None:
        """Highest frequency, in MHz, of the circuit's clock; None when the design was not routed."""
        if not self.clocks:
            return None
        required = self.board.clock_hz / 1e6
        return min(self.clocks, key=lambda clock: (abs(clock.required - required), clock.achieved)).achieved

    @property
    def timing_met(self) -> bool | None:
        """Whether every clock reaches its required frequency; None when the design was not routed."""
        return all(clock.met for clock in self.clocks) if self.clocks else None

    @property
    def peak_gops(self) -> float:
        """Peak binary operations (an XOR and an addition are two) at the board's clock, in 10**9 a second."""
        return self.board.config.peak_operations(self.board.clock_hz) / 1e9

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        board = self.board
        return {
            "board": board.name,
            "device": board.device,
            "config": board.config.to_dict(),
            "fingerprint": f"{board.config.fingerprint:08x}",
            "lanes": board.config.total_lanes,
            "clock_mhz": board.clock_hz / 1e6,
            "fmax_mhz": self.fmax,
            "timing_met": self.timing_met,
            "clocks": [asdict(clock) | {"met": clock.met} for clock in self.clocks],
            "peak_gops": self.peak_gops,
            "used": asdict(self.usage),
            "array": None if self.array is None else asdict(self.array),
            "available": asdict(board.resources),
            "seed": self.seed,
            "tools": self.tools,
            "seconds": {step: round(value, 1) for step, value in self.seconds.items()},
            "date": self.date,
            "bitstream": self.bitstream,
        }

    def table_rows(self) -> list[list[str]]:
        """Rows of (what, value) for people."""
        board, used, total = self.board, self.usage, self.board.resources
        config = board.config

        def share(part: float, whole: int) -> str:
            return f"{part:,g} of {whole:,} ({part / whole:.0%})"

        rows = [
            ["board", f"{board.title}, {board.device}"],
            ["array", f"{config.rows} × {config.columns} × {config.lanes} = {config.total_lanes:,} lanes"],
            ["LUT", share(used.lut, total.lut)],
            ["flip-flops", share(used.flip_flops, total.flip_flops)],
            ["block RAM", share(used.block_ram, total.block_ram)],
            *[[name, f"{count:,}"] for name, count in used.other.items()],
            *self._lane_rows(),
            ["clock", f"{board.clock_hz / 1e6:g} MHz"],
        ]
        if self.fmax is None:
            rows.append(["Fmax", "not routed: needs the vendor's tool"])
        else:
            rows.append(["Fmax", f"{self.fmax:.1f} MHz, timing {'met' if self.timing_met else 'NOT met'}"])
        rows.append(["peak", f"{self.peak_gops:,.1f} binary GOPS"])
        rows.append(["seed, time", f"{self.seed}, {sum(self.seconds.values()):.0f} s"])
        rows += [[name, version] for name, version in self.tools.items()]
        return rows

    def _lane_rows(self) -> list[list[str]]:
        lanes = self.board.config.total_lanes
        parts = (("array alone", self.array), ("whole design", self.usage))
        return [[name, f"{part.lut / lanes:.2f} LUT and {part.flip_flops / lanes:.2f} flip-flops a lane"]
                for name, part in parts if part is not None]  # fmt: skip

    def table(self) -> Any:
        """`table_rows` as a rich table."""
        from rich.table import Table

        result = Table(title=f"Build of {self.board.name}", title_justify="left", show_header=False)
        for row in self.table_rows():
            result.add_row(*row)
        return result


_CELLS = {
    # names in nextpnr's utilization: LUT, flip-flops, block memory
    "ice40": ("ICESTORM_LC", None, "ICESTORM_RAM"),
    "ecp5": ("TRELLIS_COMB", "TRELLIS_FF", "DP16KD"),
    "gowin": ("LUT4", "DFF", "BSRAM"),
}
_IGNORED = ("IO", "BUF", "GB", "GND", "VCC", "GSR", "DCCA", "OSC", "CLK", "PLL")


def parse_nextpnr_report(report: str | Path, log: str | Path, technology: str) -> tuple[Usage, tuple[Clock, ...]]:
    """Read what nextpnr's ``--report`` file and its log say of a routed design.

    iCE40: a LUT is a logic cell (LUT, carry and flip-flop), and flip-flops are counted from the log, since the
    report has logic cells only. Gowin: ``ALU`` cells take the place of LUTs and are added to them.
    """
    try:
        data = json.loads(Path(report).read_text())
    except (OSError, ValueError) as error:
        raise BuildError(f"nextpnr wrote no usable report {report}: {error}") from None
    used = {name: int(cell["used"]) for name, cell in data["utilization"].items()}
    lut_cell, ff_cell, ram_cell = _CELLS[technology]
    lut = used.pop(lut_cell, 0)
    if technology == "ice40":
        flip_flops = _ice40_flip_flops(Path(log).read_text(errors="replace"))
    else:
        flip_flops = used.pop(ff_cell, 0)
    if technology == "gowin":
        lut += used.pop("ALU", 0)
    ram = used.pop(ram_cell, 0)
    other = {name: count for name, count in used.items() if count and not any(part in name for part in _IGNORED)}
    clocks = tuple(
        Clock(name, round(values["achieved"], 2), round(values["constraint"], 2))
        for name, values in data["fmax"].items()
    )
    return Usage(lut, flip_flops, ram, other), clocks


def _ice40_flip_flops(log: str) -> int:
    counts = re.findall(r"(\d+) LCs used as (?:LUT4 and DFF|DFF only)", log)
    if len(counts) < 2:
        raise BuildError("nextpnr-ice40's log does not say how many flip-flops it packed")
    return sum(int(count) for count in counts[:2])


_XILINX_RAM = {"RAMB36E1": 1.0, "RAMB18E1": 0.5}


def parse_yosys_statistics(text: str, technology: str) -> Usage:
    """Count cells in the output of yosys' ``stat -json``, for any technology.

    A LUT is what fills one LUT site: ``LUT*``, Xilinx ``SRL*`` and, counted as 4, ``RAM*`` in LUTs, an ECP5 ``CCU2C``
    as two, and one Gowin ``ALU``. iCE40 carry cells share their LUT's logic cell. nextpnr packs more: a routed design
    may differ by some per cent.
    """
    modules = json.loads(text)
    cells: dict[str, int] = {}
    for name, count in modules["design"]["num_cells_by_type"].items():
        cells[name.lstrip("\\")] = int(count)
    lut = flip_flops = 0
    ram = 0.0
    other: dict[str, int] = {}
    for name, count in cells.items():
        if re.fullmatch(r"(SB_)?LUT[1-6]|SRL(16E|C32E)", name) or (technology == "gowin" and name == "ALU"):
            lut += count
        elif name == "CCU2C":
            lut += 2 * count
        elif re.fullmatch(r"SB_DFF\w*|TRELLIS_FF|DFF\w*|FD[RSCP]E(_1)?", name):
            flip_flops += count
        elif name in _XILINX_RAM:
            ram += _XILINX_RAM[name] * count
        elif re.fullmatch(r"SB_RAM40_4K\w*|DP16KD|PDPW16KD|SP|SPX9|SDPB|SDPX9B|DPB|DPX9B", name):
            ram += count
        elif technology == "xilinx" and re.fullmatch(r"RAM(32M|64M|64X1D|32X1D|128X1D|256X1S)", name):
            lut += 4 * count
        elif not name.startswith("$"):  # bookkeeping, not cells
            other[name] = count
    return Usage(lut, flip_flops, ram, other)
