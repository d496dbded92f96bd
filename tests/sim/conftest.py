"""A small component with the core's bus, to test simulators without the core, and a cache for the session."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from amaranth.back import verilog
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from dorefabric.hw.bus import BusSignature
from dorefabric.hw.config import FabricConfig
from dorefabric.sim.tools import ToolError
from dorefabric.sim.verilator import VerilatorLink
from dorefabric.sw.device_model import DeviceModel

BUSY_CYCLES = 1000
"""Cycles that a write to register 4 keeps `BusMemory` busy."""

SMALL = FabricConfig(
    name="small", rows=2, columns=4, lanes=8, tile_columns=2, weight_depth=2048, feature_depth=2048,
    threshold_depth=256, program_depth=256, tap_depth=128, accumulator_bits=24, threshold_bits=24, front="uart",
    clock_frequency=12_000_000, baud_rate=3_000_000,
)  # fmt: skip


class BusMemory(wiring.Component):
    """``depth`` words in space 5 and a busy counter in registers 4 and 5; requests outside never answer reads."""

    def __init__(self, depth: int = 1024) -> None:
        self._depth = depth
        super().__init__({"bus": In(BusSignature())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=32, depth=self._depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        request, response = self.bus.request, self.bus.response
        payload = request.payload
        space = payload.address[24:]
        left = Signal(range(BUSY_CYCLES + 1))
        waiting = Signal()
        is_status = Signal()
        accept = request.valid & request.ready
        m.d.comb += [
            request.ready.eq(~waiting | response.ready),
            write.addr.eq(payload.address), write.data.eq(payload.data),
            write.en.eq(accept & payload.write & (space == 5)),
            read.addr.eq(payload.address), read.en.eq(accept),
            response.valid.eq(waiting),
        ]  # fmt: skip
        with m.If(is_status):
            m.d.comb += response.payload.eq(left != 0)
        with m.Else():
            m.d.comb += response.payload.eq(read.data)
        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.If(response.ready):
            m.d.sync += waiting.eq(0)
        with m.If(accept):
            with m.If(~payload.write):
                m.d.sync += [waiting.eq((space == 5) | (space == 0)), is_status.eq(space == 0)]
            with m.Elif((space == 0) & (payload.address[:24] == 4)):
                m.d.sync += left.eq(BUSY_CYCLES)
        return m


@pytest.fixture(scope="session")
def small() -> FabricConfig:
    """A configuration that simulates and compiles quickly; four cycles a bit on its serial line."""
    return SMALL


@pytest.fixture(scope="session")
def bus_memory() -> SimpleNamespace:
    """`BusMemory`: Verilog with 1,024 and with 16 words, the component, the cycles that a start keeps it busy."""
    text, small = (verilog.convert(BusMemory(depth), name="top") for depth in (1024, 16))
    return SimpleNamespace(verilog=text, small_verilog=small, component=BusMemory, busy_cycles=BUSY_CYCLES)


@pytest.fixture(scope="session", autouse=True)
def simulator_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulators of one test session are kept in a folder of that session, shared by its worker processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / "simulator-cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOREFABRIC_CACHE", str(folder))
        yield folder


@pytest.fixture(params=[0.0, 0.3], ids=["no stalls", "stalls"])
def verilator_link(request, small):
    """`SMALL` in Verilator, also with a bus that stalls at random."""
    try:
        link = VerilatorLink(small, stalls=request.param, seed=1)
    except ToolError as error:
        pytest.skip(str(error))
    with link:
        yield link


class Wrong(DeviceModel):
    """A circuit with one bit of the feature memory that is read wrongly."""

    def read(self, address, count):
        words = super().read(address, count)
        if address >> 24 == 5:
            words[0] ^= 1
        return words


@pytest.fixture(scope="session")
def wrong_circuit() -> type[DeviceModel]:
    """A circuit model that a comparison must find wrong."""
    return Wrong
