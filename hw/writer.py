"""Writer: pools the code bits and stores them into the feature memory, where the next layer finds them."""

from functools import partial

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import FabricConfig
from .descriptor import LEVEL_BITS, Level, descriptor_layout
from .features import store_layout
from .pipeline import delay
from .pool import RunningMaximum
from .slots import SlotCounter
from .timing import program_latency

__all__ = ["Writer"]


class Writer(wiring.Component):
    """Stores the bits of every slot; addresses as in `layout`, kept incrementally.

    Within a plane, the rows' pixels follow each other in x: ``out_stride`` of them lie in one bank, then the bank
    changes, and after the last bank the address moves to the next group. After ``out_width`` pixels the next stored row
    begins, perhaps within a tile of pixels. The next plane goes over the same pixels.

    Members
    -------
    descriptor : In
    prepare : In; set for planes cycles before ``start``, with ``prepare_first`` in the first of them
    start : In; a descriptor begins; after ``prepare`` and before the first ``level``
    level : In; `Level` of a tile of results, three cycles before its first bits, else 0
    bits : In, ``columns`` bits of a slot
    store : Out; `features.store_layout`, two cycles after the address of the slot, one after its bits
    done : Out; in the cycle before the last store of the descriptor is in memory
    """

    def __init__(self, config: FabricConfig) -> None:
        self.config = config
        super().__init__(
            {
                "descriptor": In(descriptor_layout(config)),
                "prepare": In(1),
                "prepare_first": In(1),
                "start": In(1),
                "level": In(LEVEL_BITS),
                "bits": In(config.columns),
                "store": Out(store_layout(config)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, d = self.config, self.descriptor
        rows, rows_bits = config.rows, ceil_log2(config.rows)
        segment_bits = ceil_log2(config.segments)

        # The counter is two cycles ahead of the bits; what is known of a slot comes a cycle before them, registered.
        m.submodules.slots = slots = SlotCounter(config)
        m.d.comb += [slots.start.eq(self.level != 0), slots.planes.eq(d.planes)]
        level = Signal(LEVEL_BITS, reset_less=True)
        first_position, in_image = Signal(reset_less=True), Signal()
        with m.If(slots.start):
            m.d.sync += [level.eq(self.level), first_position.eq(level != Level.POOL)]
        with m.If(self.start):
            m.d.sync += level.eq(Level.END)  # whatever comes next is a first pool position
        m.d.comb += in_image.eq((level == Level.COLUMN) | (slots.row <= d.out_tail))
        late = partial(delay, m, cycles=1, reset=True)
        last_slot, last = late(slots.last_slot, name="last_slot"), late(slots.last, name="last")
        last_of_place = late(slots.last & (level >= Level.COLUMN), name="last_of_place")
        last_of_channel = late(slots.last & (level == Level.CHANNEL), name="last_of_channel")
        moves = late(slots.complete & in_image, name="moves")

        plane_top, plane_offset = (Signal.like(d.out_base, name=n, reset_less=True) for n in ("top", "plane_offset"))
        with m.If(self.prepare):  # plane_top = (planes - 1) * out_plane_step
            m.d.sync += plane_top.eq(Mux(self.prepare_first, 0, plane_top + d.out_plane_step))
        with m.If(self.start | last):
            m.d.sync += plane_offset.eq(plane_top)
        with m.Elif(last_slot):
            m.d.sync += plane_offset.eq(plane_offset - d.out_plane_step)

        # Where the pixel of the slot lies, and where that of slot 0 does.
        pixel = Signal.like(d.out_base, reset_less=True)
        bank = Signal(rows_bits, reset_less=True)
        phase = Signal.like(d.out_stride, reset_less=True)  # x modulo out_stride
        left = Signal.like(d.out_width, reset_less=True)  # pixels of the stored row after this one
        last_left, last_phase = Signal(reset_less=True), Signal(reset_less=True)  # left is 0, phase out_stride
        row_base = Signal.like(d.out_base, reset_less=True)  # of the stored row
        row_bank = Signal(rows_bits, reset_less=True)
        now = (pixel, bank, phase, last_phase, left, last_left, row_base, row_bank)
        first = tuple(Signal.like(signal, name=f"{signal.name}_0", reset_less=True) for signal in now)
        after = tuple(Signal.like(signal, name=f"{signal.name}_after") for signal in now)
        after_pixel, after_bank, after_phase, after_last_phase, after_left, after_last_left = after[:6]
        after_row_base, after_row_bank = after[6:]
        next_row_base, next_row_bank = Signal.like(row_base), Signal(range(2 * rows))
        # Sums of what stands still.
        back, wrapped_step = (Signal.like(pixel, name=name, reset_less=True) for name in ("back", "wrapped_step"))
        before_stride = Signal.like(phase)
        m.d.sync += [
            before_stride.eq(d.out_stride - 1),
            back.eq(d.out_pixel_step - d.out_group_step),
            wrapped_step.eq(d.out_row_step + d.out_group_step),
        ]
        m.d.comb += [
            next_row_bank.eq(row_bank + d.out_bank_step),
            next_row_base.eq(row_base + Mux(next_row_bank >= rows, wrapped_step, d.out_row_step)),
            *(moved.eq(signal) for moved, signal in zip(after, now, strict=True)),
        ]
        with m.If(moves & last_left):
            m.d.comb += [
                after_pixel.eq(next_row_base), after_row_base.eq(next_row_base),
                after_bank.eq(after_row_bank), after_phase.eq(0), after_last_phase.eq(d.out_stride == 0),
                after_left.eq(d.out_width), after_last_left.eq(d.out_width == 0),
                after_row_bank.eq(Mux(next_row_bank >= rows, next_row_bank - rows, next_row_bank)),
            ]  # fmt: skip
        with m.Elif(moves):
            m.d.comb += [
                after_pixel.eq(pixel + d.out_pixel_step),
                after_phase.eq(phase + 1), after_last_phase.eq(phase == before_stride),
                after_left.eq(left - 1), after_last_left.eq(left == 1),
            ]  # fmt: skip
            with m.If(last_phase):
                m.d.comb += [after_phase.eq(0), after_last_phase.eq(d.out_stride == 0), after_bank.eq(bank + 1)]
                with m.If(bank != rows - 1):
                    # Back to the same place in the next bank.
                    m.d.comb += after_pixel.eq(pixel + back)
                with m.Else():
                    m.d.comb += after_bank.eq(0)

        # Where channel tiles begin.
        chunk_base = Signal.like(d.out_base, reset_less=True)
        segment = Signal(segment_bits, reset_less=True)
        next_chunk = Signal.like(chunk_base)
        # Channel tiles are longer than it takes to know the next one's.
        m.d.comb += next_chunk.eq(late(chunk_base + (segment == config.segments - 1), name="next_chunk"))
        with m.If(self.prepare):
            m.d.sync += [chunk_base.eq(d.out_base + d.out_segment[segment_bits:]), segment.eq(d.out_segment)]

        # Where a tile of results begins is kept a cycle later: its next plane needs it after all slots of the first.
        begins, begun = Signal(), Signal()
        m.d.comb += begins.eq(self.start | last_of_place)
        m.d.sync += begun.eq(begins)
        with m.If(begun):
            m.d.sync += [saved.eq(signal) for saved, signal in zip(first, now, strict=True)]
        m.d.sync += [signal.eq(moved) for signal, moved in zip(now, after, strict=True)]
        with m.If(last_slot & ~begins):
            m.d.sync += [signal.eq(saved) for signal, saved in zip(now, first, strict=True)]
        with m.If(last_of_channel):
            m.d.sync += [chunk_base.eq(next_chunk), segment.eq(segment + 1)]
        with m.If(self.start | last_of_channel):
            begin = Signal.like(chunk_base)
            m.d.comb += begin.eq(Mux(last_of_channel, next_chunk, chunk_base))
            start = (begin, d.out_bank, 0, d.out_stride == 0, d.out_width, d.out_width == 0, begin, d.out_bank)
            m.d.sync += [signal.eq(value) for signal, value in zip(now, start, strict=True)]

        # With the bits: address of the word.
        address = Signal.like(pixel, name="word_address", reset_less=True)
        m.d.sync += address.eq(pixel + plane_offset)

        m.submodules.pool = pool = RunningMaximum(config)
        m.d.comb += [
            pool.plane.eq(delay(m, slots.plane, 2 - program_latency(config.technology), name="plane")),
            pool.slot.eq(delay(m, slots.row, 2 - program_latency(config.technology), name="row")),
            pool.first_plane.eq(delay(m, late(slots.first_plane, name="first_plane"), 1, name="first_plane_late")),
            pool.first_position.eq(delay(m, late(first_position, name="position"), 1, name="position_late")),
            pool.valid.eq(delay(m, late(slots.row_ends, name="row_ends"), 1, name="row_ends_late", reset=True)),
            pool.bits.eq(self.bits),
        ]

        # After the bits.
        stored = late(slots.complete & in_image & (level != Level.POOL), name="stored")
        ends = late(slots.last & (level == Level.END), name="ends")
        m.d.comb += [
            self.store.valid.eq(delay(m, stored, 2, name="stored_late", reset=True)),
            self.store.address.eq(delay(m, address, 1, name="word_address_late")),
            self.store.bank.eq(delay(m, bank, 2, name="word_bank")),
            self.store.segment.eq(delay(m, segment, 2, name="word_segment")),
            self.store.bits.eq(pool.maximum),
            self.done.eq(delay(m, ends, 3, name="done", reset=True)),
        ]
        return m
