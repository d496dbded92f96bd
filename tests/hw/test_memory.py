"""`BlockMemory`: latency, write granularity, bad parameters."""

import random

import pytest
from simulate import simulate

from dorefabric.hw.memory import BlockMemory


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
