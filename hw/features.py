"""Banked feature-map memory."""

from functools import partial

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import FabricConfig
from .memory import BlockMemory
from .pipeline import delay
from .shared import place
from .tile import activation_layout
from .timing import memory_latency

__all__ = ["FeatureMemory", "host_feature_layout", "store_layout"]


def store_layout(config: FabricConfig) -> data.StructLayout:
    """One segment (``columns`` bits) of one word. Storing segment 0 clears the rest of the word."""
    return data.StructLayout(
        {
            "valid": 1,
            "address": config.feature_address_bits,
            "bank": ceil_log2(config.rows),
            "segment": ceil_log2(config.segments),
            "bits": config.columns,
        }
    )


def host_feature_layout(config: FabricConfig) -> data.StructLayout:
    """32 bits (``lanes`` if less) of one word: piece p is bits 32 p to 32 p + 31."""
    return data.StructLayout(
        {
            "valid": 1,
            "address": config.feature_address_bits,
            "bank": ceil_log2(config.rows),
            "piece": ceil_log2(config.bus_words),
            "data": 32,
        }
    )


class FeatureMemory(wiring.Component):
    """``rows`` banks of ``feature_depth`` words of ``lanes`` bits; every bank is read at its own address.

    Read latency: `timing.memory_latency`. A store is in memory, and readable, two cycles after it was given. One read
    of every bank and one store a cycle; the host's stores are dropped in a cycle in which the array stores. With one
    port, what a bank reads in the cycle after that in which a store to it was given is undefined.

    Members
    -------
    addresses : In, one per bank
    words : Out, one per bank
    store : In; `store_layout`
    host : In; `host_feature_layout`
    """

    def __init__(self, config: FabricConfig) -> None:
        self.config = config
        super().__init__(
            {
                "addresses": In(data.ArrayLayout(config.feature_address_bits, config.rows)),
                "words": Out(activation_layout(config)),
                "store": In(store_layout(config)),
                "host": In(host_feature_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, store, host = self.config, self.store, self.host
        width = min(32, config.lanes)  # of a memory: what the host writes at once
        granule = min(config.columns, width)  # what a store writes at least
        granules = config.lanes // granule

        # Write port: data and address are common to all banks.
        address = Signal(config.feature_address_bits, reset_less=True)
        word = Signal(config.lanes, reset_less=True)
        enable = Signal(granules, reset_less=True)
        bank_enable = Signal(config.rows)
        clear = Signal()
        m.d.comb += clear.eq(store.segment == 0)
        m.d.sync += address.eq(Mux(store.valid, store.address, host.address))
        for bank in range(config.rows):
            chosen = Mux(store.valid, store.bank == bank, host.valid & (host.bank == bank))
            m.d.sync += bank_enable[bank].eq(chosen)
        for index in range(granules):
            low = index * granule
            segment, piece = low // config.columns, low // width
            stored = store.bits[low % config.columns :][:granule]
            if segment:
                stored = Mux(clear, 0, stored)
            given = host.data[low % width :][:granule]
            m.d.sync += [
                word[low : low + granule].eq(Mux(store.valid, stored, given)),
                enable[index].eq(Mux(store.valid, clear | (store.segment == segment), host.piece == piece)),
            ]

        one_port = config.feature_ports == 1
        make_memory = partial(
            BlockMemory, width=width, depth=config.feature_depth, granularity=granule, exclusive=one_port
        )
        for bank in range(config.rows):
            pieces = []
            read_address = self.addresses[bank]
            if one_port:
                read_address = Mux(bank_enable[bank], address, read_address)
            for piece in range(config.bus_words):
                memory = place(m, platform, f"bank_{bank}_{piece}", "feature_memory", make_memory)
                pieces.append(memory.read_data)
                m.d.comb += [
                    memory.read_address.eq(read_address),
                    memory.write_address.eq(address),
                    memory.write_data.eq(word.word_select(piece, width)),
                    memory.write_enable.eq(Mux(bank_enable[bank], enable.word_select(piece, width // granule), 0)),
                ]
            registers = memory_latency(config.technology) - 1
            m.d.comb += self.words[bank].eq(delay(m, Cat(pieces), registers, name=f"word_{bank}"))
        return m
