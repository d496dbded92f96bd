"""The core's bus for cocotb: a master with random stalls, and a link on it for the ordinary driver."""

import random
from typing import Any

import numpy as np
from cocotb.clock import Clock
from cocotb.task import resume
from cocotb.triggers import FallingEdge, ReadOnly, RisingEdge

from dorefabric.sim.verilator import STATUS, TIMEOUT_RATE
from dorefabric.sw.link import LinkError

__all__ = ["BusMaster", "CocotbLink", "start"]

PERIOD_NS = 10
WATCHDOG = 20_000


async def start(dut: Any, **inputs: int) -> None:
    """Start the clock, set ``inputs``, and hold reset for four cycles."""
    for name, value in inputs.items():
        getattr(dut, name).value = value
    dut.rst.value = 1
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    for _ in range(4):
        await RisingEdge(dut.clk)
    await FallingEdge(dut.clk)
    dut.rst.value = 0


class BusMaster:
    """Reads and writes words; with probability ``stalls`` a cycle it offers nothing, or takes nothing."""

    def __init__(self, dut: Any, stalls: float = 0.0, seed: int = 0) -> None:
        self._dut = dut
        self._clock = dut.clk
        self._request = tuple(getattr(dut, f"bus__request__{name}") for name in ("valid", "payload", "ready"))
        self._response = tuple(getattr(dut, f"bus__response__{name}") for name in ("valid", "payload", "ready"))
        self._stalls = stalls
        self._random = random.Random(seed)

    async def reset(self) -> None:
        """Start the clock and reset the design."""
        await start(self._dut, bus__request__valid=0, bus__request__payload=0, bus__response__ready=0)

    async def write(self, address: int, words: Any) -> None:
        for offset, word in enumerate(np.asarray(words, dtype=np.uint32).reshape(-1).tolist()):
            await self._issue(word | (address + offset) << 32 | 1 << 60)

    async def read(self, address: int, count: int) -> np.ndarray:
        words = []
        for offset in range(count):
            await self._issue((address + offset) << 32)
            words.append(await self._take())
        return np.array(words, dtype=np.uint32)

    async def wait_idle(self, cycles: int) -> None:
        """Poll the status register until not busy; `LinkError` after about ``cycles`` clock cycles."""
        for _ in range(0, cycles, 32):
            if not int((await self.read(STATUS, 1))[0]) & 1:
                return
            for _ in range(32):
                await RisingEdge(self._clock)
        raise LinkError(f"the circuit is still busy after {cycles} cycles")

    async def _issue(self, payload: int) -> None:
        valid, data, ready = self._request
        await self._stall()
        await FallingEdge(self._clock)
        valid.value = 1
        data.value = payload
        await self._until(ready)
        valid.value = 0

    async def _take(self) -> int:
        valid, data, ready = self._response
        await self._stall()
        await FallingEdge(self._clock)
        ready.value = 1
        word = await self._until(valid, data)
        ready.value = 0
        return word

    async def _until(self, signal: Any, data: Any = None) -> int:
        """Wait for a rising edge before which ``signal`` is high; returns ``data`` there, just after the edge."""
        for _ in range(WATCHDOG):
            await ReadOnly()
            done = bool(signal.value)
            word = int(data.value) if done and data is not None else 0
            await RisingEdge(self._clock)
            if done:
                return word
            await FallingEdge(self._clock)
        raise LinkError(f"{signal._path} stayed low for {WATCHDOG} cycles")

    async def _stall(self) -> None:
        while self._random.random() < self._stalls:
            await RisingEdge(self._clock)


class CocotbLink:
    """A `dorefabric.sw.link.Link` over a `BusMaster`, for blocking code started with `cocotb.task.bridge`."""

    def __init__(self, master: BusMaster) -> None:
        self.write = resume(master.write)
        self.read = resume(master.read)
        self._wait_idle = resume(master.wait_idle)

    def wait_idle(self, timeout: float) -> None:
        """Poll until not busy; `LinkError` after ``timeout`` times `TIMEOUT_RATE` clock cycles."""
        self._wait_idle(max(1, int(timeout * TIMEOUT_RATE)))

    def close(self) -> None:
        """Nothing to release."""
