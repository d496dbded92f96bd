"""`Writer` against the layout of feature maps: which bits go to which word."""

import random

import pytest
from nest import held, random_descriptor, tile_levels
from simulate import simulate

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.descriptor import Level
from dorefabric.hw.slots import drain_slots
from dorefabric.hw.writer import Writer


def expected_stores(config: FabricConfig, d: dict[str, int], bits: list[list[int]]) -> list[dict[str, int]]:
    """Every store in order; ``bits[tile][cycle of the drain]``, and no pooling."""
    stores, pixels = [], {}
    for (ct, y, xt, _, level), drain in zip(tile_levels(d), bits, strict=True):
        for (plane, slot), word in zip(drain_slots(d["planes"], config.drain_slots), drain, strict=True):
            if slot >= config.rows or (level != Level.COLUMN and slot > d["out_tail"]):
                continue
            pixel = pixels.setdefault((ct, y, xt, slot), sum(key[0] == ct for key in pixels))
            row, x = divmod(pixel, d["out_width"])
            chunk, segment = divmod(d["out_segment"] + ct, config.segments)
            group, bank = divmod(d["out_bank"] + row * d["out_bank_step"] + x // d["out_stride"], config.rows)
            address = (d["out_base"] + row * d["out_row_step"] + group * d["out_group_step"]
                       + x % d["out_stride"] * d["out_pixel_step"] + plane * d["out_plane_step"] + chunk)  # fmt: skip
            store = {"address": address % config.feature_depth, "bank": bank, "segment": segment, "bits": word}
            stores.append(store)
    return stores


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("technology", ["generic", "ecp5"])
@pytest.mark.parametrize(("rows", "lanes"), [(1, 8), (2, 8), (4, 4 * 8), (8, 16)])
def test_stores(rows: int, lanes: int, technology: str, seed: int) -> None:
    rng = random.Random(1000 * rows + lanes + seed)
    config = FabricConfig(rows=rows, columns=8, lanes=lanes, tile_columns=8, feature_depth=256, technology=technology)
    ahead = 3
    component = Writer(config)
    d = random_descriptor(config, rng) | {"pool_taps": 1, "out_segment": rng.randrange(8)}
    d["out_group_step"] = d["out_stride"] * d["out_pixel_step"] % 256
    length = d["planes"] * config.drain_slots
    levels = [level for *_, level in tile_levels(d)]
    bits = [[rng.getrandbits(8) for _ in range(length)] for _ in levels]
    gaps = [rng.choice([0, 0, 3]) for _ in levels]
    got, ends = [], []

    async def bench(ctx) -> None:
        ctx.set(component.descriptor, held(d))
        for plane in range(d["planes"]):
            ctx.set(component.prepare, 1)
            ctx.set(component.prepare_first, plane == 0)
            await ctx.tick()
        ctx.set(component.prepare, 0)
        ctx.set(component.start, 1)
        await ctx.tick()
        ctx.set(component.start, 0)
        # Levels come some cycles before the bits of their tile.
        level_at, bits_at, cycle = {}, {}, 0
        for level, drain, gap in zip(levels, bits, gaps, strict=True):
            level_at[cycle] = level
            bits_at |= {cycle + ahead + index: word for index, word in enumerate(drain)}
            cycle += length + gap
        for now in range(cycle + ahead + 4):
            ctx.set(component.level, level_at.get(now, 0))
            ctx.set(component.bits, bits_at.get(now, 0))
            if ctx.get(component.store.valid):
                names = [name for name in ("address", "bank", "segment", "bits")
                         if len(getattr(component.store, name))]  # fmt: skip
                got.append({"bank": 0, "segment": 0} | {n: ctx.get(getattr(component.store, n)) for n in names})
            if ctx.get(component.done):
                ends.append(now)
            await ctx.tick()
        # One cycle after the last slot's store is given.
        assert ends == [max(bits_at) + 2]

    simulate(component, bench)
    assert levels[-1] == Level.END
    assert got == expected_stores(config, d, bits)
