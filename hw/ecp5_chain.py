"""ECP5 carry chains that gate, add and count in the same LUT4: the cell that the array is made of.

Half a ``CCU2C`` holds one LUT4 and one carry multiplexer. With inputs A, B, C, D and the carry from the half before::

    P = LUT4(A, B, C, D)              INIT, index D·8 + C·4 + B·2 + A
    G = LUT4(A, B, 0, 0)              the low four bits of INIT
    S = P xor carry                   the output
    carry' = carry if P else G        to the next half (INJECT1 = "NO")

Unused inputs are tied to 1, which costs nothing; a 0 would be routed to each of them.

| cell          | INIT   | A     | B      | C        | D      | P                     | G     | use                  |
|---------------|--------|-------|--------|----------|--------|-----------------------|-------|----------------------|
| `ADD_GATED`   | 0x6996 | a     | w      | a'       | w'     | (a ^ w) ^ (a' ^ w')   | a ^ w | adds two gated lanes |
| `ADD`         | 0x5AAA | x     | 1      | y        | 1      | x ^ y                 | x     | adds two bits        |
| `ADD_SHIFT`   | 0x5140 | clear | double | acc[i-1] | acc[i] | 0, acc[i-1] or acc[i] | 0     | accumulator, upper   |
| `START_GATED` | 0x0006 | a     | w      | 1        | 1      | 0                     | a ^ w | starts with a gate   |
| `START`       | 0x00AA | x     | 1      | 1        | 1      | 0                     | x     | starts with a bit    |
| `END`         | 0x0000 | 1     | 1      | 1        | 1      | 0                     | 0     | only ends            |

A cell with P = 0 puts out the carry that reaches it, the most significant bit of the adder before, and sends on its
own G: it ends one adder and starts the next, with one more lane as carry input. So adders of any kind join::

    START  ADD_GATED  START  ADD_GATED  START  ADD  ADD  END
    \\__ 3 lanes ___/ \\__ 3 lanes ___/ \\_ 7 lanes __/

n lanes in k bits and n lanes more are added, with one lane extra, by k + 1 cells: c(2n + 1) = 2 c(n) + k + 1, that is
7 lanes in 7 LUT4, 15 in 18, 31 in 41, 63 in 88.

nextpnr gives a chain whose first carry input is a constant a cell of its own to feed it, and another to one whose last
carry output has a net. Both are open here, and `dorefabric.boards.ecp5_netlist` keeps them open in yosys' netlist.
"""

from collections.abc import Sequence
from typing import Any

from amaranth import Const, Instance, Module, Signal, Value

__all__ = ["ADD", "ADD_GATED", "ADD_SHIFT", "END", "START", "START_GATED", "CarryChain", "Lane"]

ADD_GATED, ADD, ADD_SHIFT, START_GATED, START, END = 0x6996, 0x5AAA, 0x5140, 0x0006, 0x00AA, 0x0000

Lane = tuple[Value, Value] | Value
"""What a chain can start with: the two operands of a gate, or a bit."""


class CarryChain:
    """Collects half cells and puts them into ``m`` as one chain of ``CCU2C``."""

    def __init__(self) -> None:
        self._cells: list[tuple[int, tuple[Value, ...], Signal | None]] = []
        self._carry: Signal | None = None  # the bit that the next cell puts out

    def __len__(self) -> int:
        return len(self._cells) + (self._carry is not None)

    def start(self, lane: Lane | None) -> None:
        """End the adder before; ``lane`` is the carry input of the next one."""
        if lane is None:
            init, inputs = END, ()
        elif isinstance(lane, tuple):
            init, inputs = START_GATED, lane
        else:
            init, inputs = START, (lane,)
        self._cells.append((init, inputs, self._carry))
        self._carry = None

    def cell(self, init: int, *inputs: Value, name: str) -> Signal:
        """One cell of the adder; returns its output."""
        output = Signal(name=name)
        self._cells.append((init, inputs, output))
        return output

    def carry(self, name: str) -> Signal:
        """The carry output of the adder, its most significant bit."""
        self._carry = Signal(name=name)
        return self._carry

    def add(self, lane: Lane, x: Sequence[Value], y: Sequence[Value], name: str) -> list[Signal]:
        """``lane`` + ``x`` + ``y``, bits from the least significant."""
        self.start(lane)
        sums = [self.cell(ADD, a, Const(1), b, name=f"{name}_{i}") for i, (a, b) in enumerate(zip(x, y, strict=True))]
        return [*sums, self.carry(f"{name}_{len(sums)}")]

    def join(self, adder: "CarryChain") -> None:
        """Put the cells of another chain behind these: its first one puts out this one's last carry."""
        (init, inputs, _), *others = adder._cells
        self._cells += [(init, inputs, self._carry), *others]
        self._carry = adder._carry

    def place(self, m: Module, name: str) -> None:
        """Put the chain into ``m``."""
        if self._carry is not None:
            self.start(None)
        cells = [*self._cells]
        if len(cells) % 2:
            cells.append((END, (), None))
        link = None
        for index in range(0, len(cells), 2):
            ports: dict[str, Any] = {"p_INJECT1_0": "NO", "p_INJECT1_1": "NO"}
            for half in (0, 1):
                init, inputs, output = cells[index + half]
                ports[f"p_INIT{half}"] = Const(init, 16)
                for position, letter in enumerate("ABCD"):
                    ports[f"i_{letter}{half}"] = inputs[position] if position < len(inputs) else Const(1)
                if output is not None:
                    ports[f"o_S{half}"] = output
            if link is not None:
                ports["i_CIN"] = link
            if index + 2 < len(cells):
                link = Signal(name=f"{name}_carry_{index // 2}")
                ports["o_COUT"] = link
            m.submodules[f"{name}_{index // 2}"] = Instance("CCU2C", **ports)
