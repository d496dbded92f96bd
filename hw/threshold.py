"""Threshold unit: holds the accumulators of one or more columns while they drain, as codes or as raw bits."""

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import FabricConfig
from .descriptor import field_widths
from .pipeline import delay, delay_in_block, delay_in_memory
from .timing import captures_early

__all__ = ["ThresholdUnit", "tree_code"]


def tree_code(count: int, tree: Sequence[int], planes: int) -> int:
    """Code of a mismatch count: a walk down a binary tree of thresholds in heap order (``tree[0]`` is unused)."""
    node = 1
    for _ in range(planes):
        node = 2 * node + (count < tree[node])
    return node - (1 << planes)


class ThresholdUnit(wiring.Component):
    """Drain registers and thresholds of ``threshold_columns`` columns.

    ``capture`` loads the accumulators of all rows and columns. They then take turns, one *slot* a cycle, the columns of
    a row one after another, in rounds of ``drain_slots`` cycles, one round per plane, the most significant first; slots
    beyond the last result are idle. One result takes `FabricConfig.threshold_latency` cycles from node to next node,
    which the others fill, with a memory of one cycle::

        cycle of a slot   0              1               2                          3
        register          node           address         threshold, result's turn   code bit
        next              base + node    memory          result < threshold         node <- 2 node + bit

    So a slot whose ``first`` is at cycle -1 has its bit at cycle 3, or 4 with a memory of two. Raw: the bit is that of
    the plane; planes must be accumulator_bits, or may be fewer, for the low bits, where a multiplexer takes the results
    in turn (below). ``bits`` holds a row when the bit of its last column is out. Throughput: one bit a cycle.

    Where a register without logic in front is free (`timing.captures_early`), the results stay where they were captured
    and a multiplexer takes them in turn: 0.5 or 0.6 LUT4 for each of their bits. Elsewhere they move through a ring,
    where each register shares the logic cell of its multiplexer.

    Members
    -------
    accumulators : In, row by row, the columns of each
    capture : In; load the drain registers; two cycles before the first result's turn, or one
    first : In; the slot's next node is the root (first plane)
    advance : In; the slot's cycle 2: the ring moves on to the next result
    slot, plane : In; of a slot in its cycle 0
    raw : In; static while a descriptor runs
    base : In; threshold address of the tree, for the slot that is in the node register
    address, threshold : Out, In; of the threshold memory
    bits : Out, one per column
    """

    def __init__(self, config: FabricConfig) -> None:
        self.config = config
        super().__init__(
            {
                "accumulators": In(config.accumulator_bits).array(config.rows * config.threshold_columns),
                "capture": In(1),
                "first": In(1),
                "advance": In(1),
                "slot": In(ceil_log2(config.drain_slots)),
                "plane": In(field_widths(config)["planes"]),
                "raw": In(1),
                "base": In(config.threshold_address_bits),
                "address": Out(ceil_log2(config.threshold_columns) + config.threshold_address_bits),
                "threshold": In(config.threshold_bits),
                "bits": Out(config.threshold_columns),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        slot = delay(m, self.slot, 1, name="slot")  # a copy of its own: many multiplexers look at it
        latency = config.threshold_latency
        result, raw_bit = self._select(m, slot) if captures_early(config.technology) else self._turn(m)

        # A node needs as many bits as the deepest tree has levels, and no more than an address that it is added to.
        node = Signal(min(config.activation_bits, config.threshold_address_bits), reset_less=True)
        address = Signal(config.threshold_address_bits, reset_less=True)
        below = result[: config.threshold_bits] < self.threshold
        bit = Signal()
        m.d.sync += address.eq(self.base + node)
        if captures_early(config.technology):  # a comparison fills a cycle of fast clocks
            m.d.comb += bit.eq(Mux(self.raw, delay(m, raw_bit, 1, name="raw_bit"), delay(m, below, 1, name="below")))
        else:
            m.d.comb += bit.eq(delay(m, Mux(self.raw, raw_bit, below), 1, name="bit"))
        m.d.comb += self.address.eq(Cat(slot[: ceil_log2(config.threshold_columns)], address))
        waiting = config.drain_slots - latency
        if config.technology == "ice40" and waiting >= 4:  # a lone register takes a logic cell
            walked = delay_in_block(m, node, config.drain_slots - 1, name="nodes")
            following = Cat(delay(m, bit, waiting, name="bit_late"), walked)[: len(node)]
        else:
            after = Cat(bit, delay(m, node, latency - 1, name="node"))[: len(node)]
            if config.technology == "gowin" and waiting >= 8:  # a lone register takes a LUT
                following = delay_in_memory(m, after, waiting, name="waiting")
            else:
                following = delay(m, after, waiting, name="waiting")
        m.d.sync += node.eq(Mux(self.first, 1, following))

        row: list[Value] = [bit]
        for column in range(config.threshold_columns - 1):
            row.insert(0, delay(m, row[0], 1, name=f"bit_{column}"))
        m.d.comb += self.bits.eq(Cat(row))
        return m

    def _turn(self, m: Module) -> tuple[Value, Value]:
        """The result at the head of a ring, and its most significant bit, which raw results shift out."""
        ring = [Signal.like(a, name=f"ring_{i}", reset_less=True) for i, a in enumerate(self.accumulators)]
        head = ring[0]
        returned = Mux(self.raw, head << 1, head)
        with m.If(self.capture | self.advance):
            for index, following in enumerate([*ring[1:], returned]):
                m.d.sync += ring[index].eq(Mux(self.capture, self.accumulators[index], following))
        return head, head[-1]

    def _select(self, m: Module, slot: Value) -> tuple[Value, Value]:
        """The result of a slot in its cycle 2, from where it was captured, and the plane's bit of it."""
        captured = [Signal.like(a, name=f"captured_{i}", reset_less=True) for i, a in enumerate(self.accumulators)]
        result = Signal.like(captured[0], name="result", reset_less=True)
        with m.If(self.capture):
            m.d.sync += [register.eq(value) for register, value in zip(captured, self.accumulators, strict=True)]
        wait = self.config.threshold_latency - 4
        if len(captured) & (len(captured) - 1):
            # A multiplexer has the size of the next power of two; gates of five results are three LUT4.
            turns = delay(m, Cat(self.slot == index for index in range(len(captured))), 1 + wait, name="turns")
            gated = [value & turn.replicate(len(value)) for value, turn in zip(captured, turns, strict=True)]
            m.d.sync += result.eq(reduce(or_, gated))
        else:
            m.d.sync += result.eq(Array(captured)[delay(m, slot, wait, name="slot_late")])
        plane = delay(m, self.plane, 2 + wait, name="plane")
        return result, result.bit_select(plane, 1)
