"""Host port: takes requests from the bus, one a cycle for writes, one at a time for reads."""

from amaranth import Module, Mux, Signal
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

    A write is one cycle of ``access``, that in which it is accepted. A read holds ``access`` for ``read_cycles`` + 1
    cycles and is accepted in the last of them, when ``answer`` becomes the response; it waits for the response before
    it to be taken. Nothing of a request is kept here: by the rules of streams it stands still until it is accepted.
    An address in no space takes writes and answers reads with what ``answer`` is when no space is selected.

    Parameters
    ----------
    read_cycles : int
        The longest way from an access to its answer: at least 1.

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
        selected = Signal()
        number = request.payload.address[OFFSET_BITS:]
        elapsed = Signal(range(self.read_cycles + 1))
        answer = Signal(32, reset_less=True)
        answered = Signal()
        m.d.comb += [
            selected.eq(request.valid & (request.payload.write | ~response.valid)),
            *(self.access.space[name].eq(selected & (number == index)) for name, index in SPACES.items()),
            self.access.write.eq(request.payload.write),
            self.access.offset.eq(request.payload.address[:OFFSET_BITS]),
            self.access.data.eq(request.payload.data),
            answered.eq(selected & ~request.payload.write & (elapsed == self.read_cycles)),
            request.ready.eq(Mux(request.payload.write, 1, answered)),
            response.payload.eq(answer),
        ]
        with m.If(answered):
            m.d.sync += [answer.eq(self.answer), response.valid.eq(1), elapsed.eq(0)]
        with m.Elif(selected & ~request.payload.write):
            m.d.sync += elapsed.eq(elapsed + 1)
        with m.If(response.valid & response.ready):
            m.d.sync += response.valid.eq(0)
        return m
