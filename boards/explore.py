"""Search for a board's best configuration: the area model says what fits, the cycle model what is fast.

Clock: that of the board, which its own configuration has been shown to reach; a configuration that fills the device
more than that one may not (`build` tells).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dorefabric.hw.config import ConfigError, FabricConfig

from .area import load_costs, predict
from .board import Board
from .report import Usage

__all__ = ["Point", "candidates", "explore", "pareto", "svg"]

FILL = {"lut": 0.9, "flip_flops": 0.9, "block_ram": 1.0}
"""Largest share of the device's cells that a recommended configuration takes."""

Evaluate = Callable[[FabricConfig], tuple[int, int] | None]
"""Cycles of one image and bus words streamed for it; None where the network cannot run on the configuration."""


@dataclass(frozen=True)
class Point:
    """A configuration that fits, and what it does.

    images_per_second : clock over cycles, with the serial line's time for words that are streamed for every image
    """

    config: FabricConfig
    usage: Usage
    cycles: int
    streamed_words: int
    images_per_second: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "config": self.config.to_dict(), "lanes": self.config.total_lanes, "lut": self.usage.lut,
            "flip_flops": self.usage.flip_flops, "block_ram": self.usage.block_ram, "cycles": self.cycles,
            "streamed_words": self.streamed_words, "fmax_mhz": self.config.clock_frequency / 1e6,
            "images_per_second": self.images_per_second,
        }  # fmt: skip


def fits(board: Board, usage: Usage) -> bool:
    limits = {name: getattr(board.resources, name) * share for name, share in FILL.items()}
    return all(getattr(usage, name) <= limit for name, limit in limits.items())


def candidates(board: Board, costs: dict[str, Any] | None = None) -> Iterator[FabricConfig]:
    """Arrays that fit the board, with the widest accumulators of its own configuration, the largest arrays first.

    Memories are those of the board's configuration at their least; `with_memories` enlarges them.
    """
    costs = load_costs() if costs is None else costs
    found = []
    for rows in (*range(1, 9), 16):
        for lanes in (16, 32, 64, 128):
            for columns in (2, 4, 8, 16, 32, 64, 128):
                for shared in (1, 2, 4):
                    try:
                        config = replace(
                            board.config, name=f"{board.name}-{rows}x{columns}x{lanes}", rows=rows, columns=columns,
                            lanes=lanes, tile_columns=min(4, columns), threshold_columns=shared, weight_depth=256,
                            feature_depth=256, threshold_depth=min(256, board.config.threshold_depth),
                        )  # fmt: skip
                    except ConfigError:
                        continue
                    if fits(board, usage := predict(config, costs)):
                        found.append((-config.total_lanes, usage.lut, shared, config))
    # Of arrays that differ in shared threshold units alone, the smallest and the fastest.
    yield from (config for *_, config in sorted(found, key=lambda item: item[:3]))


def with_memories(board: Board, config: FabricConfig, costs: dict[str, Any]) -> Iterator[FabricConfig]:
    """The configuration with feature memories of several depths, each beside the deepest weight memory that fits."""
    for feature_bits in range(8, 17):
        for weight_bits in range(15, 7, -1):
            trial = replace(config, feature_depth=1 << feature_bits, weight_depth=1 << weight_bits)
            if fits(board, predict(trial, costs)):
                yield trial
                break


def explore(
    board: Board, evaluate: Evaluate, *, limit: int = 48, progress: Callable[[int, int], None] | None = None,
    costs: dict[str, Any] | None = None,
) -> list[Point]:  # fmt: skip
    """The fastest of each array that fits, for up to ``limit`` arrays: the largest, and a sample of the others.

    ``progress`` is called with the arrays done and their number.
    """
    costs = load_costs() if costs is None else costs
    arrays = list(candidates(board, costs))
    if len(arrays) > limit:  # the largest half of the limit, and a sample of the others
        rest = arrays[limit // 2 :]
        step = len(rest) / (limit - limit // 2)
        arrays = arrays[: limit // 2] + [rest[int(index * step)] for index in range(limit - limit // 2)]
    points = []
    for done, array in enumerate(arrays):
        best: Point | None = None
        for config in with_memories(board, array, costs):
            result = evaluate(config)
            if result is None:
                continue
            cycles, words = result
            seconds = cycles / config.clock_frequency + 40 * words / config.baud_rate  # 4 characters of 10 bits
            if best is None or 1 / seconds > best.images_per_second:
                best = Point(config, predict(config, costs), cycles, words, 1 / seconds)
            if not words:
                break  # larger feature memories gain nothing
        if best is not None:
            points.append(best)
        if progress is not None:
            progress(done + 1, len(arrays))
    return points


def pareto(points: Sequence[Point]) -> list[Point]:
    """Points that no other beats in speed with as few LUTs, the fastest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (-point.images_per_second, point.usage.lut)):
        if all(point.usage.lut < other.usage.lut for other in front):
            front.append(point)
    return front


def svg(points: Sequence[Point], front: Sequence[Point], title: str) -> str:
    """A plot of images a second over LUTs, both logarithmic; the Pareto front as a line."""
    width, height, margin = 640, 400, 60
    luts = [math.log10(point.usage.lut) for point in points]
    speeds = [math.log10(point.images_per_second) for point in points]
    low_x, high_x, low_y, high_y = min(luts), max(luts), min(speeds), max(speeds)

    def place(point: Point) -> tuple[float, float]:
        x = (math.log10(point.usage.lut) - low_x) / max(high_x - low_x, 1e-9)
        y = (math.log10(point.images_per_second) - low_y) / max(high_y - low_y, 1e-9)
        return margin + x * (width - 2 * margin), height - margin - y * (height - 2 * margin)

    def text(x: float, y: float, words: str, anchor: str = "middle") -> str:
        return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{words}</text>'

    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{"#c33" if point in front else "#999"}"><title>'
        f"{point.config.name}: {point.usage.lut:,} LUT, {point.images_per_second:,.0f} images/s</title></circle>"
        for point in points for x, y in [place(point)]
    )  # fmt: skip
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, front))
    ends = [
        text(margin, height - margin + 20, f"{10**low_x:,.0f}"),
        text(width - margin, height - margin + 20, f"{10**high_x:,.0f} LUT"),
        text(margin - 6, height - margin, f"{10**low_y:,.0f}", "end"),
        text(margin - 6, margin, f"{10**high_y:,.0f}", "end"), text(margin, margin - 14, "images/s"),
        text(width / 2, 20, title),
    ]  # fmt: skip
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<path d="M{margin},{margin} V{height - margin} H{width - margin}" fill="none" stroke="black"/>'
        f'<polyline points="{line}" fill="none" stroke="#c33"/>{dots}{"".join(ends)}</svg>\n'
    )
