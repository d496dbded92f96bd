"""Proofs for the receiving side of the frames.

Unframer: a frame is called intact only when the CRC-32 of its bytes, computed bit by bit from the definition, is
right. Frame store: only intact frames come out, each once, whole and in order.
"""

import pytest
from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Module, Mux, Signal
from amaranth.lib.wiring import Component

from dorefabric.hw.frames import END
from dorefabric.hw.framing import FrameStore, Unframer
from dorefabric.sim.formal import cover, prove
from dorefabric.sim.properties import assert_stable, assume_stable, free


def crc32_step(crc, bit):
    """The CRC-32 register, least significant bit first, after one more bit: the definition."""
    return (crc >> 1) ^ Mux(crc[0] ^ bit, 0xEDB88320, 0)


class UnframerHarness(Component):
    """``scripted``: the shortest intact frame comes, so that the solver need not invert a CRC to find one."""

    def __init__(self, registered: bool = False, scripted: bool = False) -> None:
        self._registered = registered
        self._scripted = scripted
        super().__init__({})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.dut = dut = Unframer(crc_bits=1, registered=self._registered)
        free(m, dut.i.valid)
        free(m, dut.i.payload)
        free(m, dut.o.ready)
        assume_stable(m, dut.i)
        assert_stable(m, dut.o)
        byte, end = dut.o.payload.data, dut.o.payload.end
        taken = dut.o.valid & dut.o.ready
        crc = Signal(32, init=0xFFFFFFFF)
        bits_left = Signal(4)  # of the byte that was taken last
        before = Signal(8)
        length = Signal(4)
        with m.If(taken & end):
            m.d.sync += [crc.eq(0xFFFFFFFF), length.eq(0)]
        with m.Elif(taken):
            m.d.sync += [bits_left.eq(8), length.eq(Mux(length == 15, 15, length + 1))]
        with m.Elif(bits_left != 0):
            m.d.sync += [bits_left.eq(bits_left - 1), crc.eq(crc32_step(crc, byte.bit_select((8 - bits_left)[:3], 1)))]
        hashed = crc
        if self._registered:
            hashed = Signal(32, init=0xFFFFFFFF)
            # What a StreamSettler promises: a payload is there before it is valid, and two cycles after the last one.
            recently, settled = Signal(2, init=2), Signal(8)
            m.d.sync += [
                recently.eq(Cat(dut.i.valid & dut.i.ready, recently)), settled.eq(dut.i.payload), hashed.eq(crc)
            ]  # fmt: skip
            m.d.comb += Assume(~dut.i.valid | (recently == 0) & (dut.i.payload == settled))
        m.d.comb += [
            # Every byte goes into the CRC, all of it and before the next one, as it came out.
            Assert(~taken | (bits_left == 0)),
            Assert(dut._crc.crc == ~hashed),
            Assert(~(dut.o.valid & end & dut.o.payload.intact) | (crc == ~Const(0x2144DF1C, 32))),
            # For induction.
            Assert(bits_left <= 8),
            Assert(dut._hashing == (bits_left != 0)),
            Assert(dut._index == (8 - bits_left)[:3]),
            Assert(~dut._hashing | (dut.i.valid & (byte == before))),
        ]
        with m.If(taken):
            m.d.sync += before.eq(byte)
        if self._scripted:  # the CRC of nothing is four zeros
            script = Mux((length == 4) & (bits_left == 0), END, 0)
            m.d.comb += [Assume(dut.i.valid & dut.o.ready), Assume(dut.i.payload == script)]
        m.d.comb += [Cover(taken & end & dut.o.payload.intact & (length == 4))]
        return m


def test_intact_means_that_the_crc_is_right() -> None:
    prove(UnframerHarness(), 2)
    prove(UnframerHarness(registered=True), 4)
    cover(UnframerHarness(scripted=True), 44, first=30)


class StoreHarness(Component):
    """Ring of 16 bytes, frames of 6 or 10 bytes of content."""

    depth = 16
    longest = 10

    def __init__(self, registered: bool) -> None:
        self._registered = registered
        super().__init__({})

    def elaborate(self, platform) -> Module:
        m = Module()
        dut = FrameStore(self.depth, self.longest, registered=self._registered)
        spy = dut._memory.read_port(domain="comb")
        m.submodules.dut = dut
        free(m, dut.i.valid)
        free(m, dut.i.payload)
        free(m, dut.o.ready)
        assert_stable(m, dut.o)
        byte = dut.i.valid & ~dut.i.payload.end
        end = dut.i.valid & dut.i.payload.end
        out = dut.o.valid & dut.o.ready

        # From outside: a frame is accepted when it ends and is not reported as damaged.
        received = Signal(range(16))  # bytes of the frame under way
        accepted = Signal()
        length = Signal(4)
        given = Signal(5)  # bytes of length and content of all accepted frames, modulo 32
        taken = Signal(5)  # bytes that came out
        held = Signal(5)
        m.d.comb += [
            accepted.eq(end & (received != 0) & ~dut.damaged),
            length.eq(received - 4),
            held.eq(given - taken),
            Assert(~(end & ~dut.i.payload.intact) | ~accepted),
            Assert(~accepted | (received == 10) | (received == 14)),
            Assert(~dut.damaged | end),
            Assert(held <= self.depth),
            Assert(~dut.o.valid | (held != 0)),  # nothing comes out that was not accepted
        ]
        with m.If(end):
            m.d.sync += received.eq(0)
        with m.Elif(byte & (received != 15)):
            m.d.sync += received.eq(received + 1)
        with m.If(accepted):
            m.d.sync += given.eq(given + 1 + length)
        with m.If(out):
            m.d.sync += taken.eq(taken + 1)

        # What was accepted is out after at most one more cycle, or three, if it is wanted.
        waited = Signal(3)
        m.d.sync += waited.eq(Mux((held != 0) & ~dut.o.valid, waited + 1, 0))
        m.d.comb += Assert(dut.o.valid | (waited <= (3 if self._registered else 0)))

        # One arbitrary byte of one arbitrary frame, or its length, is followed to its place in the output.
        wanted = AnyConst(4)  # which byte of the frame; 15: its length
        follow = Signal()  # this frame is the one
        chosen = Signal()
        tag = Signal(8)
        have = Signal()
        place = Signal(5)  # its number among the bytes that come out
        due = Signal()
        beginning = byte & (received == 0)
        m.d.comb += [Assume((wanted < self.longest) | (wanted == 15)), chosen.eq(AnySeq(1) & ~due & ~follow)]
        with m.If(beginning & chosen):
            m.d.sync += follow.eq(1)
        with m.If(byte & (received == wanted) & (wanted != 15) & (follow | (beginning & chosen))):
            m.d.sync += [tag.eq(dut.i.payload.data), have.eq(1)]
        with m.If(end):
            m.d.sync += [follow.eq(0), have.eq(0)]
            with m.If(accepted & follow & ((wanted == 15) | (have & (wanted < length)))):
                m.d.sync += [due.eq(1), place.eq(given + Mux(wanted == 15, 0, wanted + 1))]
                with m.If(wanted == 15):
                    m.d.sync += tag.eq(length)
        with m.If(due & out & (taken == place)):
            m.d.comb += Assert(dut.o.payload == tag)
            m.d.sync += due.eq(0)

        # For induction: how the registers relate to all this.
        start, write, read = dut._start, dut._write, dut._read
        gone = dut.o.valid & (not self._registered)  # read is beyond the byte that is out
        pending = dut._write_port.en & (dut._write_port.addr == spy.addr) & self._registered
        stored = Signal(4)
        distance = Signal(5)
        overflowed = Signal()
        m.d.comb += [
            stored.eq(start - read),
            distance.eq(place - taken),
            overflowed.eq(received != dut._count),
            Assert(held == stored + gone),
            Assert((write - start)[:4] == dut._count + 1),
            Assert(stored + dut._count + 1 <= self.depth),
            Assert(stored <= self.depth - 4),  # the CRC's room is free again
            Assert(~dut._overflow | (dut._count >= 3)),
            Assert(dut._count <= received),
            Assert(~overflowed | dut._overflow),
            Assert(~follow | ((received != 0) & ~due)),
            Assert(have == (follow & (wanted != 15) & (received > wanted))),
            Assert(~due | (distance < held)),
            spy.addr.eq(Mux(due, read + distance - gone, start + 1 + wanted)),
        ]
        with m.If(due & dut.o.valid & (distance == 0)):
            m.d.comb += Assert(dut.o.payload == tag)
        with m.Elif(due | (have & ~dut._overflow)):
            m.d.comb += Assert(Mux(pending, dut._write_port.data, spy.data) == tag)
        if self._registered:
            # What a StreamSettler promises: a payload is there before it is valid, and two cycles after the last one.
            recently, before = Signal(2), Signal.like(dut.i.payload)
            m.d.sync += [recently.eq(Cat(dut.i.valid, recently)), before.eq(dut.i.payload)]
            m.d.comb += [
                Assume(~dut.i.valid | (recently == 0) & (dut.i.payload.as_value() == before.as_value())),
                Assert(~dut._write_port.en | recently[0]),
                Assert(~dut._found[1] | dut._found[0]),
                Assert(~dut.o.valid | dut._found[1]),
                Assert(~dut._found[0] | (stored != 0)),
                # The byte that is read has been written, and nothing writes it now.
                Assert(~dut._found[0] | ~dut._write_port.en | (dut._write_port.addr != read)),
            ]

        m.d.comb += [Cover(due & out & (taken == place)), Cover(dut.damaged & (held > 6))]
        return m


@pytest.mark.parametrize("registered, depth, length", [(False, 2, 24), (True, 3, 12)])
def test_only_intact_frames_come_out_whole_and_in_order(registered: bool, depth: int, length: int) -> None:
    prove(StoreHarness(registered), depth)
    cover(StoreHarness(registered), length, from_reset=not registered)
