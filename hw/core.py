"""The core: everything between the host's bus and the feature memory. See `hw/README.md` for the data path."""

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from .array import SystolicArray
from .bus import BusSignature
from .config import FabricConfig
from .copier import Copier
from .drain import DrainControl
from .features import FeatureMemory
from .feeder import Feeder
from .host import HostPort
from .memory import BlockMemory
from .pipeline import delay
from .rotate import Rotate
from .sequencer import Sequencer
from .timing import Pipeline, copy_latency, extra_registers
from .writer import Writer

__all__ = ["Core"]


class Core(wiring.Component):
    """A complete accelerator behind a `bus.BusSignature`, with the memory map of `registers`.

    Writes are accepted in every cycle, reads one at a time. While ``busy``, accesses to anything but registers are
    dropped (writes) or answered with whatever is there (reads). Reset stops a run; it leaves the memories as they are.

    Members
    -------
    bus : In(BusSignature())
    busy : Out
    """

    def __init__(self, config: FabricConfig) -> None:
        self.config = config
        super().__init__({"bus": In(BusSignature()), "busy": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        times = Pipeline.of(config)
        m.submodules.sequencer = sequencer = Sequencer(config)
        m.submodules.feeder = feeder = Feeder(config)
        m.submodules.features = features = FeatureMemory(config)
        m.submodules.rotate = rotate = Rotate(config)
        m.submodules.array = array = SystolicArray(config)
        m.submodules.drain = drain = DrainControl(config)
        m.submodules.writer = writer = Writer(config)
        m.submodules.taps = taps = BlockMemory(width=32, depth=config.tap_depth)
        m.submodules.copier = copier = Copier(config)
        self._host(m, sequencer, feeder, features, array, taps, copier)

        extra = extra_registers(config.technology)
        m.d.comb += self.busy.eq(sequencer.busy)
        for unit in (feeder, drain, writer):
            m.d.comb += unit.descriptor.eq(sequencer.descriptor)
        m.d.comb += [
            feeder.start.eq(sequencer.start),
            drain.start.eq(sequencer.start),
            writer.start.eq(delay(m, sequencer.start, extra, name="start_writer", reset=True)),
        ]
        m.d.comb += [
            copier.descriptor.eq(sequencer.descriptor),
            copier.start.eq(delay(m, sequencer.copy, extra, name="copy", reset=True)),
            Value.cast(copier.block).eq(delay(m, sequencer.copy_block, extra, name="copy_block")),
            copier.thresholds.eq(delay(m, sequencer.copy_thresholds, extra, name="copy_thresholds")),
            sequencer.copy_done.eq(delay(m, copier.done, extra, name="copy_done", reset=True)),
        ]

        # Addresses, operands.
        m.d.comb += [
            sequencer.pair_address.eq(feeder.pair_address),
            sequencer.active.eq(feeder.active),
            sequencer.issue.eq(delay(m, feeder.issue, extra, name="issue", reset=True)),
            sequencer.stall.eq(delay(m, feeder.stall, extra, name="stall", reset=True)),
            feeder.pair_word.eq(sequencer.pair_word),
            taps.read_address.eq(feeder.tap_address),
            feeder.tap_word.eq(delay(m, taps.read_data, extra, name="tap_word")),
            features.addresses.eq(feeder.addresses),
            rotate.words.eq(features.words),
            rotate.rotation.eq(delay(m, feeder.rotation, times.memory, name="rotation")),
            rotate.valid.eq(delay(m, feeder.valid, times.memory, name="valid")),
            Value.cast(array.activations).eq(delay(m, rotate.activations, extra, name="activations")),
        ]

        # Control. The feeder is at cycle ``sums``; each signal is delayed to where the array or the drain uses it.
        late = times.accumulate - times.sums
        level = delay(m, feeder.level, times.drain - 1 - times.sums, name="level", reset=True)
        enabled = delay(m, feeder.enable, late - extra, name="enabled", reset=True)
        level_late = delay(m, level, times.accumulate - (times.drain - 1) - extra, name="level_late", reset=True)
        clears = Signal(init=1)
        with m.If(enabled):
            m.d.sync += clears.eq(level_late != 0)  # the step after the last one of a tile starts from zero
        enable = delay(m, enabled, extra, name="enable", reset=True)
        clear = delay(m, clears, extra, name="clear")
        m.d.comb += [
            array.control.weight_address.eq(
                delay(m, feeder.weight_address, times.weight_address - times.sums, name="weight_address")
            ),
            array.control.enable.eq(enable),
            array.control.clear.eq(clear),
            array.control.double.eq(delay(m, feeder.double, late, name="double")),
            drain.level.eq(level),
            array.control.capture.eq(drain.capture),
            array.control.first.eq(drain.first),
            array.control.advance.eq(drain.advance),
            array.control.slot.eq(drain.slot),
            array.control.plane.eq(drain.plane),
            array.control.base.eq(drain.base),
            array.control.raw.eq(sequencer.descriptor.raw),
        ]

        if config.feature_ports == 1:
            # No step may read in the cycle of a store: hold those whose way from the issue to the feature memory is as
            # long as that of a slot from there to its store.
            m.d.comb += feeder.hold.eq(delay(m, drain.stores, times.hold - times.drain, name="hold", reset=True))

        # Results.
        m.d.comb += [
            writer.level.eq(delay(m, level, times.bits - 2 - times.drain, name="level_writer", reset=True)),
            writer.bits.eq(delay(m, array.bits, extra, name="bits")),
            writer.prepare.eq(sequencer.prepare),
            writer.prepare_first.eq(sequencer.prepare_first),
            sequencer.done.eq(writer.done),
            features.store.eq(writer.store),
        ]
        return m

    def _host(self, m, sequencer, feeder, features, array, taps, copier) -> None:
        """Host accesses, and the copier's on the same ways: where the bits of an offset go, see `registers`."""
        config = self.config
        extra = extra_registers(config.technology)
        # A feature word takes the way of an activation; address, bank and piece are held by the access.
        m.submodules.host = host = HostPort(read_cycles=copy_latency(config) + extra)
        connect(m, flipped(self.bus), host.bus)
        access = data.View(host.access.shape(), delay(m, host.access, extra, name="access", reset=True))
        idle_write = Signal()
        written = delay(m, access.offset, extra, name="written_offset")
        written_data = delay(m, access.data, extra, name="written_data")
        m.d.comb += [
            sequencer.access.eq(access),
            idle_write.eq(access.write & ~sequencer.busy),
            taps.write_address.eq(written),
            taps.write_data.eq(written_data),
            taps.write_enable.eq(delay(m, access.space.taps & idle_write, extra, name="taps_write", reset=True)),
        ]

        piece_bits, row_bits = ceil_log2(config.bus_words), ceil_log2(config.rows)
        column_bits, tile_bits = ceil_log2(config.tile_columns), ceil_log2(config.tiles)
        piece = access.offset[:piece_bits]

        word, written_word = access.offset[piece_bits:], written[piece_bits:]
        bank, address = word[:row_bits], word[row_bits:]
        m.d.comb += [
            features.host.valid.eq(
                delay(m, access.space.features & idle_write, extra, name="features_write", reset=True)
            ),
            features.host.address.eq(written_word[row_bits:]),
            features.host.bank.eq(written_word[:row_bits]),
            features.host.piece.eq(written[:piece_bits]),
            features.host.data.eq(written_data),
            feeder.host_read.eq(
                delay(m, copier.busy | (access.space.features & ~sequencer.busy), extra, name="host_read", reset=True)
            ),
            feeder.host_address.eq(delay(m, Mux(copier.busy, copier.address, address), extra, name="host_address")),
            feeder.host_bank.eq(delay(m, Mux(copier.busy, copier.bank, bank), extra, name="host_bank")),
        ]
        read_word = Signal(min(32, config.lanes))
        read_piece = Mux(copier.busy, copier.piece, piece)
        read = array.activations[0].word_select(read_piece, len(read_word))
        m.d.comb += read_word.eq(delay(m, read, extra, name="read"))

        offset = Mux(copier.busy, copier.offset, access.offset)
        to_thresholds = Mux(copier.busy, copier.thresholds, access.space.thresholds)
        entry = Mux(to_thresholds, offset, offset[piece_bits:])
        host_write = Signal.like(array.host)
        m.d.comb += Value.cast(array.host).eq(delay(m, host_write, extra, name="host_write", reset=True))
        m.d.comb += [
            host_write.weight.eq(
                (copier.write & ~copier.thresholds) | (access.space.weights & idle_write)
            ),
            host_write.threshold.eq(
                (copier.write & copier.thresholds) | (access.space.thresholds & idle_write)
            ),
            host_write.column.eq(entry[:column_bits]),
            host_write.tile.eq(entry[column_bits : column_bits + tile_bits]),
            host_write.address.eq(entry[column_bits + tile_bits :]),
            host_write.piece.eq(offset[:piece_bits]),
            host_write.data.eq(Mux(copier.busy, read_word, access.data)),
        ]

        with m.If(access.space.registers):
            m.d.comb += host.answer.eq(sequencer.register_word)
        with m.Elif(access.space.program):
            m.d.comb += host.answer.eq(sequencer.program_word)
        with m.Elif(access.space.features):
            m.d.comb += host.answer.eq(read_word)
