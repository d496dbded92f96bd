"""The loop nest of `hw/README.md` as plain Python, for the units that walk it."""

import random
from collections.abc import Iterator

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.descriptor import COUNTS, Level, field_widths

__all__ = ["held", "random_descriptor", "tile_levels", "tile_origins"]


BLOCKS = ("weight_source", "weight_words", "threshold_source", "threshold_entries")
"""Fields that the circuit does not keep."""


def random_descriptor(config: FabricConfig, rng: random.Random) -> dict[str, int]:
    """Fields within what the circuit holds, with small loop counts."""
    fields = {name: rng.randrange(1 << width) for name, width in field_widths(config).items()}
    small = ("channel_tiles", "y_count", "x_tiles", "pool_taps", "pairs", "taps", "chunks", "planes", "out_stride")
    fields |= {name: rng.randint(1, 3) for name in small}
    fields |= {name: rng.randint(0, 3) for name in BLOCKS}
    fields["x_stride"] = rng.randint(1, 3)
    return fields | {
        "in_width": rng.randint(1, 20), "in_height": rng.randint(1, 6),
        "y_stride": rng.randint(1, 3), "out_width": rng.randint(1, 12), "out_tail": rng.randrange(config.rows),
        "out_bank": rng.randrange(config.rows), "out_bank_step": rng.randrange(config.rows),
        "wrap_width": config.rows * fields["x_stride"] + rng.randrange(20),
    }  # fmt: skip


def held(fields: dict[str, int]) -> dict[str, int]:
    """The descriptor as the circuit holds it: counts less one, without blocks to copy."""
    return {name: value - 1 if name in COUNTS else value for name, value in fields.items() if name not in BLOCKS}


def tile_levels(d: dict[str, int]) -> Iterator[tuple[int, int, int, int, int]]:
    """(channel tile, y, pixel tile, pool position, level at the end) of every tile of results, in order."""
    for ct in range(d["channel_tiles"]):
        for y in range(d["y_count"]):
            for xt in range(d["x_tiles"]):
                for p in range(d["pool_taps"]):
                    level = Level.POOL
                    if p == d["pool_taps"] - 1:
                        level = Level.COLUMN
                        if xt == d["x_tiles"] - 1:
                            level = Level.ROW
                            if y == d["y_count"] - 1:
                                level = Level.CHANNEL
                                if ct == d["channel_tiles"] - 1:
                                    level = Level.END
                    yield ct, y, xt, p, level


def tile_origins(config: FabricConfig, d: dict[str, int]) -> dict[tuple[int, int], tuple[int, int, int]]:
    """(address without feature_base, input row, input column) of the first pixel of every tile, by (y, pixel tile)."""
    origins, y_in = {}, 0
    for y in range(d["y_count"]):
        address, x_in = y * d["y_step"], 0
        for xt in range(d["x_tiles"]):
            origins[y, xt] = address, y_in, x_in
            if xt < d["x_tiles"] - 1:
                address, x_in = address + d["x_step"], x_in + config.rows * d["x_stride"]
                if config.row_wrap and x_in >= d["wrap_width"]:
                    address, y_in, x_in = address + d["wrap_step"], y_in + d["y_stride"], x_in - d["wrap_width"]
        y_in += d["y_stride"]
    return origins
