"""Where what is before the adders of a placed ECP5 array lies: registers of activations and of accumulators' control in
the middle of the elements that look at them, LUTs beside the adder that they feed.

An activation reaches all elements of a row of its column tile, in one cycle with the first two adders behind it, and
the register of the next tile. To a placer that minimises the length of wires every place between the two registers is
as good as any other; it put them at the edge of the tile, a whole tile's width from the last element. In the middle the
longest wire to an element is half as long, and that to the next register, behind which there is no adder, is not longer
than before. What clears and doubles the accumulators reaches all rows of a tile and has the longest carry behind it.
Before the low bits of an accumulator it passes a LUT, which the placer put up to 17 tiles away.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from .ecp5_pins import Cells, Site

__all__ = ["Row", "place_luts", "place_operands"]

Row = tuple[int, int]
"""Column tile and row of the array."""

_ODD, _EVEN = (1, 5, 3, 7), (0, 4)
"""Logic cells of a tile for registers: those whose tracks lead to the pins A and B of carry cells, and to C and D."""


def place_operands(
    cells: Cells, rows: Mapping[str, tuple[int, int, int]], free: Mapping[Row, Sequence[tuple[int, int]]]
) -> dict[str, Site]:
    """Sites of the registers of activations and control, by name.

    ``rows`` has for each placed carry cell the column tile, row and column of its element, ``free`` for each row of a
    tile the logic tiles to be used, the best first. Registers that most columns of a row look at are placed, in the
    middle one of such rows: plain ones, whose data is another register's, as others must lie behind their LUT. Those
    that find no place are left; those of several rows come first.
    """
    readers: dict[Any, list[tuple[Row, int, str]]] = defaultdict(list)
    for name, (tile, row, column) in rows.items():
        for pin in "ABCD":
            (net,) = cells[name]["connections"][pin]
            readers[net].append(((tile, row), column, pin))
    columns = 1 + max((column for _, _, column in rows.values()), default=0)
    registers = sorted(name for name, cell in cells.items() if cell["type"] == "TRELLIS_FF")
    driven = {cells[name]["connections"]["Q"][0] for name in registers}
    wanted: dict[tuple[Row, bool], list[str]] = defaultdict(list)
    for name in registers:
        connections = cells[name]["connections"]
        if connections["DI"][0] not in driven or connections.get("LSR", ["0"]) != ["0"] or "CE" in connections:
            continue
        seen = readers.get(connections["Q"][0], [])
        of_row: dict[Row, set[int]] = defaultdict(set)
        for place, column, _ in seen:
            of_row[place].add(column)
        served = sorted(place for place, those in of_row.items() if 2 * len(those) > columns)
        if served:
            waiting = wanted[served[len(served) // 2], seen[0][2] in "AB"]
            waiting.insert(len(waiting) if len(served) == 1 else 0, name)
    places: dict[str, Site] = {}
    for place, tiles in free.items():
        remaining = {parity: iter(wanted[place, parity]) for parity in (True, False)}
        for x, y in tiles:
            for parity, logic_cells in ((True, _ODD), (False, _EVEN)):
                for logic_cell, name in zip(logic_cells, remaining[parity], strict=False):
                    places[name] = (x, y, logic_cell)
    return places


def place_luts(
    cells: Cells,
    combs: Mapping[str, Site],
    rows: Mapping[str, tuple[int, int, int]],
    free: Mapping[Row, Sequence[tuple[int, int]]],
) -> dict[str, Site]:
    """Sites of the LUTs that feed one of the placed carry cells ``combs`` and nothing else, by name.

    ``rows`` and ``free`` as for `place_operands`; a LUT takes the nearest logic cell that is left in these tiles.
    """
    pins = Counter(net for cell in cells.values() for bits in cell["connections"].values() for net in bits)
    of_net = {
        cell["connections"]["Z"][0]: name for name, cell in cells.items()
        if cell["type"] == "LUT4" and pins[cell["connections"]["Z"][0]] == 2  # its own and one more
    }  # fmt: skip
    used: dict[tuple[int, int], int] = Counter()
    places: dict[str, Site] = {}
    for comb, (x, y, _) in combs.items():
        for pin in "ABCD":
            name = of_net.get(cells[comb]["connections"][pin][0])
            tiles = [tile for tile in free[rows[comb][:2]] if used[tile] < 8]
            if name is None or not tiles:
                continue
            tile = min(tiles, key=lambda tile: abs(tile[0] - x) + abs(tile[1] - y))
            places[name] = (*tile, used[tile])
            used[tile] += 1
    return places
