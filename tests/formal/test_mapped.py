"""Proof that processing elements of a technology's own cells compute what `hw.element` says, as synthesised netlists.

accumulator' = (0 if clear else 2 accumulator if double else accumulator) + popcount(activations ^ weights), for every
value of every input and of the accumulator, with as many registers before it as the pipeline's timing counts on.
"""

import pytest

from dorefabric.hw.element import Element
from dorefabric.hw.timing import popcount_latency
from dorefabric.sim.equivalence import Diagrams, Netlist, synthesise


@pytest.mark.parametrize(
    ("technology", "lanes", "bits"),
    [("ecp5", 32, 12), ("ecp5", 64, 20), ("gowin", 8, 8), ("gowin", 64, 18)],
    ids=str,
)
def test_element(technology: str, lanes: int, bits: int) -> None:
    module = synthesise(Element(lanes=lanes, accumulator_bits=bits, technology=technology), technology)
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
