"""A small design for tests of the build: an echo with a block memory."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["Echo"]


class Echo(wiring.Component):
    """Sends the line back, 256 cycles later, through a 256-word memory."""

    def __init__(self) -> None:
        super().__init__({"rx": In(1), "tx": Out(1, init=1), "busy": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=16, depth=256, init=[])
        read, write = memory.read_port(), memory.write_port()
        address = Signal(8)
        m.d.sync += [address.eq(address + 1), self.tx.eq(read.data.any()), self.busy.eq(~self.rx)]
        m.d.comb += [
            read.addr.eq(address + 1),
            write.addr.eq(address),
            write.data.eq(self.rx.replicate(16)),
            write.en.eq(1),
        ]
        return m
