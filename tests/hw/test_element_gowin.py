"""The Gowin element: its cell against yosys' model, and itself against `accumulate`, cell by cell."""

import random
import subprocess

import pytest
from amaranth.hdl import Module
from simulate import simulate

from dorefabric.boards.tools import find_tool
from dorefabric.hw.element import Element, accumulate
from dorefabric.hw.element_gowin import connect_element
from dorefabric.hw.gowin_chain import ADD, CHOOSE, GATED, JOIN, alu

MODES = {
    0: 0x606A, 1: 0x909A, 2: 0x609A, 3: 0x909F, 4: 0x909A, 6: 0xA0A0, 7: 0x505F, 8: 0xAF5A, 9: 0x7888,
}  # fmt: skip
"""Tables of the documented modes, as Apicula's packer writes them; mode 5 is mode 4 with its inputs exchanged."""

RAW = """
module raw #(parameter [15:0] TABLE = 0) (input I0, I1, I3, CIN, output SUM, COUT);
  wire p = TABLE[{I3, 1'b1, I1, I0}], g = TABLE[{I1, I0}];
  assign SUM = p ^ CIN, COUT = p ? CIN : g;
endmodule
"""


def test_tables_reproduce_every_mode_of_the_cell(tmp_path) -> None:
    pairs, differ = [], []
    for mode, table in MODES.items():
        pairs.append(
            f"wire s{mode}, c{mode}, S{mode}, C{mode};"
            f"ALU #(.ALU_MODE({mode})) a{mode} (.I0(a), .I1(b), .I3(d), .CIN(i), .SUM(s{mode}), .COUT(c{mode}));"
            f"raw #(.TABLE({table})) r{mode} (.I0(a), .I1(b), .I3(d), .CIN(i), .SUM(S{mode}), .COUT(C{mode}));"
        )
        differ.append(f"s{mode} ^ S{mode}, c{mode} ^ C{mode}")
    source = f"{RAW}\nmodule top (input a, b, d, i, output [{2 * len(MODES) - 1}:0] differ);\n"
    source += "\n".join(pairs) + f"\nassign differ = {{{', '.join(differ)}}};\nendmodule\n"
    (tmp_path / "cells.v").write_text(source)
    script = "read_verilog cells.v +/gowin/cells_sim.v; prep -flatten -top top; sat -verify -prove differ 0 top"
    command = [*find_tool("yosys").command, "-p", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "SUCCESS" in done.stdout, done.stdout[-1000:] + done.stderr


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
    rng = random.Random(lanes + bits)
    component = Mapped(lanes=lanes, accumulator_bits=bits, technology="gowin")
    steps = [(rng.getrandbits(lanes), rng.getrandbits(lanes), rng.random() < 0.8, rng.random() < 0.1,
              rng.random() < 0.3) for _ in range(150)]  # fmt: skip
    every = (1 << lanes) - 1
    steps = [(a, a ^ every, *rest) if rng.random() < 0.2 else (a, w, *rest) for a, w, *rest in steps]
    steps[0] = (*steps[0][:2], True, True, True)
    got, expected = [], []

    async def bench(ctx) -> None:
        for number in range(len(steps) + 1):
            activations, weights = steps[number][:2] if number < len(steps) else (0, 0)
            enable, clear, double = steps[number - 1][2:] if number else (False, False, False)
            for name, value in [("activations", activations), ("weights", weights), ("enable", enable),
                                ("clear", clear), ("double", double)]:  # fmt: skip
                ctx.set(getattr(component, name), value)
            await ctx.tick()
            got.append(ctx.get(component.accumulator))

    simulate(component, bench)
    taken: list[tuple[int, int, bool]] = []
    for activations, weights, enable, clear, double in steps:
        if enable:
            taken = [] if clear else taken
            taken.append((activations, weights, double))
        expected.append(accumulate(taken, bits))
    assert got[1:] == expected
