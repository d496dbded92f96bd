"""When things happen: the pipeline's latencies and the exact cycle count of a descriptor. Plain data, no gateware.

Cycle 0 is the cycle in which the feeder issues a step. Column tile 0 is described; tile j is j cycles later.

| cycle                | what is in the registers                                                              |
|----------------------|---------------------------------------------------------------------------------------|
| 0                    | loop counters; tap and plane-pair memories are addressed                              |
| program              | tap and plane pair; *program* is `program_latency`                                    |
| program + 1, sums    | partial sums of feature address, weight address and coordinates; *sums* = program + 2 |
| sums + 1             | feature address, padding mask                                                         |
| addresses            | feature address of every bank: sums + 2                                               |
| addresses + memory   | feature words; *memory* is `memory_latency`                                           |
| activations          | rotated, masked, at tile 0: addresses + memory + `rotate_latency` + *program* - 1     |
| accumulate           | mismatch count of the step: activations + `popcount_latency`                          |
| accumulate + 1       | accumulator with this step; captured for the drain if the step is the last of a tile  |
| drain                | first drain slot: with the accumulation or a cycle before, as these overlap           |
| bits                 | first code bits of all columns, de-skewed: drain + threshold_latency + tiles - 1, and |
|                      | a cycle more for fast clocks                                                          |
| bits + 1             | maximum over pool positions; feature address of the store                             |
| bits + 2             | write port of the feature memory                                                      |
"""

import functools
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .config import FabricConfig
from .isa import COUNTER_WORDS

__all__ = [
    "LOOP_COUNTS",
    "PARAMETER_WORDS",
    "Cycles",
    "Pipeline",
    "captures_early",
    "copy_cycles",
    "copy_latency",
    "descriptor_cycles",
    "drain_cycles",
    "extra_registers",
    "fetch_cycles",
    "is_empty",
    "memory_latency",
    "popcount_latency",
    "popcount_registers",
    "program_latency",
    "raw_planes",
    "rotate_latency",
    "run_cycles",
    "store_cycles",
]


def extra_registers(technology: str) -> int:
    """Registers more on the ways between units and behind control's memories: 1 for fast clocks, else 0."""
    return int(technology == "ecp5")


def program_latency(technology: str) -> int:
    """Cycles from address to data of control's and the pool's memories: with an output register for fast clocks."""
    return 1 + extra_registers(technology)


PARAMETER_WORDS = min(COUNTER_WORDS.values())
"""Words of a descriptor that the circuit reads."""


def store_cycles(technology: str) -> int:
    """Writing the counters back but for the cycles, while the last results drain."""
    return 5 + extra_registers(technology)


def fetch_cycles(technology: str) -> int:
    """Reading the words of a descriptor, one a cycle, with two registers more on the way for fast clocks; copying takes
    more, see `copy_cycles`."""
    return PARAMETER_WORDS + program_latency(technology) + 2 * extra_registers(technology)


def memory_latency(technology: str) -> int:
    """Cycles from address to data of a wide memory: block RAM, and an output register where flip-flops are cheap.

    On iCE40 a flip-flop without logic in front costs a whole logic cell, so the data is used as it leaves the RAM. The
    output register of ECP5 lies inside the RAM (`dorefabric.boards.ecp5_netlist`), at the RAM's place: another one
    stands where the data is used.
    """
    return {"ice40": 1, "gowin": 1, "ecp5": 3}.get(technology, 2)


def captures_early(technology: str) -> bool:
    """Whether results are captured a cycle before their drain needs them, in registers that nothing else feeds.

    On iCE40 and Gowin such a register costs a LUT, so the drain's multiplexer stands before it.
    """
    return technology not in ("ice40", "gowin")


def raw_planes(config: FabricConfig, largest: int) -> int:
    """Planes of raw results up to ``largest`` that are stored: as many as they need where the drain can begin with any
    plane, else those of the whole accumulator."""
    return max(1, largest.bit_length()) if captures_early(config.technology) else config.accumulator_bits


def popcount_registers(lanes: int, technology: str) -> tuple[int, ...]:
    """Levels of the popcount tree after which there is a register, besides the one at its output."""
    levels = int(math.log2(lanes)) - 1
    if technology == "gowin" or levels < 4:
        return ()
    if technology == "ice40":
        return (2,)  # half of a path of ten LUTs; in registers that share their LUTs' cells but for the waiting lanes
    return tuple(range(2, levels, 2)) if technology == "ecp5" else (levels // 2 + 1,)


def popcount_latency(lanes: int, technology: str) -> int:
    """Cycles from the lanes to their count."""
    return len(popcount_registers(lanes, technology)) + 1


def rotate_latency(rows: int) -> int:
    """Cycles of the rotation network: a register after every two levels of two-way multiplexers."""
    return max(1, math.ceil(math.log2(rows) / 2))


@dataclass(frozen=True)
class Pipeline:
    """Cycle numbers of the table above for one configuration."""

    sums: int
    memory: int
    activations: int
    accumulate: int
    drain: int
    bits: int

    @classmethod
    def of(cls, config: FabricConfig) -> "Pipeline":
        sums = program_latency(config.technology) + 2
        memory = memory_latency(config.technology)
        activations = sums + 2 + memory + rotate_latency(config.rows) + extra_registers(config.technology)
        accumulate = activations + popcount_latency(config.lanes, config.technology)
        # The results' turn comes two cycles before the end of a comparison, a cycle after the capture or two.
        drain = accumulate + 3 + captures_early(config.technology) - config.threshold_latency
        bits = drain + config.threshold_latency + config.tiles - 1 + extra_registers(config.technology)
        return cls(sums, memory, activations, accumulate, drain, bits)

    @property
    def hold(self) -> int:
        """Cycle in which no step is issued with one feature port if the first drain slot is stored; the others follow.

        A slot is stored in cycle ``bits`` + 2, the read of a step is in cycle ``addresses``.
        """
        return self.bits + 2 - self.addresses

    @property
    def addresses(self) -> int:
        """Cycle of the feature address of every bank."""
        return self.sums + 2

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


def copy_latency(config: FabricConfig) -> int:
    """Cycles from a feature address of a block that is copied to its word: the way of an activation, for fast clocks
    with a register more at both ends."""
    times = Pipeline.of(config)
    return times.activations - times.sums + 2 * extra_registers(config.technology)


def copy_cycles(config: FabricConfig, descriptor: Mapping[str, int]) -> int:
    """Cycles in which the two blocks of a descriptor are copied, a bus word a cycle, or a loop count of 0 is noticed.

    A block takes `copy_latency` more. Without blocks and with no such count: none.
    """
    words = descriptor["weight_words"] * config.columns * config.bus_words
    entries = descriptor["threshold_entries"] * config.columns
    if not (words or entries or is_empty(descriptor)):
        return 0
    blocks = 3 * program_latency(config.technology)  # their words are read again
    begin = copy_latency(config) + 2 * extra_registers(config.technology)
    return blocks + sum(count + begin for count in (words, entries) if count)


LOOP_COUNTS = ("channel_tiles", "y_count", "x_tiles", "pool_taps", "pairs", "taps", "chunks", "planes")
"""Fields that must not be 0; a descriptor with such a field does nothing but copy its blocks."""


def is_empty(descriptor: Mapping[str, int]) -> bool:
    """Whether a loop runs over nothing."""
    return any(descriptor[name] == 0 for name in LOOP_COUNTS)


def drain_cycles(config: FabricConfig, descriptor: Mapping[str, int]) -> int:
    """Cycles after that of the last step in which its results are stored; 0 without steps."""
    return 0 if is_empty(descriptor) else Pipeline.of(config).bits + descriptor["planes"] * config.drain_slots + 1


def descriptor_cycles(config: FabricConfig, descriptor: Mapping[str, int]) -> Cycles:
    """Exactly what the circuit writes into the counter words of a descriptor, given as its fields.

    A tile of results takes max(steps, drain) cycles, drain = planes × drain_slots; the first one does not wait and
    the last one's drain follows. One more cycle each starts the loops and finishes the last store. With one feature
    port, stores take cycles from the steps: see `_stalls_with_holds`. Counting begins with the fetch, or with the
    exchange of the descriptors where there is ``prefetch``; nothing depends on other descriptors. See `run_cycles`.
    """
    d = descriptor
    before = (1 if config.prefetch else fetch_cycles(config.technology)) + copy_cycles(config, d)
    if is_empty(d):
        return Cycles(before, 0, 0)
    tiles = d["channel_tiles"] * d["y_count"] * d["x_tiles"] * d["pool_taps"]
    steps = d["pairs"] * d["taps"] * d["chunks"]
    drain = d["planes"] * config.drain_slots
    stalls = (tiles - 1) * max(0, drain - steps)
    if config.feature_ports == 1:
        stalls = _stalls_with_holds(
            tiles // d["pool_taps"], d["pool_taps"], steps, d["planes"], config.rows, config.threshold_columns,
            config.drain_slots, Pipeline.of(config).hold,
        )  # fmt: skip
    issue = tiles * steps + stalls
    return Cycles(before + d["planes"] + 1 + issue + drain_cycles(config, d), tiles * steps, stalls)


def run_cycles(config: FabricConfig, descriptors: Sequence[Mapping[str, int]]) -> int:
    """Exactly how long a run of these descriptors is busy, from the cycle after its start to the last one before idle.

    Besides what descriptors count, their cycles are stored, in a cycle each. With ``prefetch`` only the first fetch
    adds to them, and what others need longer than a drain: they begin two cycles after the last step.
    """
    fetch, total = fetch_cycles(config.technology), 0
    for position, d in enumerate(descriptors):
        drain, stored = drain_cycles(config, d), store_cycles(config.technology)
        if drain:
            drain -= 1  # the first cycle finds that there are no more steps
        if config.prefetch and position < len(descriptors) - 1:
            stored = fetch + 1
        total += descriptor_cycles(config, d).cycles + max(0, stored - drain)
    return total + (fetch + 1 if config.prefetch else len(descriptors))


@functools.lru_cache(maxsize=1024)
def _stalls_with_holds(
    groups: int, pool_taps: int, steps: int, planes: int, rows: int, shared: int, drain_slots: int, hold: int
) -> int:
    """Cycles in which steps wait for the drain or for stores, of ``groups`` × ``pool_taps`` tiles of results.

    Slots that complete a row of a group's last tile, with the last of its ``shared`` columns, hold back the step that
    would be issued ``hold`` cycles, and one for every slot before, after that tile's last step. As soon as the holds
    that are still to come stand as they have stood before, what lies between repeats.
    """
    pattern = [hold + plane * drain_slots + (row + 1) * shared - 1 for plane in range(planes) for row in range(rows)]
    drain = planes * drain_slots
    now, last = 0, -drain  # the next cycle; that of the latest tile's last step
    holds: deque[int] = deque()  # cycles in which no step is issued; they never coincide
    seen: dict[tuple[int, ...], tuple[int, int]] = {}
    group = 0
    while group < groups:
        for _ in range(pool_taps):
            end = now + steps - 1  # every hold that falls among the steps but the last moves those after it on
            while holds and holds[0] < end:
                end += holds.popleft() >= now
            now = max(end, last + drain)
            while holds and holds[0] <= now:
                now += holds.popleft() == now
            last = now
            now += 1
        holds.extend(last + cycle for cycle in pattern)
        group += 1
        state = tuple(cycle - now for cycle in holds)
        group_before, now_before = seen.setdefault(state, (group, now))
        if group_before != group:
            repeats = (groups - group) // (group - group_before)
            skipped = repeats * (now - now_before)
            group += repeats * (group - group_before)
            now, last, holds = now + skipped, last + skipped, deque(cycle + skipped for cycle in holds)
    return now - groups * pool_taps * steps
