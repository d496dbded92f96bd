"""`FramedLink`: reliable reads and writes over any transport of bytes, by the protocol of `hw/frames.py`.

Requests are cut into frames and up to ``window`` of them are sent ahead. When anything goes wrong (the board
reports a damaged frame, an answer is missing, nothing comes in time) the link asks one question, QUERY with a fresh
nonce. A line never reorders bytes, so when the answer is here nothing sent before it is still under way, and the
answer says exactly which requests were executed; the others are cut anew and sent again. Frames get shorter when
there are losses, and longer when there are none.
"""

import secrets
from collections import deque
from collections.abc import Callable

import numpy as np

from dorefabric.hw.frames import (
    ADDRESS_MASK,
    IDENTITY,
    MAX_READ_WORDS,
    MAX_WRITE_WORDS,
    Command,
    FrameSplitter,
    Status,
    encode_frame,
    pack_content,
    unpack_content,
)
from dorefabric.hw.registers import REGISTERS, address

from .link import LinkError
from .transport import RoundTrip, Statistics, Transport

__all__ = ["FramedLink"]

STATUS_ADDRESS = address("registers", next(register.index for register in REGISTERS if register.name == "status"))
MAX_WINDOW = 32
MAX_RECOVERIES = 200
"""Recoveries without a single request done after which the line counts as unusable."""

_FIRST_FRAME_WORDS = 16
_FIRST_WINDOW = 4
_PATIENCE = 1.25
_QUESTIONS = 12


class _Piece:
    """Consecutive words to be written from, or read into, ``words``."""

    def __init__(self, command: Command, start: int, words: np.ndarray) -> None:
        self.command = command
        self.start = start
        self.words = words
        self.sent_at = 0.0
        self.repeated = False

    def split(self, count: int) -> tuple["_Piece", "_Piece"]:
        parts = (_Piece(self.command, self.start, self.words[:count]),
                 _Piece(self.command, self.start + count, self.words[count:]))  # fmt: skip
        for part in parts:
            part.repeated = self.repeated
        return parts

    def content(self, sequence: int) -> bytes:
        if self.command is Command.WRITE:
            head = pack_content(sequence, self.command, [self.start])
            return head + self.words.astype("<u4").tobytes()
        return pack_content(sequence, self.command, [self.start, len(self.words)])


class FramedLink:
    """A `dorefabric.sw.link.Link` over a `Transport`.

    Parameters
    ----------
    transport : Transport
        Closed with the link, also when opening fails.
    timeout : float
        Seconds of complete silence after which the board counts as gone; longer on a link whose measured round
        trip is longer than a tenth of it.
    window : int
        Most requests that may be unanswered, 1 to 32; fewer after losses, as what was sent after a lost frame is
        sent again.

    Raises
    ------
    LinkError
        When there is no board that speaks the protocol, here and from every method.
    """

    def __init__(self, transport: Transport, *, timeout: float = 2.0, window: int = 16) -> None:
        if not 1 <= window <= MAX_WINDOW:
            raise ValueError(f"window must be from 1 to {MAX_WINDOW}, not {window!r}")
        if not timeout > 0:
            raise ValueError(f"timeout must be above 0 seconds, not {timeout!r}")
        self._transport = transport
        self._timeout = timeout
        self._window = window
        self._ahead = float(min(window, _FIRST_WINDOW))  # requests that may be unanswered at present
        self._splitter = FrameSplitter()
        self._round_trip = RoundTrip()  # of requests, with others queued before them
        self._idle_round_trip = RoundTrip()  # of a question on an idle line
        self._limits = {Command.WRITE: _FIRST_FRAME_WORDS, Command.READ: _FIRST_FRAME_WORDS}
        self._todo: deque[_Piece] = deque()
        self._sent: deque[_Piece] = deque()  # unanswered; the first has sequence number _first
        self._first = 0
        self._nonce: int | None = None  # of the SYNC or QUERY that is under way
        self._asks = 0  # how often it has been sent
        self._recoveries = 0  # since a request was done
        self._opened = False
        self._closed = False
        self._identity = 0
        self.statistics = Statistics()
        self._heard_at = self._asked_at = self._retry_at = transport.now()
        try:
            self._ask()
            self._run(lambda: self._nonce is None)
            self._check_identity()
        except BaseException:
            self._closed = True
            transport.close()
            raise
        self._opened = True

    def __enter__(self) -> "FramedLink":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # what is unanswered does not matter any more
            self._todo.clear()
            self._sent.clear()
        self.close()

    # Link ---------------------------------------------------------------------------------------

    def write(self, address: int, words: np.ndarray) -> None:
        """Write uint32 ``words`` to consecutive bus addresses; returns when the last frame is on its way."""
        data = np.array(words, dtype=np.uint32).reshape(-1)
        self._check_open(address, len(data))
        if len(data):
            self._todo.append(_Piece(Command.WRITE, address, data))
            self._run(lambda: not self._todo)
        self.statistics.words_written += len(data)

    def read(self, address: int, count: int) -> np.ndarray:
        """Read ``count`` uint32 words from consecutive bus addresses, after everything written before."""
        self._check_open(address, count)
        data = np.zeros(count, dtype=np.uint32)
        if count:
            self._todo.append(_Piece(Command.READ, address, data))
        self.flush()
        self.statistics.words_read += count
        return data

    def flush(self) -> None:
        """Return when every write has been executed."""
        self._check_open(0, 0)
        self._run(lambda: not self._todo and not self._sent)

    def wait_idle(self, timeout: float) -> None:
        """Return when the status register says not busy; `LinkError` after ``timeout`` seconds."""
        deadline = self._transport.now() + timeout
        while self.read(STATUS_ADDRESS, 1)[0] & 1:
            if self._transport.now() >= deadline:
                raise LinkError(f"the board on {self._transport.name} is still busy after {timeout:g} s")

    def close(self) -> None:
        """Wait for the writes that are under way, then release the transport; harmless when called twice."""
        if self._closed:
            return
        try:
            self.flush()
        finally:
            self._closed = True
            self._transport.close()

    # Sending ------------------------------------------------------------------------------------

    def _run(self, done: Callable[[], bool]) -> None:
        """Send and receive until ``done()``."""
        self._heard_at = self._transport.now()
        try:
            while True:
                self._fill()
                if done():
                    return
                wait = max(0.0, self._retry_at - self._transport.now())
                self._receive(self._transport.receive(wait))
                self._check_time()
        except BaseException:
            # Whatever was on its way has an unknown fate: this link is over.
            self._todo.clear()
            self._sent.clear()
            if self._opened:
                self._closed = True
                self._transport.close()
            raise

    def _fill(self) -> None:
        """Send what the window permits: never writes and reads at the same time, nothing while a question is out."""
        while self._todo and self._nonce is None and len(self._sent) < int(self._ahead):
            piece = self._todo[0]
            if self._sent and self._sent[0].command is not piece.command:
                return
            limit = self._limits[piece.command]
            if len(piece.words) > limit:
                piece, self._todo[0] = piece.split(limit)
            else:
                self._todo.popleft()
            if not self._sent:
                self._retry_at = self._transport.now() + self._round_trip.timeout
            sequence = self._first + len(self._sent)
            self._sent.append(piece)
            piece.sent_at = self._transport.now()
            self.statistics.requests += 1
            self.statistics.resent += piece.repeated
            self._send(piece.content(sequence))

    def _send(self, content: bytes) -> None:
        wire = encode_frame(content)
        self.statistics.bytes_sent += len(wire)
        self._transport.send(wire)

    def _ask(self) -> None:
        """Send SYNC or QUERY, or send it again: from its answer on it is known what was executed."""
        if self._nonce is None:
            self._nonce = secrets.randbits(32)
            self._asks = 0
        # A repetition keeps its nonce: with a new one each time, no answer on a slow line would ever be in time.
        # The first question waits behind the requests that are under way, the others find the line idle.
        wait = self._idle_round_trip.timeout
        wait = min(wait * _PATIENCE**self._asks, max(wait, self._timeout / _QUESTIONS))
        self._asked_at = self._transport.now()
        self._retry_at = self._asked_at + (wait if self._asks else max(wait, self._round_trip.timeout))
        self._asks += 1
        self._send(pack_content(0, Command.QUERY if self._opened else Command.SYNC, [self._nonce]))

    def _recover(self) -> None:
        if self._nonce is not None:
            return
        self.statistics.recoveries += 1
        self._recoveries += 1
        if self._recoveries > MAX_RECOVERIES:
            raise LinkError(
                f"the line to {self._transport.name} is too noisy: {MAX_RECOVERIES} attempts without one success"
            )
        self._ahead = max(min(2.0, self._window), self._ahead / 2)
        for command, limit in self._limits.items():
            if self._sent and self._sent[0].command is command:
                self._limits[command] = max(1, limit * 3 // 4)
        self._ask()

    # Receiving ----------------------------------------------------------------------------------

    def _receive(self, received: bytes) -> None:
        self.statistics.bytes_received += len(received)
        for content in self._splitter.feed(received):
            try:
                sequence, status, words = unpack_content(content or b"")
            except ValueError:
                self.statistics.damaged += 1
                continue
            if self._opened or self._nonce is not None:
                self._handle(sequence, status, words)

    def _handle(self, sequence: int, status: int, words: list[int]) -> None:
        if status == Status.SYNCHRONISED:
            if self._nonce is not None and len(words) == 2 and words[0] == self._nonce:
                self._synchronised(sequence, words[1])
            return
        if not self._opened:
            return  # an answer to somebody before us
        self._heard_at = self._transport.now()
        offset = (sequence - self._first) % 256
        if status == Status.DONE:
            if offset < len(self._sent):
                self._done(offset, words)
        elif status == Status.EXPECTED:
            if self._sent:
                self._recover()
        elif status == Status.UNSYNCHRONISED:
            raise LinkError(
                f"the board on {self._transport.name} has been reset: its memories no longer hold what was written"
            )
        else:
            raise LinkError(f"the board on {self._transport.name} refused a request (status {status})")

    def _done(self, offset: int, words: list[int]) -> None:
        piece = self._sent[offset]
        if piece.command is Command.WRITE:
            if words:
                return
        elif offset or len(words) != len(piece.words):
            # The answer to an earlier read is lost. What this one says is read again with it.
            self._recover()
            return
        else:
            piece.words[:] = words
        now = self._transport.now()
        self._round_trip.sample(now - piece.sent_at)
        for _ in range(offset + 1):
            self._sent.popleft()
        self._first += offset + 1
        self._recoveries = 0
        longest = MAX_WRITE_WORDS if piece.command is Command.WRITE else MAX_READ_WORDS
        self._limits[piece.command] = min(longest, self._limits[piece.command] + 1 + offset)
        self._ahead = min(self._window, self._ahead + (offset + 1) / self._ahead)
        if self._nonce is None:
            self._retry_at = now + self._round_trip.timeout

    def _synchronised(self, expected: int, identity: int) -> None:
        now = self._transport.now()
        self._heard_at = now
        if self._asks == 1 and not self._opened:  # of several it is not known which one is answered
            self._round_trip.sample(now - self._asked_at)
            self._idle_round_trip.sample(now - self._asked_at)
        self._nonce = None
        self._identity = identity
        executed = (expected - self._first) % 256
        if executed > len(self._sent):
            if self._opened:
                raise LinkError(f"the board on {self._transport.name} is being used by another program as well")
            executed = 0
        # Writes are done once they are executed; a read that is not answered must be read again.
        if self._sent and self._sent[0].command is Command.WRITE:
            for _ in range(executed):
                self._sent.popleft()
        self._first = expected
        for piece in self._sent:
            piece.repeated = True
        self._todo.extendleft(reversed(self._sent))
        self._sent.clear()

    # Failure ------------------------------------------------------------------------------------

    def _check_time(self) -> None:
        now = self._transport.now()
        silence = max(self._timeout, 10 * self._round_trip.timeout if self._opened else 0.0)
        if now - self._heard_at > silence:
            raise self._silence_error(silence)
        if now >= self._retry_at and (self._sent or self._nonce is not None):
            if self._nonce is not None:
                self._ask()
            else:
                self._recover()

    def _silence_error(self, silence: float) -> LinkError:
        name, rate = self._transport.name, self._transport.rate
        if self._opened:
            return LinkError(f"the board on {name} stopped answering: silent for {silence:.3g} s")
        if self.statistics.bytes_received:
            return self._other_error()
        return LinkError(
            f"no answer from the board on {name} within {silence:.3g} s: "
            f"is it programmed (dorefabric flash), and is its rate {rate}?"
        )

    def _other_error(self) -> LinkError:
        return LinkError(
            f"what answers on {self._transport.name} is not a dorefabric board: "
            f"is it the right port, and is its rate {self._transport.rate}?"
        )

    def _check_identity(self) -> None:
        if self._identity >> 16 != IDENTITY >> 16:
            raise self._other_error()
        if self._identity != IDENTITY:
            raise LinkError(
                f"the board on {self._transport.name} speaks version {self._identity & 0xFFFF} of the link protocol, "
                f"this driver version {IDENTITY & 0xFFFF}: program the board with this version of dorefabric"
            )

    def _check_open(self, start: int, count: int) -> None:
        if self._closed:
            raise LinkError(f"the link to {self._transport.name} is closed")
        if not 0 <= start <= start + count <= ADDRESS_MASK + 1:
            raise ValueError(f"bus addresses must be from 0 to 0x{ADDRESS_MASK:x}, not {start} to {start + count - 1}")
