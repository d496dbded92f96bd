"""Verilator's lint on generated Verilog, apart from what a generator of Verilog cannot help."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .tools import ToolError, find_verilator

__all__ = ["WAIVED", "lint"]

WAIVED = {
    "DECLFILENAME": "one file holds all modules",
    "UNUSEDSIGNAL": "every field of a struct and every memory port gets a name of its own, for waveforms",
    "WIDTHEXPAND": "Yosys writes constants and carries as narrow as they are; Verilog extends them",
    "WIDTHTRUNC": "Yosys writes `x == 0` as !x, of a vector",
    "PROCASSINIT": "registers have initial values, as FPGAs give them",
    "CASEINCOMPLETE": "Yosys assigns the default before the case statement",
    "ASCRANGE": "Yosys declares signals of no bits, which nothing reads, as [-1:0]",
    "CMPCONST": "a generated comparison may be constant in one configuration",
    "PINCONNECTEMPTY": "unused outputs of a shared component are left open",
    "UNDRIVEN": "signals of no bits, and interface members that a constant drives elsewhere",
    "VARHIDDEN": "a signal may have the name of an instance elsewhere",
}
"""Warnings that are expected, and why each is harmless."""

_WARNING = re.compile(r"^%(?:Warning|Error)(?:-(?P<name>\w+))?: (?P<text>.*)")


def lint(files: Sequence[str | Path], top: str = "top") -> list[str]:
    """Warnings and errors of ``verilator --lint-only -Wall`` on ``files``, less those of `WAIVED`; one line each.

    Raises `ToolError` when Verilator is missing.
    """
    verilator = find_verilator()
    waivers = [f"-Wno-{name}" for name in WAIVED]
    command = [
        str(verilator.program), "--lint-only", "-Wall", "-Wno-fatal", *waivers, "--timescale", "1ns/1ps",
        "--top-module", top, *map(str, files),
    ]  # fmt: skip
    done = subprocess.run(
        command, env={**os.environ, **verilator.environment}, capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stderr.splitlines() if _WARNING.match(line)]
    if done.returncode and not lines:
        raise ToolError(f"Verilator failed: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
    return lines
