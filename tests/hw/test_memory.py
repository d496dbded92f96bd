"""`BlockMemory`: latency, write granularity, what synthesis is told; the memory that delays."""

import random
import re

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module
from amaranth.lib.wiring import Component, In, Out
from simulate import simulate

from dorefabric.hw.memory import YOSYS_NO_COLLISION_CHECK, BlockMemory
from dorefabric.hw.pipeline import delay_in_memory
from dorefabric.sim.formal import yosys


@pytest.mark.parametrize(("width", "granularity"), [(8, None), (32, 4), (32, 16)])
def test_reads_what_was_written(width: int, granularity: int | None) -> None:
    rng = random.Random(width)
    component = BlockMemory(width=width, depth=20, granularity=granularity)
    grain = granularity or width
    model = [0] * 20

    async def bench(ctx) -> None:
        expected = None
        for _ in range(300):
            write, read, enable, word = (rng.randrange(20), rng.randrange(20), rng.getrandbits(width // grain),
                                         rng.getrandbits(width))  # fmt: skip
            ctx.set(component.write_address, write)
            ctx.set(component.write_enable, enable)
            ctx.set(component.write_data, word)
            ctx.set(component.read_address, read)
            if expected is not None:
                assert ctx.get(component.read_data) == expected
            await ctx.tick()
            # The word that is written in the same cycle may read as anything.
            expected = None if read == write and enable else model[read]
            for index in range(width // grain):
                if enable >> index & 1:
                    mask = (1 << grain) - 1 << index * grain
                    model[write] = model[write] & ~mask | word & mask

    simulate(component, bench)


class _Two(Component):
    """A memory that is read with a clock and one that is read without."""

    def __init__(self) -> None:
        super().__init__({"value": In(8), "enable": In(1), "address": In(4), "word": Out(8), "delayed": Out(8)})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.memory = memory = BlockMemory(width=8, depth=16)
        m.d.comb += [
            memory.write_data.eq(self.value), memory.write_enable.eq(self.enable), memory.write_address.eq(0),
            memory.read_address.eq(self.address), self.word.eq(memory.read_data),
            self.delayed.eq(delay_in_memory(m, self.value, 9, name="late")),
        ]  # fmt: skip
        return m


def test_yosys_is_told_that_collisions_do_not_matter(tmp_path) -> None:
    """Otherwise it builds a bypass around every memory, a LUT for each of its bits."""
    (tmp_path / "top.il").write_text(rtlil.convert(_Two(), name="top", emit_src=False))
    yosys(f"read_rtlil top.il; {YOSYS_NO_COLLISION_CHECK}; write_rtlil after.il", tmp_path)
    reads = (tmp_path / "after.il").read_text().split("cell $memrd_v2")[1:]
    masks = {re.search(r"CLK_ENABLE (\S+)", read)[1]: re.search(r"COLLISION_X_MASK (\S+)", read)[1] for read in reads}
    assert {clocked[-1]: mask for clocked, mask in masks.items()} == {"1": "1'1", "0": "1'0"}


@pytest.mark.parametrize("cycles", [2, 9, 20])
def test_memory_that_delays(cycles: int) -> None:
    words = [random.Random(cycles).getrandbits(8) for _ in range(60)]
    got = []

    class Delay(Component):
        def __init__(self) -> None:
            super().__init__({"i": In(8), "o": Out(8)})

        def elaborate(self, platform) -> Module:
            m = Module()
            m.d.comb += self.o.eq(delay_in_memory(m, self.i, cycles, name="late"))
            return m

    component = Delay()

    async def bench(ctx) -> None:
        for word in words:
            ctx.set(component.i, word)
            got.append(ctx.get(component.o))
            await ctx.tick()

    simulate(component, bench)
    assert got[cycles:] == words[:-cycles]
