"""The systolic array alone: integer matrix products from bit planes, drained raw and through thresholds.

Each test draws W-bit bipolar weights and A-bit activations, feeds their planes pair by pair as the feeder would, and
compares what drains with the matrix product that NumPy computes on the integers themselves.
"""

import random
from collections import defaultdict

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.tile import control_layout, host_layout
from dorefabric.hw.timing import Pipeline

from .bench import parameters
from .bench_bus import start

CHUNKS = 2
"""Lanes-wide words of the reduction axis."""


def _bits(word: np.ndarray) -> int:
    """An array of bits, the first one least significant, as an integer."""
    return int.from_bytes(np.packbits(word.astype(np.uint8), bitorder="little").tobytes(), "little")


class _Array:
    """Drives the array's ports at the cycles that `Pipeline` gives them."""

    def __init__(self, dut, config: FabricConfig) -> None:
        self.dut = dut
        self.config = config
        self.times = Pipeline.of(config)
        self.control: dict[int, dict[str, int]] = defaultdict(dict)
        self.activations: dict[int, int] = {}

    async def host(self, strobe: str, address: int, column: int, piece: int, data: int) -> None:
        """Write a word of the weight or threshold memory of array column ``column``."""
        tile, inside = divmod(column, self.config.tile_columns)
        fields = {strobe: 1, "tile": tile, "column": inside, "piece": piece, "address": address, "data": data}
        self.dut.host.value = host_layout(self.config).const(fields).as_bits()
        await FallingEdge(self.dut.clk)
        self.dut.host.value = 0

    async def load_weights(self, words: np.ndarray) -> None:
        """``words``: bits (address, column, lane)."""
        width = min(32, self.config.lanes)
        for address, columns in enumerate(words):
            for column, lanes in enumerate(columns):
                for piece in range(self.config.bus_words):
                    await self.host("weight", address, column, piece, _bits(lanes[width * piece :][:width]))

    def step(self, index: int, activations: np.ndarray, weight: int, double: bool, first: bool) -> None:
        """Step ``index``: ``activations`` bits (row, lane), weight address, double before it, first of its tile."""
        times = self.times
        self.control[index + times.weight_address]["weight_address"] = weight
        self.activations[index + times.activations] = _bits(activations.reshape(-1))
        self.control[index + times.accumulate].update(enable=1, clear=int(first), double=int(double))

    def drain(self, last_step: int, planes: int, base: int) -> None:
        """Drain after step ``last_step``, ``planes`` bits a result."""
        times, slots = self.times, self.config.drain_slots
        self.control[last_step + times.accumulate + 1]["capture"] = 1
        for slot in range(planes * slots):
            self.control[last_step + times.drain + slot]["first"] = int(slot < slots)
            self.control[last_step + times.drain + 1 + slot]["base"] = base
            results = self.config.rows * self.config.threshold_columns
            self.control[last_step + times.drain + 1 + slot].update(slot=slot % slots, plane=planes - 1 - slot // slots)
            self.control[last_step + times.drain + 3 + slot]["advance"] = int(slot % slots < results)

    async def run(self, last_step: int, planes: int, raw: bool) -> np.ndarray:
        """Play the schedule; integers (row, column) that drained, most significant plane first."""
        config = self.config
        begin = last_step + self.times.bits
        result = np.zeros((config.rows, config.columns), np.int64)
        for cycle in range(begin + planes * config.drain_slots):
            fields = {**self.control.get(cycle, {}), "raw": int(raw)}
            self.dut.control.value = control_layout(config).const(fields).as_bits()
            self.dut.activations.value = self.activations.get(cycle, random.getrandbits(config.rows * config.lanes))
            row, column = divmod((cycle - begin) % config.drain_slots, config.threshold_columns)
            if cycle >= begin and row < config.rows and column == config.threshold_columns - 1:
                bits = int(self.dut.bits.value)
                result[row] = 2 * result[row] + [bits >> column & 1 for column in range(config.columns)]
            await FallingEdge(self.dut.clk)
        return result


def _draw(rng: np.random.Generator, config: FabricConfig) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Weight codes (column, k), activations (row, k), and their bits."""
    weight_bits = int(rng.integers(1, config.weight_bits + 1))
    activation_bits = int(rng.integers(1, config.activation_bits + 1))
    length = CHUNKS * config.lanes
    codes = rng.integers(0, 1 << weight_bits, (config.columns, length))
    activations = rng.integers(0, 1 << activation_bits, (config.rows, length))
    return codes, activations, weight_bits, activation_bits


async def _multiply(array: _Array, codes, activations, weight_bits: int, activation_bits: int) -> int:
    """Load the planes and schedule all pairs, most significant first; returns the number of the last step."""
    lanes = array.config.lanes
    planes = np.stack([codes >> j & 1 for j in range(weight_bits)])  # (plane, column, k)
    words = [planes[j][:, chunk * lanes :][:, :lanes] for j in range(weight_bits) for chunk in range(CHUNKS)]
    await array.load_weights(np.stack(words))
    pairs = sorted(((i + j, i, j) for i in range(activation_bits) for j in range(weight_bits)), reverse=True)
    index = 0
    for position, (significance, i, j) in enumerate(pairs):
        for chunk in range(CHUNKS):
            word = activations[:, chunk * lanes :][:, :lanes] >> i & 1
            double = chunk == 0 and position > 0 and significance < pairs[position - 1][0]
            array.step(index, word, j * CHUNKS + chunk, double, first=index == 0)
            index += 1
    return index - 1


def _offset(codes: np.ndarray, weight_bits: int, activation_bits: int) -> np.ndarray:
    """K of the filters: what is left when the mismatches are taken from it is the product."""
    ones = sum((codes >> j & 1).sum(1) << j for j in range(weight_bits))
    return ((1 << activation_bits) - 1) * ones


async def _prepare(dut) -> tuple[_Array, np.random.Generator]:
    values = parameters()
    await start(dut, activations=0, control=0, host=0)
    random.seed(values["seed"])
    return _Array(dut, FabricConfig.from_dict(values["config"])), np.random.default_rng(values["seed"])


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def products_drained_raw(dut):
    array, rng = await _prepare(dut)
    config = array.config
    for _ in range(parameters()["count"]):
        codes, activations, weight_bits, activation_bits = _draw(rng, config)
        array = _Array(dut, config)
        last = await _multiply(array, codes, activations, weight_bits, activation_bits)
        array.drain(last, config.accumulator_bits, 0)
        mismatches = await array.run(last, config.accumulator_bits, raw=True)
        product = activations @ (2 * codes - (1 << weight_bits) + 1).T
        assert np.array_equal(_offset(codes, weight_bits, activation_bits) - mismatches, product)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def products_drained_through_thresholds(dut):
    array, rng = await _prepare(dut)
    config = array.config
    for _ in range(parameters()["count"]):
        codes, activations, weight_bits, activation_bits = _draw(rng, config)
        product = activations @ (2 * codes - (1 << weight_bits) + 1).T
        offset = _offset(codes, weight_bits, activation_bits)
        planes = int(rng.integers(1, config.activation_bits + 1))
        base = int(rng.integers(0, config.threshold_depth - (1 << planes)))
        array = _Array(dut, config)
        last = await _multiply(array, codes, activations, weight_bits, activation_bits)
        # Code = how many of the thresholds y >= t hold, that is, M < K - t + 1; the tree is in heap order.
        spread = np.abs(product).max() + 2
        thresholds = np.sort(rng.integers(-spread, spread, (config.columns, (1 << planes) - 1)), axis=1)
        for column in range(config.columns):
            for node in range(1, 1 << planes):
                level = node.bit_length() - 1
                position = ((2 * (node - (1 << level)) + 1) << (planes - level - 1)) - 1
                limit = int(offset[column] - thresholds[column, position] + 1)
                limit = min(max(limit, 0), (1 << config.threshold_bits) - 1)
                await array.host("threshold", base + node, column, 0, limit)
        array.drain(last, planes, base)
        result = await array.run(last, planes, raw=False)
        assert np.array_equal(result, (product[:, :, None] >= thresholds).sum(2))
