"""Synthesise, place and route a board's accelerator and pack its bitstream."""

import argparse
from typing import Any

from .common import console

EXAMPLE = "dorefabric build icebreaker -o build/icebreaker"

__all__ = ["EXAMPLE", "add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("board", metavar="BOARD")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for bitstream, logs and report")
    parser.add_argument("--seed", type=int, default=1, help="of place and route")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from dorefabric.boards import get_board
    from dorefabric.boards.build import build

    report = build(get_board(args.board), args.output, seed=args.seed)
    console.print(report.table())
    return report.to_dict()
