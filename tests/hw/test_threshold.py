"""`ThresholdColumn` against `tree_code`, drains back to back, and raw bits."""

import random

import pytest
from simulate import simulate

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.slots import drain_slots
from dorefabric.hw.threshold import ThresholdColumn, tree_code

BITS = 10


@pytest.mark.parametrize("raw", [False, True], ids=["codes", "raw"])
@pytest.mark.parametrize(("rows", "planes"), [(1, 1), (2, 3), (4, 1), (4, 4), (8, 3), (16, 2)])
def test_drains(rows: int, planes: int, raw: bool) -> None:
    rng = random.Random(rows * planes)
    planes = BITS if raw else planes
    config = FabricConfig(rows=rows, columns=1, lanes=8, tile_columns=1, accumulator_bits=BITS, threshold_bits=BITS,
                          threshold_depth=64, activation_bits=4)  # fmt: skip
    component = ThresholdColumn(config)
    slots = config.drain_slots
    base = rng.randrange(40)
    tree = [rng.getrandbits(BITS) for _ in range(64)]
    drains = [[rng.getrandbits(BITS) for _ in range(rows)] for _ in range(4)]
    order = list(drain_slots(planes, slots))
    slot_of_cycle = [(drain, plane, slot) for drain in range(len(drains)) for plane, slot in order]
    got, expected = [], []
    for drain, plane, slot in slot_of_cycle:
        if slot < rows:
            value = drains[drain][slot]
            code = value if raw else tree_code(value, tree[base:] + tree[:base], planes)
            expected.append(code >> plane & 1)

    async def bench(ctx) -> None:
        for address, word in enumerate(tree):
            ctx.set(component.write_enable, 1)
            ctx.set(component.write_address, address)
            ctx.set(component.write_data, word)
            await ctx.tick()
        ctx.set(component.write_enable, 0)
        ctx.set(component.raw, raw)
        ctx.set(component.base, base)
        # A slot's first is at its cycle, its advance three and its bit four later; capture is one before advance.
        for cycle in range(len(slot_of_cycle) + 4):
            if cycle < len(slot_of_cycle):
                ctx.set(component.first, slot_of_cycle[cycle][1] == planes - 1)
            ring = cycle - 3
            ctx.set(component.advance, 0 <= ring < len(slot_of_cycle) and slot_of_cycle[ring][2] < rows)
            load = cycle - 2
            capture = load % len(order) == 0 and 0 <= load < len(slot_of_cycle)
            ctx.set(component.capture, capture)
            for row in range(rows):
                ctx.set(component.accumulators[row], drains[load // len(order)][row] if capture else 0)
            if cycle >= 4 and slot_of_cycle[cycle - 4][2] < rows:
                got.append(ctx.get(component.bit))
            await ctx.tick()

    simulate(component, bench)
    assert got == expected
