"""Host port: takes requests from the bus, one a cycle for writes, one at a time for reads."""

from amaranth import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .bus import BusSignature
from .registers import OFFSET_BITS, SPACES

__all__ = ["ACCESS_LAYOUT", "HostPort"]

ACCESS_LAYOUT = data.StructLayout(
    {"space": data.StructLayout(dict.fromkeys(SPACES, 1)), "write": 1, "offset": OFFSET_BITS, "data": 32}
)
"""An access by the host: its space, one-hot (none when nothing is accessed), and what the bus said."""


class HostPort(wiring.Component):
    """Decodes bus requests.

    A write is one cycle of ``access``. A read holds ``access`` with ``write`` clear for ``read_cycles`` cycles; the
    ``answer`` in the last of them is the response. An address in no space takes writes and answers reads with what
    ``answer`` is when no space is selected.

    Parameters
    ----------
    read_cycles : int
        The longest way from an access to its answer, less one: at least 1.

    Members
    -------
    bus : In(BusSignature())
    access : Out; `ACCESS_LAYOUT`
    answer : In, 32 bits
    """

    def __init__(self, read_cycles: int) -> None:
        self.read_cycles = read_cycles
        super().__init__({"bus": In(BusSignature()), "access": Out(ACCESS_LAYOUT), "answer": In(32)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        request, response = self.bus.request, self.bus.response
        offset = Signal(OFFSET_BITS, reset_less=True)
        word = Signal(32, reset_less=True)
        write = Signal(reset_less=True)
        space = Signal(ACCESS_LAYOUT["space"].shape)
        waiting = Signal(range(self.read_cycles + 1))
        answer = Signal(32, reset_less=True)
        reading = Signal()
        m.d.comb += [
            reading.eq(waiting != 0),
            request.ready.eq(~reading & ~response.valid),
            self.access.space.eq(space),
            self.access.write.eq(write),
            self.access.offset.eq(offset),
            self.access.data.eq(word),
            response.payload.eq(answer),
        ]
        with m.If(~reading):
            m.d.sync += space.eq(0)
        with m.If(request.valid & request.ready):
            m.d.sync += [
                offset.eq(request.payload.address[:OFFSET_BITS]),
                word.eq(request.payload.data),
                write.eq(request.payload.write),
                *(space[name].eq(request.payload.address[OFFSET_BITS:] == number) for name, number in SPACES.items()),
            ]
            with m.If(~request.payload.write):
                m.d.sync += waiting.eq(self.read_cycles)
        with m.If(reading):
            m.d.sync += waiting.eq(waiting - 1)
            with m.If(waiting == 1):
                m.d.sync += [answer.eq(self.answer), response.valid.eq(1), space.eq(0)]
        with m.If(response.valid & response.ready):
            m.d.sync += response.valid.eq(0)
        return m
