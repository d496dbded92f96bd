"""Where the memories of a placed ECP5 array lie: weights and thresholds near the columns that they are for, the others
in the middle of the chip, near control.

A memory's output register lies inside it, so its word takes the whole way to the elements in one cycle, in which they
begin to count. Left to itself, the placer spends that cycle: it put memories of 20,480 lanes at the other side of the
chip, with 5 ns of wire. The pool's memory it put 38 rows away from the writer.
"""

import re
from collections.abc import Sequence

from scipy.optimize import linear_sum_assignment

from .ecp5_pins import Cells, Site

__all__ = ["place_memories"]

_OF_COLUMN = re.compile(r"\.tile_(\d+)\.(?:weights|threshold_memory)_(\d+)")

Point = tuple[int, int]


def place_memories(
    cells: Cells, sites: Sequence[Site], columns: dict[tuple[int, int], Point], middle: Point
) -> dict[str, Site]:
    """Sites of the block RAMs: those of the array's columns near these, all others near ``middle``.

    ``columns`` has for each (tile, column) the place in the middle of its elements, x and y. The sum of the squared
    distances is the least. Two block RAMs of a device are not among the ``sites``: when there are fewer of these than
    memories, the last of the others are the placer's, and nothing is placed when there are too few for the columns.
    """
    wanted: dict[str, Point] = {}
    others = []
    for name in sorted(name for name, cell in cells.items() if cell["type"] == "DP16KD"):
        match = _OF_COLUMN.search(name)
        if match:
            tile, column = map(int, match.groups())
            wanted[name] = columns[tile, column]
        else:
            others.append(name)
    if not wanted or len(wanted) > len(sites):
        return {}
    wanted |= dict.fromkeys(others[: len(sites) - len(wanted)], middle)
    names = list(wanted)
    costs = [[_distance(site, wanted[name]) ** 2 for site in sites] for name in names]
    return {names[row]: sites[column] for row, column in zip(*linear_sum_assignment(costs), strict=True)}


def _distance(site: Site, point: Point) -> int:
    return abs(site[0] - point[0]) + abs(site[1] - point[1])
