"""When things happen: the pipeline's latencies and the exact cycle count of a descriptor. Plain data, no gateware.

Cycle 0 is the cycle in which the feeder issues a step. Column tile 0 is described; tile j is j cycles later.

| cycle                | what is in the registers                                                              |
|----------------------|---------------------------------------------------------------------------------------|
| 0                    | loop counters; tap and plane-pair memories are addressed                              |
| 1                    | tap and plane pair                                                                    |
| 2, 3                 | partial sums of feature address, weight address and coordinates                       |
| 4                    | feature address, padding mask                                                         |
| 5                    | feature address of every bank                                                         |
| 5 + memory           | feature words; *memory* is `memory_latency`                                           |
| activations          | rotated and masked: 5 + memory + `rotate_latency`                                     |
| accumulate           | mismatch count of the step: activations + `popcount_latency`                          |
| accumulate + 1       | accumulator with this step; captured for the drain if the step is the last of a tile  |
| drain                | first drain slot: accumulate, or one less without `captures_early` (steps overlap)    |
| bits                 | first code bits of all columns, de-skewed: drain + 4 + tiles - 1                      |
| bits + 1             | maximum over pool positions; feature address of the store                             |
| bits + 2             | write port of the feature memory                                                      |
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .config import FabricConfig

__all__ = [
    "FETCH_CYCLES",
    "LOOP_COUNTS",
    "STORE_CYCLES",
    "THRESHOLD_LATENCY",
    "Cycles",
    "Pipeline",
    "captures_early",
    "descriptor_cycles",
    "memory_latency",
    "popcount_latency",
    "popcount_registers",
    "rotate_latency",
]

FETCH_CYCLES = 17
"""Reading 16 descriptor words, one of them a cycle."""

STORE_CYCLES = 6
"""Writing the counters back, after the cycles that they count: a run is busy for the sum of its descriptors' cycles
and this for each of them."""

THRESHOLD_LATENCY = 4
"""Cycles from a node register to the next node of the same channel: address, memory, comparison, node."""


def memory_latency(technology: str) -> int:
    """Cycles from address to data of a wide memory: block RAM, and an output register where flip-flops are cheap.

    On iCE40 a flip-flop without logic in front costs a whole logic cell, so the data is used as it leaves the RAM. The
    output register of ECP5 lies inside the RAM (`dorefabric.boards.ecp5_netlist`), at the RAM's place: another one
    stands where the data is used.
    """
    return {"ice40": 1, "ecp5": 3}.get(technology, 2)


def captures_early(technology: str) -> bool:
    """Whether results are captured a cycle before their drain needs them, in registers that nothing else feeds.

    On iCE40 and Gowin such a register costs a LUT, so the drain's multiplexer stands before it.
    """
    return technology not in ("ice40", "gowin")


def popcount_registers(lanes: int, technology: str) -> tuple[int, ...]:
    """Levels of the popcount tree after which there is a register, besides the one at its output."""
    levels = int(math.log2(lanes)) - 1
    if technology == "ice40" or levels < 4:
        return ()
    return (2, 3) if technology == "ecp5" else (levels // 2 + 1,)


def popcount_latency(lanes: int, technology: str) -> int:
    """Cycles from the lanes to their count."""
    return len(popcount_registers(lanes, technology)) + 1


def rotate_latency(rows: int) -> int:
    """Cycles of the rotation network: a register after every two levels of two-way multiplexers."""
    return max(1, math.ceil(math.log2(rows) / 2))


@dataclass(frozen=True)
class Pipeline:
    """Cycle numbers of the table above for one configuration."""

    memory: int
    activations: int
    accumulate: int
    drain: int
    bits: int

    @classmethod
    def of(cls, config: FabricConfig) -> "Pipeline":
        memory = memory_latency(config.technology)
        activations = 5 + memory + rotate_latency(config.rows)
        accumulate = activations + popcount_latency(config.lanes, config.technology)
        drain = accumulate - 1 + captures_early(config.technology)
        return cls(memory, activations, accumulate, drain, drain + THRESHOLD_LATENCY + config.tiles - 1)

    @property
    def weight_address(self) -> int:
        """Cycle in which tile 0 addresses its weight memory."""
        return self.activations - self.memory


@dataclass(frozen=True)
class Cycles:
    """Counters of one descriptor, in clock cycles; ``steps`` of them keep the array busy."""

    cycles: int
    steps: int
    stalls: int


LOOP_COUNTS = ("channel_tiles", "y_count", "x_tiles", "pool_taps", "pairs", "taps", "chunks", "planes")
"""Fields that must not be 0; a descriptor with such a field does nothing and takes the fetch alone."""


def descriptor_cycles(config: FabricConfig, descriptor: Mapping[str, int]) -> Cycles:
    """Exactly what the circuit writes into the counter words of a descriptor, given as its fields.

    A tile of results takes max(steps, drain) cycles, drain = planes × drain_slots; the first one does not wait and
    the last one's drain follows. One more cycle each starts the loops and finishes the last store.
    """
    d = descriptor
    if any(d[name] == 0 for name in LOOP_COUNTS):
        return Cycles(FETCH_CYCLES, 0, 0)
    tiles = d["channel_tiles"] * d["y_count"] * d["x_tiles"] * d["pool_taps"]
    steps = d["pairs"] * d["taps"] * d["chunks"]
    drain = d["planes"] * config.drain_slots
    stalls = (tiles - 1) * max(0, drain - steps)
    issue = tiles * steps + stalls
    cycles = FETCH_CYCLES + d["planes"] + 1 + issue + Pipeline.of(config).bits + drain + 1
    return Cycles(cycles, tiles * steps, stalls)
