"""Whole designs with a small memory in the core's place: the driver's link through the pins, and generated files."""

import json
import random
import re
import subprocess
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out, flipped
from amaranth.sim import Simulator

from dorefabric.hw.bus import BusSignature
from dorefabric.hw.config import FabricConfig
from dorefabric.hw.errors import DorefabricError
from dorefabric.hw.front import SerialFront
from dorefabric.hw.generate import generate_verilog, memory_map
from dorefabric.hw.isa import DESCRIPTOR_FIELDS
from dorefabric.hw.registers import REGISTERS, SPACES, address
from dorefabric.hw.top import AxiTop, BusTop, UartTop
from dorefabric.hw.uart import UARTReceiver, UARTTransmitter
from dorefabric.sim.line import NoisyLine
from dorefabric.sim.processes import BusMemory
from dorefabric.sw.framed_link import FramedLink


@pytest.fixture(autouse=True)
def fixed_nonces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nonces decide how many bytes are escaped, and so where the noise falls."""
    monkeypatch.setattr("secrets.randbits", random.Random(1).getrandbits)


class StandIn(Component):
    """1,024 words behind the core's ports; busy shows bit 0 of the latest write."""

    def __init__(self) -> None:
        super().__init__({"bus": In(BusSignature()), "busy": Out(1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=32, depth=1024, init=[])
        write, read = memory.write_port(), memory.read_port()
        waiting = Signal()
        request, response = self.bus.request, self.bus.response
        accept = request.valid & request.ready
        m.d.comb += [
            request.ready.eq(~waiting | response.ready),
            write.addr.eq(request.payload.address), write.data.eq(request.payload.data),
            write.en.eq(accept & request.payload.write),
            read.addr.eq(request.payload.address), read.en.eq(accept & ~request.payload.write),
            response.valid.eq(waiting), response.payload.eq(read.data),
        ]  # fmt: skip
        with m.If(response.ready):
            m.d.sync += waiting.eq(0)
        with m.If(read.en):
            m.d.sync += waiting.eq(1)
        with m.If(write.en):
            m.d.sync += self.busy.eq(request.payload.data[0])
        return m


class SimulatedFront:
    """The serial front end in Amaranth's simulator as a `ByteDevice`: bytes in, bytes out until it is silent."""

    quiet = 80

    def __init__(self, memory: BusMemory) -> None:
        dut = SerialFront(crc_bits=8)
        self._waiting: deque[int] = deque()
        self._received = bytearray()
        self._silent = 0
        self._build(dut, dut.i, dut.o)
        self._simulator.add_testbench(memory.serve(flipped(dut.bus)), background=True)

    def _build(self, design, port_i, port_o) -> None:
        self._simulator = Simulator(design)
        self._simulator.add_clock(1e-6)

        async def process(ctx) -> None:
            ctx.set(port_o.ready, 1)
            while True:
                ctx.set(port_i.valid, bool(self._waiting))
                if self._waiting:
                    ctx.set(port_i.payload, self._waiting[0])
                _, _, taken, valid, byte = await ctx.tick().sample(port_i.ready, port_o.valid, port_o.payload)
                if self._waiting and taken:
                    self._waiting.popleft()
                if valid:
                    self._received.append(byte)
                self._silent = 0 if self._waiting or valid else self._silent + 1

        self._simulator.add_testbench(process)

    def feed(self, data: bytes) -> bytes:
        self._waiting.extend(data)
        self._silent = 0
        while self._silent < self.quiet:
            self._simulator.advance()
        answer = bytes(self._received)
        self._received.clear()
        return answer


class SimulatedBoard(SimulatedFront):
    """`UartTop` seen through its pins, at 4 clock cycles a bit."""

    quiet = 260

    def __init__(self) -> None:
        config = FabricConfig(clock_frequency=12_000_000, baud_rate=3_000_000)
        self._waiting = deque()
        self._received = bytearray()
        m = Module()
        m.submodules.top = top = UartTop(config, core=StandIn())
        m.submodules.send = send = UARTTransmitter(config.clock_frequency, config.baud_rate)
        m.submodules.receive = receive = UARTReceiver(config.clock_frequency, config.baud_rate)
        m.d.comb += [top.rx.eq(send.tx), receive.rx.eq(top.tx)]
        self._build(m, send.i, receive.o)


@pytest.mark.parametrize(("error_rate", "seed"), [(0.0, 1), (0.01, 2), (0.02, 3)])
def test_driver_and_gateware_on_a_noisy_line(error_rate: float, seed: int) -> None:
    memory = BusMemory(idle=0.2)
    line = NoisyLine(SimulatedFront(memory), error_rate, seed=seed)
    rng = np.random.default_rng(seed)
    expected: list[tuple[int, int]] = []
    with FramedLink(line) as link:
        for start, count in ((0x5000010, 12), (3, 3), (0x5000000, 9)):
            words = rng.integers(0, 1 << 32, count, dtype=np.uint32)
            link.write(start, words)
            expected += [(start + k, int(word)) for k, word in enumerate(words)]
        contents = dict(expected)
        assert link.read(0x5000008, 20).tolist() == [contents.get(0x5000008 + k, 0) for k in range(20)]
        assert (link.statistics.recoveries > 0) == (error_rate > 0)
    assert memory.writes == expected


@pytest.mark.parametrize(("error_rate", "seed"), [(0.0, 4), (0.005, 5)])
def test_driver_through_the_pins(error_rate: float, seed: int) -> None:
    line = NoisyLine(SimulatedBoard(), error_rate, seed=seed)
    words = np.random.default_rng(seed).integers(0, 1 << 32, 20, dtype=np.uint32)
    with FramedLink(line) as link:
        link.write(100, words)
        assert (link.read(100, 20) == words).all()


def test_busy_is_a_pin() -> None:
    dut = BusTop(FabricConfig(front="bus"), core=StandIn())
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def bench(ctx) -> None:
        for value in (1, 0):
            ctx.set(dut.bus.request.payload, {"data": value, "address": 1, "write": 1})
            ctx.set(dut.bus.request.valid, 1)
            await ctx.tick()
            assert ctx.get(dut.busy) == value

    simulator.add_testbench(bench)
    simulator.run()


def test_axi_pins_reach_the_core() -> None:
    dut = AxiTop(FabricConfig(front="axi"), core=StandIn())
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def bench(ctx) -> None:
        for name, value in {"awaddr": 44, "awvalid": 1, "wdata": 0x1235, "wstrb": 15, "wvalid": 1, "bready": 1}.items():
            ctx.set(getattr(dut, f"s_axi_{name}"), value)
        assert await _until(ctx, dut.s_axi_bvalid, dut.s_axi_bresp) == [0]
        ctx.set(dut.s_axi_awvalid, 0)
        for name, value in {"araddr": 44, "arvalid": 1, "rready": 1}.items():
            ctx.set(getattr(dut, f"s_axi_{name}"), value)
        assert await _until(ctx, dut.s_axi_rvalid, dut.s_axi_rdata, dut.s_axi_rresp) == [0x1235, 0]
        assert ctx.get(dut.busy) == 1

    simulator.add_testbench(bench)
    simulator.run()


async def _until(ctx, signal, *values) -> list[int]:
    for _ in range(100):
        _, _, done, *sampled = await ctx.tick().sample(signal, *values)
        if done:
            return sampled
    raise AssertionError("no response in 100 cycles")


PORTS = {
    "uart": "busy clk rst rx tx",
    "bus": "bus__request__payload bus__request__ready bus__request__valid bus__response__payload "
           "bus__response__ready bus__response__valid busy clk rst",
    "axi": "aclk aresetn busy m_axis_tdata m_axis_tlast m_axis_tready m_axis_tvalid s_axi_araddr s_axi_arprot "
           "s_axi_arready s_axi_arvalid s_axi_awaddr s_axi_awprot s_axi_awready s_axi_awvalid s_axi_bready "
           "s_axi_bresp s_axi_bvalid s_axi_rdata s_axi_rready s_axi_rresp s_axi_rvalid s_axi_wdata s_axi_wready "
           "s_axi_wstrb s_axi_wvalid s_axis_tdata s_axis_tready s_axis_tvalid",
}  # fmt: skip


@pytest.mark.parametrize("front", ["uart", "axi", "bus"])
def test_generated_files(front: str, tmp_path: Path) -> None:
    config = FabricConfig(name="small", front=front)
    files = generate_verilog(config, tmp_path / "out", core=StandIn())
    assert [path.name for path in files] == [
        "dorefabric.v", "registers.md", "registers.json", "config.toml", "config.json",
    ]  # fmt: skip
    text = files[0].read_text()
    header = re.search(r"^module dorefabric\((.*?)\);", text, re.MULTILINE | re.DOTALL)
    assert header is not None
    assert " ".join(sorted(re.findall(r"\w+", header[1]))) == PORTS[front]
    assert "src =" not in text
    assert FabricConfig.from_toml(tmp_path / "out" / "config.toml") == config
    assert FabricConfig.from_dict(json.loads(files[4].read_text())) == config
    assert json.loads(files[2].read_text()) == memory_map(config)
    markdown = files[1].read_text()
    for register in REGISTERS:
        assert f"| {register.name} " in markdown
    assert f"0x{config.fingerprint:08x}" in markdown
    assert ("0x3c000004" in markdown) == (front == "axi")
    again = generate_verilog(config, tmp_path / "again", core=StandIn())
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in files]


def test_memory_map_matches_the_definitions() -> None:
    config = FabricConfig(rows=2, columns=8, lanes=64)
    info = memory_map(config)
    assert {space["name"]: space["address"] for space in info["spaces"]} == {name: address(name) for name in SPACES}
    assert {s["name"]: s["words"] for s in info["spaces"]}["features"] == config.feature_depth * 2 * 2
    assert {r["name"]: r["value"] for r in info["registers"]}["fingerprint"] == config.fingerprint
    assert [f["name"] for f in info["descriptor"]] == [field.name for field in DESCRIPTOR_FIELDS]


def test_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DorefabricError, match=rf"^cannot write to {tmp_path}/file: File exists$"):
        generate_verilog(FabricConfig(), tmp_path / "file", core=StandIn())


@pytest.mark.parametrize("front", ["uart", "axi"])
def test_generated_verilog_is_accepted_by_icarus(front: str, tmp_path: Path) -> None:
    import shutil

    if shutil.which("iverilog") is None:
        pytest.skip("iverilog is not installed")
    files = generate_verilog(FabricConfig(front=front), tmp_path, core=StandIn())
    done = subprocess.run(["iverilog", "-Wall", "-g2005", "-t", "null", str(files[0])], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
