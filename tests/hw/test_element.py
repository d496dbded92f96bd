"""`Element` against `accumulate`, with idle cycles and overflow."""

import pytest
from elements import check_accumulates

from dorefabric.hw.element import Element


@pytest.mark.parametrize("technology", ["generic", "ice40"])
@pytest.mark.parametrize(("lanes", "bits"), [(8, 8), (32, 9), (64, 20)])
def test_accumulates(lanes: int, bits: int, technology: str) -> None:
    check_accumulates(Element(lanes=lanes, accumulator_bits=bits, technology=technology))
