"""Executes the requests of intact frames on the bus and answers them: the board's half of the protocol.

`frames.py` describes requests, responses and the rule of the sequence numbers.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import enum, stream
from amaranth.lib.wiring import Component, In, Out

from .bus import BusSignature
from .frames import HEADER_BYTES, IDENTITY, Command, Status
from .framing import FrameByte
from .pipeline import delay
from .registers import ADDRESS_BITS, OFFSET_BITS

__all__ = ["Bridge", "BridgeState"]


class BridgeState(enum.Enum, shape=4):
    LENGTH = 0
    SEQUENCE = 1
    COMMAND = 2
    WORD = 3
    USE = 4
    ANSWER_SEQUENCE = 5
    ANSWER_STATUS = 6
    FETCH = 7
    WAIT = 8
    ANSWER_WORD = 9


class Bridge(Component):
    """Frames to bus accesses, bus data to responses.

    A written word takes five cycles, a word read seven and the latency of the bus, so the line is always slower.
    Any word that the bus does not accept at once makes the rest of the frame wait, never be lost.

    Parameters
    ----------
    registered : bool
        For fast clocks: a register behind what is compared. Needs a `StreamSettler` before ``i``.

    Members
    -------
    i : stream of 8 bits
        For each frame the length of its content (a header and 1 to 63 whole words), then its content.
    damaged : In(1)
        A pulse when a frame was lost: answered with EXPECTED once everything before it is executed.
    o : stream of `FrameByte`
        Responses.
    bus : BusSignature
        Word addresses of 28 bits; one request at a time is outstanding.
    """

    def __init__(self, *, registered: bool = False) -> None:
        self._registered = registered
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "damaged": In(1),
                "o": Out(stream.Signature(FrameByte)),
                "bus": Out(BusSignature()),
            }
        )
        self._state = Signal(BridgeState)
        self._expected = Signal(8)
        self._synchronised = Signal()
        self._sequence = Signal(8, reset_less=True)  # that the response carries
        self._words_left = Signal(6, reset_less=True)
        self._word = Signal(32, reset_less=True)  # assembled from, or taken apart into, bytes
        self._byte = Signal(2)
        self._first_word = Signal(reset_less=True)
        self._execute_write = Signal(reset_less=True)
        self._execute_read = Signal(reset_less=True)
        self._advance = Signal(reset_less=True)  # the frame is the expected one and is executed
        self._reads_left = Signal(8, reset_less=True)
        self._answer_words = Signal(reset_less=True)  # SYNC: the word in `word`, then the identity
        self._requesting = Signal()  # a request is on the bus: state FETCH, or USE with a word to write
        self._status = Signal(3, reset_less=True)
        self._address = Signal(ADDRESS_BITS, reset_less=True)
        self._lost = Signal()  # a damaged frame is not answered yet
        self._last_word = Signal(reset_less=True)  # if registered: the latest word was the frame's last one

    def elaborate(self, platform) -> Module:
        m = Module()
        state, byte, word, words_left, reads_left = (
            self._state, self._byte, self._word, self._words_left, self._reads_left
        )  # fmt: skip
        expected, sequence, synchronised = self._expected, self._sequence, self._synchronised
        status, address, first_word = self._status, self._address, self._first_word
        execute_write, execute_read = self._execute_write, self._execute_read
        advance, answer_words = self._advance, self._answer_words
        lost = self._lost
        late = int(self._registered)
        words_end = self._last_word if self._registered else words_left == 0
        reads_end = delay(m, reads_left == 0, late, name="reads_end")
        following = delay(m, address[:OFFSET_BITS] + 1, late, name="following")
        m.d.comb += [
            self.bus.request.valid.eq(self._requesting),
            self.bus.request.payload.write.eq(execute_write),
            self.bus.request.payload.address.eq(address),
            self.bus.request.payload.data.eq(word),
        ]
        with m.If(self.damaged):
            m.d.sync += lost.eq(1)
        with m.If(self._requesting & self.bus.request.ready):
            # Within its space: what lies beyond is another memory's.
            m.d.sync += [self._requesting.eq(0), address[:OFFSET_BITS].eq(following)]

        with m.Switch(state):
            with m.Case(BridgeState.LENGTH):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    execute_write.eq(0), execute_read.eq(0), advance.eq(0), answer_words.eq(0), first_word.eq(1),
                    byte.eq(0), reads_left.eq(0), words_left.eq(self.i.payload[2:]),
                ]  # fmt: skip
                with m.If(self.i.valid):
                    m.d.sync += state.eq(BridgeState.SEQUENCE)
                with m.Elif(lost):
                    m.d.sync += [lost.eq(self.damaged), sequence.eq(expected), status.eq(Status.EXPECTED)]
                    with m.If(~synchronised):
                        m.d.sync += status.eq(Status.UNSYNCHRONISED)
                    m.d.sync += state.eq(BridgeState.ANSWER_SEQUENCE)

            with m.Case(BridgeState.SEQUENCE):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += sequence.eq(self.i.payload)
                with m.If(self.i.valid):
                    m.d.sync += state.eq(BridgeState.COMMAND)

            with m.Case(BridgeState.COMMAND):
                m.d.comb += self.i.ready.eq(1)
                is_write = (self.i.payload == Command.WRITE) & (words_left[1:] != 0)
                is_read = (self.i.payload == Command.READ) & (words_left == 2)
                is_sync = (self.i.payload == Command.SYNC) & (words_left == 1)
                is_query = (self.i.payload == Command.QUERY) & (words_left == 1) & synchronised
                is_write, is_read = delay(m, is_write, late, name="is_write"), delay(m, is_read, late, name="is_read")
                asks = delay(m, is_sync | is_query, late, name="asks")
                out_of_turn = delay(m, sequence != expected, late, name="out_of_turn")
                with m.If(self.i.valid):
                    m.d.sync += [status.eq(Status.DONE), state.eq(BridgeState.WORD)]
                    with m.If(asks):
                        m.d.sync += [
                            status.eq(Status.SYNCHRONISED), sequence.eq(expected), answer_words.eq(1),
                            synchronised.eq(1),
                        ]  # fmt: skip
                    with m.Elif(~synchronised):
                        m.d.sync += [status.eq(Status.UNSYNCHRONISED), sequence.eq(expected)]
                    with m.Elif(~is_write & ~is_read):
                        m.d.sync += status.eq(Status.REFUSED)
                    with m.Elif(out_of_turn):
                        m.d.sync += [status.eq(Status.EXPECTED), sequence.eq(expected)]
                    with m.Else():
                        m.d.sync += [advance.eq(1), execute_write.eq(is_write), execute_read.eq(is_read)]

            with m.Case(BridgeState.WORD):
                m.d.comb += self.i.ready.eq(1)
                if self._registered:
                    m.d.sync += self._last_word.eq(words_left == 1)
                with m.If(self.i.valid):
                    m.d.sync += [word.eq(Cat(word[8:], self.i.payload)), byte.eq(byte + 1)]
                    with m.If(byte == 3):
                        m.d.sync += words_left.eq(words_left - 1)
                        m.d.sync += [state.eq(BridgeState.USE), self._requesting.eq(execute_write & ~first_word)]

            with m.Case(BridgeState.USE):
                used = Signal()
                m.d.sync += first_word.eq(first_word & ~used)
                with m.If(first_word):
                    m.d.comb += used.eq(1)
                    m.d.sync += address.eq(word)
                with m.Elif(execute_write):
                    m.d.comb += used.eq(self.bus.request.ready)
                with m.Else():
                    m.d.comb += used.eq(1)
                    m.d.sync += reads_left.eq(Mux(execute_read, word[:8], 0))
                with m.If(used):
                    m.d.sync += state.eq(BridgeState.WORD)
                    with m.If(words_end):
                        with m.If(advance):
                            m.d.sync += expected.eq(expected + 1)
                        m.d.sync += state.eq(BridgeState.ANSWER_SEQUENCE)

            with m.Case(BridgeState.ANSWER_SEQUENCE):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.data.eq(sequence)]
                with m.If(self.o.ready):
                    m.d.sync += state.eq(BridgeState.ANSWER_STATUS)
            with m.Case(BridgeState.ANSWER_STATUS):
                final = Signal()
                m.d.comb += [
                    final.eq(~answer_words & reads_end),
                    self.o.valid.eq(1),
                    self.o.payload.data.eq(status),
                    self.o.payload.last.eq(final),
                ]
                with m.If(self.o.ready):
                    with m.If(final):
                        m.d.sync += state.eq(BridgeState.LENGTH)
                    with m.Elif(answer_words):
                        m.d.sync += state.eq(BridgeState.ANSWER_WORD)
                    with m.Else():
                        m.d.sync += [state.eq(BridgeState.FETCH), self._requesting.eq(1)]

            with m.Case(BridgeState.FETCH), m.If(self.bus.request.ready):
                m.d.sync += [reads_left.eq(reads_left - 1), state.eq(BridgeState.WAIT)]
            with m.Case(BridgeState.WAIT):
                m.d.comb += self.bus.response.ready.eq(1)
                m.d.sync += word.eq(self.bus.response.payload)
                with m.If(self.bus.response.valid):
                    m.d.sync += state.eq(BridgeState.ANSWER_WORD)
            with m.Case(BridgeState.ANSWER_WORD):
                end = Signal()
                m.d.comb += [
                    end.eq((byte == 3) & ~answer_words & reads_end),
                    self.o.valid.eq(1),
                    self.o.payload.data.eq(word[:8]),
                    self.o.payload.last.eq(end),
                ]
                with m.If(self.o.ready):
                    m.d.sync += [word.eq(word >> 8), byte.eq(byte + 1)]
                    with m.If(byte == 3):
                        m.d.sync += word.eq(Const(IDENTITY, 32))
                        m.d.sync += answer_words.eq(0)
                        with m.If(answer_words):
                            m.d.sync += state.eq(BridgeState.ANSWER_WORD)
                        with m.Elif(end):
                            m.d.sync += state.eq(BridgeState.LENGTH)
                        with m.Else():
                            m.d.sync += [state.eq(BridgeState.FETCH), self._requesting.eq(1)]
        return m


# The length byte is read as a number of words by dropping its two low bits, which the header's size leaves at 2.
assert HEADER_BYTES == 2
