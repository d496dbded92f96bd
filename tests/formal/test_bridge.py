"""Proof for the bridge: what is executed, how often, and what is answered.

The frames that come in are arbitrary, of any length that the frame store lets through. A model beside the bridge
reads the same bytes and says what must happen:

- a bus write happens only for the words of a synchronised WRITE with the expected sequence number, each word once,
  in order, to the next address, before the next byte of the frame is taken;
- a bus read happens only for such a READ, as often as it says;
- the expected number advances by one with each such frame and never otherwise;
- DONE answers such frames and no others; there is one answer to each frame and one to a report of damage.
"""

import pytest
from amaranth.hdl import Array, Assert, Assume, Cat, Const, Cover, Module, Mux, Signal
from amaranth.lib.wiring import Component

from dorefabric.hw.bridge import Bridge, BridgeState
from dorefabric.hw.frames import Command, Status, pack_content
from dorefabric.hw.registers import OFFSET_BITS
from dorefabric.sim.formal import cover, prove
from dorefabric.sim.properties import assert_stable, assume_stable, free


class BridgeHarness(Component):
    """``script``: a SYNC and then this request come and every partner is ready, to reach the cover quickly."""

    def __init__(self, registered: bool, script: bytes | None = None) -> None:
        self._registered = registered
        self._script = script
        super().__init__({})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.dut = dut = Bridge(registered=self._registered)
        bus = dut.bus
        outstanding = Signal()  # a read that has not been answered
        for signal in (dut.i.valid, dut.i.payload, dut.damaged, dut.o.ready,
                       bus.request.ready, bus.response.valid, bus.response.payload):  # fmt: skip
            free(m, signal)
        assume_stable(m, dut.i)
        assume_stable(m, bus.response)
        assert_stable(m, dut.o)
        assert_stable(m, bus.request)
        if self._registered:
            # What a StreamSettler promises: a payload is there before it is valid, and two cycles after the last one.
            recently, before = Signal(2, init=2), Signal(8)
            m.d.sync += [recently.eq(Cat(dut.i.valid & dut.i.ready, recently)), before.eq(dut.i.payload)]
            m.d.comb += Assume(~dut.i.valid | (recently == 0) & (dut.i.payload == before))
        if self._script is not None:
            requests = pack_content(0, Command.SYNC, [7]), self._script
            script = Array(Const(byte, 8) for request in requests for byte in (len(request), *request))
            index = Signal(range(len(script)))
            m.d.sync += index.eq(index + (dut.i.valid & dut.i.ready))
            m.d.comb += [
                Assume((recently != 0) | dut.i.valid if self._registered else dut.i.valid),
                Assume(dut.o.ready & bus.request.ready),
                Assume(bus.response.valid == outstanding),
                Assume(dut.i.payload == script[index]),
                Assume(~dut.damaged),
            ]

        # The frames that come in ------------------------------------------------------------------
        left = Signal(8)  # bytes to come of the frame
        words = Signal(6)
        position = Signal(8)
        in_frame = Signal()  # from the length to the end of the answer
        sequence = Signal(8)
        word = Signal(32)
        first = Signal()  # no whole word yet
        take = dut.i.valid & dut.i.ready
        content = in_frame & (left != 0)
        with m.If(take & ~content):
            m.d.comb += Assume((dut.i.payload[:2] == 2) & (dut.i.payload >= 6) & (dut.i.payload <= 254))
            m.d.sync += [
                left.eq(dut.i.payload), words.eq(dut.i.payload[2:]), in_frame.eq(1), position.eq(0), first.eq(1),
            ]  # fmt: skip
        with m.Elif(take):
            m.d.sync += [left.eq(left - 1), position.eq(position + 1), word.eq(Cat(word[8:], dut.i.payload))]

        # What each of them must do ----------------------------------------------------------------
        expected = Signal(8)
        synchronised = Signal()
        writes = Signal()
        reads = Signal()
        address = Signal(28)
        write_due = Signal()  # a word is complete and not written yet
        reads_due = Signal(8)
        command = dut.i.payload
        with m.If(take & content):
            with m.If(position == 0):
                m.d.sync += sequence.eq(dut.i.payload)
            with m.If(position == 1):
                right = synchronised & (sequence == expected)
                m.d.sync += [
                    writes.eq(right & (command == Command.WRITE) & (words >= 2)),
                    reads.eq(right & (command == Command.READ) & (words == 2)),
                ]
                with m.If((command == Command.SYNC) & (words == 1)):
                    m.d.sync += synchronised.eq(1)
            with m.If((position >= 2) & (position[:2] == 1)):  # the fourth byte of a word
                with m.If(first):
                    m.d.sync += [address.eq(Cat(word[8:], dut.i.payload)), first.eq(0)]
                with m.Else():
                    m.d.sync += write_due.eq(writes)
                    with m.If(reads):
                        m.d.sync += reads_due.eq(word[8:16])
        request = bus.request.valid & bus.request.ready
        with m.If(request):
            m.d.sync += address[:OFFSET_BITS].eq(address[:OFFSET_BITS] + 1)
            with m.If(bus.request.payload.write):
                m.d.sync += write_due.eq(0)
            with m.Else():
                m.d.sync += reads_due.eq(reads_due - 1)
        with m.If(bus.request.valid):
            with m.If(bus.request.payload.write):
                m.d.comb += [Assert(write_due & writes), Assert(bus.request.payload.data == word)]
            with m.Else():
                m.d.comb += Assert(reads & (reads_due != 0) & (left == 0))
            m.d.comb += [Assert(in_frame), Assert(bus.request.payload.address == address)]
        m.d.comb += Assert(~take | ~write_due)

        # Reads are answered one at a time ---------------------------------------------------------
        m.d.comb += Assume(~bus.response.valid | outstanding)
        with m.If(request & ~bus.request.payload.write):
            m.d.sync += outstanding.eq(1)
        with m.Elif(bus.response.valid & bus.response.ready):
            m.d.sync += outstanding.eq(0)
        m.d.comb += Assert(~outstanding | (dut._state == BridgeState.WAIT))

        # Answers ----------------------------------------------------------------------------------
        send = dut.o.valid & dut.o.ready
        header = Signal(2)  # bytes of the answer that are out, up to 2
        lost = Signal()
        executed = writes | reads
        status = Signal(3)
        m.d.comb += [
            Assert(~dut.o.valid | (left == 0)),
            Assert(~dut.o.valid | ~write_due),
            Assert(dut._lost == lost),
        ]
        reported = Signal()  # the answer under way is about damage, not about a frame
        with m.If(send):
            m.d.sync += header.eq(Mux(header == 2, 2, header + 1))
            with m.If((header == 1) & in_frame):
                m.d.comb += Assert((dut.o.payload.data == Status.DONE) == executed)
            with m.If(header == 0):
                m.d.comb += Assert(in_frame | reported)
            with m.If(dut.o.payload.last):
                m.d.comb += [Assert(header != 0), Assert(reads_due == 0), Assert(~outstanding)]
                m.d.sync += [
                    header.eq(0), in_frame.eq(0), writes.eq(0), reads.eq(0), reported.eq(0),
                    expected.eq(expected + (in_frame & executed)),
                ]  # fmt: skip
        with m.If((dut._state == BridgeState.LENGTH) & lost & ~dut.i.valid):
            m.d.sync += [lost.eq(0), reported.eq(1)]
        with m.If(dut.damaged):
            m.d.sync += lost.eq(1)
        m.d.comb += status.eq(dut._status)

        # For induction: the bridge's registers in terms of the model --------------------------------
        s = dut._state
        answering = s.as_value() >= BridgeState.ANSWER_SEQUENCE.value
        m.d.comb += [
            Assert(s.as_value() <= BridgeState.ANSWER_WORD.value),
            Assert(dut._expected == (expected + (answering & executed))[:8]),
            Assert(dut._synchronised == synchronised),
            Assert(~(in_frame & reported)),
            Assert(~write_due | writes),
            Assert(~(writes & reads)),
            Assert(~executed | in_frame),
        ]
        with m.If(~answering):
            m.d.comb += [Assert(header == 0), Assert(~reported)]
        with m.Switch(s):
            with m.Case(BridgeState.LENGTH):
                m.d.comb += [Assert(~in_frame), Assert(left == 0), Assert(~write_due), Assert(reads_due == 0)]
            with m.Case(BridgeState.SEQUENCE):
                m.d.comb += [Assert(in_frame & (position == 0)), Assert(~executed)]
            with m.Case(BridgeState.COMMAND):
                m.d.comb += [Assert(in_frame & (position == 1)), Assert(~executed), Assert(dut._sequence == sequence)]
            with m.Case(BridgeState.WORD, BridgeState.USE):
                m.d.comb += [Assert(in_frame & (position >= 2)), Assert(position[:2] == (dut._byte + 2)[:2])]
            with m.Default():
                m.d.comb += [Assert(in_frame | reported), Assert(left == 0)]
        in_words = (s == BridgeState.WORD) | (s == BridgeState.USE)
        fresh = (s == BridgeState.SEQUENCE) | (s == BridgeState.COMMAND)
        with m.If(in_frame):
            m.d.comb += [
                Assert((words >= 1) & (words <= 63)),
                Assert(left + position == (words << 2) + 2),
            ]
        with m.If(fresh):
            m.d.comb += [
                Assert(dut._words_left == words), Assert(first), Assert(dut._first_word), Assert(dut._byte == 0),
                Assert(~dut._execute_write & ~dut._execute_read & ~dut._advance & ~dut._answer_words),
                Assert(dut._reads_left == 0), Assert(~write_due), Assert(reads_due == 0),
            ]  # fmt: skip
        with m.If(in_words):
            m.d.comb += [
                Assert(left == (dut._words_left << 2) - dut._byte),
                Assert(dut._execute_write == writes),
                Assert(dut._execute_read == reads),
                Assert(dut._advance == executed),
                Assert((dut._status == Status.DONE) == executed),
                Assert((s == BridgeState.USE) | (dut._words_left != 0)),
                Assert((not self._registered) | (s == BridgeState.WORD) | (dut._last_word == (dut._words_left == 0))),
                Assert((s == BridgeState.USE) | ~write_due),
                Assert((s == BridgeState.WORD) | (dut._byte == 0)),
                Assert(dut._first_word == (position < 6) | ((position == 6) & (s == BridgeState.USE))),
                Assert(first == (position < 6)),
                # As many bytes of the two words as have come are equal.
                Assert((position == 2) | (dut._byte != 0) | (dut._word == word)),
                Assert((dut._byte != 1) | (dut._word[24:] == word[24:])),
                Assert((dut._byte != 2) | (dut._word[16:] == word[16:])),
                Assert((dut._byte != 3) | (dut._word[8:] == word[8:])),
                Assert(first | dut._first_word | (dut._address == address)),
                Assert(first | ~dut._first_word | (word[:28] == address)),
                Assert(~reads | (words == 2)),
                Assert(~writes | (words >= 2)),
                Assert(write_due == (writes & (s == BridgeState.USE) & ~dut._first_word)),
                Assert(dut._reads_left == 0),
                Assert(reads_due == Mux(reads & (s == BridgeState.USE) & ~dut._first_word, dut._word[:8], 0)),
                Assert(~dut._answer_words | ~executed),
            ]
        with m.If(answering):
            m.d.comb += [
                Assert(dut._reads_left == reads_due),
                Assert(reads | (reads_due == 0)),
                Assert(~reads | (dut._address == address)),
                Assert(~dut._answer_words | ~reads),
                Assert(~write_due),
                Assert((status == Status.DONE) == executed),
                Assert(header == Mux(s == BridgeState.ANSWER_SEQUENCE, 0, Mux(s == BridgeState.ANSWER_STATUS, 1, 2))),
            ]
        with m.If((s == BridgeState.FETCH) | (s == BridgeState.WAIT)):
            m.d.comb += [Assert(reads), Assert(dut._byte == 0), Assert(~dut._answer_words)]
        with m.If((s == BridgeState.ANSWER_SEQUENCE) | (s == BridgeState.ANSWER_STATUS)):
            m.d.comb += Assert(dut._byte == 0)
        m.d.comb += [
            Assert((s != BridgeState.FETCH) | (reads_due != 0)),
            Assert((s != BridgeState.WAIT) | outstanding),
            Assert(dut._requesting == (s == BridgeState.FETCH) | ((s == BridgeState.USE) & write_due)),
            Assert(~answering | ~reads | ~dut._execute_write),
        ]

        m.d.comb += Cover(send & (header == 1) & executed)
        return m


@pytest.mark.parametrize("registered, depth", [(False, 2), (True, 3)])
def test_frames_are_executed_once_and_only_in_turn(registered: bool, depth: int) -> None:
    prove(BridgeHarness(registered), depth)


@pytest.mark.parametrize("request_", [pack_content(0, Command.WRITE, [1, 2]), pack_content(0, Command.READ, [1, 1])])
def test_both_requests_can_be_executed(request_: bytes) -> None:
    cover(BridgeHarness(False, request_), 34, first=31)


def test_requests_can_be_executed_when_registered() -> None:
    cover(BridgeHarness(True), 8, from_reset=False)
