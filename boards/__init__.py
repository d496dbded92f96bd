"""Supported boards: each is data, a platform and a configuration; `Board.routed` tells whether that has been routed."""

from . import arty_a7, hx8k_evn, icebreaker, tang_nano_9k, tang_nano_20k, ulx3s
from .board import Board, BoardError

__all__ = ["BOARDS", "Board", "BoardError", "get_board"]

BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        icebreaker.BOARD, hx8k_evn.BOARD, *ulx3s.BOARDS, tang_nano_9k.BOARD, tang_nano_20k.BOARD, arty_a7.BOARD,
    )
}  # fmt: skip
"""Every supported board by name."""


def get_board(name: str) -> Board:
    """The board called ``name``; `BoardError` when there is none."""
    try:
        return BOARDS[name]
    except KeyError:
        raise BoardError(f"unknown board {name!r}; supported boards: {', '.join(sorted(BOARDS))}") from None
