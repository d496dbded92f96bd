"""List the supported boards."""

import argparse
from typing import Any

from .common import console, table

EXAMPLE = "dorefabric boards"

__all__ = ["EXAMPLE", "add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(args: argparse.Namespace) -> dict[str, Any]:
    from dorefabric.boards import BOARDS

    rows = []
    report = {}
    for name, board in sorted(BOARDS.items()):
        config = board.config
        peak = config.peak_operations(config.clock_frequency)
        rows.append(
            [
                name,
                board.device,
                f"{config.clock_frequency / 1e6:g} MHz",
                f"{config.rows}×{config.columns}×{config.lanes}",
                f"{config.total_lanes:,}",
                f"{peak / 1e9:,.1f}",
            ]
        )
        report[name] = {"device": board.device, "config": config.to_dict(), "lanes": config.total_lanes, "peak": peak}
    console.print(table("Boards", ["board", "device", "clock", "R×C×L", "lanes", "peak binary GOPS"], rows))
    return {"boards": report}
