"""Drain control: tells the column tiles when to capture accumulators and how to turn them into code bits."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import FabricConfig
from .descriptor import LEVEL_BITS, Level, descriptor_layout, field_widths
from .pipeline import delay
from .slots import SlotCounter
from .timing import Pipeline

__all__ = ["DrainControl"]


class DrainControl(wiring.Component):
    """Makes what controls the drain in `tile.control_layout` from the level of each tile.

    The threshold address moves on by threshold_step after the last tile of results of a channel tile.

    Members
    -------
    descriptor : In
    start : In; a descriptor begins
    level : In; `Level` of a tile's last step in cycle ``drain`` - 1, else 0
    capture, first, advance, slot, plane, base : Out
    stores : Out; the bits of a row are complete with the slot's and going to be stored, cycle ``drain`` of the slot;
        also for pixels beyond the image, which then are not
    """

    def __init__(self, config: FabricConfig) -> None:
        self.config = config
        super().__init__(
            {
                "descriptor": In(descriptor_layout(config)),
                "start": In(1),
                "level": In(LEVEL_BITS),
                "capture": Out(1),
                "first": Out(1),
                "advance": Out(1),
                "slot": Out(ceil_log2(config.drain_slots)),
                "plane": Out(field_widths(config)["planes"]),
                "base": Out(config.threshold_address_bits),
                "stores": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        times = Pipeline.of(self.config)
        m.submodules.slots = slots = SlotCounter(self.config)
        m.d.comb += [
            slots.start.eq(self.level != 0),
            slots.planes.eq(self.descriptor.planes),
            self.first.eq(slots.first_plane),
            # Three cycles from a slot's first to its turn at the head of the ring.
            self.advance.eq(delay(m, slots.result, 3, name="advance", reset=True)),
            # drain - 1 to accumulate + 1
            self.capture.eq(delay(m, slots.start, times.accumulate - times.drain + 2, name="capture", reset=True)),
            self.slot.eq(delay(m, slots.slot, 1, name="slot")),
            self.plane.eq(delay(m, slots.plane, 1, name="plane")),
        ]
        # The base is used one cycle after the slot count, so it changes one cycle after the last slot.
        channel_ends, last_position = Signal(), Signal()
        with m.If(slots.start):
            m.d.sync += [channel_ends.eq(self.level >= Level.CHANNEL), last_position.eq(self.level != Level.POOL)]
        m.d.comb += self.stores.eq(slots.complete & last_position)
        next_channel = delay(m, slots.last & channel_ends, 1, name="next_channel", reset=True)
        base = Signal.like(self.base, reset_less=True)
        m.d.comb += self.base.eq(base)
        with m.If(self.start):
            m.d.sync += base.eq(self.descriptor.threshold_base)
        with m.Elif(next_channel):
            m.d.sync += base.eq(base + self.descriptor.threshold_step)
        return m
