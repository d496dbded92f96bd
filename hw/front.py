"""The serial front end without its line: bytes in, bytes out, the bus on the other side."""

from amaranth.hdl import Module
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from .bridge import Bridge
from .bus import BusSignature
from .framing import Framer, FrameStore, Unframer
from .pipeline import delay
from .streams import StreamRegister, StreamSettler

__all__ = ["SerialFront"]


class SerialFront(Component):
    """Unframer, frame store, bridge and framer in a row.

    Any transport of bytes can be put in front of it: the UART here, an FT245 FIFO, USB.

    Parameters
    ----------
    crc_bits : int
        Bits of a byte that enter a CRC each cycle: 1 is smallest and takes 9 cycles a byte, which keeps up with
        a UART at 4 cycles a bit; 8 takes 2.
    registered : bool
        For fast clocks: registers in every part, and a stage between any two of them and the bus.

    Members
    -------
    i, o : streams of 8 bits
        Bytes from and to the host.
    bus : BusSignature
        To the core.
    """

    def __init__(self, crc_bits: int = 1, *, registered: bool = False) -> None:
        if crc_bits not in (1, 2, 4, 8):
            raise ValueError(f"crc_bits must be 1, 2, 4 or 8, not {crc_bits!r}")
        self._crc_bits = crc_bits
        self._registered = registered
        super().__init__(
            {"i": In(stream.Signature(8)), "o": Out(stream.Signature(8)), "bus": Out(BusSignature())}
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.unframer = unframer = Unframer(self._crc_bits, registered=self._registered)
        m.submodules.store = store = FrameStore(registered=self._registered)
        m.submodules.bridge = bridge = Bridge(registered=self._registered)
        m.submodules.framer = framer = Framer(self._crc_bits, registered=self._registered)
        if self._registered:
            m.submodules.line = line = StreamSettler(8)
            connect(m, flipped(self.i), line.i)
            connect(m, line.o, unframer.i)
        else:
            connect(m, flipped(self.i), unframer.i)
        # These two look at a byte's whole meaning; the unframer takes nine cycles or more for one.
        stage = StreamSettler if self._registered else StreamRegister
        m.submodules.bytes = received = stage(unframer.o.payload.shape())
        connect(m, unframer.o, received.i)
        connect(m, received.o, store.i)
        if self._registered:
            m.submodules.buffer = buffer = StreamSettler(store.o.payload.shape())
            connect(m, store.o, buffer.i)
            connect(m, buffer.o, bridge.i)
        else:
            connect(m, store.o, bridge.i)
        m.d.comb += bridge.damaged.eq(delay(m, store.damaged, int(self._registered), name="damaged", reset=True))
        # Between two machines that look at each other's handshake; the framer takes nine cycles or more for a byte.
        m.submodules.answers = answers = StreamRegister(bridge.o.payload.shape())
        connect(m, bridge.o, answers.i)
        connect(m, answers.o, framer.i)
        if self._registered:
            m.submodules.sent = sent = StreamRegister(8)
            connect(m, framer.o, sent.i)
            connect(m, sent.o, flipped(self.o))
            m.submodules.requests = requests = StreamRegister(self.bus.request.payload.shape())
            connect(m, bridge.bus.request, requests.i)
            connect(m, requests.o, flipped(self.bus.request))
            m.submodules.responses = responses = StreamRegister(self.bus.response.payload.shape())
            connect(m, flipped(self.bus.response), responses.i)
            connect(m, responses.o, bridge.bus.response)
        else:
            connect(m, framer.o, flipped(self.o))
            connect(m, bridge.bus, flipped(self.bus))
        return m
