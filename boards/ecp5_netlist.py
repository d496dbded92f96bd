"""What yosys' ECP5 netlist needs before nextpnr: open carry ends, output registers inside the memories, a floorplan."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from dorefabric.hw.ecp5_chain import END, START, START_GATED

from .ecp5_floorplan import Floorplan, LogicGrid, place_elements
from .ecp5_pins import Cells
from .report import Usage

__all__ = ["absorb_output_registers", "array_usage", "open_carry_ends", "prepare"]


def prepare(path: Path, device: str, floorplan: Floorplan | None = None) -> Usage:
    """Apply the passes to the netlist of ``device`` in the JSON file at ``path``; returns its `array_usage`."""
    netlist = json.loads(path.read_text())
    for name, module in netlist["modules"].items():
        cells: Cells = module["cells"]
        open_carry_ends(cells)
        absorb_output_registers(cells)
        if floorplan is not None and name == "top":
            place_elements(cells, LogicGrid.of(device), floorplan)
    path.write_text(json.dumps(netlist))
    return array_usage(netlist["modules"]["top"]["cells"])


def array_usage(cells: Cells) -> Usage:
    """Cells of `dorefabric.hw.array` alone: elements, drain, thresholds, weights, registers of operands and control.

    Cells have the names of what they drive. A LUT is a ``TRELLIS_COMB`` or what becomes one: place and route adds some
    that feed or end carry chains, of which a placed array has none.
    """
    names = [name for name in cells if ".core.array." in name]
    counts = Counter(cells[name]["type"] for name in names)
    lut = sum(counts[kind] * each for kind, each in (("LUT4", 1), ("TRELLIS_COMB", 1), ("CCU2C", 2)))
    return Usage(lut, counts["TRELLIS_FF"], counts["DP16KD"])


def open_carry_ends(cells: Cells) -> int:
    """Leave the ends of carry chains open, in place; returns how many chains there are.

    nextpnr adds a cell to a chain whose first carry input is a constant, and one where the last carry output has a
    net. The first cell of `dorefabric.hw.ecp5_chain.CarryChain` never looks at its carry input, and nothing reads the
    last output, but yosys ties the one to 0 and gives the other a net, as it does to every sum that nothing reads.
    """
    chain_cells = [cell for cell in cells.values() if cell["type"] == "CCU2C"]
    read = {bit for cell in cells.values() for port, bits in cell["connections"].items()
            if cell["port_directions"].get(port) == "input" for bit in bits if isinstance(bit, int)}  # fmt: skip
    chains = 0
    for cell in chain_cells:
        carry_in = cell["connections"].setdefault("CIN", ["x"])
        cell["port_directions"]["CIN"] = "input"
        if not isinstance(carry_in[0], int):
            chains += 1
            if int(cell["parameters"]["INIT0"], 2) in (START, START_GATED, END):
                cell["connections"]["CIN"] = ["x"]
        for port in ("COUT", "S0", "S1"):
            output = cell["connections"].get(port) or ["x"]
            cell["port_directions"][port] = "output"
            cell["connections"][port] = output if output[0] in read else ["x"]
    return chains


def absorb_output_registers(cells: Cells) -> int:
    """Use the block RAMs' own output registers, in place; returns how many ports got them.

    A DP16KD gives its data 5.7 ns after the clock, from its output register in less than 1. Yosys makes no use of it:
    where every used data bit of a read port goes to one flip-flop only, of the same clock and without enable or reset,
    the flip-flops go and the port's REGMODE becomes OUTREG.
    """
    sinks: dict[int, list[tuple[str, str]]] = {}
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"].get(port) == "input":
                for bit in bits:
                    if isinstance(bit, int):
                        sinks.setdefault(bit, []).append((name, port))
    ports = 0
    for memory in [cell for cell in cells.values() if cell["type"] == "DP16KD"]:
        wide = int(memory["parameters"]["DATA_WIDTH_A"], 2) == 36 or int(memory["parameters"]["DATA_WIDTH_B"], 2) == 36
        for letters in ("AB",) if wide else ("A", "B"):
            outputs = [f"DO{letter}{bit}" for letter in letters for bit in range(18)]
            used = [(port, memory["connections"][port][0]) for port in outputs if port in memory["connections"]]
            used = [(port, bit) for port, bit in used if sinks.get(bit)]
            clock = memory["connections"][f"CLK{letters[-1]}"]
            registers = [_lone_register(cells, sinks[bit], clock) for _, bit in used]
            if not used or None in registers:
                continue
            for (port, _), register in zip(used, registers, strict=True):
                assert register is not None
                memory["connections"][port] = cells.pop(register)["connections"]["Q"]
            for letter in letters:
                memory["parameters"][f"REGMODE_{letter}"] = "OUTREG"
            ports += 1
    return ports


def _lone_register(cells: Cells, sinks: list[tuple[str, str]], clock: list[Any]) -> str | None:
    """Name of the plain flip-flop that alone reads a bit, or None."""
    if len(sinks) != 1 or sinks[0][1] not in ("DI", "M"):
        return None
    name = sinks[0][0]
    cell = cells.get(name, {"type": ""})
    if cell["type"] != "TRELLIS_FF" or cell["connections"]["CLK"] != clock:
        return None
    connections = cell["connections"]
    # Yosys writes a string that looks like a number with a space at its end.
    parameters = {key: value.strip() for key, value in cell["parameters"].items()}
    enabled = parameters.get("CEMUX") == "1" or connections.get("CE") == ["1"]
    never_reset = connections.get("LSR", ["0"]) in (["0"], ["x"])
    plain = parameters.get("CLKMUX", "CLK") == "CLK" and parameters.get("REGSET", "RESET") == "RESET"
    return name if enabled and never_reset and plain else None
