"""Where the lone registers beside the elements of a placed ECP5 array lie: captured results and operands.

A register with no LUT before it takes its input at pin M of its logic cell, which wires of one track reach, or the
tile's few local wires; and operands must leave in tracks that reach the pins of the carry cells (`ecp5_pins`)::

    logic cell            0  1  2  3  4  5  6  7
    track that reaches M  6  0  6  2  4  0  4  2

So those two kinds, most of the lone registers of an array, get places in the logic tiles that the chains of their
elements leave free: near what they are connected with, in a cell whose tracks suit it, not too many in a tile.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .ecp5_pins import NEAR_PIN, Site, reaches

__all__ = ["TRACK_OF_M", "place_registers"]

TRACK_OF_M = (6, 0, 6, 2, 4, 0, 4, 2)
"""Of each logic cell the track that reaches its pin M."""

_MOST = 6
"""Lone registers in a tile, which has four local wires for the inputs of even and four for those of odd cells."""

_TRACK_CHANGE = 1.5
"""Tiles of wire that a connection may take more if it stays in its track."""

Cells = dict[str, dict[str, Any]]
Tile = tuple[int, int]


def place_registers(cells: Cells, combs: dict[str, Site], registers: dict[str, Site],
                    free: Mapping[Tile, Sequence[Tile]]) -> dict[str, Site]:  # fmt: skip
    """Sites of registers that follow a placed register, and of those that only feed placed carry cells.

    ``combs`` and ``registers`` are placed; ``free`` has for each of their tiles the free tiles of the same element.
    """
    outputs = {cells[name]["connections"]["Q"][0]: site for name, site in registers.items()}
    readers: dict[int, list[tuple[Site, str]]] = defaultdict(list)
    for name, site in combs.items():
        for pin in "ABCD":
            (net,) = cells[name]["connections"][pin]
            if isinstance(net, int):
                readers[net].append((site, pin))
    # Those with a reset are left to the placer: a tile has two for all its cells.
    lone = {name: cell["connections"] for name, cell in cells.items() if name not in registers
            and cell["type"] == "TRELLIS_FF" and cell["connections"].get("LSR", ["0"]) == ["0"]}  # fmt: skip
    taken: set[Site] = set()
    controls: dict[Site, Any] = {}  # of the slices, each of which holds cells 2n and 2n + 1
    loads: dict[Tile, int] = defaultdict(int)
    placed: dict[str, Site] = {}

    def settle(name: str, tiles: Iterable[Tile], ends: Sequence[Site], suits: Sequence[bool]) -> None:
        """Give a register the cheapest site, near ``ends``; ``suits`` tells whether a cell's tracks do."""
        control = [lone[name].get(port) for port in ("CLK", "CE")]
        costs: dict[Site, float] = {}
        for x, y in tiles:
            if loads[x, y] < _MOST:
                distance = sum(abs(x - end[0]) + abs(y - end[1]) for end in ends) / len(ends)
                costs |= {
                    (x, y, cell): distance + (0 if suits[cell] else _TRACK_CHANGE) for cell in range(8)
                    if (x, y, cell) not in taken and controls.get((x, y, cell // 2), control) == control
                }  # fmt: skip
        if costs:
            site = min(costs, key=lambda site: (costs[site], site))
            placed[name] = site
            taken.add(site)
            controls[site[0], site[1], site[2] // 2] = control
            loads[site[:2]] += 1

    for name, connections in lone.items():
        source = outputs.get(connections["DI"][0])
        if source is not None:
            suits = [NEAR_PIN[TRACK_OF_M[cell]] == NEAR_PIN[source[2]] for cell in range(8)]
            settle(name, free[source[:2]], [source], suits)
    for name, connections in lone.items():
        ends = readers.get(connections["Q"][0], [])
        tiles = {tile for (x, y, _), _ in ends for tile in free[x, y]}
        if name not in placed and 1 < len(ends) <= 16:
            suits = [all(reaches(cell, pin, site[2]) for site, pin in ends) for cell in range(8)]
            settle(name, sorted(tiles), [site for site, _ in ends], suits)
    return placed
