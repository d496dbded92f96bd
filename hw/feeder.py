"""Feeder: turns the loop counters into feature addresses, padding masks, rotation and weight addresses."""

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import FabricConfig
from .descriptor import LEVEL_BITS, Level, coordinate_bits, descriptor_layout
from .isa import PAIR_FIELDS, TAP_FIELDS, Field
from .loops import Loops, times
from .pipeline import delay
from .timing import program_latency

__all__ = ["Feeder"]


def _fields(word: Signal, fields: tuple[Field, ...]) -> dict:
    """Named bit fields of a program word."""
    values = {}
    for field in fields:
        bits = word[field.lsb : field.lsb + field.width]
        values[field.name] = bits.as_signed() if field.signed else bits
    return values


class Feeder(wiring.Component):
    """Issues the steps of a descriptor, one a cycle, and addresses the memories for them.

    The only unit that waits (see `Loops`); what it sends out is never held up. Addresses are kept incrementally: no
    multiplier. Stage 1 is cycle *program* of `timing.Pipeline`; the position in the image (row_base, column_offset, x,
    y) and the weights' channel tile live there and move on when the last step of a tile passes.

    While no descriptor runs, the host reads the feature memory through the same stages: a ``host_read`` held with its
    address and bank gives the word to row 0 of the rotation network.

    Members
    -------
    descriptor, start : In; fields (static) and the strobe that begins it
    tap_address, pair_address : Out; of tap and program memory, cycle 0
    tap_word, pair_word : In; cycle ``program``
    hold : In; no step is issued in this cycle
    host_read, host_address, host_bank : In
    addresses : Out, one per bank, cycle ``addresses``
    rotation, valid : Out; cycle ``addresses`` (they are ahead of the words by the memory's latency)
    weight_address : Out; cycle ``sums``
    double : Out; cycle ``sums``, with ``enable``: the accumulators double before this step
    enable : Out; cycle ``sums``, a step
    level : Out; cycle ``sums``, `Level` of a tile's last step
    active, issue, stall : Out; cycle 0, for the counters
    """

    def __init__(self, config: FabricConfig) -> None:
        self.config = config
        feature = config.feature_address_bits
        super().__init__(
            {
                "descriptor": In(descriptor_layout(config)),
                "start": In(1),
                "hold": In(1),
                "tap_address": Out(ceil_log2(config.tap_depth)),
                "tap_word": In(32),
                "pair_address": Out(ceil_log2(config.program_depth)),
                "pair_word": In(32),
                "host_read": In(1),
                "host_address": In(feature),
                "host_bank": In(ceil_log2(config.rows)),
                "addresses": Out(data.ArrayLayout(feature, config.rows)),
                "rotation": Out(ceil_log2(config.rows)),
                "valid": Out(config.rows),
                "weight_address": Out(config.weight_address_bits),
                "double": Out(1),
                "enable": Out(1),
                "level": Out(LEVEL_BITS),
                "active": Out(1),
                "issue": Out(1),
                "stall": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, d = self.config, self.descriptor
        m.submodules.loops = loops = Loops(config)
        m.d.comb += [
            loops.descriptor.eq(d),
            loops.start.eq(self.start),
            loops.hold.eq(self.hold),
            self.active.eq(loops.active),
            self.issue.eq(loops.issue),
            self.stall.eq(loops.stall),
            self.pair_address.eq(loops.pair_address),
        ]

        # Stage 0: the taps of pool position p begin at tap_base + p * taps.
        tap_start = Signal.like(self.tap_address, reset_less=True)
        m.d.comb += self.tap_address.eq(tap_start + loops.tap)
        with m.If(self.start | loops.ends):
            first = self.start | (loops.level != Level.POOL)
            m.d.sync += tap_start.eq(Mux(first, d.tap_base, tap_start + d.taps + 1))

        # Flags along the stages, which begin when tap and pair are there.
        late = program_latency(config.technology)
        level_1 = delay(m, Mux(loops.ends, loops.level, 0), late, name="level", reset=True)
        first_chunk = delay(m, loops.first_chunk, late + 2, name="first_chunk")
        first_of_pair = delay(m, loops.first_of_pair, late, name="first_of_pair")
        issue_2 = delay(m, loops.issue, late + 1, name="issue", reset=True)
        first_of_pair_2 = delay(m, first_of_pair, 1, name="first_of_pair_late")
        m.d.comb += [
            self.enable.eq(delay(m, issue_2, 1, name="issue_late", reset=True)),
            self.level.eq(delay(m, level_1, 2, name="level_late", reset=True)),
        ]

        # Stage 1: position in the image, and the words from the memories.
        tap, pair = _fields(self.tap_word, TAP_FIELDS), _fields(self.pair_word, PAIR_FIELDS)
        row_base = Signal.like(d.feature_base, reset_less=True)
        column_offset = Signal.like(d.feature_base, reset_less=True)
        x, y = (Signal(coordinate_bits(config), name=name, reset_less=True) for name in ("x", "y"))
        next_y = Signal.like(y, reset_less=True)  # a stored row further
        weight_tile = Signal.like(self.weight_address, reset_less=True)
        strides = [self._constant(m, times(d.x_stride, pixels), f"stride_{pixels}") if pixels & pixels - 1
                   else times(d.x_stride, pixels) for pixels in range(config.rows + 1)]  # fmt: skip
        if config.row_wrap:
            # Tiles end a drain apart, which is longer than a cycle: time to compare and subtract.
            beyond, wrapped_x = (delay(m, value, 1, name=name) for value, name in
                                 zip(self._wrap(m, x, config.rows), ("beyond", "wrapped_x"), strict=True))  # fmt: skip
            wrapped_step = self._constant(m, d.x_step + d.wrap_step, "wrapped_step")
        with m.If(level_1 == Level.COLUMN):
            m.d.sync += [column_offset.eq(column_offset + d.x_step), x.eq(x + strides[-1])]
            if config.row_wrap:
                with m.If(beyond):
                    m.d.sync += [
                        column_offset.eq(column_offset + wrapped_step), x.eq(wrapped_x),
                        y.eq(y + d.y_stride), next_y.eq(next_y + d.y_stride),
                    ]  # fmt: skip
        with m.If(level_1 == Level.ROW):
            m.d.sync += [row_base.eq(row_base + d.y_step), y.eq(y + d.y_stride), next_y.eq(next_y + d.y_stride)]
        with m.If(level_1 == Level.CHANNEL):
            m.d.sync += [
                row_base.eq(d.feature_base), y.eq(0), next_y.eq(d.y_stride),
                weight_tile.eq(weight_tile + d.weight_step),
            ]  # fmt: skip
        with m.If((level_1 == Level.ROW) | (level_1 == Level.CHANNEL)):
            m.d.sync += [column_offset.eq(0), x.eq(0)]
        with m.If(self.start):
            m.d.sync += [
                row_base.eq(d.feature_base), column_offset.eq(0), x.eq(0), y.eq(0), next_y.eq(d.y_stride),
                weight_tile.eq(d.weight_base),
            ]  # fmt: skip

        # Stages 2 and 3: sums. A tap's chunks and a pair's weights lie in a row, so only their first is computed.
        position = Signal.like(row_base, reset_less=True)
        offset = Signal.like(row_base, reset_less=True)
        tap_address = Signal.like(row_base, reset_less=True)
        address = Signal.like(row_base, reset_less=True)
        weight_first = Signal.like(weight_tile, reset_less=True)
        weight_address = Signal.like(weight_tile, reset_less=True)
        m.d.sync += [
            position.eq(row_base + column_offset),
            offset.eq(tap["feature_offset"] + pair["feature_offset"]),
            tap_address.eq(position + offset),
            weight_first.eq(weight_tile + pair["weight_offset"]),
        ]
        with m.If(issue_2):
            m.d.sync += weight_address.eq(Mux(first_of_pair_2, weight_first, weight_address + 1))
        m.d.comb += [
            self.weight_address.eq(weight_address),
            self.double.eq(delay(m, pair["double"] & first_of_pair, 2, name="double")),
        ]

        # Stage 4: address of the first bank, coordinates of the rows, padding.
        with m.If(self.host_read):
            m.d.sync += address.eq(self.host_address)
        with m.Elif(self.enable):
            m.d.sync += address.eq(Mux(first_chunk, tap_address, address + 1))
        tap_x, tap_y = Signal.like(x, reset_less=True), Signal.like(y, reset_less=True)
        tap_next_y = Signal.like(y, reset_less=True)
        y_inside, next_y_inside = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [
            tap_x.eq(x + tap["dx"]), tap_y.eq(y + tap["dy"]), tap_next_y.eq(next_y + tap["dy"]),
            y_inside.eq(tap_y < d.in_height), next_y_inside.eq(tap_next_y < d.in_height),
        ]  # fmt: skip
        inside, beyond_rows = [], []
        for row in range(config.rows):
            row_x = Signal.like(x, name=f"row_x_{row}", reset_less=True)
            m.d.sync += row_x.eq(tap_x + strides[row])
            if row == 0 or not config.row_wrap:  # the first pixel of a tile has moved on with the tile
                beyond_rows.append(Const(0, 1))
                inside.append((row_x < d.in_width) & y_inside)
                continue
            distance = Signal.like(x, name=f"distance_{row}")
            beyond, _ = self._wrap(m, x, row)
            late = delay(m, beyond, 1, name=f"beyond_{row}")
            shorter = self._constant(m, (times(d.x_stride, row) - d.wrap_width)[: len(x)], f"shorter_{row}")
            m.d.comb += distance.eq(Mux(late, shorter, strides[row]))
            m.d.sync += row_x.eq(tap_x + distance)
            later = delay(m, late, 1, name=f"beyond_late_{row}")
            inside.append((row_x < d.in_width) & Mux(later, next_y_inside, y_inside))
            beyond_rows.append(delay(m, later, 1, name=f"beyond_last_{row}"))
        host_bank_exists = Signal()
        m.d.comb += host_bank_exists.eq(self.host_read & (self.host_bank < config.rows))
        valid = Signal(config.rows, reset_less=True)
        rotation = Signal.like(self.rotation, reset_less=True)
        tap_rotation = delay(m, tap["rotation"][: len(rotation)], 2, name="rotation")
        m.d.sync += [
            valid.eq(Mux(self.host_read, host_bank_exists.replicate(config.rows), Cat(inside))),
            rotation.eq(Mux(self.host_read, self.host_bank, tap_rotation)),
        ]

        # Stage 5: banks before the rotation have wrapped to the next pixel tile; some rows' pixels are in the next
        # image row.
        wrapped = Signal.like(address)
        m.d.comb += wrapped.eq(address + d.x_step)
        for bank in range(config.rows):
            register = Signal.like(address, name=f"address_{bank}", reset_less=True)
            own = Mux(bank < rotation, wrapped, address)
            if config.row_wrap and config.rows > 1:
                # One of four steps, so that one addition is enough.
                beyond = Array(beyond_rows[(bank - turn) % config.rows] for turn in range(config.rows))[rotation]
                own = address + Mux(beyond, Mux(bank < rotation, wrapped_step, d.wrap_step),
                                    Mux(bank < rotation, d.x_step, 0))  # fmt: skip
            m.d.sync += register.eq(own)
            m.d.comb += self.addresses[bank].eq(register)
        m.d.comb += [
            self.valid.eq(delay(m, valid, 1, name="valid")),
            self.rotation.eq(delay(m, rotation, 1, name="rotation_late")),
        ]
        return m

    @staticmethod
    def _constant(m: Module, value: Value, name: str) -> Signal:
        """A register for what depends on nothing but the descriptor, which stands still before it starts."""
        register = Signal(value.shape(), name=name, reset_less=True)
        m.d.sync += register.eq(value)
        return register

    def _wrap(self, m: Module, x: Signal, pixels: int) -> tuple[Signal, Signal]:
        """Whether the pixel that many output columns after the one at ``x`` is in the next image row, and its column
        there. Both terms but ``x`` are constants of the descriptor."""
        beyond, column = Signal(name=f"beyond_after_{pixels}"), Signal.like(x, name=f"column_after_{pixels}")
        limit = Signal(signed(len(x)), name=f"limit_{pixels}", reset_less=True)
        m.d.sync += limit.eq(self.descriptor.wrap_width - times(self.descriptor.x_stride, pixels))
        m.d.comb += [
            beyond.eq(x.as_signed() >= limit),
            column.eq(x - limit),
        ]
        return beyond, column
