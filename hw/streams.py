"""Stream building blocks. Every stream in the design keeps one contract, which is proved for these blocks:

once ``valid`` is high, ``valid`` and ``payload`` stay as they are until the cycle in which ``ready`` is high too;
that cycle transfers the payload. Payloads are neither lost, nor repeated, nor reordered.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

__all__ = ["StreamBuffer", "StreamRegister", "StreamSettler"]


class _Stage(Component):
    """A stream in and a stream out of the same payload.

    Parameters
    ----------
    shape : ShapeLike
        Shape of the payload.

    Members
    -------
    i, o : streams of ``shape``
    """

    def __init__(self, shape) -> None:
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})


class StreamBuffer(_Stage):
    """Cuts every combinational path of a stream (a skid buffer).

    Latency one cycle, throughput one payload a cycle, capacity two payloads. ``o.valid`` and ``o.payload`` are
    registers; ``i.ready`` is the inverse of one.
    """

    def __init__(self, shape) -> None:
        super().__init__(shape)
        self._spare = Signal.like(self.i.payload, reset_less=True)
        self._spare_valid = Signal()

    def elaborate(self, platform) -> Module:
        m = Module()
        spare, spare_valid = self._spare, self._spare_valid
        m.d.comb += self.i.ready.eq(~spare_valid)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += spare_valid.eq(0)
            m.d.sync += self.o.valid.eq(spare_valid | self.i.valid)
            with m.If(spare_valid):
                m.d.sync += self.o.payload.eq(spare)
            with m.Else():
                m.d.sync += self.o.payload.eq(self.i.payload)
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += spare.eq(self.i.payload)
            m.d.sync += spare_valid.eq(1)
        return m


class StreamRegister(_Stage):
    """Cuts every combinational path of a stream with one register, at half the rate.

    Latency one cycle, throughput one payload every two cycles, capacity one payload. ``o.valid`` and ``o.payload`` are
    registers; ``i.ready`` is the inverse of one.
    """

    def elaborate(self, platform) -> Module:
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid)
        with m.If(self.o.valid):
            m.d.sync += self.o.valid.eq(~self.o.ready)
        with m.Else():
            # Whatever the payload is: a register that always loads here needs no logic in front.
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        return m


class StreamSettler(_Stage):
    """A `StreamRegister` whose payload is there for a cycle before it is valid, and valid in no two cycles in a row
    unless it waits: what its reader finds out about a payload, or from the one before, can pass a register.

    Latency two cycles, throughput one payload every three cycles, capacity one payload. ``o.valid`` and ``o.payload``
    are registers; ``i.ready`` is the inverse of one.
    """

    def __init__(self, shape) -> None:
        super().__init__(shape)
        self._full = Signal()

    def elaborate(self, platform) -> Module:
        m = Module()
        m.d.comb += self.i.ready.eq(~self._full)
        with m.If(self._full):
            m.d.sync += self.o.valid.eq(1)
            with m.If(self.o.valid & self.o.ready):
                m.d.sync += [self.o.valid.eq(0), self._full.eq(0)]
        with m.Else():
            m.d.sync += [self._full.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        return m
