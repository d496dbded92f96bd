"""Synthesise, place and route a board's accelerator and pack its bitstream."""

import argparse
from dataclasses import replace
from typing import Any

from rich.markup import escape

from dorefabric.hw.config import FabricConfig

from .common import console, table

EXAMPLE = "dorefabric build icebreaker -o build/icebreaker"

__all__ = ["EXAMPLE", "add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("board", metavar="BOARD")
    parser.add_argument("--config", metavar="FILE.toml", help="another configuration, such as `explore` recommends")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for bitstream, logs and report")
    parser.add_argument("--seed", type=int, default=1, help="of place and route")
    parser.add_argument("--sweep", type=int, metavar="N",
                        help="search: seeds 1 to N of several tile widths, keep the fastest; goes on where it stopped")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from dorefabric.boards import get_board
    from dorefabric.boards.build import BuildError, Step, build

    if args.sweep is not None and args.sweep < 1:
        raise BuildError(f"--sweep must be at least 1, not {args.sweep}")
    board = get_board(args.board)
    if args.config is not None:
        config = FabricConfig.from_toml(args.config)
        # A floorplan is a map of column tiles: those of any other array are left to the placer.
        alike = (config.tiles, config.lanes) == (board.config.tiles, board.config.lanes)
        board = replace(board, config=config, floorplan=board.floorplan if alike else None)
    with console.status(f"building {board.title}") as status:

        def show(step: Step) -> None:
            status.update(f"{step.name}, {step.seconds:.0f} s  [dim]{escape(step.detail[:80])}[/dim]")

        if args.sweep is not None:
            from dorefabric.boards.sweep import points, sweep

            results = sweep(board, args.output, points(board, args.sweep), progress=show)
            rows = [[point.name, f"{point.fmax:.1f}", str(point.report["used"]["lut"]) if point.report else "",
                     f"{sum(point.report['seconds'].values()):.0f}" if point.report else "", point.error or ""]
                    for point in results]  # fmt: skip
            console.print(table(f"{board.title}, {board.clock_hz / 1e6:g} MHz wanted",
                                ["build", "Fmax MHz", "LUT", "seconds", "failed"], rows))  # fmt: skip
            return {"points": [point.to_dict() for point in results]}
        report = build(board, args.output, seed=args.seed, progress=show)
    console.print(report.table())
    return report.to_dict()
