"""What a framed link knows of its line: how bytes move on it, what moved so far, and how long an answer takes."""

from dataclasses import dataclass
from typing import Protocol

__all__ = ["RoundTrip", "Statistics", "Transport"]

_FIRST_RETRY = 0.1
_RETRY_MARGIN = 0.01


class Transport(Protocol):
    """Carries bytes in both directions; may damage, lose or repeat them, never reorder them."""

    name: str
    """How messages call it: the port."""
    rate: str
    """How messages call its speed: ``"1000000 bit/s"``."""

    def send(self, data: bytes) -> None:
        """Send everything; `LinkError` when the transport is gone."""
        ...

    def receive(self, timeout: float) -> bytes:
        """What has arrived, after at most ``timeout`` seconds of waiting for a first byte; may be empty."""
        ...

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def close(self) -> None:
        """Release the transport; harmless when called twice."""
        ...


@dataclass
class Statistics:
    """What a link has done since it was opened. Words are 32-bit; bytes are those on the line."""

    words_written: int = 0
    words_read: int = 0
    requests: int = 0
    resent: int = 0
    recoveries: int = 0
    damaged: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0

    @property
    def overhead(self) -> float:
        """Bytes on the line, both directions, for each byte of data, less one."""
        payload = 4 * (self.words_written + self.words_read)
        return (self.bytes_sent + self.bytes_received) / payload - 1 if payload else 0.0


class RoundTrip:
    """Smoothed round-trip time and its deviation (RFC 6298), for the retransmission time-out."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self._deviation = 0.0

    def sample(self, seconds: float) -> None:
        if self._mean is None:
            self._mean, self._deviation = seconds, seconds / 2
            return
        self._deviation += (abs(seconds - self._mean) - self._deviation) / 4
        self._mean += (seconds - self._mean) / 8

    @property
    def timeout(self) -> float:
        """Seconds after which an answer counts as missing."""
        return _FIRST_RETRY if self._mean is None else self._mean + 4 * self._deviation + _RETRY_MARGIN
