"""`VerilatorLink`: the core, compiled by Verilator, as a link that the ordinary driver runs networks on."""

import contextlib
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.registers import REGISTERS, address
from dorefabric.sw.link import LinkError

from .build import build_simulator, wave_format
from .design import core_verilog

__all__ = ["STATUS", "TIMEOUT_RATE", "VerilatorLink"]

STATUS = address("registers", next(register.index for register in REGISTERS if register.name == "status"))
"""Bus address of the status register."""

TIMEOUT_RATE = 10_000
"""Clock cycles that simulators count as one second of a timeout: how fast the machine is must not matter."""


class VerilatorLink:
    """A `dorefabric.sw.link.Link` to the core with its bus in a compiled simulator: one process, two pipes.

    Writes take one clock cycle a word. The protocol on the pipes is in ``harness.cpp``.

    Parameters
    ----------
    config : the accelerator to simulate
    wave : file that records all signals, .vcd or .fst by its suffix; from reset, until `record` says otherwise
    stalls : probability, each cycle, that the bus master holds a request or a response back
    seed : of the stalls
    verilog : Verilog of the design with top module ``top``; default: generated from ``config``
    libraries : further Verilog files, such as a fabric's cell models
    progress : called with one line at each step of the build
    """

    def __init__(
        self,
        config: FabricConfig,
        wave: str | Path | None = None,
        *,
        stalls: float = 0.0,
        seed: int = 0,
        verilog: str | None = None,
        libraries: tuple[Path, ...] = (),
        progress: Callable[[str], None] | None = None,
    ) -> None:
        if not 0 <= stalls < 1:
            raise ValueError(f"stalls must be a probability from 0 to below 1, not {stalls}")
        self.config = config
        form = wave_format(wave)
        text = core_verilog(config) if verilog is None else verilog
        self.simulator = build_simulator(text, "bus", wave=form, libraries=libraries, progress=progress)
        half_period = max(1, round(5e11 / config.clock_frequency))
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            [self.simulator.program, str(half_period), str(wave or ""), str(stalls), str(seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            start_new_session=True,  # Ctrl-C is for this process, which then ends the simulator in order
        )  # fmt: skip

    def __enter__(self) -> "VerilatorLink":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def write(self, address: int, words: np.ndarray) -> None:
        """Write uint32 ``words`` to consecutive bus addresses; one clock cycle a word."""
        data = np.ascontiguousarray(words, dtype="<u4").reshape(-1)
        self._send(b"W", address, data.size, data.tobytes())

    def read(self, address: int, count: int) -> np.ndarray:
        """Read ``count`` uint32 words from consecutive bus addresses."""
        self._send(b"R", address, count)
        return np.frombuffer(self._receive(4 * count), dtype="<u4").astype(np.uint32)

    def wait_idle(self, timeout: float) -> None:
        """Run the clock until the circuit is not busy; `LinkError` after ``timeout`` times `TIMEOUT_RATE` cycles."""
        self._send(b"I", STATUS, int(timeout * TIMEOUT_RATE))
        if struct.unpack("<Q", self._receive(8))[0]:
            raise LinkError(f"the simulated circuit is still busy after {timeout:g} s")

    def run(self, cycles: int) -> int:
        """Run the clock with an idle bus; returns the cycles since reset."""
        self._send(b"C", 0, cycles)
        return int(struct.unpack("<Q", self._receive(8))[0])

    @property
    def cycles(self) -> int:
        """Clock cycles since reset."""
        return self.run(0)

    def record(self, on: bool) -> None:
        """Switch the waveform recording on or off; no effect without a waveform file."""
        self._send(b"V", int(on), 0)

    def close(self) -> None:
        """End the simulation and complete the waveform file; harmless when called twice."""
        if self._process is None:
            return
        process, self._process = self._process, None
        with contextlib.suppress(BrokenPipeError):
            cast(BinaryIO, process.stdin).close()
        try:
            process.wait(timeout=60)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            cast(BinaryIO, process.stdout).close()
            self._errors.close()

    def _send(self, operation: bytes, a: int, b: int, data: bytes = b"") -> None:
        pipe = cast(BinaryIO, self._alive().stdin)
        try:
            pipe.write(struct.pack("<c3xIQ", operation, a, b) + data)
            pipe.flush()
        except BrokenPipeError:
            raise self._failure() from None
        except KeyboardInterrupt:
            self._abandon()  # half a command may be in the pipe
            raise

    def _receive(self, size: int) -> bytes:
        try:
            data = cast(BinaryIO, self._alive().stdout).read(size)
        except KeyboardInterrupt:
            self._abandon()
            raise
        if len(data) != size:
            raise self._failure()
        return data

    def _alive(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise LinkError("the link to the simulated circuit is closed")
        return self._process

    def _abandon(self) -> None:
        if self._process is not None:
            self._process.kill()
            self.close()

    def _failure(self) -> LinkError:
        """What the simulator said when it ended by itself."""
        status = self._alive().wait()
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip().splitlines()
        self.close()
        return LinkError(f"the simulator stopped: {text[-1] if text else f'exit status {status}'}")
