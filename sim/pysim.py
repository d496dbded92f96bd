"""`PysimLink`: the core in Amaranth's own simulator, as a link: slow, but it needs nothing but Python."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import Elaboratable
from amaranth.sim import Simulator

from dorefabric.hw.config import FabricConfig
from dorefabric.sw.link import LinkError

from .tools import ToolError
from .verilator import STATUS, TIMEOUT_RATE

__all__ = ["PysimLink"]

WATCHDOG = 10_000
"""Clock cycles without progress on the bus after which the circuit counts as dead."""


class PysimLink:
    """A `dorefabric.sw.link.Link` to the core in Amaranth's simulator, in this process.

    The simulated time passes only while a method runs.

    Parameters
    ----------
    config : the accelerator to simulate
    wave : .vcd file that records all signals
    component : the design, a component with member ``bus``; default: the core of ``config``
    """

    def __init__(
        self, config: FabricConfig, wave: str | Path | None = None, *, component: Elaboratable | None = None
    ) -> None:
        if wave is not None and Path(wave).suffix.lower() != ".vcd":
            raise ToolError(f"Amaranth's simulator writes .vcd waveforms only, not {str(wave)!r}")
        if component is None:
            from dorefabric.hw.core import Core

            component = Core(config)
        self.config = config
        self.cycles = 0
        """Clock cycles since reset."""
        self._bus: Any = component.bus
        self._task: Callable[[Any], Any] | None = None
        self._error: LinkError | None = None
        self._closed = False
        self._simulator = Simulator(component)
        self._simulator.add_clock(1 / config.clock_frequency)
        self._files = contextlib.ExitStack()
        if wave is not None:
            try:
                self._files.enter_context(self._simulator.write_vcd(str(wave)))
            except OSError as error:
                raise ToolError(f"cannot write waveform file {wave}: {error.strerror}") from None
        self._simulator.add_testbench(self._serve)
        self.run(0)

    def __enter__(self) -> "PysimLink":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def write(self, address: int, words: np.ndarray) -> None:
        """Write uint32 ``words`` to consecutive bus addresses; one clock cycle a word."""
        data = np.asarray(words, dtype=np.uint32).reshape(-1).tolist()

        async def task(ctx: Any) -> None:
            request = self._bus.request
            for offset, word in enumerate(data):
                ctx.set(request.payload, {"data": word, "address": address + offset, "write": 1})
                ctx.set(request.valid, 1)
                await self._until(ctx, request.ready, f"write to bus address 0x{address + offset:07x}")
            ctx.set(request.valid, 0)

        self._run(task)

    def read(self, address: int, count: int) -> np.ndarray:
        """Read ``count`` uint32 words from consecutive bus addresses."""
        words: list[int] = []

        async def task(ctx: Any) -> None:
            words.extend([await self._read(ctx, address + offset) for offset in range(count)])

        self._run(task)
        return np.array(words, dtype=np.uint32)

    def wait_idle(self, timeout: float) -> None:
        """Run the clock until the circuit is not busy; `LinkError` after ``timeout`` times `TIMEOUT_RATE` cycles."""
        limit = self.cycles + timeout * TIMEOUT_RATE
        gap = 1
        while self.read(STATUS, 1)[0] & 1:
            if self.cycles >= limit:
                raise LinkError(f"the simulated circuit is still busy after {timeout:g} s")
            self.run(gap)
            gap = min(2 * gap, 256)

    def run(self, cycles: int) -> int:
        """Run the clock with an idle bus; returns the cycles since reset."""

        async def task(ctx: Any) -> None:
            for _ in range(cycles):
                await self._tick(ctx)

        self._run(task)
        return self.cycles

    def close(self) -> None:
        """End the simulation and complete the waveform file; harmless when called twice."""
        self._closed = True
        self._files.close()

    async def _serve(self, ctx: Any) -> None:
        while True:
            task = self._task
            if task is None:
                await self._tick(ctx)
                continue
            try:
                await task(ctx)
            except LinkError as error:
                self._error = error
            self._task = None

    async def _tick(self, ctx: Any) -> None:
        await ctx.tick()
        self.cycles += 1

    async def _until(self, ctx: Any, signal: Any, what: str) -> None:
        """One clock edge at which ``signal`` is high before it."""
        for _ in range(WATCHDOG):
            done = ctx.get(signal)
            await self._tick(ctx)
            if done:
                return
        raise LinkError(f"the simulator stopped: {what} not answered in {WATCHDOG} cycles")

    async def _read(self, ctx: Any, address: int) -> int:
        request, response = self._bus.request, self._bus.response
        what = f"read of bus address 0x{address:07x}"
        ctx.set(request.payload, {"data": 0, "address": address, "write": 0})
        ctx.set(request.valid, 1)
        await self._until(ctx, request.ready, what)
        ctx.set(request.valid, 0)
        for _ in range(WATCHDOG):
            if ctx.get(response.valid):
                word = int(ctx.get(response.payload))
                ctx.set(response.ready, 1)
                await self._tick(ctx)
                ctx.set(response.ready, 0)
                return word
            await self._tick(ctx)
        raise LinkError(f"the simulator stopped: {what} not answered in {WATCHDOG} cycles")

    def _run(self, task: Callable[[Any], Any]) -> None:
        if self._closed:
            raise LinkError("the link to the simulated circuit is closed")
        self._task = task
        while self._task is not None:
            self._simulator.advance()
        if self._error is not None:
            error, self._error = self._error, None
            self.close()
            raise error
