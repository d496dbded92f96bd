"""`Element` against `accumulate`, with idle cycles and overflow."""

import random

import pytest
from simulate import simulate

from dorefabric.hw.element import Element, accumulate
from dorefabric.hw.timing import popcount_latency


@pytest.mark.parametrize("technology", ["generic", "ice40"])
@pytest.mark.parametrize(("lanes", "bits"), [(8, 8), (32, 9), (64, 20)])
def test_accumulates(lanes: int, bits: int, technology: str) -> None:
    rng = random.Random(lanes)
    component = Element(lanes=lanes, accumulator_bits=bits, technology=technology)
    latency = popcount_latency(lanes, technology)
    # (activations, weights, enable, clear, double) of each cycle; the first step clears.
    steps = [(rng.getrandbits(lanes), rng.getrandbits(lanes), rng.random() < 0.8, rng.random() < 0.05,
              rng.random() < 0.3) for _ in range(200)]  # fmt: skip
    steps[0] = (*steps[0][:2], True, True, True)
    got, expected = [], []

    async def bench(ctx) -> None:
        control = [(False, False, False)] * latency + [step[2:] for step in steps]
        operands = [step[:2] for step in steps] + [(0, 0)] * latency
        for (activations, weights), (enable, clear, double) in zip(operands, control, strict=True):
            ctx.set(component.activations, activations)
            ctx.set(component.weights, weights)
            ctx.set(component.enable, enable)
            ctx.set(component.clear, clear)
            ctx.set(component.double, double)
            await ctx.tick()
            got.append(ctx.get(component.accumulator))

    simulate(component, bench)
    taken: list[tuple[int, int, bool]] = []
    for activations, weights, enable, clear, double in steps:
        if enable:
            taken = [] if clear else taken
            taken.append((activations, weights, double))
        expected.append(accumulate(taken, bits))
    assert got[latency:] == expected
