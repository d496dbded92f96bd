"""Program a board with a bitstream that `build` wrote."""

import argparse
from typing import Any

from .common import console

EXAMPLE = "dorefabric flash icebreaker build/icebreaker"

__all__ = ["EXAMPLE", "add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("board", metavar="BOARD")
    parser.add_argument("directory", metavar="DIR", help="folder that `dorefabric build` wrote")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from dorefabric.boards import get_board
    from dorefabric.boards.flash import flash

    board = get_board(args.board)
    flash(board, args.directory)
    console.print(f"{board.name}: programmed from {args.directory}")
    return {"board": board.name, "directory": args.directory}
