"""`Feeder` (and `Loops` in it): addresses, masks and strobes of every step, and when it waits."""

import random

import pytest
from nest import held, random_descriptor, tile_levels, tile_origins
from simulate import simulate

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.feeder import Feeder
from dorefabric.hw.isa import PAIR_FIELDS, TAP_FIELDS, decode_fields
from dorefabric.hw.timing import descriptor_cycles


def expected_steps(config: FabricConfig, d: dict[str, int], taps: list[int], program: list[int]) -> list[dict]:
    """What the feeder sends out for each step."""
    rows, steps, origins = config.rows, [], tile_origins(config, d)
    for ct, y, xt, p, level in tile_levels(d):
        for q in range(d["pairs"]):
            pair = decode_fields(PAIR_FIELDS, [program[(d["pair_base"] + q) % len(program)]])
            for t in range(d["taps"]):
                tap = decode_fields(TAP_FIELDS, [taps[(d["tap_base"] + p * d["taps"] + t) % len(taps)]])
                rotation = tap["rotation"] % rows
                for chunk in range(d["chunks"]):
                    origin, first_y, first_x = origins[y, xt]
                    address = (d["feature_base"] + origin + tap["feature_offset"] + pair["feature_offset"]
                               + chunk)  # fmt: skip
                    x_out = [first_x + row * d["x_stride"] for row in range(rows)]
                    beyond = [config.row_wrap and row > 0 and x >= d["wrap_width"] for row, x in enumerate(x_out)]
                    x_in = [x + tap["dx"] - wrap * d["wrap_width"] for x, wrap in zip(x_out, beyond, strict=True)]
                    y_in = [first_y + tap["dy"] + wrap * d["y_stride"] for wrap in beyond]
                    k = t * d["chunks"] + chunk
                    weight = d["weight_base"] + ct * d["weight_step"] + pair["weight_offset"] + k
                    final = (q, t, chunk) == (d["pairs"] - 1, d["taps"] - 1, d["chunks"] - 1)
                    steps.append({
                        "addresses": [(address + (d["x_step"] if b < rotation else 0)
                                       + beyond[(b - rotation) % rows] * d["wrap_step"]) % config.feature_depth
                                      for b in range(rows)],
                        "valid": sum((0 <= y < d["in_height"] and 0 <= x < d["in_width"]) << row
                                     for row, (x, y) in enumerate(zip(x_in, y_in, strict=True))),
                        "rotation": rotation,
                        "weight_address": weight % config.weight_depth,
                        "double": int(pair["double"] and k == 0),
                        "level": level if final else 0,
                    })  # fmt: skip
    return steps


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("rows", "row_wrap"), [(1, True), (3, True), (4, True), (4, False), (8, True)])
def test_steps(rows: int, row_wrap: bool, seed: int) -> None:
    rng = random.Random(100 * rows + seed)
    config = FabricConfig(rows=rows, columns=4, lanes=8, tile_columns=4, weight_depth=64, feature_depth=64,
                          program_depth=64, tap_depth=32, row_wrap=row_wrap)  # fmt: skip
    component = Feeder(config)
    d = random_descriptor(config, rng)
    rotations = rows if rows & rows - 1 else 16  # the circuit looks at the bits that it needs
    taps = [rng.getrandbits(16) | rng.randrange(rotations) << 16 | rng.choice([0, 1, 63]) << 20
            | rng.randrange(64) << 26 for _ in range(32)]  # fmt: skip
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
