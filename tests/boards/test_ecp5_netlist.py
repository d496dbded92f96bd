"""Passes over yosys' ECP5 netlist: carry ends, output registers inside memories, and the cells of the array."""

import json
from pathlib import Path
from typing import Any

import pytest

from dorefabric.boards.ecp5_netlist import absorb_output_registers, array_usage, open_carry_ends, prepare
from dorefabric.boards.report import Usage
from dorefabric.hw.ecp5_chain import ADD, START


def cell(kind: str, connections: dict[str, list[Any]], outputs: tuple[str, ...], **parameters: str) -> dict[str, Any]:
    directions = {port: "output" if port in outputs else "input" for port in connections}
    return {"type": kind, "parameters": parameters, "connections": connections, "port_directions": directions,
            "attributes": {}}  # fmt: skip


def half_chain(carry_in: Any, carry_out: int, init: int) -> dict[str, Any]:
    return cell("CCU2C", {"A0": [2], "CIN": [carry_in], "COUT": [carry_out], "S0": [4]}, ("COUT", "S0"),
                INIT0=f"{init:016b}", INIT1=f"{ADD:016b}")  # fmt: skip


def test_ends_of_chains_are_open() -> None:
    cells = {"first": half_chain("0", 10, START), "last": half_chain(10, 11, ADD), "adds": half_chain("0", 12, ADD)}
    assert open_carry_ends(cells) == 2
    carries = {name: (each["connections"]["CIN"], each["connections"]["COUT"]) for name, each in cells.items()}
    # A first cell that looks at its carry input keeps the 0.
    assert carries == {"first": (["x"], [10]), "last": ([10], ["x"]), "adds": (["0"], ["x"])}


def memory_with_registers(**changes: Any) -> dict[str, Any]:
    """A memory of two bits, each of which goes to a flip-flop; ``changes`` are those of the second."""
    read = {"DOA0": [20], "DOA1": [21], "CLKA": [5], "CLKB": [5]}
    cells = {"memory": cell("DP16KD", read, ("DOA0", "DOA1"), DATA_WIDTH_A=f"{18:b}", DATA_WIDTH_B=f"{18:b}",
                            REGMODE_A="NOREG")}  # fmt: skip
    for index in (0, 1):
        ports = {"DI": [20 + index], "CLK": [5], "LSR": ["0"], "Q": [30 + index]} | (changes if index else {})
        cells[f"register_{index}"] = cell("TRELLIS_FF", ports, ("Q",), CEMUX="1 ", REGSET="RESET")
    return cells


def test_registers_behind_a_memory_move_into_it() -> None:
    cells = memory_with_registers()
    assert absorb_output_registers(cells) == 1
    assert list(cells) == ["memory"]
    memory = cells["memory"]
    assert memory["parameters"]["REGMODE_A"] == "OUTREG"
    assert (memory["connections"]["DOA0"], memory["connections"]["DOA1"]) == ([30], [31])


@pytest.mark.parametrize("changes", [{"CLK": [6]}, {"LSR": [7]}], ids=["another clock", "a reset"])
def test_other_registers_stay(changes: dict[str, Any]) -> None:
    cells = memory_with_registers(**changes)
    assert absorb_output_registers(cells) == 0
    assert len(cells) == 3
    assert cells["memory"]["parameters"]["REGMODE_A"] == "NOREG"


def test_a_memory_that_something_else_reads_too_stays() -> None:
    cells = memory_with_registers()
    cells["reader"] = cell("LUT4", {"A": [20], "Z": [40]}, ("Z",))
    assert absorb_output_registers(cells) == 0


def test_cells_of_the_array(tmp_path: Path) -> None:
    inside, outside = "design.core.array.tile_3.element_0_1.", "design.core.writer."
    cells = {
        f"{inside}chain_0": half_chain("0", 10, START),
        f"{inside}lut": cell("LUT4", {"A": [2], "Z": [3]}, ("Z",)),
        f"{inside}half": cell("TRELLIS_COMB", {"A": [2], "F": [5]}, ("F",)),
        f"{inside}register": cell("TRELLIS_FF", {"DI": [2], "CLK": [6], "Q": [7]}, ("Q",)),
        f"{outside}lut": cell("LUT4", {"A": [2], "Z": [8]}, ("Z",)),
        f"{outside}register": cell("TRELLIS_FF", {"DI": [2], "CLK": [6], "Q": [9]}, ("Q",)),
    }
    assert array_usage(cells) == Usage(lut=4, flip_flops=1, block_ram=0)
    path = tmp_path / "top.json"
    path.write_text(json.dumps({"modules": {"top": {"cells": cells}}}))
    assert prepare(path, "LFE5U-85F-6BG381C") == Usage(lut=4, flip_flops=1, block_ram=0)
    written = json.loads(path.read_text())["modules"]["top"]["cells"]
    assert written[f"{inside}chain_0"]["connections"]["CIN"] == ["x"]
