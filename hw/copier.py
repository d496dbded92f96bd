"""Copier: moves a block of the feature memory into the weights or the thresholds before a layer that uses it."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import FabricConfig
from .descriptor import block_layout, descriptor_layout
from .registers import OFFSET_BITS
from .timing import copy_latency

__all__ = ["Copier"]


class Copier(wiring.Component):
    """Does what a host would do that reads the feature memory and writes what it read: a bus word a cycle.

    A block begins in bank 0 of its source address and goes on in the order of the feature memory's bus addresses. It
    takes `timing.copy_latency` cycles from the address of a word to the word, so a block of n bus words is busy for
    n + copy_latency cycles, beginning in the cycle after ``start``.

    Members
    -------
    descriptor : In; its weight_base or threshold_base is where the block goes
    start : In; with ``block``, of `descriptor.block_layout`, and ``thresholds``, where it goes; held until ``done``.
        A block has at least one word
    done : Out; in the cycle of the last write
    busy : Out; address and bank are to be read from the feature memory
    address, bank : Out
    piece : Out; the bits of the word that arrives now
    write : Out; the word that arrives now is to be written to ``offset`` of the space
    offset : Out; as in `registers`
    """

    def __init__(self, config: FabricConfig) -> None:
        self.config = config
        super().__init__(
            {
                "descriptor": In(descriptor_layout(config)),
                "start": In(1),
                "block": In(block_layout(config)),
                "thresholds": In(1),
                "done": Out(1),
                "busy": Out(1),
                "address": Out(config.feature_address_bits),
                "bank": Out(ceil_log2(config.rows)),
                "piece": Out(ceil_log2(config.bus_words)),
                "write": Out(1),
                "offset": Out(OFFSET_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, d = self.config, self.descriptor
        pieces, columns = ceil_log2(config.bus_words), ceil_log2(config.columns)

        # Where the next word is read: a bus address of the feature memory.
        source_piece = Signal.like(self.piece, reset_less=True)
        source = Cat(source_piece, self.bank, self.address)
        m.d.sync += source.eq(source + 1)
        if config.rows & (config.rows - 1):
            with m.If((self.bank == config.rows - 1) & source_piece.all()):
                m.d.sync += [self.bank.eq(0), self.address.eq(self.address + 1)]

        # Where the next word is written, in words or entries of all columns. A word's pieces come in step with those
        # that are read; thresholds have none.
        weight_bits, threshold_bits = config.weight_address_bits, config.threshold_address_bits
        position = Signal(max(weight_bits + columns + pieces, threshold_bits + columns), reset_less=True)
        remaining = Signal.like(self.block.count, reset_less=True)
        arriving = Signal(range(copy_latency(config)), reset_less=True)
        flowing = Signal()  # busy, and the first word has arrived
        all_columns = Signal()
        final = Signal(reset_less=True)  # remaining is 1
        m.d.comb += [
            self.offset.eq(position),
            self.write.eq(flowing),
            all_columns.eq(position[:columns].all() & (self.thresholds | position[columns : columns + pieces].all())),
            self.done.eq(self.write & all_columns & final),
        ]
        with m.If(self.start):
            m.d.sync += [
                self.busy.eq(1),
                source_piece.eq(0), self.bank.eq(0), self.address.eq(self.block.source),
                self.piece.eq(0),
                position.eq(Mux(self.thresholds, Cat(Const(0, columns), d.threshold_base),
                                Cat(Const(0, columns + pieces), d.weight_base))),
                remaining.eq(self.block.count), final.eq(self.block.count == 1),
                arriving.eq(copy_latency(config) - 1),
            ]  # fmt: skip
        with m.Elif(self.write):
            m.d.sync += [position.eq(position + 1), self.piece.eq(self.piece + 1)]
            with m.If(all_columns):
                m.d.sync += [remaining.eq(remaining - 1), final.eq(remaining == 2)]
            with m.If(self.done):
                m.d.sync += [self.busy.eq(0), flowing.eq(0)]
        with m.Elif(self.busy):
            m.d.sync += [arriving.eq(arriving - 1), flowing.eq(arriving == 0)]
        return m
