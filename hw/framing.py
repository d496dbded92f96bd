"""Frames in gateware: from line bytes to intact frames, and from responses to line bytes.

    line bytes ─► Unframer ─► FrameStore ─► (bridge) ─► Framer ─► line bytes
                  SLIP, CRC   whole frames              CRC, SLIP

`frames.py` has the format and its software twin.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import Component, In, Out

from .frames import CRC_BYTES, END, ESC, ESC_END, ESC_ESC, HEADER_BYTES, MAX_FRAME_BYTES
from .pipeline import delay

__all__ = ["FrameByte", "FrameStore", "Framer", "Received", "Unframer"]


class Received(data.Struct):
    """A byte of a frame (``end`` = 0), or what ends it (``end`` = 1): was everything since the last end intact?"""

    data: 8
    end: 1
    intact: 1


class FrameByte(data.Struct):
    """A byte of a frame's content; ``last`` marks the final one."""

    data: 8
    last: 1


def _crc(crc_bits: int):
    """CRC-32 that takes ``crc_bits`` (1, 2, 4 or 8) bits a cycle, least significant first."""
    return catalog.CRC32_ISO_HDLC(data_width=crc_bits).create()


def _ahead(m: Module, signal, cycles: int):
    """What to drive for ``signal`` to follow that ``cycles`` (0 or 1) later."""
    if not cycles:
        return signal
    early = Signal.like(signal)
    m.d.sync += signal.eq(early)
    return early


class Unframer(Component):
    """Undoes the SLIP escapes and checks the CRC, which stays in the stream as the last four bytes.

    A frame with a bad escape or a wrong CRC ends as not intact; nothing between two END bytes ends as intact or
    not, of length 0. Latency none; a byte takes 1 + 8 / ``crc_bits`` cycles.

    ``registered``, for fast clocks: registers behind what is compared and on both sides of the CRC. Needs a
    `StreamSettler` before ``i``.

    Members
    -------
    i : stream of 8 bits
    o : stream of `Received`
    """

    def __init__(self, crc_bits: int = 1, *, registered: bool = False) -> None:
        self._crc_bits = crc_bits
        self._late = int(registered)
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(Received))})
        self._crc = _crc(crc_bits)
        self._escaped = Signal()  # the previous byte was ESC
        self._damaged = Signal()  # a bad escape since the last END
        self._index = Signal(range(max(8 // crc_bits, 2)))
        self._hashing = Signal()

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.crc = crc = self._crc
        slices = 8 // self._crc_bits
        escaped, damaged, index = self._escaped, self._damaged, self._index
        bits, hash_bits, start_hash = (_ahead(m, signal, self._late) for signal in (crc.data, crc.valid, crc.start))

        def known(condition, name: str):
            """A condition that has stood for a cycle before it matters."""
            return delay(m, condition, self._late, name=name)

        is_end, is_escape = known(self.i.payload == END, "is_end"), known(self.i.payload == ESC, "is_escape")
        no_end, no_escape = (
            known(self.i.payload != ESC_END, "no_escaped_end"), known(self.i.payload != ESC_ESC, "no_escaped_escape")
        )  # fmt: skip
        match = known(crc.match_detected, "match")
        # After ESC the lowest bit tells the two bytes apart that may follow; with any other the frame is damaged.
        byte = Mux(escaped, Mux(self.i.payload[0], ESC, END), self.i.payload)
        m.d.comb += [
            self.o.payload.data.eq(byte),
            bits.eq(byte.word_select(index, self._crc_bits)),
        ]
        with m.If(self._hashing):
            m.d.comb += hash_bits.eq(1)
            m.d.sync += index.eq(index + 1)
            with m.If(index == slices - 1):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [index.eq(0), escaped.eq(0), self._hashing.eq(0)]
        with m.Elif(is_end):
            m.d.comb += [
                self.o.valid.eq(self.i.valid),
                self.o.payload.end.eq(1),
                self.o.payload.intact.eq(match & ~escaped & ~damaged),
                self.i.ready.eq(self.o.ready),
            ]
            with m.If(self.i.valid & self.o.ready):
                m.d.comb += start_hash.eq(1)
                m.d.sync += [escaped.eq(0), damaged.eq(0)]
        with m.Elif(is_escape & ~escaped):
            m.d.comb += self.i.ready.eq(1)
            with m.If(self.i.valid):
                m.d.sync += escaped.eq(1)
        with m.Else():
            m.d.comb += self.o.valid.eq(self.i.valid)
            with m.If(self.i.valid & self.o.ready):
                m.d.sync += self._hashing.eq(1)
                with m.If(escaped & no_end & no_escape):
                    m.d.sync += damaged.eq(1)
        return m


class FrameStore(Component):
    """Holds frames until they are known to be intact; forgets the others.

    One ring of ``depth`` bytes. The frame being received is written behind the complete ones; when it ends intact
    its length is put in front of it and it becomes readable, without its CRC; otherwise its room is used again.
    A frame is intact when the stream says so, it fitted, and it is a header and 1 to 63 whole words.

    Latency from the end of a frame to its first byte is two cycles; throughput a byte a cycle on both sides.

    Parameters
    ----------
    depth, max_frame_bytes : int
        Bytes of the ring and of the longest content, which must fit together: see `check`.
    registered : bool
        For fast clocks: registers on both sides of the memory and behind what is compared. Needs a `StreamSettler`
        before ``i``; latency four cycles, throughput a byte every four cycles to ``o``.

    Members
    -------
    i : stream of `Received`
        Always ready: what does not fit is dropped with its frame.
    o : stream of 8 bits
        For each intact frame in order: the length of its content, then its content.
    damaged : Out(1)
        High for a cycle when a frame that is not empty has been dropped.
    """

    @staticmethod
    def check(depth: int, max_frame_bytes: int) -> None:
        """`ValueError` unless the longest frame fits in a ring of ``depth`` bytes."""
        needed = max_frame_bytes + CRC_BYTES + 1
        if depth & (depth - 1) or depth <= needed:
            raise ValueError(f"depth must be a power of two above {needed}, not {depth!r}")

    def __init__(
        self, depth: int = 512, max_frame_bytes: int = MAX_FRAME_BYTES, *, registered: bool = False
    ) -> None:
        self.check(depth, max_frame_bytes)
        self._registered = registered
        self._depth = depth
        self._max_received = max_frame_bytes + CRC_BYTES
        super().__init__(
            {"i": In(stream.Signature(Received)), "o": Out(stream.Signature(8)), "damaged": Out(1)}
        )
        self._memory = memory.Memory(shape=8, depth=depth, init=[])
        self._start = Signal(range(depth))  # where the length of the frame being received will be
        self._write = Signal(range(depth), init=1)
        self._read = Signal(range(depth))  # readable: read up to but not including start
        self._count = Signal(range(self._max_received + 1))  # bytes of the frame being received
        self._overflow = Signal()
        write_port = self._memory.write_port()
        self._write_port = write_port
        self._found = Signal(2)  # if registered: there is a byte at read, and so it was a cycle before

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.memory = ram = self._memory
        write_port = self._write_port
        read_port = ram.read_port(domain="sync")
        late = int(self._registered)
        address, byte, enable = (
            _ahead(m, signal, late) for signal in (write_port.addr, write_port.data, write_port.en)
        )

        start, write, read, count = self._start, self._write, self._read, self._count
        overflow = self._overflow
        whole = Signal()  # the count is that of a header, whole words and a CRC
        m.d["sync" if self._registered else "comb"] += whole.eq(
            (count >= HEADER_BYTES + 4 + CRC_BYTES) & (count[:2] == (HEADER_BYTES + CRC_BYTES) % 4)
        )

        full = delay(m, write == read, late, name="full") | delay(
            m, count == self._max_received, late, name="longest"
        )
        keep = delay(m, self.i.payload.intact & whole & ~overflow, late, name="keep")
        some = delay(m, count != 0, late, name="some")
        end = delay(m, write - CRC_BYTES, late, name="end")  # of the content

        m.d.comb += [self.i.ready.eq(1), address.eq(write), byte.eq(self.i.payload.data)]
        with m.If(self.i.valid):
            with m.If(~self.i.payload.end):
                with m.If(full):
                    m.d.sync += overflow.eq(1)
                with m.Else():
                    m.d.comb += enable.eq(1)
                    m.d.sync += [write.eq(write + 1), count.eq(count + 1)]
            with m.Else():
                m.d.sync += [overflow.eq(0), count.eq(0)]
                with m.If(keep):
                    m.d.comb += [address.eq(start), byte.eq(count - CRC_BYTES), enable.eq(1)]
                    m.d.sync += [start.eq(end), write.eq(end + 1)]
                with m.Else():
                    m.d.comb += self.damaged.eq(some)
                    m.d.sync += write.eq(start + 1)

        if self._registered:
            # The memory is read all the time, through a register that block RAMs have inside. Valid is three cycles
            # late, the data two: a byte is written in the cycle in which start moves beyond it.
            m.d.comb += [
                read_port.addr.eq(read),
                read_port.en.eq(1),
                self.o.payload.eq(delay(m, read_port.data, 1, name="data")),
            ]
            m.d.sync += Cat(self._found, self.o.valid).eq(Cat(read != start, self._found))
            with m.If(self.o.valid & self.o.ready):
                m.d.sync += [read.eq(read + 1), self._found.eq(0), self.o.valid.eq(0)]
            return m
        m.d.comb += [
            self.o.payload.eq(read_port.data),
            read_port.addr.eq(read),
            read_port.en.eq((read != start) & (~self.o.valid | self.o.ready)),
        ]
        with m.If(read_port.en):
            m.d.sync += [read.eq(read + 1), self.o.valid.eq(1)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m


class Framer(Component):
    """Appends the CRC, escapes, and puts END bytes around each frame.

    Throughput: a byte takes 2 + 8 / ``crc_bits`` cycles, one more when it is escaped. ``registered``, for fast clocks:
    two cycles more, for registers before the CRC and behind the choice of the byte.

    Members
    -------
    i : stream of `FrameByte`
    o : stream of 8 bits
    """

    def __init__(self, crc_bits: int = 1, *, registered: bool = False) -> None:
        self._crc_bits = crc_bits
        self._late = int(registered)
        super().__init__({"i": In(stream.Signature(FrameByte)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.crc = crc = _crc(self._crc_bits)
        slices = 8 // self._crc_bits
        index = Signal(range(max(slices, CRC_BYTES)))
        second = Signal()  # ESC is out, its second byte is due
        byte = Signal(8)
        # Whether the byte needs an escape is found in a cycle of its own.
        known, special = Signal(1 + 2 * self._late), Signal(reset_less=True)
        choice = _ahead(m, byte, self._late)
        bits, hash_bits, start_hash = (_ahead(m, signal, self._late) for signal in (crc.data, crc.valid, crc.start))
        sent = Signal()  # the byte is out completely
        m.d.comb += bits.eq(self.i.payload.data.word_select(index[: max(slices - 1, 1).bit_length()],
                                                                self._crc_bits))  # fmt: skip

        def send() -> None:
            """Send ``byte``, which is there if ``i.valid`` or the state says so, escaped if need be."""
            m.d.sync += special.eq((byte == END) | (byte == ESC))
            m.d.comb += self.o.valid.eq(known[-1])
            with m.If(second):
                m.d.comb += [self.o.payload.eq(ESC_END | byte[0]), sent.eq(self.o.ready)]
                with m.If(self.o.ready):
                    m.d.sync += second.eq(0)
            with m.Elif(special):
                m.d.comb += self.o.payload.eq(ESC)
                with m.If(self.o.valid & self.o.ready):
                    m.d.sync += second.eq(1)
            with m.Else():
                m.d.comb += [self.o.payload.eq(byte), sent.eq(self.o.valid & self.o.ready)]
            with m.If(sent):
                m.d.sync += known.eq(0)

        m.d.comb += choice.eq(self.i.payload.data)
        with m.FSM():
            with m.State("START"):
                m.d.comb += [self.o.payload.eq(Const(END, 8)), self.o.valid.eq(self.i.valid), start_hash.eq(1)]
                with m.If(self.i.valid & self.o.ready):
                    m.next = "CONTENT"
            with m.State("CONTENT"):
                m.d.sync += known.eq(Cat(self.i.valid, known))
                send()
                with m.If(sent):
                    m.next = "HASH"
            with m.State("HASH"):
                m.d.comb += hash_bits.eq(1)
                m.d.sync += index.eq(index + 1)
                with m.If(index == slices - 1):
                    m.d.comb += self.i.ready.eq(1)
                    m.d.sync += index.eq(0)
                    m.next = "CONTENT"
                    with m.If(self.i.payload.last):
                        m.next = "CRC"
            with m.State("CRC"):
                m.d.comb += choice.eq(crc.crc.word_select(index[:2], 8))
                m.d.sync += known.eq(Cat(1, known))
                send()
                with m.If(sent):
                    m.d.sync += index.eq(index + 1)
                    with m.If(index == CRC_BYTES - 1):
                        m.d.sync += index.eq(0)
                        m.next = "FINISH"
            with m.State("FINISH"):
                m.d.comb += [self.o.payload.eq(Const(END, 8)), self.o.valid.eq(1)]
                with m.If(self.o.ready):
                    m.next = "START"
        return m
