"""`SerialLink`: the driver's connection to a board, or to the simulated board, on a serial port."""

import contextlib
import errno
import os
import time
from typing import Any

import serial
from serial.tools import list_ports

from .framed_link import FramedLink
from .link import LinkError

__all__ = ["SerialLink", "SerialTransport"]

_POLL_SECONDS = 0.01
"""Longest that a read of the port blocks; bytes that arrive end it at once."""


def _owner(port: str) -> str:
    """Name of the group that may open ``port``."""
    try:
        import grp

        return grp.getgrgid(os.stat(port).st_gid).gr_name
    except (ImportError, OSError, KeyError):
        return "dialout"


def _open_error(port: str, baud_rate: int, error: Exception) -> LinkError:
    code = getattr(error, "errno", None)
    if code is None and error.args and isinstance(error.args[0], int):
        code = error.args[0]
    text = str(error)
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO) or "FileNotFoundError" in text:
        ports = ", ".join(sorted(info.device for info in list_ports.comports())) or "none"
        return LinkError(f"port {port} does not exist (serial ports of this machine: {ports})")
    if code in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in text:
        return LinkError(f"port {port} is busy: another program has it open")
    if code in (errno.EACCES, errno.EPERM) or "PermissionError" in text:
        return LinkError(
            f"no permission to open port {port}: join the group that owns it "
            f"(sudo usermod -aG {_owner(port)} $USER, then log in again)"
        )
    if code in (errno.ENOTTY, errno.EISDIR) or "Inappropriate ioctl" in text:
        return LinkError(f"{port} is not a serial port")
    if isinstance(error, ValueError):
        return LinkError(f"port {port} cannot run at {baud_rate} bit/s")
    return LinkError(f"cannot open port {port}: {text}")


class SerialTransport:
    """A `dorefabric.sw.transport.Transport` over a serial port, opened exclusively."""

    def __init__(self, port: str, baud_rate: int, write_timeout: float) -> None:
        self.name = port
        self.rate = f"{baud_rate} bit/s"
        try:
            self._serial: Any = serial.Serial(
                port, baud_rate, timeout=_POLL_SECONDS, write_timeout=write_timeout, exclusive=True
            )
            self._serial.reset_input_buffer()
        except (serial.SerialException, OSError, ValueError) as error:
            raise _open_error(port, baud_rate, error) from None

    def send(self, data: bytes) -> None:
        try:
            self._serial.write(data)
        except serial.SerialTimeoutException:
            raise LinkError(f"port {self.name} takes no more data: the board does not read") from None
        except (serial.SerialException, OSError, TypeError):
            raise self._gone() from None

    def receive(self, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        try:
            while True:
                received = self._serial.read(max(1, self._serial.in_waiting))
                if received or time.monotonic() >= deadline:
                    return bytes(received)
        except (serial.SerialException, OSError, TypeError):
            raise self._gone() from None

    def now(self) -> float:
        return time.monotonic()

    def close(self) -> None:
        with contextlib.suppress(serial.SerialException, OSError):
            self._serial.close()

    def _gone(self) -> LinkError:
        return LinkError(f"port {self.name} went away: was the board unplugged?")


class SerialLink(FramedLink):
    """A `dorefabric.sw.link.Link` over a serial port.

    Parameters
    ----------
    port : str
        ``/dev/ttyUSB0``, ``COM3``, or the path that ``dorefabric serve`` prints.
    baud_rate : int
        The configuration's; a simulated board does not care.
    timeout : float
        Seconds of silence after which the board counts as gone.
    window : int
        Requests that may be unanswered, 1 to 32.

    Raises
    ------
    LinkError
        When the port cannot be opened, or no board answers on it.
    """

    def __init__(self, port: str, baud_rate: int, timeout: float = 2.0, window: int = 16) -> None:
        super().__init__(SerialTransport(port, baud_rate, timeout), timeout=timeout, window=window)
