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

    # What is copied from the feature memory first, of image 0 as for every image; bus words, bank by bank.
    width = min(32, config.lanes)
    weights, thresholds = memories.weights.copy(), memories.thresholds.copy()
    for target, space, words in ((weights, "weight", "weight_words"), (thresholds, "threshold", "threshold_entries")):
        flat, mask = target.reshape(-1), (1 << (width if space == "weight" else config.threshold_bits)) - 1
        for number in range(d[words] * target[0].size):
            place, piece = divmod(number, config.bus_words)
            address, bank = divmod(place, rows)
            word = memories.features[0, (d[f"{space}_source"] + address) * config.bank_pitch + bank]
            bits = word[piece * width : (piece + 1) * width]
            value = sum(int(bit) << index for index, bit in enumerate(bits)) & mask
            flat[d[f"{space}_base"] * target[0].size + number] = value

    def weight_word(address: int, column: int) -> np.ndarray:
        words = weights[address & weight_mask, column]
        return np.array([int(words[bit // 32]) >> bit % 32 & 1 for bit in range(config.lanes)])

    for ct in range(d["channel_tiles"]):
        pixel, first_y = 0, 0
        for y in range(d["y_count"]):
            origin, first_x = d["feature_base"] + y * d["y_step"], 0
            for xt in range(d["x_tiles"]):
                stored = [r for r in range(rows) if xt < d["x_tiles"] - 1 or r <= d["out_tail"]]
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
                                address = origin + tap["feature_offset"] + pair["feature_offset"] + chunk
                                w = [weight_word(d["weight_base"] + ct * d["weight_step"] + pair["weight_offset"] + k,
                                                 c) for c in range(columns)]  # fmt: skip
                                k += 1
                                for r in range(rows):
                                    b = (r + tap["rotation"]) % rows
                                    y_in, x_in = first_y + tap["dy"], first_x + r * d["x_stride"] + tap["dx"]
                                    at = address + (d["x_step"] if b < tap["rotation"] else 0)
                                    if config.row_wrap and r > 0 and x_in - tap["dx"] >= d["wrap_width"]:
                                        at, y_in, x_in = (at + d["wrap_step"], y_in + d["y_stride"],
                                                          x_in - d["wrap_width"])  # fmt: skip
                                    at &= feature_mask
                                    a = np.zeros(config.lanes, dtype=int)
                                    inside = 0 <= y_in < d["in_height"] and 0 <= x_in < d["in_width"]
                                    if inside and r in stored:
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
                                    bit = int(compared < int(thresholds[entry, c]))
                                node = 2 * node + bit
                            best[r][c] = max(best[r][c], node - (1 << d["planes"]))
                for s in reversed(range(d["planes"])):
                    for r in stored:
                        row, x = divmod(pixel + r, d["out_width"])
                        place = d["out_bank"] + row * d["out_bank_step"] + x // d["out_stride"]
                        group, bank = divmod(place, rows)
                        chunk, segment = divmod(d["out_segment"] + ct, segments)
                        at = (d["out_base"] + row * d["out_row_step"] + group * d["out_group_step"]
                              + x % d["out_stride"] * d["out_pixel_step"] + s * d["out_plane_step"]
                              + chunk) & feature_mask  # fmt: skip
                        assert at < config.feature_depth
                        if segment == 0:
                            result[at * rows + bank] = 0
                        for c in range(columns):
                            result[at * rows + bank, segment * columns + c] = int(best[r][c]) >> s & 1
                pixel += len(stored)
                if xt < d["x_tiles"] - 1:
                    origin, first_x = origin + d["x_step"], first_x + rows * d["x_stride"]
                    if config.row_wrap and first_x >= d["wrap_width"]:
                        origin, first_y, first_x = (origin + d["wrap_step"], first_y + d["y_stride"],
                                                    first_x - d["wrap_width"])  # fmt: skip
            first_y += d["y_stride"]
    return result.astype(np.uint8)
