"""A serial line in virtual time that flips, drops and repeats bytes, and a model of what is at its far end."""

import random
from collections import deque
from typing import Protocol

from dorefabric.hw.frames import (
    IDENTITY,
    MAX_FRAME_BYTES,
    Command,
    FrameSplitter,
    Status,
    encode_frame,
    pack_content,
    unpack_content,
)

__all__ = ["ByteDevice", "FrameModel", "NoisyLine"]


class ByteDevice(Protocol):
    """Something at the far end of a line."""

    def feed(self, data: bytes) -> bytes:
        """Take ``data``; return what is sent until it falls silent."""
        ...


class FrameModel:
    """The board's half of the protocol (`hw/frames.py`) with a memory behind it, in plain Python.

    Attributes
    ----------
    words : dict of address to 32-bit word; what was never written reads as 0
    writes : list of (address, data) in the order of execution
    """

    def __init__(self) -> None:
        self.words: dict[int, int] = {}
        self.writes: list[tuple[int, int]] = []
        self._splitter = FrameSplitter()
        self.reset()

    def reset(self) -> None:
        """What a reset of the circuit does to the protocol."""
        self._expected = 0
        self._synchronised = False

    def feed(self, data: bytes) -> bytes:
        return b"".join(encode_frame(self._answer(content)) for content in self._splitter.feed(data))

    def _answer(self, content: bytes | None) -> bytes:
        if content is None or not 6 <= len(content) <= MAX_FRAME_BYTES or len(content) % 4 != 2:
            status = Status.EXPECTED if self._synchronised else Status.UNSYNCHRONISED
            return pack_content(self._expected, status)
        sequence, command, words = unpack_content(content)
        self._synchronised |= command == Command.SYNC and len(words) == 1
        if command in (Command.SYNC, Command.QUERY) and len(words) == 1 and self._synchronised:
            return pack_content(self._expected, Status.SYNCHRONISED, [words[0], IDENTITY])
        if not self._synchronised:
            return pack_content(self._expected, Status.UNSYNCHRONISED)
        is_write = command == Command.WRITE and len(words) >= 2
        is_read = command == Command.READ and len(words) == 2
        if not (is_write or is_read):
            return pack_content(sequence, Status.REFUSED)
        if sequence != self._expected:
            return pack_content(self._expected, Status.EXPECTED)
        self._expected = (self._expected + 1) % 256
        if is_read:
            return pack_content(
                sequence, Status.DONE, [self.words.get(words[0] + k, 0) for k in range(words[1] & 0xFF)]
            )
        for offset, word in enumerate(words[1:]):
            self.words[words[0] + offset] = word
            self.writes.append((words[0] + offset, word))
        return pack_content(sequence, Status.DONE)


class NoisyLine:
    """A `dorefabric.sw.transport.Transport` to ``device`` in virtual time: waiting costs nothing.

    Parameters
    ----------
    device : ByteDevice
    error_rate : float
        Probability that a byte is damaged, a third each: one bit flipped, lost, repeated; both directions.
    baud_rate : float
        Of the line, 10 bits a byte; both directions at the same time.
    latency : float
        Seconds that a byte spends between driver and line, each way.
    """

    rate = "1000000 bit/s"

    def __init__(
        self,
        device: ByteDevice,
        error_rate: float = 0.0,
        *,
        seed: int = 0,
        baud_rate: float = 1e6,
        latency: float = 1e-3,
        name: str = "line",
    ) -> None:  # fmt: skip
        self.name = name
        self.error_rate = error_rate
        self.closed = False
        self._device = device
        self._rng = random.Random(seed)
        self._byte_time = 10 / baud_rate
        self._latency = latency
        self._now = 0.0
        self._out_free = self._back_free = 0.0
        self._arrivals: deque[tuple[float, bytes]] = deque()

    def send(self, data: bytes) -> None:
        self._out_free = max(self._out_free, self._now + self._latency) + len(data) * self._byte_time
        answer = self._device.feed(self._noise(data))
        if answer:
            self._back_free = max(self._back_free, self._out_free) + len(answer) * self._byte_time
            self._arrivals.append((self._back_free + self._latency, self._noise(answer)))

    def receive(self, timeout: float) -> bytes:
        deadline = self._now + timeout
        if not self._arrivals or self._arrivals[0][0] > deadline:
            self._now = deadline
            return b""
        self._now = max(self._now, self._arrivals[0][0])
        received = b""
        while self._arrivals and self._arrivals[0][0] <= self._now:
            received += self._arrivals.popleft()[1]
        return received

    def now(self) -> float:
        return self._now

    def close(self) -> None:
        self.closed = True

    def _noise(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            fate = self._rng.random() / self.error_rate if self.error_rate else 1.0
            if fate < 1 / 3:
                continue
            out.append(byte ^ 1 << self._rng.randrange(8) if 2 / 3 <= fate < 1 else byte)
            if fate < 2 / 3:
                out.append(byte)
        return bytes(out)
