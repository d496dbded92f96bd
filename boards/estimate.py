"""What a configuration needs, from synthesis alone: seconds to minutes, and no place and route."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from dorefabric.hw import gowin_chain
from dorefabric.hw.config import ConfigError, FabricConfig

from .ecp5_netlist import absorb_output_registers
from .report import Usage, parse_yosys_statistics
from .tools import BuildError, find_tool, run_tool

if TYPE_CHECKING:
    from amaranth.lib.wiring import Component

__all__ = ["SYNTHESIS", "before_synthesis", "estimate"]

SYNTHESIS = {
    "ice40": "synth_ice40 -top top",
    # Without -nowidelut the popcounts become wide multiplexers of twice the size.
    "ecp5": "synth_ecp5 -nowidelut -top top",
    "gowin": "synth_gowin -nowidelut -top top",
    "xilinx": "synth_xilinx -family xc7 -flatten -top top",
}
"""Yosys' synthesis command of each technology that has cells to count."""

CELLS = {"gowin": gowin_chain.VERILOG}
AFTER_SYNTHESIS = {"gowin": (gowin_chain.AFTER_SYNTHESIS,), "ecp5": ("write_json top.json",)}


_LOGIC_SHARE = {"ice40": 0.36, "gowin": 0.5}
"""Part of the clock period that ABC may fill with logic."""


def before_synthesis(config: FabricConfig) -> str:
    """Yosys commands between reading the design and synthesising it."""
    from dorefabric.hw.memory import YOSYS_NO_COLLISION_CHECK

    # abc9 takes a wire `a[0]`, as Amaranth calls the parts of arrays, for bit 0 of `a` and fails when there is an `a`.
    commands = [YOSYS_NO_COLLISION_CHECK, r"rename -hide w:*\[*\]*"]
    if config.technology in _LOGIC_SHARE:
        # Given a part of the clock period in ps (routing takes the rest), ABC saves area rather than levels: 5 % of the
        # LUTs.
        picoseconds = int(_LOGIC_SHARE[config.technology] * 1e12 / config.clock_frequency)
        commands.append(f"scratchpad -set abc9.D {picoseconds}")
    return "; ".join(commands)


def estimate(
    config: FabricConfig, technology: str | None = None, *, design: "Callable[[], Component] | None" = None
) -> Usage:
    """Synthesise the accelerator of ``config`` and count its cells.

    Parameters
    ----------
    technology : str, optional
        One of `SYNTHESIS`; the configuration's own by default.
    design : callable, optional
        Makes what is counted instead of `dorefabric.hw.top.UartTop`.

    Raises
    ------
    ConfigError
        The technology has no cells to count.
    BuildError
        yosys is missing or failed.
    """
    technology = config.technology if technology is None else technology
    if technology not in SYNTHESIS:
        raise ConfigError(f"technology must be one of {', '.join(SYNTHESIS)} to be estimated, not {technology!r}")
    from amaranth.back import rtlil

    if design is None:
        from dorefabric.hw.top import UartTop

        accelerator: Component = UartTop(config)
    else:
        accelerator = design()
    with tempfile.TemporaryDirectory(prefix="dorefabric-") as name:
        work = Path(name)
        fabric = SimpleNamespace(mapped=True)
        (work / "top.il").write_text(rtlil.convert(accelerator, name="top", platform=fabric, emit_src=False))
        (work / "cells.v").write_text(CELLS.get(technology, ""))
        script = "; ".join(
            [
                "read_verilog cells.v",
                "read_rtlil top.il",
                before_synthesis(config),
                SYNTHESIS[technology],
                *AFTER_SYNTHESIS.get(technology, ()),
                "tee -q -o statistics.json stat -json",
            ]
        )
        try:
            run_tool(find_tool("yosys"), ["-p", script], directory=work, log=work / "yosys.log")
        except BuildError as error:
            # The log goes with the folder: do not name it.
            raise BuildError(str(error).rpartition(" (log: ")[0] or str(error)) from None
        usage = parse_yosys_statistics((work / "statistics.json").read_text(), technology)
        if technology == "ecp5":  # as in a build
            usage = replace(usage, flip_flops=usage.flip_flops - _absorbed(work / "top.json"))
        return usage


def _absorbed(netlist: Path) -> int:
    """Flip-flops that become output registers of block RAMs."""
    cells = json.loads(netlist.read_text())["modules"]["top"]["cells"]
    before = len(cells)
    absorb_output_registers(cells)
    return before - len(cells)
