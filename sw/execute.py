"""One descriptor on the memories of the circuit: the loop nest of `hw/README.md`, vectorised.

Mismatches are counted with matrix products: popcount(x ⊕ q) = Σ x + Σ q − 2 Σ x q, so one plane pair adds
2^d (Σ q + Σ x (1 − 2 q)). Activation planes that meet the same weight planes at shifted significance (all of
them, in a compiled program) are first summed to integers, so that a layer is one product, whatever its bits.
"""

from dataclasses import dataclass

import numpy as np

from dorefabric.hw.isa import DESCRIPTOR_FIELDS, DESCRIPTOR_WORDS, PAIR_FIELDS, decode_fields
from dorefabric.hw.registers import address
from dorefabric.hw.timing import LOOP_COUNTS, captures_early

from .addressing import Reads, check_depth, store_addresses
from .memories import InterpreterError, Memories, words_to_bits

__all__ = ["read_descriptor", "run_descriptor"]

_GATHER_ELEMENTS = 1 << 24
"""Most elements of one gathered operand matrix; larger layers run in several blocks of images or pixels."""


def read_descriptor(memories: Memories, address: int) -> dict[str, int]:
    """Fields of the descriptor at a program address."""
    if not 0 <= address <= memories.program.size - DESCRIPTOR_WORDS:
        raise InterpreterError(
            f"descriptor address {address} exceeds the program memory, which has {memories.program.size} words"
        )
    words = [int(word) for word in memories.program[address : address + DESCRIPTOR_WORDS]]
    return decode_fields(DESCRIPTOR_FIELDS, words)


def run_descriptor(memories: Memories, descriptor: dict[str, int]) -> None:
    """Run one descriptor on all images: copy blocks, read features, store features. Counters are the caller's matter.

    Accumulators wrap modulo 2**accumulator_bits, exactly as in the circuit; comparisons look at their low
    threshold_bits. Raises `InterpreterError` where the circuit's result would be undefined: an address beyond a
    memory's depth, a word that is both read and stored, an output stride of zero. A loop count of zero does nothing.
    """
    d = descriptor
    _copy(memories, d["weight_source"], d["weight_words"], memories.weights, d["weight_base"], "weights")
    _copy(memories, d["threshold_source"], d["threshold_entries"], memories.thresholds, d["threshold_base"],
          "thresholds")  # fmt: skip
    if d["out_stride"] == 0:
        raise InterpreterError("descriptor field out_stride must not be 0")
    if any(d[name] == 0 for name in (*LOOP_COUNTS, "out_width")):
        return
    config = memories.config
    if d["raw"] and d["planes"] != config.accumulator_bits and not captures_early(config.technology):
        raise InterpreterError(f"descriptor field planes is {d['planes']}, but raw results of technology "
                               f"{config.technology!r} have {config.accumulator_bits}")  # fmt: skip
    reads = Reads(memories, d)
    products = _products(memories, d)
    destination = store_addresses(memories, d)
    features = memories.features
    if np.intersect1d(reads.touched([p.offsets for p in products]), destination).size:
        raise InterpreterError("the descriptor stores feature words that it also reads")

    columns = memories.config.columns * d["channel_tiles"]
    pixels, length = reads.pixels, d["taps"] * d["chunks"] * memories.config.lanes
    per_pixel = d["pool_taps"] * length
    images = max(1, min(memories.batch, _GATHER_ELEMENTS // (pixels * per_pixel)))
    block = max(1, _GATHER_ELEMENTS // (images * per_pixel))
    compare = None if d["raw"] else _Thresholds(memories, d)
    codes = np.empty((memories.batch, pixels, columns), np.uint32)
    for image in range(0, memories.batch, images):
        for pixel in range(0, pixels, block):
            part = slice(image, image + images), slice(pixel, pixel + block)
            counts = _mismatches(features[part[0]], reads, products, part[1], memories.config.accumulator_bits)
            if compare is None:
                codes[part] = _low_bits(counts, d["planes"]).max(axis=2)
            else:
                codes[part] = compare.codes(counts)
    _store(memories, d, codes, destination)


def _copy(memories: Memories, source: int, count: int, target: np.ndarray, base: int, space: str) -> None:
    """``count`` words of all columns from a feature address. What is copied is the same for all images."""
    if count == 0:
        return
    config = memories.config
    check_depth(space, base + count - 1, len(target))
    size = target[:count].size
    pitch = config.bank_pitch * config.bus_words
    addresses = -(-size // (config.rows * config.bus_words))
    check_depth("features", source + addresses - 1, config.feature_depth)
    words = memories.read(address("features", source * pitch), addresses * pitch).reshape(-1, addresses, pitch)[0]
    block = words[:, : config.rows * config.bus_words].reshape(-1)[:size]
    memories.write(address(space, base * target[0].size), block)


@dataclass(frozen=True)
class _Product:
    """Activation planes at feature ``offsets``, summed with weights ``factors``, times one integer matrix.

    matrix : (taps * chunks * lanes, channel_tiles * columns); constant : (channel_tiles * columns,);
    bound : above every count and every partial sum of the product
    """

    offsets: tuple[int, ...]
    factors: tuple[int, ...]
    matrix: np.ndarray
    constant: np.ndarray
    bound: int


def _products(memories: Memories, d: dict[str, int]) -> list[_Product]:
    """The plane pairs as integer matrix products, exact in the number type of the matrices."""
    config = memories.config
    check_depth("program", d["pair_base"] + d["pairs"] - 1, memories.program.size)
    words = memories.program[d["pair_base"] : d["pair_base"] + d["pairs"]]
    pairs = [decode_fields(PAIR_FIELDS, [int(word)]) for word in words]
    significance = 0
    by_plane: dict[int, list[tuple[int, int]]] = {}
    for pair in reversed(pairs):
        if significance < config.accumulator_bits:  # above, it wraps to nothing
            by_plane.setdefault(pair["feature_offset"], []).append((pair["weight_offset"], significance))
        significance += pair["double"]
    length = d["taps"] * d["chunks"]
    bound = sum(1 << s for planes in by_plane.values() for _, s in planes) * length * config.lanes
    # Every partial sum is an integer below the bound. The int64 product wraps modulo 2**64, so it is exact too.
    number = np.float32 if bound < 1 << 24 else np.float64 if bound < 1 << 53 else np.int64

    groups: dict[tuple, list[tuple[int, int]]] = {}
    for offset, planes in by_plane.items():
        least = min(s for _, s in planes)
        key = tuple(sorted((weight_offset, s - least) for weight_offset, s in planes))
        groups.setdefault(key, []).append((offset, 1 << least))
    products = []
    for key, members in groups.items():
        matrix = np.zeros((length * config.lanes, d["channel_tiles"] * config.columns), np.int64)
        constant = np.zeros(d["channel_tiles"] * config.columns, np.int64)
        for weight_offset, s in key:
            q = _weight_bits(memories, d, weight_offset, length)
            matrix += (1 - 2 * q) << s
            constant += q.sum(axis=0) << s
        factors = tuple(factor for _, factor in members)
        products.append(
            _Product(tuple(offset for offset, _ in members), factors, matrix.astype(number), constant * sum(factors),
                     bound)
        )  # fmt: skip
    return products


def _weight_bits(memories: Memories, d: dict[str, int], weight_offset: int, length: int) -> np.ndarray:
    """One weight plane of all channel tiles: int64 (length * lanes, channel_tiles * columns)."""
    config = memories.config
    tile = np.arange(d["channel_tiles"])[:, None] * d["weight_step"]
    address = d["weight_base"] + tile + weight_offset + np.arange(length)
    address &= (1 << config.weight_address_bits) - 1
    check_depth("weights", int(address.max()), config.weight_depth)
    bits = words_to_bits(memories.weights[address])[..., : config.lanes]
    return bits.transpose(1, 3, 0, 2).reshape(length * config.lanes, -1).astype(np.int64)


def _mismatches(features: np.ndarray, reads: Reads, products: list[_Product], pixels: slice,
                accumulator_bits: int) -> np.ndarray:  # fmt: skip
    """Mismatch counts (images, pixels, pool_taps, channels) of a block, modulo 2**accumulator_bits."""
    total: np.ndarray | None = None
    bound = 0
    for product in products:
        number = product.matrix.dtype
        codes = np.uint8 if sum(product.factors) < 256 else number
        operand: np.ndarray | None = None
        for offset, factor in zip(product.offsets, product.factors, strict=True):
            bits = features.take(reads.index(offset, pixels), axis=1)
            term = bits if factor == 1 else bits * np.array(factor, codes)
            operand = term if operand is None else operand + term
        assert operand is not None
        images, count, pool_taps = operand.shape[:3]
        flat = operand.reshape(images * count * pool_taps, -1).astype(number, copy=False)
        bound += product.bound
        # The products are exact and below the bound, so they are exact in the narrower type too.
        result = (flat @ product.matrix).astype(np.int32 if bound < 1 << 31 else np.int64)
        result += product.constant.astype(result.dtype)
        result = result.reshape(images, count, pool_taps, -1)
        total = result if total is None else total + result
    assert total is not None
    return total if bound < 1 << accumulator_bits else _low_bits(total, accumulator_bits)


def _low_bits(counts: np.ndarray, bits: int) -> np.ndarray:
    """Counts modulo 2**bits; they are not negative, so those of 32-bit type need nothing from 31 bits on."""
    if counts.dtype == np.int32 and bits >= 31:
        return counts
    return counts & (1 << min(bits, 32)) - 1


class _Thresholds:
    """The threshold trees of all channels of a descriptor, columns of (nodes, channels)."""

    def __init__(self, memories: Memories, d: dict[str, int]) -> None:
        config = memories.config
        self._planes = d["planes"]
        self._bits = config.threshold_bits
        nodes = np.arange(1, 1 << d["planes"])[:, None, None]
        tile = d["threshold_base"] + np.arange(d["channel_tiles"])[:, None] * d["threshold_step"]
        entry = nodes + tile & (1 << config.threshold_address_bits) - 1
        check_depth("thresholds", int(entry.max()), config.threshold_depth)
        column = np.arange(config.columns)
        trees = memories.thresholds[entry, column].astype(np.int64).reshape(len(nodes), -1)
        self._trees = np.concatenate([np.zeros_like(trees[:1]), trees])  # node 0 is unused
        # The thresholds of codes 1, 2, …: the nodes from left to right.
        codes = np.arange(1, len(trees) + 1)
        lowest = codes & -codes
        self._ordered = self._trees[(codes | 1 << d["planes"]) // (2 * lowest)]
        self._sorted = bool((np.diff(self._ordered, axis=0) <= 0).all())

    def codes(self, counts: np.ndarray) -> np.ndarray:
        """Codes (images, pixels, channels), the largest over pool positions, of counts (…, pool_taps, channels)."""
        counts = _low_bits(counts, self._bits)
        if not self._sorted:
            return self._walk(counts).max(axis=2)
        # The code falls as the count grows, so the least count has the largest code.
        counts = counts.min(axis=2) if counts.shape[2] > 1 else counts[:, :, 0]
        if self._planes > 3:
            return self._walk(counts)
        limits = np.minimum(self._ordered, np.iinfo(counts.dtype).max).astype(counts.dtype)
        result = np.zeros(counts.shape, np.uint8)
        for limit in limits:
            result += counts < limit
        return result

    def _walk(self, counts: np.ndarray) -> np.ndarray:
        """Down the trees, one plane at a time."""
        channel = np.arange(counts.shape[-1])
        node = 2 + (counts < self._trees[1]).astype(np.int64)
        for _ in range(1, self._planes):
            node = 2 * node + (counts < self._trees[node, channel])
        return node - (1 << self._planes)


def _store(memories: Memories, d: dict[str, int], codes: np.ndarray, destination: np.ndarray) -> None:
    config = memories.config
    first = d["out_segment"] // config.segments
    for tile in range(d["channel_tiles"]):
        chunk, segment = divmod(d["out_segment"] + tile, config.segments)
        values = codes[:, :, tile * config.columns : (tile + 1) * config.columns]
        for plane in range(min(d["planes"], 256)):
            bits = (values >> np.uint32(min(plane, 31)) & 1 if plane < 32 else 0 * values).astype(np.uint8)
            words = destination[plane, :, chunk - first]
            if segment == 0:
                memories.features[:, words] = 0
            start = segment * config.columns
            memories.features[:, words, start : start + config.columns] = bits
