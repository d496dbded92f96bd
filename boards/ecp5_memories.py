"""Where the memories of a placed ECP5 array lie: weights and thresholds near the columns that they are for.

A memory's output register lies inside it, so its word takes the whole way to the elements in one cycle, in which they
begin to count. Left to itself, the placer spends that cycle: it put memories of 20,480 lanes at the other side of the
chip, with 5 ns of wire.
"""

import re
from collections.abc import Sequence
from typing import Any

from scipy.optimize import linear_sum_assignment

from .ecp5_pins import Site

__all__ = ["place_memories"]

_OF_COLUMN = re.compile(r"\.tile_(\d+)\.(?:weights|threshold_memory)_(\d+)")

Cells = dict[str, dict[str, Any]]
Point = tuple[int, int]


def place_memories(
    cells: Cells, sites: Sequence[Site], columns: dict[tuple[int, int], Point], middle: Point
) -> dict[str, Site]:
    """Sites of the block RAMs of the array's columns; the others are left those nearest to ``middle``.

    ``columns`` has for each (tile, column) the place in the middle of its elements, x and y. Nothing is placed when
    there are fewer ``sites`` than memories of columns. Two block RAMs of a device are not among the sites, and so are
    always left to others.
    """
    memories = [name for name, cell in cells.items() if cell["type"] == "DP16KD"]
    wanted: dict[str, Point] = {}
    for name in memories:
        match = _OF_COLUMN.search(name)
        if match:
            tile, column = map(int, match.groups())
            wanted[name] = columns[tile, column]
    spare = len(sites) - len(wanted)
    if spare < 0 or not wanted:
        return {}
    left = min(spare, max(0, len(memories) - len(wanted) - 2))
    free = sorted(sites, key=lambda site: (_distance(site, middle), site))[left:]
    names = sorted(wanted)
    costs = [[_distance(site, wanted[name]) ** 2 for site in free] for name in names]
    return {names[row]: free[column] for row, column in zip(*linear_sum_assignment(costs), strict=True)}


def _distance(site: Site, point: Point) -> int:
    return abs(site[0] - point[0]) + abs(site[1] - point[1])
