"""Self-checking cocotb bench of the generated design: plays recorded host accesses and compares every word read.

Runs on the files beside it alone (`python run_bench.py`). ``vectors.json`` holds the transcripts.
"""

import json
import os
import zlib
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.queue import Queue
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

VECTORS = json.loads((Path(os.environ.get("DOREFABRIC_DIRECTORY", ".")) / "vectors.json").read_text())
STATUS = 5  # bus word address of the status register; bit 0: busy


class Bus:
    """The bare bus: one request a word, {write, address, data}."""

    def __init__(self, dut):
        self.dut = dut
        self.clock, self.reset, self.active = dut.clk, dut.rst, 1
        dut.bus__request__valid.value = 0
        dut.bus__response__ready.value = 0

    async def open(self):
        pass

    async def _request(self, payload):
        self.dut.bus__request__payload.value = payload
        self.dut.bus__request__valid.value = 1
        await RisingEdge(self.clock)
        while not int(self.dut.bus__request__ready.value):
            await RisingEdge(self.clock)
        await FallingEdge(self.clock)
        self.dut.bus__request__valid.value = 0

    async def write(self, address, words):
        for offset, word in enumerate(words):
            await self._request(word | (address + offset) << 32 | 1 << 60)

    async def read(self, address, count):
        words = []
        for offset in range(count):
            await self._request((address + offset) << 32)
            self.dut.bus__response__ready.value = 1
            await RisingEdge(self.clock)
            while not int(self.dut.bus__response__valid.value):
                await RisingEdge(self.clock)
            words.append(int(self.dut.bus__response__payload.value))
            await FallingEdge(self.clock)
            self.dut.bus__response__ready.value = 0
        return words


class Axi:
    """AXI4-Lite: byte addresses, whole words."""

    def __init__(self, dut):
        self.dut = dut
        self.clock, self.reset, self.active = dut.aclk, dut.aresetn, 0
        for name in ("awvalid", "wvalid", "bready", "arvalid", "rready", "awprot", "arprot"):
            getattr(dut, f"s_axi_{name}").value = 0
        for name in ("s_axis_tvalid", "s_axis_tdata", "m_axis_tready"):
            getattr(dut, name).value = 0

    async def open(self):
        pass

    async def _channel(self, name, **values):
        """Offer values on a channel until they are taken."""
        for key, value in values.items():
            getattr(self.dut, f"s_axi_{key}").value = value
        getattr(self.dut, f"s_axi_{name}valid").value = 1
        await RisingEdge(self.clock)
        while not int(getattr(self.dut, f"s_axi_{name}ready").value):
            await RisingEdge(self.clock)
        await FallingEdge(self.clock)
        getattr(self.dut, f"s_axi_{name}valid").value = 0

    async def _answer(self, name, value):
        """Take one answer of a channel; its value."""
        getattr(self.dut, f"s_axi_{name}ready").value = 1
        await RisingEdge(self.clock)
        while not int(getattr(self.dut, f"s_axi_{name}valid").value):
            await RisingEdge(self.clock)
        result = int(getattr(self.dut, f"s_axi_{value}").value)
        assert int(getattr(self.dut, f"s_axi_{name}resp").value) == 0, "error response"
        await FallingEdge(self.clock)
        getattr(self.dut, f"s_axi_{name}ready").value = 0
        return result

    async def write(self, address, words):
        for offset, word in enumerate(words):
            data = cocotb.start_soon(self._channel("w", wdata=word, wstrb=15))
            await self._channel("aw", awaddr=4 * (address + offset))
            await data
            await self._answer("b", "bresp")

    async def read(self, address, count):
        words = []
        for offset in range(count):
            await self._channel("ar", araddr=4 * (address + offset))
            words.append(await self._answer("r", "rdata"))
        return words


class Uart:
    """Frames on the serial pins: sequence number, command, words, CRC-32; escaped as in SLIP."""

    SYNC, WRITE, READ = 1, 2, 3

    def __init__(self, dut):
        self.dut = dut
        self.clock, self.reset, self.active = dut.clk, dut.rst, 1
        clock, baud = VECTORS["clock_frequency"], VECTORS["baud_rate"]
        self.edges = [(2 * k * clock + baud) // (2 * baud) for k in range(11)]
        self.middles = [(2 * k + 1) * clock // (2 * baud) for k in range(10)]
        self.received: Queue[int] = Queue()
        self.sequence = 0
        dut.rx.value = 1

    async def open(self):
        cocotb.start_soon(self._receive())
        self.sequence, _ = await self._ask(self.SYNC, [0x12345678])

    async def _send(self, data):
        for byte in data:
            for k in range(10):
                self.dut.rx.value = (1 << 9 | byte << 1) >> k & 1
                await ClockCycles(self.clock, self.edges[k + 1] - self.edges[k])

    async def _receive(self):
        while True:
            await FallingEdge(self.dut.tx)
            bits = before = 0
            for k, middle in enumerate(self.middles):
                await ClockCycles(self.clock, middle - before)
                before = middle
                bits |= int(self.dut.tx.value) << k
            self.received.put_nowait(bits >> 1 & 0xFF)

    async def _ask(self, command, words):
        """Send a request, receive its answer: sequence number and words."""
        content = bytes((self.sequence, command)) + b"".join(word.to_bytes(4, "little") for word in words)
        content += zlib.crc32(content).to_bytes(4, "little")
        await self._send(b"\xc0" + content.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0")
        frame = b""
        while True:
            byte = await self.received.get()
            if byte != 0xC0:
                frame += bytes((byte,))
            elif frame:
                break
        frame = frame.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")
        assert zlib.crc32(frame[:-4]) == int.from_bytes(frame[-4:], "little"), "CRC of an answer"
        assert frame[1] == (1 if command == self.SYNC else 0), f"status {frame[1]} of an answer"
        return frame[0], [int.from_bytes(frame[k : k + 4], "little") for k in range(2, len(frame) - 4, 4)]

    async def write(self, address, words):
        for start in range(0, len(words), 62):
            await self._ask(self.WRITE, [address + start, *words[start : start + 62]])
            self.sequence = self.sequence + 1 & 0xFF

    async def read(self, address, count):
        words: list[int] = []
        while len(words) < count:
            part = min(255, count - len(words))
            words += (await self._ask(self.READ, [address + len(words), part]))[1]
            self.sequence = self.sequence + 1 & 0xFF
        return words


FRONTS: dict[str, Any] = {"bus": Bus, "axi": Axi, "uart": Uart}


@cocotb.test(timeout_time=10, timeout_unit="sec")
async def random_layers(dut):
    """Every recorded layer: equal feature maps, identity and cycle counters."""
    host = FRONTS[VECTORS["front"]](dut)
    host.reset.value = host.active
    Clock(host.clock, 10, unit="ns").start()
    await ClockCycles(host.clock, 4)
    await FallingEdge(host.clock)
    host.reset.value = 1 - host.active
    await FallingEdge(host.clock)
    await host.open()
    compared = 0
    for case in VECTORS["cases"]:
        for operation, *rest in case["transcript"]:
            if operation == "write":
                await host.write(*rest)
            elif operation == "read":
                address, expected = rest
                words = await host.read(address, len(expected))
                assert words == expected, f"{case['name']}: words from 0x{address:07x} are {words}, not {expected}"
                compared += len(words)
            else:
                while (await host.read(STATUS, 1))[0] & 1:
                    await ClockCycles(host.clock, 50)
        dut._log.info("%s: equal", case["name"])
    assert compared > 0
    dut._log.info("%d words compared", compared)
