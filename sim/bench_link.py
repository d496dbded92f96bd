"""The serial front end at its pins: frames on rx, answers on tx, memory behind them, damaged bytes in between."""

import random
from typing import Any

import cocotb
import numpy as np
from cocotb.queue import Queue
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.frames import IDENTITY, Command, FrameSplitter, Status, encode_frame, pack_content, unpack_content
from dorefabric.hw.registers import address, constants
from dorefabric.hw.uart import bit_edges, sample_times

from .bench import parameters
from .bench_bus import start


class _Line:
    """Characters to rx and from tx, at the configured baud rate."""

    def __init__(self, dut: Any, config: FabricConfig) -> None:
        self.dut = dut
        self._edges = bit_edges(config.clock_frequency, config.baud_rate)
        self._samples = sample_times(config.clock_frequency, config.baud_rate)
        self._splitter = FrameSplitter()
        self.frames: Queue[bytes | None] = Queue()
        cocotb.start_soon(self._receive())

    async def send(self, data: bytes) -> None:
        for byte in data:
            bits = 1 << 9 | byte << 1
            for k in range(10):
                self.dut.rx.value = bits >> k & 1
                await ClockCycles(self.dut.clk, self._edges[k + 1] - self._edges[k])

    async def _receive(self) -> None:
        while True:
            await FallingEdge(self.dut.tx)
            bits = 0
            previous = 0
            for k, time in enumerate(self._samples):
                if time > previous:
                    await ClockCycles(self.dut.clk, time - previous)
                previous = time
                bits |= int(self.dut.tx.value) << k
            assert bits & 1 == 0 and bits >> 9 == 1, "start or stop bit"
            for frame in self._splitter.feed(bytes([bits >> 1 & 0xFF])):
                self.frames.put_nowait(frame)

    async def ask(self, sequence: int, command: int, words: list[int]) -> tuple[int, int, list[int]]:
        """One request, its answer: sequence number, status, words."""
        await self.send(encode_frame(pack_content(sequence, command, words)))
        content = await self.frames.get()
        assert content is not None, "damaged answer"
        return unpack_content(content)


async def _open(dut: Any) -> tuple[_Line, FabricConfig, int]:
    config = FabricConfig.from_dict(parameters()["config"])
    await start(dut, rx=1)
    line = _Line(dut, config)
    await RisingEdge(dut.clk)
    sequence, status, words = await line.ask(0, Command.SYNC, [0xC0DB1234])
    assert (status, words) == (Status.SYNCHRONISED, [0xC0DB1234, IDENTITY])
    return line, config, sequence


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def identity_and_memory_through_the_pins(dut):
    line, config, sequence = await _open(dut)
    expected = list(constants(config).values())
    assert await line.ask(sequence, Command.READ, [address("registers"), 4]) == (sequence, Status.DONE, expected)
    # 0xC0 and 0xDB have to be escaped
    data = [0xC0C0DBDB, *np.random.default_rng(1).integers(0, 1 << 32, 20).tolist()]
    count = len(data)
    where = address("program", 3)
    assert await line.ask(sequence + 1, Command.WRITE, [where, *data]) == (sequence + 1, Status.DONE, [])
    assert await line.ask(sequence + 2, Command.READ, [where, count]) == (sequence + 2, Status.DONE, data)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def damaged_frames_are_not_executed(dut):
    line, _, sequence = await _open(dut)
    source = random.Random(parameters()["seed"])
    scratch = address("registers", 9)
    assert await line.ask(sequence, Command.WRITE, [scratch, 7]) == (sequence, Status.DONE, [])
    sequence += 1
    for _ in range(parameters()["count"]):
        frame = bytearray(encode_frame(pack_content(sequence, Command.WRITE, [scratch, source.getrandbits(32)])))
        frame[source.randrange(1, len(frame) - 1)] ^= 1 << source.randrange(8)
        await line.send(bytes(frame))
        # A damaged byte may have become the end of a frame: then there are two damaged ones.
        number, status, words = unpack_content(await line.frames.get() or b"")
        assert (number, status, words) == (sequence, Status.EXPECTED, [])
        await ClockCycles(dut.clk, 2000)
        while not line.frames.empty():
            assert unpack_content(line.frames.get_nowait() or b"")[1] == Status.EXPECTED
        assert await line.ask(sequence, Command.READ, [scratch, 1]) == (sequence, Status.DONE, [7])
        sequence += 1
