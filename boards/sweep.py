"""Search for the placement that closes timing: several seeds, column tiles of several widths, the fastest kept."""

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .board import Board
from .build import Progress, build
from .tools import BuildError

if TYPE_CHECKING:
    from amaranth.lib.wiring import Component

__all__ = ["Point", "points", "sweep"]


@dataclass(frozen=True)
class Point:
    """One build of a sweep, in the folder ``name``: its report, or why there is none."""

    tile_columns: int
    seed: int
    report: dict[str, Any] | None = None
    error: str | None = None

    @property
    def name(self) -> str:
        return f"tile{self.tile_columns}-seed{self.seed}"

    @property
    def fmax(self) -> float:
        """MHz; 0 where nothing was routed."""
        return 0.0 if self.report is None else float(self.report["fmax_mhz"] or 0.0)

    def to_dict(self) -> dict[str, Any]:
        return {"tile_columns": self.tile_columns, "seed": self.seed, "report": self.report, "error": self.error}


def points(board: Board, seeds: int) -> list[Point]:
    """Seeds 1 to ``seeds`` of the board's column tiles, and of those half and twice as wide where they are allowed.

    A floorplan places the tiles of one width only: such a board has its seeds alone.
    """
    config = board.config
    widths = [config.tile_columns]
    if board.floorplan is None:
        widths += [config.tile_columns // 2, config.tile_columns * 2]
    allowed = [width for width in widths if config.threshold_columns <= width <= config.columns]
    return [Point(width, seed) for seed in range(1, seeds + 1) for width in allowed]


def sweep(
    board: Board,
    directory: str | Path,
    candidates: Iterable[Point],
    *,
    progress: Progress | None = None,
    done: Callable[[Point], None] | None = None,
    design: "Callable[[], Component] | None" = None,
) -> list[Point]:
    """Build every candidate into a folder of its own below ``directory``; returns them, the fastest first.

    A candidate whose folder has a report of the same configuration is not built again, so that an interrupted sweep
    goes on. A build that fails is reported and does not stop the others. ``sweep.json`` holds all results; bitstream
    and report of the fastest, if it meets the board's clock, are copied into ``directory``.

    Parameters
    ----------
    progress : callable, optional
        Of each build, see `build.build`.
    done : callable, optional
        Called with each finished point.
    design : callable, optional
        See `build.build`.

    Raises
    ------
    BuildError
        No candidate could be built.
    """
    folder = Path(directory)
    results: list[Point] = []
    for candidate in candidates:
        point = _build(board, folder, candidate, progress, design)
        results.append(point)
        if done is not None:
            done(point)
    results.sort(key=lambda point: -point.fmax)
    (folder / "sweep.json").write_text(json.dumps([point.to_dict() for point in results], indent=2) + "\n")
    best = results[0]
    if best.report is None:
        raise BuildError(f"{board.name}: no build of the sweep was routed: {best.error}")
    if best.report["timing_met"]:
        for name in ("report.json", best.report["bitstream"]):
            shutil.copy2(folder / best.name / name, folder / name)
    return results


def _build(
    board: Board, folder: Path, point: Point, progress: Progress | None, design: "Callable[[], Component] | None"
) -> Point:
    config = replace(board.config, tile_columns=point.tile_columns)
    target = folder / point.name
    try:
        known = json.loads((target / "report.json").read_text())
    except (OSError, ValueError):
        known = None
    if known is not None and known["config"] == config.to_dict() and known["seed"] == point.seed:
        return replace(point, report=known)
    try:
        report = build(replace(board, config=config), target, seed=point.seed, tries=1, progress=progress,
                       allow_timing_failure=True, design=design)  # fmt: skip
    except BuildError as error:
        return replace(point, error=str(error))
    return replace(point, report=report.to_dict())
