"""`ThresholdUnit` against `tree_code`, drains back to back, and raw bits."""

import random

import pytest
from simulate import simulate

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.slots import drain_slots
from dorefabric.hw.threshold import ThresholdUnit, tree_code
from dorefabric.hw.timing import captures_early

BITS = 10


@pytest.mark.parametrize("raw", [False, True], ids=["codes", "raw"])
@pytest.mark.parametrize("technology", ["generic", "ice40"])
@pytest.mark.parametrize(
    ("rows", "shared", "planes"),
    [(1, 1, 1), (2, 1, 3), (4, 1, 1), (4, 1, 4), (6, 1, 3), (16, 1, 2), (1, 2, 3), (1, 4, 1), (3, 2, 2), (2, 8, 2)],
)
def test_drains(rows: int, shared: int, planes: int, technology: str, raw: bool) -> None:
    rng = random.Random(rows * planes)
    planes = BITS if raw else planes
    config = FabricConfig(rows=rows, columns=shared, lanes=8, tile_columns=shared, threshold_columns=shared,
                          accumulator_bits=BITS, threshold_bits=BITS, threshold_depth=64, activation_bits=4,
                          technology=technology)  # fmt: skip
    component = ThresholdUnit(config)
    slots, results = config.drain_slots, rows * shared
    base = rng.randrange(40)
    trees = [[rng.getrandbits(BITS) for _ in range(64)] for _ in range(shared)]
    drains = [[rng.getrandbits(BITS) for _ in range(results)] for _ in range(4)]
    order = list(drain_slots(planes, slots))
    slot_of_cycle = [(drain, plane, slot) for drain in range(len(drains)) for plane, slot in order]
    got, expected = [], []
    for drain, plane, slot in slot_of_cycle:
        if slot < results and slot % shared == shared - 1:
            row = 0
            for column, tree in enumerate(trees):
                value = drains[drain][slot - shared + 1 + column]
                code = value if raw else tree_code(value, tree[base:] + tree[:base], planes)
                row |= (code >> plane & 1) << column
            expected.append(row)

    async def bench(ctx) -> None:
        for column, tree in enumerate(trees):
            for address, word in enumerate(tree):
                ctx.set(component.write_enable, 1)
                if shared > 1:
                    ctx.set(component.write_column, column)
                ctx.set(component.write_address, address)
                ctx.set(component.write_data, word)
                await ctx.tick()
        ctx.set(component.write_enable, 0)
        ctx.set(component.raw, raw)
        ctx.set(component.base, base)
        # A slot's first is at its cycle, its number one, its advance three and its bit four later; capture is one
        # cycle before advance, or two.
        for cycle in range(len(slot_of_cycle) + 4):
            if cycle < len(slot_of_cycle):
                ctx.set(component.first, slot_of_cycle[cycle][1] == planes - 1)
            ring = cycle - 3
            ctx.set(component.advance, 0 <= ring < len(slot_of_cycle) and slot_of_cycle[ring][2] < results)
            if 0 <= cycle - 1 < len(slot_of_cycle):
                ctx.set(component.plane, slot_of_cycle[cycle - 1][1])
                ctx.set(component.slot, slot_of_cycle[cycle - 1][2])
            load = cycle - 2 + captures_early(technology)
            capture = load % len(order) == 0 and 0 <= load < len(slot_of_cycle)
            ctx.set(component.capture, capture)
            for result in range(results):
                ctx.set(component.accumulators[result], drains[load // len(order)][result] if capture else 0)
            if cycle >= 4 and (slot := slot_of_cycle[cycle - 4][2]) < results and slot % shared == shared - 1:
                got.append(ctx.get(component.bits))
            await ctx.tick()

    simulate(component, bench)
    assert got == expected
