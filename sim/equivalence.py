"""Proof that a synthesised netlist computes a function, by binary decision diagrams.

A popcount is the hard case of satisfiability solvers and an easy one of decision diagrams: every partial count is a
symmetric function of its lanes, whose diagram grows with the square of their number. So the netlist that yosys made,
with the simulation models of the tools' own cells, is evaluated on Boolean functions instead of bits, and each of its
outputs compared with the reference: equal functions are the same node.

Pipelines are made transparent: a register passes its input on, if all paths from the inputs to a cell have equally many
registers (`Netlist` refuses others), except for the registers of a loop, whose outputs are variables and whose inputs
are results.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.lib.wiring import Component

from dorefabric.hw import gowin_chain
from dorefabric.hw.errors import DorefabricError

from .formal import yosys

__all__ = ["SYNTHESIS", "Diagrams", "Netlist", "NetlistError", "synthesise"]

SYNTHESIS = {
    "ecp5": ("synth_ecp5 -nowidelut -noabc9", "+/ecp5/cells_sim.v"),
    "ice40": ("synth_ice40", "+/ice40/cells_sim.v"),
    "gowin": ("synth_gowin -nowidelut", "+/gowin/cells_sim.v"),
}
"""For each technology yosys' synthesis command and the simulation models of its cells."""

_OWN_CELLS = {"gowin": (gowin_chain.VERILOG, gowin_chain.MODEL)}
"""For synthesis, and for simulation after it, of cells that yosys does not have."""

_REGISTERS = ("$_DFF_P_", "$_DFFE_PP_")


class NetlistError(DorefabricError):
    """A netlist that is not a balanced pipeline of gates around registers with feedback."""


class _Device:
    """A platform as far as `hw.shared.mapped` looks: cells of the technology are wanted."""

    mapped = True


def synthesise(
    component: Component, technology: str, transform: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """The component as yosys' JSON module of AND gates, inverters and flip-flops, by way of the technology's cells.

    ``transform`` may change these cells, by name, before they are evaluated.
    """
    command, models = SYNTHESIS[technology]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "design.il").write_text(rtlil.convert(component, name="top", platform=_Device(), emit_src=False))
        empty, model = _OWN_CELLS.get(technology, ("", ""))
        (folder / "empty.v").write_text(empty)
        (folder / "model.v").write_text(model)
        script = f"read_verilog empty.v; read_rtlil design.il; {command} -top top; write_json -selected cells.json"
        yosys(script, folder)
        cells = json.loads((folder / "cells.json").read_text())
        if transform is not None:
            transform(cells["modules"]["top"]["cells"])
        (folder / "cells.json").write_text(json.dumps(cells))
        script = (
            f"read_verilog -nooverwrite {models} model.v; read_json cells.json; hierarchy -top top; proc; flatten; "
            "opt; setundef -zero; async2sync; dffunmap -srst-only; simplemap; opt -nosdff; aigmap; opt_clean; "
            "write_json netlist.json"
        )
        yosys(script, folder)
        netlist = json.loads((folder / "netlist.json").read_text())
    module: dict[str, Any] = netlist["modules"]["top"]
    return module


class Diagrams:
    """Reduced ordered binary decision diagrams: a Boolean function is the number of its node, equal ones are equal.

    0 is false and 1 is true. Variables are ordered as they are declared.
    """

    def __init__(self) -> None:
        self._nodes: list[tuple[int, int, int]] = [(1 << 30, 0, 0), (1 << 30, 1, 1)]  # variable, low, high
        self._unique: dict[tuple[int, int, int], int] = {}
        self._known: dict[tuple[int, int, int], int] = {}
        self._variables = 0

    def variable(self) -> int:
        """A new variable, after all others."""
        self._variables += 1
        return self._node(self._variables - 1, 0, 1)

    def _node(self, variable: int, low: int, high: int) -> int:
        if low == high:
            return low
        key = (variable, low, high)
        if key not in self._unique:
            self._unique[key] = len(self._nodes)
            self._nodes.append(key)
        return self._unique[key]

    def choose(self, condition: int, high: int, low: int) -> int:
        """``high`` where ``condition`` holds, else ``low``."""
        if condition < 2 or high == low:
            return high if condition == 1 or high == low else low
        if (high, low) == (1, 0):
            return condition
        key = (condition, high, low)
        if key not in self._known:
            top = min(self._nodes[each][0] for each in key)
            parts = [self._nodes[each] if self._nodes[each][0] == top else (top, each, each) for each in key]
            (_, c0, c1), (_, h0, h1), (_, l0, l1) = parts
            self._known[key] = self._node(top, self.choose(c0, h0, l0), self.choose(c1, h1, l1))
        return self._known[key]

    def both(self, x: int, y: int) -> int:
        """``x`` and ``y``."""
        return self.choose(min(x, y), max(x, y), 0)

    def inverse(self, x: int) -> int:
        """Not ``x``."""
        return self.choose(x, 0, 1)

    def differ(self, x: int, y: int) -> int:
        """``x`` exclusive or ``y``."""
        return self.choose(x, self.inverse(y), y)

    def add(self, *numbers: Sequence[int], width: int) -> list[int]:
        """Sum of numbers given as functions of their bits, modulo 2**width."""
        total = [0] * width
        for number in numbers:
            carry = 0
            for bit in range(width):
                if bit >= len(number) and carry == 0:
                    break
                x, y = total[bit], number[bit] if bit < len(number) else 0
                differ = self.differ(x, y)
                total[bit] = self.differ(differ, carry)
                carry = self.choose(differ, carry, x)
        return total


class Netlist:
    """A module of `synthesise`, to be evaluated on Boolean functions.

    Parameters
    ----------
    module : dict
    diagrams : where the functions are
    inputs : mapping of port name to the functions of its bits
    state : mapping of output port name to the functions of its bits: registers of a loop, whose outputs the port shows
    control : inputs that stay as they are, whose paths may have any number of registers

    Attributes
    ----------
    next_state : mapping like ``state``, the functions at the registers' inputs
    enable : mapping like ``state``, the functions at their enables
    latency : int
        Registers on every path from an input that is no control to the inputs of the state registers.

    Raises
    ------
    NetlistError
        For a cell of another kind, or paths with unequally many registers.
    """

    def __init__(
        self,
        diagrams: Diagrams,
        module: dict[str, Any],
        inputs: dict[str, list[int]],
        state: dict[str, list[int]],
        control: Sequence[str] = (),
    ) -> None:
        self._diagrams = diagrams
        # Each net's function and its latency: None for what does not come from a pipelined input.
        self._values: dict[Any, tuple[int, int | None]] = {"0": (0, None), "1": (1, None), "x": (0, None)}
        self._drivers: dict[int, dict[str, Any]] = {}
        for cell in module["cells"].values():
            for port in ("Y", "Q"):
                if port in cell["connections"]:
                    self._drivers[cell["connections"][port][0]] = cell
        ports = module["ports"]
        for name, functions in inputs.items():
            for bit, function in zip(ports[name]["bits"], functions, strict=True):
                self._values[bit] = (function, None if name in control else 0)
        for name, functions in state.items():
            for bit, function in zip(ports[name]["bits"], functions, strict=True):
                self._values[bit] = (function, None)
        self.next_state: dict[str, list[int]] = {}
        self.enable: dict[str, list[int]] = {}
        latencies = set()
        for name in state:
            cells = [self._drivers[bit] for bit in ports[name]["bits"]]
            results = [self._value(cell["connections"]["D"][0]) for cell in cells]
            self.next_state[name] = [function for function, _ in results]
            latencies |= {latency for _, latency in results if latency is not None}
            self.enable[name] = [self._value(cell["connections"].get("E", ["1"])[0])[0] for cell in cells]
        if len(latencies) != 1:
            raise NetlistError(f"paths to the state have {sorted(latencies)} registers, not equally many")
        self.latency = latencies.pop()

    def _value(self, net: Any) -> tuple[int, int | None]:
        """Evaluate a net, and first whatever it depends on."""
        stack = [net]
        while stack:
            top = stack[-1]
            if top in self._values:
                stack.pop()
                continue
            cell = self._drivers[top]
            kind, ports = cell["type"], cell["connections"]
            if kind in _REGISTERS:
                needs = [ports["D"][0]]
            elif kind == "$_NOT_":
                needs = [ports["A"][0]]
            elif kind == "$_AND_":
                needs = [ports["A"][0], ports["B"][0]]
            else:
                raise NetlistError(f"the netlist has a cell {kind}")
            missing = [need for need in needs if need not in self._values]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            self._values[top] = self._evaluate(kind, [self._values[need] for need in needs])
        return self._values[net]

    def _evaluate(self, kind: str, operands: list[tuple[int, int | None]]) -> tuple[int, int | None]:
        functions = [function for function, _ in operands]
        if kind == "$_NOT_":
            return self._diagrams.inverse(functions[0]), operands[0][1]
        if kind == "$_AND_":
            function = self._diagrams.both(functions[0], functions[1])
            if function < 2:
                return function, None
            latencies = {latency for _, latency in operands if latency is not None}
            if len(latencies) > 1:
                raise NetlistError(f"a cell combines signals of latency {sorted(latencies)}")
            return function, latencies.pop() if latencies else None
        latency = operands[0][1]
        return functions[0], None if latency is None else latency + 1
