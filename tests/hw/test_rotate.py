"""`Rotate` against `rotate`, one set of words a cycle."""

import random

import pytest
from simulate import simulate

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.rotate import Rotate, rotate
from dorefabric.hw.timing import rotate_latency


@pytest.mark.parametrize("rows", [1, 2, 4, 8, 16])
def test_rotates_and_masks(rows: int) -> None:
    rng = random.Random(rows)
    component = Rotate(FabricConfig(rows=rows, columns=2, lanes=8, tile_columns=1))
    inputs = [([rng.getrandbits(8) for _ in range(rows)], rng.randrange(rows), [rng.random() < 0.7] * rows)
              for _ in range(60)]  # fmt: skip
    inputs = [(words, rotation, [rng.random() < 0.7 for _ in valid]) for words, rotation, valid in inputs]
    got = []

    async def bench(ctx) -> None:
        for words, rotation, valid in inputs + inputs[: rotate_latency(rows)]:
            for row in range(rows):
                ctx.set(component.words[row], words[row])
            if rows > 1:
                ctx.set(component.rotation, rotation)
            ctx.set(component.valid, sum(bit << row for row, bit in enumerate(valid)))
            got.append([ctx.get(component.activations[row]) for row in range(rows)])
            await ctx.tick()

    simulate(component, bench)
    assert got[rotate_latency(rows) :] == [rotate(*values) for values in inputs]
