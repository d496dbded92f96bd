"""Floorplan of the array: cells stay what they are, lie where the plan says, and what does not fit is refused."""

from itertools import product
from typing import Any

import pytest

from dorefabric.boards.ecp5_floorplan import Floorplan, LogicGrid, place_elements
from dorefabric.boards.ecp5_pins import arrangements
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


def test_grid_of_a_device() -> None:
    assert LogicGrid.of("LFE5U-85F-6BG381C") == GRID
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
    placed = place_elements(cells, GRID, Floorplan(pitch=(7, 3), tiles=((1,), (), (0,))))
    bels = [cell["attributes"]["BEL"] for cell in cells.values()]
    assert placed == len(bels) == len(set(bels)) == 2 * 4 * (112 + 56)
    assert not [cell for cell in cells.values() if cell["type"] == "CCU2C"]
    left = GRID.columns[(123 - 14) // 2]
    top, bottom = (GRID.rows[0], GRID.rows[1], GRID.rows[2]), GRID.rows[-6:-3]
    for tile, rows in ((1, top), (0, bottom)):
        name = f"array.tile_{tile}.element_0_0.chain"
        for chain, (x, y) in enumerate([(0, 0), (3, 0), (0, 1), (0, 2)]):
            assert cells[f"{name}_{chain}_0_comb0"]["attributes"]["BEL"] == f"X{left + x}/Y{rows[y]}/SLICEA.K0"
        assert cells[f"{name}_3_19_comb1"]["attributes"]["BEL"] == f"X{left + 4}/Y{rows[2]}/SLICED.K1"
        assert cells[f"{name}_3_19_q"]["attributes"]["BEL"] == f"X{left + 4}/Y{rows[2]}/SLICED.FF1"
    # Each half takes the carry of the half before.
    half = [cells[f"array.tile_0.element_1_1.chain_3_{n // 2}_comb{n % 2}"]["connections"] for n in range(40)]
    assert half[0]["FCI"] == half[-1]["FCO"] == ["x"]
    assert [each["FCI"] for each in half[1:]] == [each["FCO"] for each in half[:-1]]


@pytest.mark.parametrize(("plan", "message"), [
    (Floorplan(pitch=(7, 3), tiles=((0,),)), r"places the column tiles \[0\], but the array has tiles 0 to 1"),
    (Floorplan(pitch=(60, 3), tiles=((0, 1),)), "needs 240 x 6 logic tiles, the device has 123 x 85: a smaller pitch"),
    (Floorplan(pitch=(7, 22), tiles=((0,), (1,))), "needs 14 x 88 logic tiles"),
    (Floorplan(pitch=(7, 2), tiles=((0, 1),)), "an element's chains do not fit the floorplan's pitch of 7 x 2"),
    (Floorplan(pitch=(4, 9), tiles=((0, 1),)), "do not fit the floorplan's pitch of 4 x 9"),
])  # fmt: skip
def test_refusals(plan: Floorplan, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        place_elements(netlist(tiles=2, rows=2, columns=2), GRID, plan)


def test_a_netlist_without_elements() -> None:
    with pytest.raises(BuildError, match="finds no carry chains"):
        place_elements({}, GRID, Floorplan(pitch=(7, 3), tiles=((0,),)))
