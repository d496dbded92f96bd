"""`Popcount` against int.bit_count, as a stream."""

import random

import pytest
from simulate import refusal, simulate

from dorefabric.hw.popcount import Popcount, popcount
from dorefabric.hw.timing import popcount_latency


@pytest.mark.parametrize("technology", ["generic", "ice40"])
@pytest.mark.parametrize("width", [8, 16, 32, 64, 128, 256])
def test_counts_every_word_after_its_latency(width: int, technology: str) -> None:
    rng = random.Random(width)
    words = [0, (1 << width) - 1, *(1 << lane for lane in range(width))]
    words += [rng.getrandbits(width) & rng.getrandbits(width) for _ in range(20)]
    words += [rng.getrandbits(width) | rng.getrandbits(width) for _ in range(20)]
    component = Popcount(width, technology)
    counts = []

    async def bench(ctx) -> None:
        for word in words + [0] * popcount_latency(width, technology):
            ctx.set(component.lanes, word)
            counts.append(ctx.get(component.count) + ctx.get(component.carry))
            await ctx.tick()

    simulate(component, bench)
    assert counts[popcount_latency(width, technology) :] == [popcount(word) for word in words]


@pytest.mark.parametrize("width", [4, 12, 0, True, 8.0])
def test_refuses_other_widths(width) -> None:
    message = refusal(lambda: Popcount(width))
    assert message == f"popcount width must be a power of two of at least 8, not {width!r}"


def test_refuses_unknown_technology() -> None:
    message = refusal(lambda: Popcount(8, "asic"))
    assert message == "technology must be one of generic, ice40, ecp5, gowin, xilinx, not 'asic'"
