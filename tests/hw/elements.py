"""Random steps through an element, and what it must hold after each."""

import random

from simulate import simulate

from dorefabric.hw.element import Element, accumulate
from dorefabric.hw.timing import popcount_latency


def check_accumulates(component: Element, count: int = 200) -> None:
    """``count`` steps, with idle cycles, complementary operands and overflow, against `accumulate`."""
    lanes, bits = component.lanes, len(component.accumulator)
    rng = random.Random(lanes + bits)
    latency = popcount_latency(lanes, component.technology)
    every = (1 << lanes) - 1
    # (activations, weights, enable, clear, double) of each cycle; the first step clears.
    steps = [(rng.getrandbits(lanes), rng.getrandbits(lanes), rng.random() < 0.8, rng.random() < 0.05,
              rng.random() < 0.3) for _ in range(count)]  # fmt: skip
    steps = [(a, a ^ every, *rest) if rng.random() < 0.2 else (a, w, *rest) for a, w, *rest in steps]
    steps[0] = (*steps[0][:2], True, True, True)
    got, expected = [], []

    async def bench(ctx) -> None:
        control = [(False, False, False)] * latency + [step[2:] for step in steps]
        operands = [step[:2] for step in steps] + [(0, 0)] * latency
        for (activations, weights), (enable, clear, double) in zip(operands, control, strict=True):
            for name, value in [("activations", activations), ("weights", weights), ("enable", enable),
                                ("clear", clear), ("double", double)]:  # fmt: skip
                ctx.set(getattr(component, name), value)
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
