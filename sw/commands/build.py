"""Synthesise, place and route a board's accelerator and pack its bitstream."""

import argparse
from dataclasses import replace
from typing import Any

from rich.markup import escape

from dorefabric.hw.config import FabricConfig

from .common import console

EXAMPLE = "dorefabric build icebreaker -o build/icebreaker"

__all__ = ["EXAMPLE", "add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("board", metavar="BOARD")
    parser.add_argument("--config", metavar="FILE.toml", help="another configuration, such as `explore` recommends")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for bitstream, logs and report")
    parser.add_argument("--seed", type=int, default=1, help="of place and route")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from dorefabric.boards import get_board
    from dorefabric.boards.build import Step, build

    board = get_board(args.board)
    if args.config is not None:
        board = replace(board, config=FabricConfig.from_toml(args.config))
    with console.status(f"building {board.title}") as status:

        def show(step: Step) -> None:
            status.update(f"{step.name}, {step.seconds:.0f} s  [dim]{escape(step.detail[:80])}[/dim]")

        report = build(board, args.output, seed=args.seed, progress=show)
    console.print(report.table())
    return report.to_dict()
