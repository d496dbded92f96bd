"""Two small memories in one block RAM, each with a port of its own."""

from typing import Any

from amaranth import Cat, ClockSignal, Const, Instance, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .memory import BlockMemory
from .pipeline import delay
from .shared import mapped

__all__ = ["TwinMemory"]

_WIDTH, _DEPTH = 18, 1024


class TwinMemory(wiring.Component):
    """Two memories of ``depth`` words of ``width`` bits, which are read together, or one of which is written.

    Latency 2. What is read in a cycle with a write to either is undefined. On ECP5 both are halves of one ``DP16KD``,
    which has two independent ports of 1,024 × 18 bits: one reads the lower half and writes, the other reads the upper
    half. On other fabrics, and in simulation, they are two `BlockMemory`.

    Members
    -------
    read_addresses, read_data : In, Out, one per memory
    write_enables : In, one bit per memory
    write_address, write_data : In, common
    """

    def __init__(self, *, width: int, depth: int, technology: str) -> None:
        self.width, self.depth, self.technology = width, depth, technology
        address = ceil_log2(depth)
        super().__init__(
            {
                "read_addresses": In(address).array(2),
                "read_data": Out(width).array(2),
                "write_enables": In(2),
                "write_address": In(address),
                "write_data": In(width),
            }
        )

    @staticmethod
    def fits(*, width: int, depth: int, technology: str) -> bool:
        """Whether two such memories share a block RAM."""
        return technology == "ecp5" and width <= _WIDTH and 2 * depth <= _DEPTH

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if mapped(platform) and self.fits(width=self.width, depth=self.depth, technology=self.technology):
            self._ports(m)
            return m
        for half in (0, 1):
            m.submodules[f"half_{half}"] = memory = BlockMemory(width=self.width, depth=self.depth, exclusive=True)
            m.d.comb += [
                memory.read_address.eq(self.read_addresses[half]),
                self.read_data[half].eq(delay(m, memory.read_data, 1, name=f"read_data_{half}")),
                memory.write_enable.eq(self.write_enables[half]),
                memory.write_address.eq(self.write_address),
                memory.write_data.eq(self.write_data),
            ]
        return m

    def _ports(self, m: Module) -> None:
        address_bits = ceil_log2(_DEPTH)
        padding = Const(0, address_bits - 1 - ceil_log2(self.depth))
        writes = self.write_enables.any()
        lower = Mux(writes, self.write_address, self.read_addresses[0])
        addresses = Cat(lower, padding, self.write_enables[1]), Cat(self.read_addresses[1], padding, Const(1, 1))
        padded = Cat(self.write_data, Const(0, _WIDTH - self.width))
        ports: dict[str, Any] = {"p_RESETMODE": "SYNC", "p_GSR": "DISABLED"}
        for half, port in enumerate("AB"):
            address = Signal(address_bits, name=f"address_{half}")
            word = Signal(_WIDTH, name=f"word_{half}")
            m.d.comb += [address.eq(addresses[half]), self.read_data[half].eq(word)]
            write_enable, data = (Const(0), Const(0, _WIDTH)) if half else (writes, padded)
            ports |= {
                f"p_DATA_WIDTH_{port}": _WIDTH, f"p_REGMODE_{port}": "OUTREG", f"p_WRITEMODE_{port}": "NORMAL",
                f"p_CSDECODE_{port}": "0b000", f"p_CLK{port}MUX": f"CLK{port}",
                f"i_CLK{port}": ClockSignal(), f"i_CE{port}": Const(1), f"i_OCE{port}": Const(1),
                f"i_RST{port}": Const(0), f"i_WE{port}": write_enable,
            }  # fmt: skip
            ports |= {f"i_CS{port}{index}": Const(0) for index in range(3)}
            # Addresses count bits; below the words of 18 are two that write its halves.
            ports |= {f"i_AD{port}{index}": Const(int(index < 2)) for index in range(4)}
            ports |= {f"i_AD{port}{4 + index}": address[index] for index in range(address_bits)}
            ports |= {f"i_DI{port}{index}": data[index] for index in range(_WIDTH)}
            ports |= {f"o_DO{port}{index}": word[index] for index in range(_WIDTH)}
        m.submodules.block_ram = Instance("DP16KD", **ports)
