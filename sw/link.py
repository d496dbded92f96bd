"""What a driver needs of a connection to the circuit: word reads and writes in the memory map."""

from typing import Protocol

import numpy as np

from dorefabric.hw.errors import DorefabricError

__all__ = ["Link", "LinkError"]


class LinkError(DorefabricError, RuntimeError):
    """The circuit cannot be reached, stopped answering, or answered as something else."""


class Link(Protocol):
    """Reliable access to the memory map of `dorefabric.hw.registers`.

    Writes may be buffered, but never reordered with respect to each other or to reads. Every method raises
    `LinkError` when the other side does not answer; none ever returns wrong data.
    """

    def write(self, address: int, words: np.ndarray) -> None:
        """Write uint32 ``words`` to consecutive bus addresses from ``address``."""
        ...

    def read(self, address: int, count: int) -> np.ndarray:
        """Read ``count`` uint32 words from consecutive bus addresses."""
        ...

    def wait_idle(self, timeout: float) -> None:
        """Return when the status register says not busy; `LinkError` after ``timeout`` seconds."""
        ...

    def close(self) -> None:
        """Release the connection; harmless when called twice."""
        ...
