"""Which input pin of its LUT each operand of an ECP5 carry chain takes.

nextpnr may exchange the pins of a plain LUT, but not those of a carry cell. The wires between tiles come in eight
tracks, and a pin is reached, without a change of track, by a few of them only, as an output drives two of them::

    tracks                                      1, 3   5, 7   0, 2   4, 6
    logic cells whose outputs drive them        1, 3   5, 7   0, 2   4, 6
    pins of logic cells 0 to 3 that they reach  B      A      D      C
    pins of logic cells 4 to 7 that they reach  A, B   A, B   C, D   C, D

Within a tile an output reaches the pins in the row of cells 0 to 3 without any wire, a register's output only the pin
of its own logic cell. Few wires change the track, so a dense array whose operands have a fixed order is hard to
route. The cells of `dorefabric.hw.ecp5_chain` are symmetric in most of their operands, so each takes the arrangement
that suits where its operands come from. What it computes stays the same, which `tests/boards` proves for every
arrangement.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import permutations
from operator import itemgetter
from typing import Any

from dorefabric.hw.ecp5_chain import ADD, ADD_GATED, ADD_SHIFT, START, START_GATED

__all__ = ["NEAR_PIN", "Arrangement", "Cells", "Site", "arrangements", "choose_pins", "reaches"]

Arrangement = tuple[dict[str, str], int]
"""For each used pin the pin of `ecp5_chain`'s table whose operand it takes; and the LUT's contents."""

Cells = dict[str, dict[str, Any]]
"""Cells of a netlist by name, as yosys writes them."""

Site = tuple[int, int, int]
"""Column and row of a tile, and which of its eight logic cells."""

NEAR_PIN = {0: "D", 2: "D", 1: "B", 3: "B", 4: "C", 6: "C", 5: "A", 7: "A"}
"""For each logic cell, the pins of its tile that its output reaches without a wire."""


def reaches(source: int, pin: str, cell: int) -> bool:
    """Whether wires that the output of logic cell ``source`` drives lead to that pin of logic cell ``cell``."""
    if cell < 4:
        return NEAR_PIN[source] == pin
    return (source % 2 == 1) == (pin in "AB")


def _contents(propagate: Callable[[dict[str, int]], int], generate: Callable[[dict[str, int]], int] | None) -> int:
    """INIT of a LUT. ``generate``, of A and B, is where C = D = 0, which an operand tied to 1 leaves free."""
    value = 0
    for index in range(16):
        pins = {pin: index >> bit & 1 for bit, pin in enumerate("ABCD")}
        value |= (generate if generate is not None and index < 4 else propagate)(pins) << index
    return value


def _differ(x: str, y: str, pins: dict[str, int]) -> int:
    return pins[x] ^ pins[y]


def _shifted(clear: str, double: str, before: str, same: str, pins: dict[str, int]) -> int:
    return 0 if pins[clear] else pins[before if pins[double] else same]


def arrangements(init: int) -> Iterator[Arrangement]:
    """All arrangements of the operands of a cell of `ecp5_chain`, the cell's own first."""
    if init == ADD_GATED:  # the sum of two lanes: any order of the lanes, and of each lane's operands
        for (a, b), (c, d) in ((("A", "B"), ("C", "D")), (("C", "D"), ("A", "B"))):
            for first in ((a, b), (b, a)):
                for second in ((c, d), (d, c)):
                    yield dict(zip("ABCD", first + second, strict=True)), init
    elif init == ADD:  # any two pins of which the carry can see one: where the bits differ it passes, else both are it
        for x, y in permutations("ABCD", 2):
            if x in "AB" or y in "AB":
                seen = x if x in "AB" else y
                yield {x: "A", y: "C"}, _contents(partial(_differ, x, y), itemgetter(seen))
    elif init == START_GATED:
        yield {"A": "A", "B": "B"}, init
        yield {"A": "B", "B": "A"}, init
    elif init == START:
        for x in "AB":
            yield {x: "A"}, _contents(lambda pins: 0, itemgetter(x))
    elif init == ADD_SHIFT:  # the accumulator's bits at C and D: where both are 0 the carry is 0
        for clear, double in ("AB", "BA"):
            for before, same in ("CD", "DC"):
                order = {clear: "A", double: "B", before: "C", same: "D"}
                yield order, _contents(partial(_shifted, clear, double, before, same), None)


def choose_pins(cells: Cells, combs: dict[str, Site], registers: dict[str, Site]) -> None:
    """Rearrange the operands of the placed carry cells ``combs``, in place; ``registers`` are the placed flip-flops."""
    sources: dict[int, tuple[Site, bool]] = {}
    for names, port in ((combs, "F"), (registers, "Q")):
        for name, site in names.items():
            (net,) = cells[name]["connections"][port]
            if isinstance(net, int):
                sources[net] = (site, port == "F")
    choices = {init: tuple(arrangements(init)) for init in (ADD_GATED, ADD, START_GATED, START, ADD_SHIFT)}
    for name, site in combs.items():
        cell = cells[name]
        connections, parameters = cell["connections"], cell["parameters"]
        operands = {pin: connections[pin] for pin in "ABCD"}
        options = choices.get(int(parameters["INITVAL"], 2))
        if options is None:
            continue

        def cost(option: Arrangement, operands: dict[str, Any] = operands, site: Site = site) -> float:
            return sum(_detour(sources.get(operands[role][0]), pin, site) for pin, role in option[0].items())

        order, contents = min(options, key=cost)
        for pin in "ABCD":
            connections[pin] = operands[order[pin]] if pin in order else ["x"]
        parameters["INITVAL"] = f"{contents:016b}"


def _detour(source: tuple[Site, bool] | None, pin: str, site: Site) -> float:
    """What a connection costs in changes of track; below 0 where it needs no wire."""
    if source is None:
        return 0.0
    (column, row, cell), combinational = source
    if NEAR_PIN[cell] == pin and (column, row) == site[:2] and (combinational or cell == site[2]):
        return -0.5
    return 0.0 if reaches(cell, pin, site[2]) else 1.0
