"""Max pooling on codes that arrive bit by bit, the most significant plane first."""

from collections.abc import Sequence

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import FabricConfig
from .descriptor import field_widths
from .memory import BlockMemory
from .pipeline import delay
from .timing import program_latency

__all__ = ["RunningMaximum", "running_maximum"]


def running_maximum(codes: Sequence[int]) -> list[int]:
    """The maximum of each code and all before it."""
    best, result = 0, []
    for code in codes:
        best = max(best, code)
        result.append(best)
    return result


class RunningMaximum(wiring.Component):
    """Running maximum over pool positions, for every slot and column.

    The planes of the maximum so far are in a memory addressed by plane and slot. As long as a new code's bits equal
    those of the maximum, the comparison is *open*; the first difference decides which of the two the lower planes are
    taken from. Latency 1 from ``bits`` to ``maximum``; throughput: one slot of ``columns`` bits a cycle, and the same
    plane and slot again after at least 3 + `program_latency` cycles. A *slot* is a row here: cycles without ``valid``
    are passed over.

    Members
    -------
    plane, slot : In; `program_latency` cycles before their bits
    first_plane, first_position, valid : In; with the bits. The first position ignores the memory.
    bits : In, ``columns`` bits
    maximum : Out, ``columns`` bits; one cycle later
    """

    def __init__(self, config: FabricConfig) -> None:
        self.config = config
        super().__init__(
            {
                "plane": In(field_widths(config)["planes"]),
                "slot": In(ceil_log2(config.row_slots)),
                "first_plane": In(1),
                "first_position": In(1),
                "valid": In(1),
                "bits": In(config.columns),
                "maximum": Out(config.columns),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        columns, slots = self.config.columns, self.config.row_slots
        latency = program_latency(self.config.technology)
        address = Cat(self.slot, self.plane)
        # A few words that are worth a block RAM where there are no others.
        m.submodules.planes = planes = BlockMemory(
            width=columns, depth=1 << len(address), style="distributed" if self.config.technology == "gowin" else None
        )

        maximum = Signal(columns, reset_less=True)
        # Per column and slot: the codes are equal so far; if not, the new one is the larger.
        equal, larger = Signal(columns, reset_less=True), Signal(columns, reset_less=True)
        equal_before = Signal(columns)
        larger_before = Signal(columns)
        best = Signal(columns)
        ring = Cat(equal, larger)
        for index in range(slots - 1):
            register = Signal(2 * columns, name=f"comparison_{index}", reset_less=True)
            with m.If(self.valid):
                m.d.sync += register.eq(ring)
            ring = register
        m.d.comb += [
            best.eq(Mux(self.first_position, 0, delay(m, planes.read_data, latency - 1, name="planes_register"))),
            equal_before.eq(ring[:columns] | self.first_plane.replicate(columns)),
            larger_before.eq(ring[columns:]),
        ]
        with m.If(self.valid):
            m.d.sync += [
                equal.eq(equal_before & ~(self.bits ^ best)),
                larger.eq((equal_before & self.bits) | (~equal_before & larger_before)),
            ]
        m.d.sync += maximum.eq(
            (equal_before & (self.bits | best))
            | (~equal_before & larger_before & self.bits)
            | (~equal_before & ~larger_before & best)
        )
        m.d.comb += [
            self.maximum.eq(maximum),
            planes.read_address.eq(address),
            planes.write_address.eq(delay(m, address, 1 + latency, name="address")),
            planes.write_enable.eq(delay(m, self.valid, 1, name="valid", reset=True)),
            planes.write_data.eq(maximum),
        ]
        return m
