"""Block RAM with one read and one write port, in the form that every synthesis tool maps without extra logic."""

from amaranth import Module, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["YOSYS_NO_COLLISION_CHECK", "BlockMemory"]

YOSYS_NO_COLLISION_CHECK = "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2"
"""Yosys command, after reading Amaranth's RTLIL and before synthesis: a word that is read while it is written may
read as anything, as `BlockMemory` promises. Without it yosys builds a bypass around every memory. Verilog carries the
same promise as the attribute ``no_rw_check``."""


class BlockMemory(wiring.Component):
    """``depth`` words of ``width`` bits.

    Latency 1: ``read_data`` is the word at the ``read_address`` of the cycle before. One read and one write a cycle.
    A word that is read in the cycle in which it is written reads as undefined (simulation: its old value).
    Contents are zero at power-up where the fabric can do that; reset does not change them.

    Parameters
    ----------
    granularity : int
        Bits that share one write enable; divides ``width``.

    Members
    -------
    read_address, read_data, write_address, write_data : addresses and words
    write_enable : one bit for each ``granularity`` bits of the word, the least significant first
    """

    def __init__(self, *, width: int, depth: int, granularity: int | None = None) -> None:
        self.width, self.depth = width, depth
        self.granularity = granularity or width
        super().__init__(
            {
                "read_address": In(ceil_log2(depth)),
                "read_data": Out(width),
                "write_address": In(ceil_log2(depth)),
                "write_enable": In(width // self.granularity),
                "write_data": In(width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.storage = storage = Memory(
            shape=unsigned(self.width), depth=self.depth, init=[], attrs={"no_rw_check": 1}
        )
        read, write = storage.read_port(), storage.write_port(granularity=self.granularity)
        m.d.comb += [
            read.addr.eq(self.read_address),
            self.read_data.eq(read.data),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            write.en.eq(self.write_enable),
        ]
        return m
