"""Gowin carry chains whose cells do more than add: the ``ALU`` of a logic slice with a table of one's own.

An ``ALU`` is a LUT4 beside a carry multiplexer. Its input C is tied to 1, and the 16 bits of the table mean::

    P       = table[8 * D + 4 + 2 * B + A]      bits 15..12 for D = 1, bits 7..4 for D = 0; bits 11..8 mean nothing
    G       = table[2 * B + A]                  bits 3..0
    SUM     = P ^ CIN
    COUT    = P ? CIN : G

Every documented ``ALU_MODE`` is such a table (``tests/hw/test_element_gowin.py`` holds all of them against yosys' model
of the cell); the tables below are others, which nextpnr and Apicula pass on as the parameter ``RAW_ALU_LUT``:

| table    | P         | G     | what the cell does                                                            |
|----------|-----------|-------|-------------------------------------------------------------------------------|
| `ADD`    | A ^ B     | A     | A + B + carry                                                                 |
| `GATED`  | A ^ B ^ D | A ^ B | (A ^ B) + D + carry: the exclusive-or of a lane costs nothing                 |
| `JOIN`   | 0         | A ^ B | ends one adder with its carry as the sum, starts the next with A ^ B as carry |
| `CHOOSE` | D ? B : A | 0     | (D ? B : A) + carry                                                           |

Joined adders need one cell between them; separate chains would need two, one to bring a carry in and one to take it
out.
"""

from typing import Any

from amaranth import Const, Instance, Module, Mux, Signal
from amaranth.hdl import Value, ValueLike

from .shared import mapped

__all__ = ["ADD", "AFTER_SYNTHESIS", "CHOOSE", "GATED", "JOIN", "VERILOG", "CarryChain", "alu"]

ADD, GATED, JOIN, CHOOSE = 0x606A, 0x9066, 0x0006, 0xC0A0

VERILOG = """\
(* blackbox *)
module dorefabric_alu (input I0, I1, I3, CIN, output SUM, COUT);
  parameter [15:0] RAW_ALU_LUT = 0;
  parameter ALU_MODE = 9;
endmodule
"""
"""yosys' ``ALU`` has no such parameter: synthesis sees this cell and renames it to ``ALU`` when it is done.
``ALU_MODE`` must be there for nextpnr, which does nothing to a cell of mode 9."""

AFTER_SYNTHESIS = "chtype -set ALU t:dorefabric_alu"
"""Yosys command that makes them ``ALU`` cells."""


def alu(table: int, a: int, b: int, d: int, carry: int) -> tuple[int, int]:
    """Sum and carry out of the cell, for bits."""
    propagate = table >> (8 * d + 4 + 2 * b + a) & 1
    return propagate ^ carry, carry if propagate else table >> (2 * b + a) & 1


class CarryChain:
    """Cells in a row, each of which takes the carry of the one before it.

    ``carry`` enters the first cell. In simulation the cells are the equations above.
    """

    def __init__(self, m: Module, platform: object, name: str, carry: ValueLike = 0) -> None:
        self._m, self._name = m, name
        self._instances = mapped(platform)
        self._length = 0
        self.carry: Value = Value.cast(carry)

    def cell(self, table: int, a: ValueLike = 0, b: ValueLike = 0, d: ValueLike = 0) -> Value:
        """Append a cell; returns its sum. `carry` is then its carry out."""
        name = f"{self._name}_{self._length}"
        self._length += 1
        total, carry = Signal(name=f"{name}_sum"), Signal(name=f"{name}_carry")
        a, b, d = (Value.cast(value)[0] for value in (a, b, d))
        if self._instances:
            ports: dict[str, Any] = {
                "i_I0": a, "i_I1": b, "i_I3": d, "i_CIN": self.carry, "o_SUM": total, "o_COUT": carry,
            }  # fmt: skip
            self._m.submodules[name] = Instance("dorefabric_alu", p_RAW_ALU_LUT=Const(table, 16), **ports)
        else:
            propagate = Signal(name=f"{name}_propagate")
            self._m.d.comb += [
                propagate.eq(Mux(d, bits_of(table >> 12, a, b), bits_of(table >> 4, a, b))),
                total.eq(propagate ^ self.carry),
                carry.eq(Mux(propagate, self.carry, bits_of(table, a, b))),
            ]
        self.carry = carry
        return total


def bits_of(table: int, a: Value, b: Value) -> Value:
    """Bit 2 b + a of ``table``."""
    return (Const(table & 0xF, 4) >> (2 * b + a))[0]
