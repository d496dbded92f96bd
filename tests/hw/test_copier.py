"""`Copier`: every word of a block goes where the host would have written it, a word a cycle."""

import random

import pytest
from simulate import simulate

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.copier import Copier
from dorefabric.hw.timing import LOOP_COUNTS, copy_cycles, copy_latency


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("rows", "columns", "lanes"), [(1, 1, 8), (2, 8, 32), (3, 4, 64), (4, 2, 128)])
def test_blocks(rows: int, columns: int, lanes: int, seed: int) -> None:
    rng = random.Random(1000 * rows + seed)
    config = FabricConfig(rows=rows, columns=columns, lanes=lanes, tile_columns=1, weight_depth=32, threshold_depth=64,
                          feature_depth=64)  # fmt: skip
    component = Copier(config)
    latency, pieces = copy_latency(config), config.bus_words
    blocks = []
    for _ in range(6):
        thresholds = rng.getrandbits(1)
        per_word, depth = (columns, 64) if thresholds else (columns * pieces, 32)
        most = min(8, 32 * rows * pieces // per_word)
        count = rng.randint(1, most)
        blocks.append((thresholds, rng.randrange(32), count, rng.randrange(depth - most), count * per_word, per_word))

    async def bench(ctx) -> None:
        for thresholds, source, count, base, words, per_word in blocks:
            ctx.set(component.descriptor, {"threshold_base" if thresholds else "weight_base": base})
            ctx.set(component.thresholds, thresholds)
            ctx.set(component.block, {"source": source, "count": count})
            ctx.set(component.start, 1)
            await ctx.tick()
            ctx.set(component.start, 0)
            read, written, cycles = [], [], 0
            while ctx.get(component.busy):
                read.append((ctx.get(component.address), ctx.get(component.bank)))
                cycles += 1
                if ctx.get(component.write):
                    # The word whose address went out copy_latency cycles ago.
                    address, bank = read[-1 - latency]
                    written.append((address, bank, ctx.get(component.piece), ctx.get(component.offset)))
                assert ctx.get(component.done) == (len(written) == words)
                await ctx.tick()
            expected = []
            for number in range(words):
                word, piece = divmod(number, pieces)
                address, bank = divmod(word, rows)
                expected.append((source + address, bank, piece, base * per_word + number))
            assert written == expected
            field = "threshold_entries" if thresholds else "weight_words"
            nothing = dict.fromkeys((*LOOP_COUNTS, "weight_words", "threshold_entries"), 0)
            assert cycles == copy_cycles(config, nothing | {field: count}) - copy_cycles(config, nothing)
            await ctx.tick().repeat(rng.randint(1, 3))

    simulate(component, bench)
