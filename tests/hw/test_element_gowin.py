"""The Gowin element: its cell against yosys' model, and itself against `accumulate`, cell by cell."""

import subprocess

import pytest
from amaranth.hdl import Module
from elements import check_accumulates

from dorefabric.boards.tools import find_tool
from dorefabric.hw.element import Element
from dorefabric.hw.element_gowin import connect_element
from dorefabric.hw.gowin_chain import ADD, CHOOSE, GATED, JOIN, MODEL, alu

MODES = {
    0: 0x606A, 1: 0x909A, 2: 0x609A, 3: 0x909F, 4: 0x909A, 6: 0xA0A0, 7: 0x505F, 8: 0xAF5A, 9: 0x7888,
}  # fmt: skip
"""Tables of the documented modes, as Apicula's packer writes them; mode 5 is mode 4 with its inputs exchanged."""

def test_tables_reproduce_every_mode_of_the_cell(tmp_path) -> None:
    pairs, differ = [], []
    for mode, table in MODES.items():
        pairs.append(
            f"wire s{mode}, c{mode}, S{mode}, C{mode};"
            f"ALU #(.ALU_MODE({mode})) a{mode} (.I0(a), .I1(b), .I3(d), .CIN(i), .SUM(s{mode}), .COUT(c{mode}));"
            f"dorefabric_alu #(.RAW_ALU_LUT({table})) r{mode} (.I0(a), .I1(b), .I3(d), .CIN(i), "
            f".SUM(S{mode}), .COUT(C{mode}));"
        )
        differ.append(f"s{mode} ^ S{mode}, c{mode} ^ C{mode}")
    source = f"{MODEL}\nmodule top (input a, b, d, i, output [{2 * len(MODES) - 1}:0] differ);\n"
    source += "\n".join(pairs) + f"\nassign differ = {{{', '.join(differ)}}};\nendmodule\n"
    (tmp_path / "cells.v").write_text(source)
    models = "read_verilog cells.v; read_verilog +/gowin/cells_sim.v"
    command = [*find_tool("yosys").command, "-p", f"{models}; prep -flatten -top top; sat -verify -prove differ 0 top"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr


@pytest.mark.parametrize("bits", range(16))
def test_what_the_cells_do(bits: int) -> None:
    a, b, d, carry = (bits >> i & 1 for i in range(4))

    def total(table: int, b: int = b, d: int = d) -> int:
        low, high = alu(table, a, b, d, carry)
        return low + 2 * high

    assert total(ADD) == a + b + carry
    assert total(GATED) == (a ^ b) + d + carry
    assert total(CHOOSE) == (b if d else a) + carry
    assert alu(JOIN, a, b, d, carry) == (carry, a ^ b)


class Mapped(Element):
    """`Element` of cells that are simulated."""

    def elaborate(self, platform) -> Module:
        m = Module()
        connect_element(m, self)
        return m


@pytest.mark.parametrize(("lanes", "bits"), [(8, 8), (16, 9), (32, 20), (64, 20), (64, 8), (128, 24)])
def test_accumulates(lanes: int, bits: int) -> None:
    check_accumulates(Mapped(lanes=lanes, accumulator_bits=bits, technology="gowin"), 150)
