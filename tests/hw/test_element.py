"""`Element` against `accumulate`, with idle cycles and overflow."""

import pytest
from amaranth import Module, Signal
from amaranth.hdl import Fragment
from elements import check_accumulates

from dorefabric.hw.ecp5_chain import END, START_GATED
from dorefabric.hw.element import Element
from dorefabric.hw.element_ecp5 import CHAINS, map_element


@pytest.mark.parametrize("technology", ["generic", "ice40"])
@pytest.mark.parametrize(("lanes", "bits"), [(8, 8), (32, 9), (64, 20)])
def test_accumulates(lanes: int, bits: int, technology: str) -> None:
    check_accumulates(Element(lanes=lanes, accumulator_bits=bits, technology=technology))


@pytest.mark.parametrize("lanes", CHAINS)
def test_layout_of_chains(lanes: int) -> None:
    """Every adder of the tree and the sum have a place, and what timing analysis must not follow comes first."""
    count = lanes // 4
    adders = {1: count}
    while count > 1:
        count //= 2
        adders[max(adders) + 1] = count
    levels = [level for chain in CHAINS[lanes] for level in chain]
    assert {level: levels.count(level) for level in {*levels} - {0}} == adders
    assert levels.count(0) == 1
    stages = 1, 3
    for chain in CHAINS[lanes]:
        first_of_stage = [level in stages for level in chain]
        assert first_of_stage == sorted(first_of_stage, reverse=True)


def test_chains_of_64_lanes_take_15_tiles() -> None:
    cells = [sum(20 + 1 if level == 0 else level + 1 for level in chain) + (chain[-1] != 0) for chain in CHAINS[64]]
    assert cells == [24, 24, 24, 20, 21]


@pytest.mark.parametrize("lanes", CHAINS)
def test_adders_lie_in_the_order_of_the_layout(lanes: int) -> None:
    """An adder begins where a gate starts, and its level is its number of cells less one; the sum has most cells."""
    m = Module()
    enable, clear, double = (Signal(name=name) for name in ("enable", "clear", "double"))
    map_element(m, Signal(lanes), Signal(lanes), enable=enable, clear=clear, double=double, accumulator_bits=20)
    instances = {name: instance for instance, name, _ in Fragment.get(m, None).subfragments}
    found = []
    for chain in range(len(CHAINS[lanes])):
        cells: list[int] = []
        while (cell := instances.get(f"chain_{chain}_{len(cells) // 2}")) is not None:
            cells += [cell.parameters[f"INIT{half}"].value for half in (0, 1)]
        while cells[-1] == END:
            cells.pop()
        starts = [index for index, init in enumerate(cells) if init == START_GATED]
        lengths = [end - start for start, end in zip(starts, [*starts[1:], len(cells)], strict=True)]
        found.append(tuple(0 if length == 21 else length - 1 for length in lengths))
    assert tuple(found) == CHAINS[lanes]
