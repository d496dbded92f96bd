"""Random but well-defined descriptors on random memories, not the tidy ones a compiler makes."""

import numpy as np

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.isa import DESCRIPTOR_FIELDS, DESCRIPTOR_WORDS, PAIR_FIELDS, TAP_FIELDS, encode_fields
from dorefabric.hw.timing import captures_early
from dorefabric.sw.memories import Memories

__all__ = ["PAIR_BASE", "random_case"]

PAIR_BASE = 32


def random_case(config: FabricConfig, rng: np.random.Generator, batch: int = 1) -> tuple[Memories, dict[str, int]]:
    """Memories with random contents and a descriptor, already written at program address 0.

    Reads come from the lower half of the feature memory, stores go to the upper half, and no word is stored twice
    by one channel tile; everything else is drawn freely, addresses that wrap included.
    """
    memories = Memories(config, batch)
    memories.thresholds[:] = rng.integers(0, 1 << min(10, config.threshold_bits), memories.thresholds.shape)
    memories.weights[:] = rng.integers(0, 1 << min(32, config.lanes), memories.weights.shape, dtype=np.uint64)
    memories.features[:, :-1] = rng.integers(0, 2, memories.features[:, :-1].shape)
    memories.clear_absent_banks()

    def draw(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    half = config.feature_depth // 2
    raw = draw(0, 3) == 0
    planes = config.accumulator_bits if raw else draw(1, config.activation_bits)
    d = {field.name: 0 for field in DESCRIPTOR_FIELDS}
    d |= {
        "last": 1, "raw": int(raw), "planes": planes, "x_tiles": draw(1, 2), "y_count": draw(1, 2),
        "channel_tiles": draw(1, 3), "pool_taps": draw(1, 2), "taps": draw(1, 3), "chunks": draw(1, 2),
        "pairs": draw(1, 4), "pair_base": PAIR_BASE, "tap_base": draw(0, 4),
        "in_width": draw(1, 12), "in_height": draw(1, 6), "x_stride": draw(1, 3), "y_stride": draw(1, 3),
        "weight_base": draw(0, config.weight_depth - 1), "weight_step": draw(0, config.weight_depth - 1),
        "threshold_base": draw(0, config.threshold_depth - 1), "threshold_step": draw(0, config.threshold_depth - 1),
        "out_stride": draw(1, 3), "out_segment": draw(0, 2 * config.segments - 1),
        "x_step": draw(0, 3), "y_step": draw(0, 3), "feature_base": draw(0, half // 4),
    }  # fmt: skip
    if raw and captures_early(config.technology):
        planes = d["planes"] = planes + 1 - d["y_stride"]  # the low bits alone
    d |= {
        "out_width": draw(1, 2 * config.rows + 2), "out_tail": draw(0, config.rows - 1),
        "out_bank": draw(0, config.rows - 1), "out_bank_step": draw(0, config.rows - 1),
        "wrap_width": (config.rows + draw(0, config.rows)) * d["x_stride"] + draw(0, 2), "wrap_step": draw(0, 2),
    }  # fmt: skip
    # A dense output, so that no two words coincide.
    d["out_plane_step"] = -(-(d["out_segment"] + d["channel_tiles"]) // config.segments) + draw(0, 1)
    d["out_pixel_step"] = d["out_plane_step"] * planes
    d["out_group_step"] = d["out_stride"] * d["out_pixel_step"]
    # Room for a row from any bank on; what a row ends with in a group, the next must not use.
    groups = -(-(-(-d["out_width"] // d["out_stride"]) + config.rows - 1) // config.rows)
    d["out_row_step"] = groups * d["out_group_step"] + draw(0, 1)
    pixels = d["y_count"] * ((d["x_tiles"] - 1) * config.rows + d["out_tail"] + 1)
    lines = -(-pixels // d["out_width"])
    size = lines * (d["out_row_step"] + d["out_group_step"])
    d["out_base"] = draw(half, max(half, config.feature_depth - size))
    if d["out_base"] + size > config.feature_depth:
        return random_case(config, rng, batch)

    for space, words, per_word in (("weight", "weight_words", config.columns * config.bus_words),
                                   ("threshold", "threshold_entries", config.columns)):  # fmt: skip
        if draw(0, 2):
            continue
        depth = config.weight_depth if space == "weight" else config.threshold_depth
        room = half * config.rows * config.bus_words // per_word
        d[words] = draw(1, min(depth - d[f"{space}_base"], room, 12))
        used = -(-d[words] * per_word // (config.rows * config.bus_words))
        d[f"{space}_source"] = draw(0, config.feature_depth - used)

    program = np.array(encode_fields(DESCRIPTOR_FIELDS, d, DESCRIPTOR_WORDS), np.uint64).astype(np.uint32)
    memories.program[:DESCRIPTOR_WORDS] = program
    for q in range(d["pairs"]):
        pair = {"feature_offset": draw(0, half // 4), "weight_offset": draw(0, 1 << 15) % config.weight_depth,
                "double": draw(0, 1)}  # fmt: skip
        memories.program[PAIR_BASE + q] = encode_fields(PAIR_FIELDS, pair)[0]
    for t in range(d["pool_taps"] * d["taps"]):
        tap = {"feature_offset": draw(0, half // 4) + (1 << config.feature_address_bits) * draw(0, 3) & 0xFFFF,
               "rotation": draw(0, config.rows - 1), "dy": draw(-2, 2), "dx": draw(-3, 3)}  # fmt: skip
        memories.taps[d["tap_base"] + t] = encode_fields(TAP_FIELDS, tap)[0]
    return memories, d
