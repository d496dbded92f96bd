"""The commands of the README: all are valid, and the simulation example runs as it stands."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dorefabric.sw import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "hw/README.md", "sw/README.md", "sim/README.md", "boards/README.md"]


def commands(page: str, section: str | None = None) -> list[str]:
    """Lines of a page's shell blocks, continued lines joined; of one section if it is named."""
    text = (ROOT / page).read_text()
    if section is not None:
        text = text.split(f"## {section}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", "").splitlines() if line]


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_valid(page: str) -> None:
    for line in re.findall(r"^(?:    )?(dorefabric .*)$", (ROOT / page).read_text(), re.MULTILINE):
        words = shlex.split(line, comments=True)
        cli._parser().parse_args(words[1:])


def test_simulation_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, compile, simulate in Verilator with waveforms, compare every layer; then Verilog for a configuration."""
    pytest.importorskip("torch", reason="torch is not installed")
    from dorefabric.sim.tools import ToolError, find_compiler, find_verilator

    try:
        find_verilator()
        find_compiler()
    except ToolError as error:
        pytest.skip(str(error))
    (tmp_path / "build").mkdir()
    for line in commands("README.md", "Cycle-accurate simulation") + commands(
        "README.md", "Verilog for a bitwidth configuration"
    ):
        words = shlex.split(line)
        program = [sys.executable, "-m", "dorefabric.sw.cli"] if words[0] == "dorefabric" else [sys.executable]
        done = subprocess.run([*program, *words[1:]], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    for name in ("digits.pt", "digits.dfp", "digits.fst", "core/dorefabric.v", "core/registers.md"):
        assert (tmp_path / "build" / name).stat().st_size > 0
