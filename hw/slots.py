"""The order in which results leave the array: planes from the most significant down, rows innermost."""

from collections.abc import Iterator

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import FabricConfig
from .descriptor import field_widths

__all__ = ["SlotCounter", "drain_slots"]


def drain_slots(planes: int, slots: int) -> Iterator[tuple[int, int]]:
    """(plane, slot) of every cycle of a drain, in order."""
    return ((plane, slot) for plane in reversed(range(planes)) for slot in range(slots))


class SlotCounter(wiring.Component):
    """Counts the slots of one drain: planes × drain_slots cycles, beginning in the cycle after ``start``.

    The ``threshold_columns`` results of a row follow each other, then the next row: a row is complete with the last of
    them.

    The next ``start`` may come in the cycle in which ``last`` is set, and not before.

    Members
    -------
    start : In
    planes : In; planes less one
    active : Out; a drain is going on
    plane, slot, row : Out; which row the slot belongs to, if it is below ``rows``
    result : Out; active, and the slot belongs to a row of the array
    row_ends, complete : Out; the last slot of a row; of one that the array has
    first_plane, last_slot, last : Out; the most significant plane; the last slot of a plane; of the drain
    """

    def __init__(self, config: FabricConfig) -> None:
        self.config = config
        planes = field_widths(config)["planes"]
        super().__init__(
            {
                "start": In(1),
                "planes": In(planes),
                "active": Out(1),
                "plane": Out(planes),
                "slot": Out(ceil_log2(config.drain_slots)),
                "row": Out(ceil_log2(config.row_slots)),
                "result": Out(1),
                "row_ends": Out(1),
                "complete": Out(1),
                "first_plane": Out(1),
                "last_slot": Out(1),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shared = ceil_log2(self.config.threshold_columns)
        last_plane = self._last_plane = Signal(reset_less=True)  # plane is 0
        m.d.comb += [
            self.last_slot.eq(self.slot == self.config.drain_slots - 1),
            self.last.eq(self.active & self.last_slot & last_plane),
            self.row.eq(self.slot[shared:]),
            self.result.eq(self.active & (self.slot < self.config.rows * self.config.threshold_columns)),
            self.row_ends.eq(self.active & self.slot[:shared].all()),
            self.complete.eq(self.result & self.row_ends),
        ]
        with m.If(self.start):
            m.d.sync += [
                self.active.eq(1), self.slot.eq(0), self.first_plane.eq(1),
                self.plane.eq(self.planes), last_plane.eq(self.planes == 0),
            ]  # fmt: skip
        with m.Elif(self.active):
            m.d.sync += self.slot.eq(self.slot + 1)
            with m.If(self.last_slot):
                m.d.sync += [
                    self.slot.eq(0), self.first_plane.eq(0),
                    self.plane.eq(self.plane - 1), last_plane.eq(self.plane == 1),
                ]  # fmt: skip
                with m.If(last_plane):
                    m.d.sync += self.active.eq(0)
        return m
