"""The simulated board: the generated design, serial pins included, behind a pseudo-terminal.

    host program ──pyserial──► /dev/pts/N ──► line errors ──► rx pin ┌────────────────┐
                                                                     │ UART, frames,  │  compiled by Verilator,
    host program ◄──pyserial── /dev/pts/N ◄── line errors ◄── tx pin │ core, memories │  in its own process
                                                                     └────────────────┘
"""

import contextlib
import os
import pty
import random
import selectors
import subprocess
import tempfile
import threading
import tty
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dorefabric.hw.config import FabricConfig
from dorefabric.sw.link import LinkError

from .build import build_simulator, wave_format
from .design import board_verilog

__all__ = ["LineErrors", "SimulatedBoard"]

CHUNK = 1024


@dataclass
class LineErrors:
    """Damages a stream of bytes: each is, with probability ``rate``, flipped in one bit, dropped or doubled.

    ``passed`` and ``errors`` count what passed and what was done to it.
    """

    rate: float
    seed: int
    passed: int = 0
    errors: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def __call__(self, data: bytes) -> bytes:
        self.passed += len(data)
        if not self.rate:
            return data
        damaged = bytearray()
        for byte in data:
            if self._random.random() >= self.rate:
                damaged.append(byte)
                continue
            self.errors += 1
            kind = self._random.randrange(3)
            if kind == 0:
                damaged.append(byte ^ 1 << self._random.randrange(8))
            elif kind == 1:
                damaged += bytes((byte, byte))
        return bytes(damaged)


class SimulatedBoard:
    """A board with a serial port at path ``port``, for as long as the ``with`` block lasts.

    Any program can open the port as if it were /dev/ttyUSB0; it may be opened and closed any number of times.
    The baud rate that the program sets has no effect: the design's own is used on the pins, and data moves as
    fast as the simulation runs. Simulated time stands still while nothing happens.

    Parameters
    ----------
    config : the accelerator; its front end must be "uart"
    error_rate : share of the bytes that are flipped, dropped or doubled, in each direction
    seed : of those errors
    wave : file that records all signals, .vcd or .fst
    verilog : Verilog of the design with top module ``top``; default: generated from ``config``
    progress : called with one line at each step of the build, which the constructor does
    """

    def __init__(
        self,
        config: FabricConfig,
        error_rate: float = 0.0,
        seed: int = 0,
        *,
        wave: str | Path | None = None,
        verilog: str | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        if not 0 <= error_rate < 1:
            raise ValueError(f"error_rate must be from 0 to below 1, not {error_rate}")
        self.config = config
        self.port = ""
        """Path of the serial port; empty while there is none."""
        self.to_board = LineErrors(error_rate, 2 * seed)
        self.from_board = LineErrors(error_rate, 2 * seed + 1)
        self._wave = wave
        text = board_verilog(config) if verilog is None else verilog
        self.simulator = build_simulator(text, "uart", wave=wave_format(wave), progress=progress)
        self._resources = contextlib.ExitStack()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "SimulatedBoard":
        with contextlib.ExitStack() as stack:
            self._errors = stack.enter_context(tempfile.TemporaryFile())
            half_period = max(1, round(5e11 / self.config.clock_frequency))
            process = subprocess.Popen(
                [self.simulator.program, str(half_period), str(self._wave or ""), str(self.config.clock_frequency),
                 str(self.config.baud_rate)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0,
                start_new_session=True,  # Ctrl-C is for this process, which then ends the simulator in order
            )  # fmt: skip
            stack.callback(_end, process)
            host, device = pty.openpty()
            # The device side stays open here, so that a program that closes the port does not hang it up.
            for descriptor in (host, device):
                stack.callback(os.close, descriptor)
            tty.setraw(device)
            wake, self._stop = os.pipe()
            for descriptor in (wake, self._stop):
                stack.callback(os.close, descriptor)
            self._process = process
            self._thread = threading.Thread(target=self._shuttle, args=(host, wake, process), daemon=True)
            self._thread.start()
            stack.callback(self._join)
            self.port = os.ttyname(device)
            self._resources = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the board away: the port disappears and the simulation ends. Harmless when called twice."""
        self._resources.close()

    def wait(self) -> None:
        """Block until interrupted, or until the simulator stops by itself, which is a `LinkError`."""
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(0.2)  # in pieces, for Ctrl-C to arrive
        if self._thread is not None:
            self._process.wait()
            self._errors.seek(0)
            text = self._errors.read().decode(errors="replace").strip().splitlines()
            reason = text[-1] if text else f"exit status {self._process.returncode}"
            raise LinkError(f"the simulated board stopped: {reason}")

    def _join(self) -> None:
        os.write(self._stop, b"x")
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.port = ""

    def _shuttle(self, host: int, wake: int, process: "subprocess.Popen[bytes]") -> None:
        """Move bytes both ways until woken through ``wake`` or the simulator ends."""
        assert process.stdin is not None and process.stdout is not None
        to_pins, from_pins = process.stdin.fileno(), process.stdout.fileno()
        for descriptor in (host, to_pins, from_pins):
            os.set_blocking(descriptor, False)
        lanes = (_Lane(host, to_pins, self.to_board), _Lane(from_pins, host, self.from_board))
        with selectors.DefaultSelector() as selector:
            selector.register(wake, selectors.EVENT_READ)
            while True:
                for descriptor, events in _interests(lanes).items():
                    _watch(selector, descriptor, events)
                ready = {key.fd: mask for key, mask in selector.select()}
                if wake in ready:
                    return
                try:
                    for lane in lanes:
                        lane.move(ready)
                except (BrokenPipeError, EOFError):
                    return


@dataclass
class _Lane:
    """One direction: reads from ``source`` only when everything read before has left through ``sink``."""

    source: int
    sink: int
    errors: LineErrors
    pending: bytes = b""

    def move(self, ready: dict[int, int]) -> None:
        if not self.pending and ready.get(self.source, 0) & selectors.EVENT_READ:
            data = os.read(self.source, CHUNK)
            if not data:
                raise EOFError
            self.pending = self.errors(data)
        if self.pending:
            with contextlib.suppress(BlockingIOError):
                self.pending = self.pending[os.write(self.sink, self.pending) :]


def _interests(lanes: tuple[_Lane, ...]) -> dict[int, int]:
    events: dict[int, int] = {}
    for lane in lanes:
        read = 0 if lane.pending else selectors.EVENT_READ
        write = selectors.EVENT_WRITE if lane.pending else 0
        events[lane.source] = events.get(lane.source, 0) | read
        events[lane.sink] = events.get(lane.sink, 0) | write
    return events


def _watch(selector: selectors.BaseSelector, descriptor: int, events: int) -> None:
    known = selector.get_map().get(descriptor)
    if known is None:
        if events:
            selector.register(descriptor, events)
    elif not events:
        selector.unregister(descriptor)
    elif known.events != events:
        selector.modify(descriptor, events)


def _end(process: "subprocess.Popen[Any]") -> None:
    """Close the pipes, wait for the waveform file to be completed, and make sure that the process is gone."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    process.stdout.close()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
