"""`RunningMaximum` against `running_maximum`: windows of codes, plane by plane, without a gap."""

import random

import pytest
from simulate import simulate

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.pool import RunningMaximum, running_maximum
from dorefabric.hw.slots import drain_slots
from dorefabric.hw.timing import program_latency


@pytest.mark.parametrize("technology", ["generic", "ecp5"])
@pytest.mark.parametrize(("rows", "planes"), [(1, 1), (4, 1), (4, 3), (8, 2), (16, 8)])
def test_maximum_over_positions(rows: int, planes: int, technology: str) -> None:
    rng = random.Random(rows * planes)
    config = FabricConfig(rows=rows, columns=4, lanes=8, tile_columns=4, technology=technology)
    latency = program_latency(technology)
    component = RunningMaximum(config)
    slots = config.drain_slots
    # codes[window][position][slot][column]
    codes = [[[[rng.getrandbits(planes) for _ in range(4)] for _ in range(slots)] for _ in range(rng.randint(1, 4))]
             for _ in range(6)]  # fmt: skip
    cycles = [(position, plane, slot, window) for window in codes for position in range(len(window))
              for plane, slot in drain_slots(planes, slots)]  # fmt: skip
    got, expected = [], []
    for position, plane, slot, window in cycles:
        best = [running_maximum([window[p][slot][c] for p in range(position + 1)])[-1] for c in range(4)]
        expected.append(sum((value >> plane & 1) << c for c, value in enumerate(best)))

    async def bench(ctx) -> None:
        ahead = [*cycles, *([cycles[-1]] * (latency + 1))]
        for number, (_, plane, slot, _) in enumerate(ahead):
            ctx.set(component.plane, plane)
            ctx.set(component.slot, slot)
            if latency <= number < latency + len(cycles):
                position, level, earlier, window = cycles[number - latency]
                ctx.set(component.valid, 1)
                ctx.set(component.first_plane, level == planes - 1)
                ctx.set(component.first_position, position == 0)
                ctx.set(component.bits, sum((window[position][earlier][c] >> level & 1) << c for c in range(4)))
            got.append(ctx.get(component.maximum))
            await ctx.tick()

    simulate(component, bench)
    assert got[1 + latency :] == expected
