"""`ThresholdUnit` against `tree_code`, drains back to back, and raw bits."""

import random

import pytest
from amaranth import Module
from amaranth.lib.wiring import Component
from simulate import simulate

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.memory import BlockMemory
from dorefabric.hw.pipeline import delay
from dorefabric.hw.slots import drain_slots
from dorefabric.hw.threshold import ThresholdUnit, tree_code
from dorefabric.hw.timing import captures_early

BITS = 10


class UnitWithMemory(Component):
    def __init__(self, config: FabricConfig) -> None:
        self.unit = ThresholdUnit(config)
        depth = config.threshold_columns * config.threshold_depth
        self.memory = BlockMemory(width=config.threshold_bits, depth=depth, exclusive=True)
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = self.unit
        m.submodules.memory = self.memory
        threshold = delay(m, self.memory.read_data, self.unit.config.threshold_latency - 4, name="threshold")
        m.d.comb += [self.memory.read_address.eq(self.unit.address), self.unit.threshold.eq(threshold)]
        return m


@pytest.mark.parametrize("raw", [False, True], ids=["codes", "raw"])
@pytest.mark.parametrize("technology", ["generic", "ice40", "ecp5"])
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
    component = UnitWithMemory(config)
    unit = component.unit
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
                ctx.set(component.memory.write_enable, 1)
                ctx.set(component.memory.write_address, address * shared + column)
                ctx.set(component.memory.write_data, word)
                await ctx.tick()
        ctx.set(component.memory.write_enable, 0)
        ctx.set(unit.raw, raw)
        ctx.set(unit.base, base)
        # A slot's first is at its cycle, its number one, its advance three and its bit four later, or five; capture is
        # one cycle before its turn, or two.
        latency = config.threshold_latency
        for cycle in range(len(slot_of_cycle) + latency):
            if cycle < len(slot_of_cycle):
                ctx.set(unit.first, slot_of_cycle[cycle][1] == planes - 1)
            ring = cycle - 3
            ctx.set(unit.advance, 0 <= ring < len(slot_of_cycle) and slot_of_cycle[ring][2] < results)
            if 0 <= cycle - 1 < len(slot_of_cycle):
                ctx.set(unit.plane, slot_of_cycle[cycle - 1][1])
                ctx.set(unit.slot, slot_of_cycle[cycle - 1][2])
            load = cycle + 2 + captures_early(technology) - latency
            capture = load % len(order) == 0 and 0 <= load < len(slot_of_cycle)
            ctx.set(unit.capture, capture)
            for result in range(results):
                ctx.set(unit.accumulators[result], drains[load // len(order)][result] if capture else 0)
            if cycle >= latency:
                slot = slot_of_cycle[cycle - latency][2]
                if slot < results and slot % shared == shared - 1:
                    got.append(ctx.get(unit.bits))
            await ctx.tick()

    simulate(component, bench)
    assert got == expected
