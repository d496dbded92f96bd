"""Loop counters of a descriptor: chunk, tap, plane pair inside a tile of results; pool position, tile, row, channel."""

from amaranth import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import FabricConfig
from .descriptor import LEVEL_BITS, Level, descriptor_layout, field_widths
from .pipeline import delay
from .timing import extra_registers

__all__ = ["Loops", "times"]


def times(value: Value, factor: int) -> Value:
    """value * factor as shifts and additions, where synthesis might take a multiplier."""
    return sum((value << bit for bit in range(factor.bit_length()) if factor >> bit & 1), Const(0))


class Loops(wiring.Component):
    """Walks the loop nest of `hw/README.md`, one step a cycle.

    The last step of a tile of results waits until planes × drain_slots cycles have passed since the one before: then
    the drain that it starts follows the drain of the tile before without a gap. Any step waits while ``hold`` is set.
    Nothing else ever waits.

    Members
    -------
    descriptor : In
    start : In; the first step may be issued in the next cycle
    hold : In; no step is issued in this cycle
    active : Out; between start and the last step
    stall : Out; a step waits
    issue : Out; the counters' step is issued in this cycle
    tap, pair_address : Out; index of the tap, program address of the plane pair
    first_chunk, first_of_pair : Out; the step begins a tap, a plane pair
    ends : Out; an issued step is the last of its tile
    level : Out; with ``ends``, the tile's `Level`
    """

    def __init__(self, config: FabricConfig) -> None:
        self.config = config
        widths = field_widths(config)
        super().__init__(
            {
                "descriptor": In(descriptor_layout(config)),
                "start": In(1),
                "hold": In(1),
                "active": Out(1),
                "stall": Out(1),
                "issue": Out(1),
                "tap": Out(widths["taps"]),
                "pair_address": Out(ceil_log2(config.program_depth)),
                "first_chunk": Out(1),
                "first_of_pair": Out(1),
                "ends": Out(1),
                "level": Out(LEVEL_BITS, init=Level.POOL),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        d = self.descriptor

        # Inside a tile the counters may move every cycle: whether one is at its end or its beginning is known from the
        # cycle in which it moved.
        following = Signal.like(d.chunks)  # index of the next chunk
        chunk_last, at_last_tap, at_last_pair, at_first_tap = (
            Signal(name=name, reset_less=True) for name in ("chunk_last", "at_last_tap", "at_last_pair", "at_first_tap")
        )
        tap_last, pair_last = Signal(), Signal()
        pair = Signal(len(d.pairs), reset_less=True)
        next_tap, next_pair = Signal.like(self.tap), Signal.like(pair)
        m.d.comb += [
            next_tap.eq(self.tap + 1), next_pair.eq(pair + 1),
            tap_last.eq(chunk_last & at_last_tap),
            pair_last.eq(tap_last & at_last_pair),
            self.first_of_pair.eq(self.first_chunk & at_first_tap),
        ]  # fmt: skip

        # The outer counters move in the cycle after the last step of a tile. The next such step comes at least four
        # cycles after it: time for registers that hold whether a counter is at its end, and the level of that step.
        nest = [
            (field, Signal.like(d[field], name=f"{field}_index"), Signal(name=f"{field}_last", reset_less=True))
            for field in ("pool_taps", "x_tiles", "y_count", "channel_tiles")
        ]
        ended = Signal()
        m.d.comb += self.ends.eq(self.issue & pair_last)
        m.d.sync += [ended.eq(self.ends), self.level.eq(Level.POOL)]
        carry: Value = Const(1)
        for number, (field, index, last) in zip(
            (Level.COLUMN, Level.ROW, Level.CHANNEL, Level.END), nest, strict=True
        ):
            m.d.sync += last.eq(index == d[field])
            advance = Signal(name=f"advance_{number}")
            m.d.comb += advance.eq(carry & last)
            with m.If(ended & delay(m, carry, extra_registers(self.config.technology), name=f"moves_{number}")):
                m.d.sync += index.eq(Mux(last, 0, index + 1))
            with m.If(advance):
                m.d.sync += self.level.eq(number)
            carry = advance

        # Cycles until the drain of the tile before allows the next last step, less one.
        slots = self.config.drain_slots
        spacing = self._spacing = Signal(range((1 << len(d.planes)) * slots))
        ready = self._ready = Signal(init=1)  # as many have passed
        m.d.comb += [
            self.stall.eq(self.active & (self.hold | (pair_last & ~ready))),
            self.issue.eq(self.active & ~self.stall),
        ]
        with m.If(ready):
            m.d.sync += [spacing.eq(times(d.planes, slots) + slots - 1), ready.eq(~self.ends)]
        with m.Else():
            m.d.sync += [spacing.eq(spacing - 1), ready.eq(spacing == 1)]

        with m.If(self.start):
            m.d.sync += self.active.eq(1)
        with m.Elif(self.ends & (self.level == Level.END)):
            m.d.sync += self.active.eq(0)
        # Whether a counter moves is known late, so where it moves to does not depend on that.
        begins = ~self.active
        with m.If(begins | self.issue):
            first = begins | chunk_last
            m.d.sync += [
                following.eq(Mux(first, 1, following + 1)),
                chunk_last.eq(Mux(first, d.chunks == 0, following == d.chunks)),
                self.first_chunk.eq(first),
            ]
        with m.If(begins | (self.issue & chunk_last)):
            first = begins | at_last_tap
            m.d.sync += [
                self.tap.eq(Mux(first, 0, next_tap)),
                at_last_tap.eq(Mux(first, d.taps == 0, next_tap == d.taps)),
                at_first_tap.eq(first),
            ]
        with m.If(begins | (self.issue & tap_last)):
            first = begins | at_last_pair
            m.d.sync += [
                pair.eq(Mux(first, 0, next_pair)),
                self.pair_address.eq(Mux(first, d.pair_base, self.pair_address + 1)),
                at_last_pair.eq(Mux(first, d.pairs == 0, next_pair == d.pairs)),
            ]
        return m
