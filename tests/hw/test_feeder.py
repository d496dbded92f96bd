"""`Feeder` (and `Loops` in it): addresses, masks and strobes of every step, and when it waits."""

import random

import pytest
from nest import held, random_descriptor, tile_levels
from simulate import simulate

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.feeder import Feeder
from dorefabric.hw.isa import PAIR_FIELDS, TAP_FIELDS, decode_fields
from dorefabric.hw.timing import descriptor_cycles


def expected_steps(config: FabricConfig, d: dict[str, int], taps: list[int], program: list[int]) -> list[dict]:
    """What the feeder sends out for each step."""
    rows, steps = config.rows, []
    for ct, y, xt, p, level in tile_levels(d):
        for q in range(d["pairs"]):
            pair = decode_fields(PAIR_FIELDS, [program[(d["pair_base"] + q) % len(program)]])
            for t in range(d["taps"]):
                tap = decode_fields(TAP_FIELDS, [taps[(d["tap_base"] + p * d["taps"] + t) % len(taps)]])
                rotation = tap["rotation"] % rows
                for chunk in range(d["chunks"]):
                    address = (d["feature_base"] + y * d["y_step"] + xt * d["x_step"] + tap["feature_offset"]
                               + pair["feature_offset"] + chunk)  # fmt: skip
                    y_in = y * d["y_stride"] + tap["dy"]
                    x_in = [(xt * rows + row) * d["x_stride"] + tap["dx"] for row in range(rows)]
                    k = t * d["chunks"] + chunk
                    weight = d["weight_base"] + ct * d["weight_step"] + pair["weight_offset"] + k
                    final = (q, t, chunk) == (d["pairs"] - 1, d["taps"] - 1, d["chunks"] - 1)
                    steps.append({
                        "addresses": [(address + (d["x_step"] if b < rotation else 0)) % config.feature_depth
                                      for b in range(rows)],
                        "valid": sum((0 <= y_in < d["in_height"] and 0 <= x < d["in_width"]) << row
                                     for row, x in enumerate(x_in)),
                        "rotation": rotation,
                        "weight_address": weight % config.weight_depth,
                        "double": int(pair["double"] and k == 0),
                        "level": level if final else 0,
                    })  # fmt: skip
    return steps


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rows", [1, 4, 8])
def test_steps(rows: int, seed: int) -> None:
    rng = random.Random(100 * rows + seed)
    config = FabricConfig(rows=rows, columns=4, lanes=8, tile_columns=4, weight_depth=64, feature_depth=64,
                          program_depth=64, tap_depth=32)  # fmt: skip
    component = Feeder(config)
    d = random_descriptor(config, rng)
    taps = [rng.getrandbits(20) | rng.randrange(64) << 26 | rng.choice([0, 1, 63]) << 20 for _ in range(32)]
    program = [rng.getrandbits(32) for _ in range(64)]
    steps = expected_steps(config, d, taps, program)
    early, late, stalls = [], [], 0

    async def bench(ctx) -> None:
        nonlocal stalls
        ctx.set(component.descriptor, held(d))
        await ctx.tick().repeat(2)
        ctx.set(component.start, 1)
        await ctx.tick()
        ctx.set(component.start, 0)
        enabled = []
        for cycle in range(3000):
            enabled.append(ctx.get(component.enable))
            if enabled[-1]:
                names = ("weight_address", "double", "level")
                early.append({name: ctx.get(getattr(component, name)) for name in names})
            if cycle >= 2 and enabled[-3]:  # two cycles later than the control
                late.append({
                    "addresses": [ctx.get(component.addresses[bank]) for bank in range(rows)],
                    "valid": ctx.get(component.valid),
                    "rotation": ctx.get(component.rotation) if rows > 1 else 0,
                })  # fmt: skip
            stalls += ctx.get(component.stall)
            tap, pair = taps[ctx.get(component.tap_address)], program[ctx.get(component.pair_address)]
            await ctx.tick()
            ctx.set(component.tap_word, tap)
            ctx.set(component.pair_word, pair)
            if len(late) == len(steps):
                break

    simulate(component, bench)
    assert [a | b for a, b in zip(early, late, strict=True)] == steps
    cycles = descriptor_cycles(config, d)
    assert (len(steps), stalls) == (cycles.steps, cycles.stalls)
