"""Places for the registers of activations and of control."""

from typing import Any

from dorefabric.boards.ecp5_operands import place_luts, place_operands

COLUMNS = 4
FREE = [(10, 5), (12, 5)]


def row_of_elements() -> tuple[dict[str, dict[str, Any]], dict[str, tuple[int, int, int]]]:
    """One carry cell in each of 4 columns for each of 12 registers, 8 of them at pin A and 4 at pin C."""
    cells: dict[str, dict[str, Any]] = {}
    rows = {}
    for number in range(12):
        net, before = 100 + number, 200 + number
        ports = {"CLK": [1], "LSR": ["0"]}
        cells[f"before_{number:02}"] = {"type": "TRELLIS_FF", "connections": ports | {"DI": [7], "Q": [before]}}
        cells[f"activation_{number:02}"] = {"type": "TRELLIS_FF", "connections": ports | {"DI": [before], "Q": [net]}}
        for column in range(COLUMNS):
            pins = {pin: ["x"] for pin in "ABCD"} | {"A" if number < 8 else "C": [net]}
            cells[f"half_{number}_{column}"] = {"type": "TRELLIS_COMB", "connections": pins}
            rows[f"half_{number}_{column}"] = (3, 1, column)
    return cells, rows


def test_they_lie_in_cells_whose_tracks_lead_to_their_pins() -> None:
    cells, rows = row_of_elements()
    places = place_operands(cells, rows, {(3, 1): FREE})
    assert len(set(places.values())) == len(places) == 12
    for name, (x, y, logic_cell) in places.items():
        number = int(name.removeprefix("activation_"))
        assert (x, y) in FREE and logic_cell % 2 == (number < 8)


def test_what_finds_no_place_is_left() -> None:
    cells, rows = row_of_elements()
    places = place_operands(cells, rows, {(3, 1): FREE[:1], (3, 0): FREE[1:]})
    assert sorted(places) == [f"activation_{number:02}" for number in (0, 1, 2, 3, 8, 9)]


def test_only_plain_registers_that_a_row_looks_at() -> None:
    cells, rows = row_of_elements()
    cells["activation_00"]["connections"]["CE"] = [5]
    cells["activation_01"]["connections"]["LSR"] = [5]
    cells["activation_02"]["connections"]["DI"] = [300]  # not from a register
    for column in (0, 1):
        cells[f"half_3_{column}"]["connections"]["A"] = ["x"]  # half of the columns: no activation
    places = place_operands(cells, rows, {(3, 1): FREE})
    assert sorted(places) == [f"activation_{number:02}" for number in range(4, 12)]


def test_those_that_several_rows_look_at_lie_in_the_middle_of_them_and_come_first() -> None:
    cells, rows = row_of_elements()
    for row in (0, 2, 3, 4):
        for column in range(COLUMNS):
            pins = {pin: ["x"] for pin in "ABCD"} | {"B": cells["activation_11"]["connections"]["Q"]}
            cells[f"control_{row}_{column}"] = {"type": "TRELLIS_COMB", "connections": pins}
            rows[f"control_{row}_{column}"] = (3, row, column)
    free = {(3, row): [(10 + row, 5)] for row in range(5)}
    assert place_operands(cells, rows, free)["activation_11"] == (12, 5, 0)
    for number in range(8, 11):  # others of that row
        for column in range(COLUMNS):
            rows[f"half_{number}_{column}"] = (3, 2, column)
    assert place_operands(cells, rows, free)["activation_11"] == (12, 5, 0)


def test_luts_that_feed_one_adder_lie_beside_it() -> None:
    ports = {"A": ["x"], "B": ["x"], "C": ["x"], "D": ["x"]}
    cells: dict[str, dict[str, Any]] = {}
    for number in range(12):
        lut = {"A": [1], "B": [2], "C": [3], "D": [4], "Z": [100 + number]}
        cells[f"lut_{number:02}"] = {"type": "LUT4", "connections": lut}
        cells[f"sum_{number:02}"] = {"type": "TRELLIS_COMB", "connections": ports | {"A": [100 + number]}}
    cells["other"] = {"type": "LUT4", "connections": ports | {"A": [101], "Z": [200]}}  # looks at lut_01 as well
    cells["register"] = {"type": "TRELLIS_FF", "connections": {"DI": [202], "Q": [102]}}  # in the place of lut_02
    del cells["lut_02"]
    combs = {f"sum_{number:02}": (20, 5, number % 8) for number in range(12)}
    rows = dict.fromkeys(combs, (3, 1, 0))
    near, far = (21, 5), (30, 5)
    places = place_luts(cells, combs, rows, {(3, 1): [far, near], (3, 0): [(20, 4)]})
    assert sorted(places) == ["lut_00", *(f"lut_{number:02}" for number in range(3, 12))]
    assert len(set(places.values())) == len(places)
    assert [site[:2] for _, site in sorted(places.items())] == [near] * 8 + [far] * 2
    assert len(place_luts(cells, combs, rows, {(3, 1): [near]})) == 8
