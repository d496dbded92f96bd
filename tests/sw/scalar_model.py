"""The loop nest of `hw/README.md`, transcribed word for word: slow, plain, and the oracle of the interpreter."""

import numpy as np

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.isa import PAIR_FIELDS, TAP_FIELDS, decode_fields
from dorefabric.sw.memories import Memories

__all__ = ["run_scalar"]


def run_scalar(config: FabricConfig, memories: Memories, d: dict[str, int], image: int = 0) -> np.ndarray:
    """Feature memory bits (feature_depth * rows + 1, lanes) of one image after the descriptor."""
    rows, columns, segments = config.rows, config.columns, config.segments
    features = memories.features[image].astype(int)
    result = features.copy()
    feature_mask = (1 << config.feature_address_bits) - 1
    weight_mask = (1 << config.weight_address_bits) - 1
    threshold_mask = (1 << config.threshold_address_bits) - 1

    def weight_word(address: int, column: int) -> np.ndarray:
        words = memories.weights[address & weight_mask, column]
        return np.array([int(words[bit // 32]) >> bit % 32 & 1 for bit in range(config.lanes)])

    for ct in range(d["channel_tiles"]):
        for y in range(d["y_count"]):
            for xt in range(d["x_tiles"]):
                best = np.zeros((rows, columns), dtype=object)
                for p in range(d["pool_taps"]):
                    acc = np.zeros((rows, columns), dtype=object)
                    for q in range(d["pairs"]):
                        pair = decode_fields(PAIR_FIELDS, [int(memories.program[d["pair_base"] + q])])
                        k = 0
                        if pair["double"]:
                            acc = acc * 2
                        for t in range(d["taps"]):
                            word = int(memories.taps[d["tap_base"] + p * d["taps"] + t])
                            tap = decode_fields(TAP_FIELDS, [word])
                            for chunk in range(d["chunks"]):
                                address = (d["feature_base"] + y * d["y_step"] + xt * d["x_step"]
                                           + tap["feature_offset"] + pair["feature_offset"] + chunk)  # fmt: skip
                                w = [weight_word(d["weight_base"] + ct * d["weight_step"] + pair["weight_offset"] + k,
                                                 c) for c in range(columns)]  # fmt: skip
                                k += 1
                                for r in range(rows):
                                    b = (r + tap["rotation"]) % rows
                                    y_in = y * d["y_stride"] + tap["dy"]
                                    x_in = (xt * rows + r) * d["x_stride"] + tap["dx"]
                                    a = np.zeros(config.lanes, dtype=int)
                                    if 0 <= y_in < d["in_height"] and 0 <= x_in < d["in_width"]:
                                        at = address + (d["x_step"] if b < tap["rotation"] else 0) & feature_mask
                                        if xt * rows + r < d["out_width"]:
                                            assert at < config.feature_depth
                                            a = features[at * rows + b]
                                    for c in range(columns):
                                        acc[r][c] += int(np.sum(a ^ w[c]))
                    for r in range(rows):
                        for c in range(columns):
                            value, node = int(acc[r][c]) % (1 << config.accumulator_bits), 1
                            for s in reversed(range(d["planes"])):
                                if d["raw"]:
                                    bit = value >> s & 1
                                else:
                                    entry = d["threshold_base"] + ct * d["threshold_step"] + node & threshold_mask
                                    compared = value % (1 << config.threshold_bits)
                                    bit = int(compared < int(memories.thresholds[entry, c]))
                                node = 2 * node + bit
                            best[r][c] = max(best[r][c], node - (1 << d["planes"]))
                for s in reversed(range(d["planes"])):
                    for r in range(rows):
                        x = xt * rows + r
                        if x >= d["out_width"]:
                            continue
                        stride = d["out_stride"]
                        slot = x // (stride * rows) * stride + x % stride
                        bank = x // stride % rows
                        chunk, segment = divmod(d["out_segment"] + ct, segments)
                        at = (d["out_base"] + y * d["out_row_step"] + slot * d["out_pixel_step"]
                              + s * d["out_plane_step"] + chunk) & feature_mask  # fmt: skip
                        assert at < config.feature_depth
                        if segment == 0:
                            result[at * rows + bank] = 0
                        for c in range(columns):
                            result[at * rows + bank, segment * columns + c] = int(best[r][c]) >> s & 1
    return result.astype(np.uint8)
