"""Proof that processing elements of a technology's own cells compute what `hw.element` says, as synthesised netlists.

accumulator' = (0 if clear else 2 accumulator if double else accumulator) + popcount(activations ^ weights), for every
value of every input and of the accumulator, with as many registers before it as the pipeline's timing counts on.
"""

from typing import Any

import pytest

from dorefabric.boards.ecp5_floorplan import Floorplan, LogicGrid, place_elements
from dorefabric.boards.ecp5_netlist import open_carry_ends
from dorefabric.hw.element import Element
from dorefabric.hw.timing import popcount_latency
from dorefabric.sim.equivalence import Diagrams, Netlist, synthesise


def place(cells: dict[str, Any]) -> None:
    """As in a build with a floorplan: placed halves of cells, with their operands where they suit the wires."""
    for name in [name for name in cells if name.startswith("chain_")]:
        cells[f"array.tile_0.element_0_0.{name}"] = cells.pop(name)
    open_carry_ends(cells)
    grid = LogicGrid(tuple(range(2, 12)), tuple(range(5, 15)))
    # The carry cells, the registers behind them, four of late operands, and the LUTs of the accumulator's low bits.
    assert place_elements(cells, grid, Floorplan(tiles=((0,),), band=5)) == 113 + 60 + 4 + 6
    # Yosys' model of the half does not drive its carry output, so for the proof two halves are a whole again.
    for name in [name.removesuffix("_comb0") for name in cells if name.endswith("_comb0")]:
        parameters = {"INJECT1_0": "NO", "INJECT1_1": "NO"}
        connections: dict[str, Any] = {}
        for half in (0, 1):
            comb = cells.pop(f"{name}_comb{half}", None)
            if comb is None:  # the last of an odd number
                parameters["INIT1"] = f"{0:016b}"
                continue
            parameters[f"INIT{half}"] = comb["parameters"]["INITVAL"]
            nets = comb["connections"]
            # An open pin of the LUT is 1.
            connections |= {f"{pin}{half}": ["1"] if nets[pin] == ["x"] else nets[pin] for pin in "ABCD"}
            connections |= {f"S{half}": nets["F"], ("COUT" if half else "CIN"): nets["FCO" if half else "FCI"]}
        connections = {port: net for port, net in connections.items() if net != ["x"] or port == "CIN"}
        directions = {port: "output" if port in ("S0", "S1", "COUT") else "input" for port in connections}
        cells[name] = {"type": "CCU2C", "parameters": parameters, "attributes": {},
                       "connections": connections, "port_directions": directions}  # fmt: skip


@pytest.mark.parametrize(
    ("technology", "lanes", "bits"),
    [("ecp5", 32, 12), ("ecp5", 64, 20), ("gowin", 8, 8), ("gowin", 64, 18)],
    ids=str,
)
def test_element(technology: str, lanes: int, bits: int) -> None:
    element = Element(lanes=lanes, accumulator_bits=bits, technology=technology)
    check(synthesise(element, technology), technology, lanes, bits)


def test_placed_element() -> None:
    element = Element(lanes=64, accumulator_bits=20, technology="ecp5")
    check(synthesise(element, "ecp5", place), "ecp5", 64, 20)


def check(module: dict[str, Any], technology: str, lanes: int, bits: int) -> None:
    diagrams = Diagrams()
    controls = {name: [diagrams.variable()] for name in ("clear", "double", "enable")}
    pairs = [(diagrams.variable(), diagrams.variable()) for _ in range(lanes)]
    inputs = {"activations": [a for a, _ in pairs], "weights": [w for _, w in pairs], **controls}
    accumulator = [diagrams.variable() for _ in range(bits)]
    netlist = Netlist(diagrams, module, inputs, {"accumulator": accumulator}, control=tuple(controls))

    clear, double = controls["clear"][0], controls["double"][0]
    shifted = [0, *accumulator[:-1]]
    doubled = [diagrams.choose(double, *ways) for ways in zip(shifted, accumulator, strict=True)]
    kept = [diagrams.choose(clear, 0, bit) for bit in doubled]
    mismatches = diagrams.add(*([diagrams.differ(a, w)] for a, w in pairs), width=lanes.bit_length())
    # A register may have a reset that stands beside its enable: what it does without an enable does not matter.
    (enable,) = controls["enable"]
    got, expected = ([diagrams.both(enable, bit) for bit in word] for word in (
        netlist.next_state["accumulator"], diagrams.add(mismatches, kept, width=bits),
    ))  # fmt: skip
    assert got == expected
    assert netlist.enable["accumulator"] == controls["enable"] * bits
    assert netlist.latency == popcount_latency(lanes, technology)
