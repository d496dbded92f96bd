"""`SlotCounter` against `drain_slots`, back to back and with gaps."""

import random

import pytest
from simulate import simulate

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.slots import SlotCounter, drain_slots


@pytest.mark.parametrize(("rows", "shared"), [(1, 1), (4, 1), (7, 1), (1, 2), (3, 4)])
def test_counts_planes_and_slots(rows: int, shared: int) -> None:
    rng = random.Random(rows)
    config = FabricConfig(rows=rows, columns=4, lanes=8, tile_columns=4, threshold_columns=shared, accumulator_bits=12,
                          threshold_bits=12)  # fmt: skip
    component = SlotCounter(config)
    got, expected = [], []

    async def bench(ctx) -> None:
        for planes in [1, 1, 2, 12, 3, 1, *(rng.randint(1, 5) for _ in range(6))]:
            ctx.set(component.planes, planes - 1)
            ctx.set(component.start, 1)
            await ctx.tick()
            ctx.set(component.start, 0)
            order = list(drain_slots(planes, config.drain_slots))
            for number, (plane, slot) in enumerate(order):
                signals = component.plane, component.slot, component.first_plane, component.result, component.last
                got.append((ctx.get(component.active), *(ctx.get(signal) for signal in signals)))
                last = number == len(order) - 1
                expected.append((1, plane, slot, int(plane == planes - 1), int(slot < rows * shared), int(last)))
                complete = slot < rows * shared and slot % shared == shared - 1
                assert ctx.get(component.complete) == complete
                assert not complete or rows == 1 or ctx.get(component.row) == slot // shared
                if not last:
                    await ctx.tick()
            if gap := rng.randint(0, 3):
                await ctx.tick()
                assert not ctx.get(component.active)
                await ctx.tick().repeat(gap)

    simulate(component, bench)
    assert got == expected
