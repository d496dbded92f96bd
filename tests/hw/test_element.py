"""`Element` against `accumulate`, with idle cycles and overflow."""

import pytest
from elements import check_accumulates

from dorefabric.hw.element import Element
from dorefabric.hw.element_ecp5 import CHAINS


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


def test_chains_of_64_lanes_fill_their_tiles() -> None:
    cells = [sum(20 + 1 if level == 0 else level + 1 for level in chain) + (chain[-1] != 0) for chain in CHAINS[64]]
    assert cells == [24, 24, 24, 40]
