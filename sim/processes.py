"""Testbench processes for Amaranth's simulator: stream source, stream sink, a memory behind the bus.

    simulator.add_testbench(source(dut.i, payloads))
    simulator.add_testbench(sink(dut.o, received), background=True)
    simulator.add_testbench(memory.serve(dut.bus), background=True)

Each takes a probability of idle cycles, so that every unit is tried under stalls on both sides.
"""

import random
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["BusMemory", "sink", "source"]


# Plain loops: a process that is thrown away while it waits in `until` leaves a warning behind.
async def _give(ctx, port, payload: Any) -> None:
    ctx.set(port.payload, payload)
    ctx.set(port.valid, 1)
    ready = False
    while not ready:
        _, _, ready = await ctx.tick().sample(port.ready)
    ctx.set(port.valid, 0)


async def _take(ctx, port) -> Any:
    ctx.set(port.ready, 1)
    valid = False
    while not valid:
        _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
    ctx.set(port.ready, 0)
    return payload


def source(port, payloads: Iterable[Any], idle: float = 0.0, seed: int = 0) -> Callable:
    """Process that sends ``payloads`` into the input stream ``port``, pausing with probability ``idle``."""
    rng = random.Random(seed)

    async def process(ctx) -> None:
        for payload in payloads:
            while rng.random() < idle:
                await ctx.tick()
            await _give(ctx, port, payload)

    return process


def sink(port, received: list, idle: float = 0.0, seed: int = 1) -> Callable:
    """Endless process that appends what the output stream ``port`` carries to ``received``."""
    rng = random.Random(seed)

    async def process(ctx) -> None:
        while True:
            while rng.random() < idle:
                await ctx.tick()
            received.append(await _take(ctx, port))

    return process


class BusMemory:
    """A memory behind the bus that remembers every access.

    Attributes
    ----------
    words : dict of address to 32-bit word; what was never written reads as 0.
    log : list of (address, data) of the writes, (address, None) of the reads, in order.
    """

    def __init__(self, idle: float = 0.0, seed: int = 2) -> None:
        self.words: dict[int, int] = {}
        self.log: list[tuple[int, int | None]] = []
        self._idle = idle
        self._rng = random.Random(seed)

    @property
    def writes(self) -> list[tuple[int, int]]:
        return [(address, data) for address, data in self.log if data is not None]

    def serve(self, bus) -> Callable:
        """Endless process that answers the requests on ``bus`` (the side that receives them, or its flip)."""

        async def process(ctx) -> None:
            while True:
                while self._rng.random() < self._idle:
                    await ctx.tick()
                request = await _take(ctx, bus.request)
                if request.write:
                    self.words[request.address] = request.data
                    self.log.append((request.address, request.data))
                    continue
                self.log.append((request.address, None))
                while self._rng.random() < self._idle:
                    await ctx.tick()
                await _give(ctx, bus.response, self.words.get(request.address, 0))

        return process
