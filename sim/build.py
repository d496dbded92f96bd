"""Builds a compiled simulator from Verilog and a C++ harness, once: the result is cached by content.

Verilator turns the Verilog into C++; the compiler is then called on each file directly, so that neither make
nor perl is needed. The key of the cache is everything the program is made from: Verilog, harness, flags, versions
of Verilator and of the compiler.
"""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .cache import cached, digest
from .tools import ToolError, Verilator, find_compiler, find_verilator

__all__ = ["HARNESSES", "Simulator", "build_simulator", "wave_format"]

HARNESSES = {"bus": "harness.cpp", "uart": "board.cpp"}
WAVES = {".vcd": "vcd", ".fst": "fst"}

VERILATOR_FLAGS = (
    "--cc", "--top-module", "top", "--prefix", "Vdesign", "--timescale", "1ps/1ps", "--no-timing",
    "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert", "-Wno-fatal", "-Wno-lint", "-Wno-style",
    # Files small enough that the compiler's time stays linear and all processors have work.
    "--output-split", "5000", "--output-split-cfuncs", "500",
)  # fmt: skip
FAST_FLAGS = ("-O3",)
SLOW_FLAGS = ("-O0",)
"""For code that runs once: constructors, reset of all variables, declaration of waveform signals."""
RUNTIME_FLAGS = ("-O1",)
"""For Verilator's library, which a design without waveforms hardly uses."""

SOURCES = Path(__file__).parent


@dataclass(frozen=True)
class Simulator:
    """A compiled simulator: its program, the seconds its build took, and whether it came from the cache."""

    program: Path
    seconds: float
    cached: bool


def wave_format(path: str | Path | None) -> str | None:
    """``vcd`` or ``fst`` by the suffix of a waveform file; None without one; `ToolError` for another suffix."""
    if path is None:
        return None
    suffix = Path(path).suffix.lower()
    if suffix not in WAVES:
        raise ToolError(f"waveform file must end in .vcd or .fst, not {str(path)!r}")
    return WAVES[suffix]


def build_simulator(
    verilog: str,
    harness: str,
    *,
    wave: str | None = None,
    libraries: tuple[Path, ...] = (),
    jobs: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Simulator:
    """Compile ``verilog``, whose top module is ``top``, with a harness of `HARNESSES`.

    Parameters
    ----------
    wave : None, "vcd" or "fst"; a simulator that can record waveforms is slower and is kept separately.
    libraries : further Verilog files, such as a fabric's cell models.
    jobs : compilers at a time; default: the number of processors, or $DOREFABRIC_JOBS.
    progress : called with one line at each step.

    Raises `ToolError` when a tool is missing or fails. Interruption ends the compilers and removes their output.
    """
    started = time.perf_counter()
    recipe = _Recipe(find_verilator(), tuple(find_compiler()), wave, jobs or _default_jobs(), progress or _silent)
    sources = (SOURCES / HARNESSES[harness], SOURCES / "simulation.h")
    inputs = (*sources, *libraries, *_included(libraries))
    key = digest([recipe.identity, verilog, *(path.read_bytes() for path in inputs)])
    entry, hit = cached("simulators", key, lambda folder: recipe.simulator(folder, verilog, sources[0], libraries))
    return Simulator(entry / "simulator", time.perf_counter() - started, hit)


def _included(libraries: tuple[Path, ...]) -> list[Path]:
    """What the further Verilog files may include."""
    return [path for library in libraries for path in sorted(library.parent.glob("*.vh"))]


def _silent(line: str) -> None:
    pass


def _default_jobs() -> int:
    text = os.environ.get("DOREFABRIC_JOBS", "")
    if not text:
        return os.cpu_count() or 1
    if not text.isdecimal() or int(text) < 1:
        raise ToolError(f"DOREFABRIC_JOBS must be a positive integer, not {text!r}")
    return int(text)


@dataclass(frozen=True)
class _Recipe:
    """The tools and options of a build; each method fills a folder of the cache."""

    verilator: Verilator
    compiler: tuple[str, ...]
    wave: str | None
    jobs: int
    progress: Callable[[str], None]

    @property
    def identity(self) -> str:
        version = subprocess.run([*self.compiler, "--version"], capture_output=True, text=True, check=False).stdout
        shim = (SOURCES / "fst_compression.h").read_text() if self.wave == "fst" else ""
        flags = (VERILATOR_FLAGS, FAST_FLAGS, SLOW_FLAGS, RUNTIME_FLAGS)
        return repr((self.verilator.version, version, self.wave, flags, shim))

    def simulator(self, folder: Path, verilog: str, harness: Path, libraries: tuple[Path, ...]) -> None:
        """``simulator``, the program."""
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            model = Path(scratch)
            (model / "top.v").write_text(verilog)
            self.progress("Verilator: Verilog to C++")
            with _Commands() as commands:
                commands.run("Verilator", [
                    str(self.verilator.program), *VERILATOR_FLAGS, *([f"--trace-{self.wave}"] if self.wave else []),
                    "--Mdir", scratch, str(model / "top.v"),
                    *(f"-I{path.parent}" for path in libraries), *map(str, libraries),
                ], {**os.environ, **self.verilator.environment})  # fmt: skip
            runtime, _ = cached("runtime", digest([self.identity]), self.runtime)
            objects = self._compile([*model.glob("*.cpp"), harness], model)
            self.progress("C++: linking")
            links = ["-pthread", *(["-lz"] if self.wave == "fst" and not self._has_own_fst_writer else [])]
            with _Commands() as commands:
                commands.run("the C++ compiler", [
                    *self.compiler, "-o", str(folder / "simulator"), *objects, *map(str, runtime.glob("*.o")), *links,
                ])  # fmt: skip

    @property
    def _has_own_fst_writer(self) -> bool:
        """Newer versions write FST themselves; the library of older ones needs zlib's development files."""
        return (self.verilator.root / "include" / "fstcpp").is_dir()

    def runtime(self, folder: Path) -> None:
        """Object files of Verilator's own library, the same for all designs."""
        if self.wave == "fst" and self._has_own_fst_writer:
            for name in ("lz4.h", "zlib.h"):
                (folder / name).write_text('#include "fst_compression.h"\n')
        names = ["verilated", "verilated_threads", *([f"verilated_{self.wave}_c"] if self.wave else [])]
        self._compile([self.verilator.root / "include" / f"{name}.cpp" for name in names], folder, RUNTIME_FLAGS)

    def _compile(self, files: list[Path], folder: Path, fast: tuple[str, ...] = FAST_FLAGS) -> list[str]:
        """Compile each file to an object in ``folder``; returns their paths."""
        include = self.verilator.root / "include"
        common = [
            *self.compiler, "-std=c++17", "-w", "-DVERILATOR=1", "-DVL_TIME_CONTEXT", "-DVM_COVERAGE=0", "-DVM_SC=0",
            "-DVM_TIMING=0", f"-DVM_TRACE={int(self.wave is not None)}", f"-DVM_TRACE_VCD={int(self.wave == 'vcd')}",
            f"-DVM_TRACE_FST={int(self.wave == 'fst')}", *([f"-DWAVE_{self.wave.upper()}"] if self.wave else []),
            f"-I{folder}", f"-I{include}", f"-I{include / 'vltstd'}", f"-I{SOURCES}",
        ]  # fmt: skip
        files = sorted(files, key=lambda path: -path.stat().st_size)  # the longest jobs first
        objects = [str(folder / f"{path.stem}.o") for path in files]
        done = 0
        with _Commands() as commands, ThreadPoolExecutor(self.jobs) as pool:

            def compile_one(path: Path, target: str) -> None:
                nonlocal done
                flags = SLOW_FLAGS if path.stem.endswith(("__Slow", "__Syms")) else fast
                commands.run("the C++ compiler", [*common, *flags, "-c", str(path), "-o", target])
                done += 1
                self.progress(f"C++: {done} of {len(files)} files")

            try:
                for _ in pool.map(compile_one, files, objects):
                    pass
            except BaseException:
                commands.kill()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return objects


class _Commands:
    """Child processes that end with this one's work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def __enter__(self) -> "_Commands":
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def run(self, name: str, command: list[str], environment: dict[str, str] | None = None) -> None:
        with self._lock:
            if self._stopped:
                raise ToolError("build stopped")
            process = subprocess.Popen(command, env=environment, text=True, stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
            self._running.add(process)
        try:
            output, _ = process.communicate()
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            with self._lock:
                self._running.discard(process)
        if process.returncode and not self._stopped:
            lines = [line for line in output.splitlines() if "error" in line.lower()] or output.splitlines()
            raise ToolError(f"{name} failed: {lines[0] if lines else f'exit status {process.returncode}'}")

    def kill(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.kill()
