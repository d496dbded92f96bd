"""Result column: holds the accumulators of one array column while they drain, as codes or as raw bits."""

from collections.abc import Sequence

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .config import FabricConfig
from .memory import BlockMemory
from .pipeline import delay
from .timing import THRESHOLD_LATENCY

__all__ = ["ThresholdColumn", "tree_code"]


def tree_code(count: int, tree: Sequence[int], planes: int) -> int:
    """Code of a mismatch count: a walk down a binary tree of thresholds in heap order (``tree[0]`` is unused)."""
    node = 1
    for _ in range(planes):
        node = 2 * node + (count < tree[node])
    return node - (1 << planes)


class ThresholdColumn(wiring.Component):
    """Drain ring and threshold unit of one column.

    ``capture`` loads the accumulators of all rows into a ring. The rows then take turns, one *slot* a cycle, in rounds
    of ``drain_slots`` cycles, one round per plane, the most significant first; slots beyond the rows are idle. One row
    takes four cycles from node to next node, which the other rows fill::

        cycle of a slot   0              1               2                        3
        register          node           address         threshold, ring head     code bit
        next              base + node    memory          head < threshold         node <- 2 node + bit

    So a slot whose ``first`` is at cycle -1 and ``advance`` at cycle 2 has its ``bit`` at cycle 3. Raw: the bit is the
    accumulator's most significant one, and the ring shifts left as it rotates, so planes must be accumulator_bits.
    Throughput: one bit a cycle; the next ``capture`` may come with the last ``advance``.

    Members
    -------
    accumulators : In, one per row
    capture : In; load the ring
    first : In; the slot's next node is the root (first plane)
    advance : In; the ring turns to the next row
    raw : In; static while a descriptor runs
    base : In; threshold address of the tree, for the slot that is in the node register
    write_enable, write_address, write_data : In; the host's port of the threshold memory
    bit : Out
    """

    def __init__(self, config: FabricConfig) -> None:
        self.config = config
        super().__init__(
            {
                "accumulators": In(config.accumulator_bits).array(config.rows),
                "capture": In(1),
                "first": In(1),
                "advance": In(1),
                "raw": In(1),
                "base": In(config.threshold_address_bits),
                "write_enable": In(1),
                "write_address": In(config.threshold_address_bits),
                "write_data": In(config.threshold_bits),
                "bit": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config

        ring = [Signal(config.accumulator_bits, name=f"ring_{row}", reset_less=True) for row in range(config.rows)]
        head = ring[0]
        returned = Mux(self.raw, head << 1, head)
        with m.If(self.capture | self.advance):
            for row, following in enumerate([*ring[1:], returned]):
                m.d.sync += ring[row].eq(Mux(self.capture, self.accumulators[row], following))

        # The host writes while nothing runs.
        m.submodules.thresholds = thresholds = BlockMemory(
            width=config.threshold_bits, depth=config.threshold_depth, exclusive=True
        )
        m.d.comb += [
            thresholds.write_enable.eq(self.write_enable),
            thresholds.write_address.eq(self.write_address),
            thresholds.write_data.eq(self.write_data),
        ]

        # A node needs as many bits as the deepest tree has levels.
        node = Signal(config.activation_bits, reset_less=True)
        address = Signal(config.threshold_address_bits, reset_less=True)
        bit = Signal(reset_less=True)
        m.d.sync += [
            address.eq(self.base + node),
            bit.eq(Mux(self.raw, head[-1], head[: config.threshold_bits] < thresholds.read_data)),
        ]
        m.d.comb += [thresholds.read_address.eq(address), self.bit.eq(bit)]
        walked = delay(m, node, THRESHOLD_LATENCY - 1, name="node")
        waiting = config.drain_slots - THRESHOLD_LATENCY
        following = delay(m, Cat(bit, walked)[: len(node)], waiting, name="waiting")
        m.d.sync += node.eq(Mux(self.first, 1, following))
        return m
