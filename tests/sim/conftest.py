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

BUSY_CYCLES = 1000
"""Cycles that a write to register 4 keeps `BusMemory` busy."""


class BusMemory(wiring.Component):
    """1,024 words in space 5 and a busy counter in registers 4 and 5; requests outside never answer reads."""

    def __init__(self) -> None:
        super().__init__({"bus": In(BusSignature())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=32, depth=1024, init=[])
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
def bus_memory() -> SimpleNamespace:
    """`BusMemory`: its Verilog, a factory for the component, and the cycles that a start keeps it busy."""
    text = verilog.convert(BusMemory(), name="top")
    return SimpleNamespace(verilog=text, component=BusMemory, busy_cycles=BUSY_CYCLES)


@pytest.fixture(scope="session", autouse=True)
def simulator_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulators of one test session are kept in a folder of that session, shared by its worker processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / "simulator-cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOREFABRIC_CACHE", str(folder))
        yield folder
