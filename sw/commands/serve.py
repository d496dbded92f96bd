"""Simulate a board, pins included; prints the path of its serial port."""

import argparse
from typing import Any

from .common import console, share

EXAMPLE = "dorefabric serve icebreaker"

__all__ = ["EXAMPLE", "add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("board", metavar="BOARD")
    parser.add_argument("--error-rate", type=share, default=0.0, metavar="P",
                        help="share of bytes on the line to flip, drop or duplicate, both directions")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the line errors")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from dorefabric.boards import get_board
    from dorefabric.sim.board import SimulatedBoard

    board = get_board(args.board)
    with SimulatedBoard(board.config, error_rate=args.error_rate, seed=args.seed) as simulated:
        console.print(f"{board.name} simulated on {simulated.port} (Ctrl-C ends it)")
        try:
            simulated.wait()
        except KeyboardInterrupt:
            console.print("stopped")
    return {"board": board.name}
