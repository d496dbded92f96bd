"""Block RAM with one read and one write port, in the form that every synthesis tool maps without extra logic."""

from amaranth import Cat, ClockSignal, Const, Instance, Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["SPRAM_DEPTH", "SPRAM_MINIMUM_DEPTH", "YOSYS_NO_COLLISION_CHECK", "BlockMemory"]

SPRAM_DEPTH = 1 << 14
"""Words of one ``SB_SPRAM256KA``, 16 bits each; an iCE40 UltraPlus 5K has four."""

SPRAM_MINIMUM_DEPTH = 1 << 10
"""Words from which an exclusive memory goes there: 16 bits of so many would take four of 30 block RAMs."""

YOSYS_NO_COLLISION_CHECK = "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i"
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
    exclusive : bool
        What is read in a cycle with a write does not matter, so that one port will do. On an iCE40 UltraPlus such a
        memory of `SPRAM_MINIMUM_DEPTH` to `SPRAM_DEPTH` words is put into its single-port RAM, which holds anything
        at power-up, unless its granularity is none of the multiples of 4 that this has.
    style : str, optional
        "distributed": make it of LUTs, which not every fabric can; "block": of block RAM, however small it is.

    Members
    -------
    read_address, read_data, write_address, write_data : addresses and words
    write_enable : one bit for each ``granularity`` bits of the word, the least significant first
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        granularity: int | None = None,
        exclusive: bool = False,
        style: str | None = None,
    ) -> None:
        self.width, self.depth, self.exclusive = width, depth, exclusive
        self.attributes: dict[str, int | str] = {"no_rw_check": 1}
        if style:
            self.attributes["ram_style"] = style
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
        if (
            self.exclusive
            and SPRAM_MINIMUM_DEPTH <= self.depth <= SPRAM_DEPTH
            and (self.granularity % 4 == 0 or self.granularity == self.width)
            and getattr(platform, "device", "").startswith("iCE40UP")
        ):
            self._single_port(m)
            return m
        m.submodules.storage = storage = Memory(
            shape=unsigned(self.width), depth=self.depth, init=[], attrs=self.attributes
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

    def _single_port(self, m: Module) -> None:
        address = Signal(14)
        writing = self.write_enable.any()
        # One bit for each four of the data, those of an incomplete last granule included.
        mask = Cat(enable.replicate(-(-self.granularity // 4)) for enable in self.write_enable)
        m.d.comb += address.eq(Mux(writing, self.write_address, self.read_address))
        words = []
        for low in range(0, self.width, 16):
            word = Signal(16, name=f"spram_{low}")
            m.submodules[f"spram_{low}"] = Instance(
                "SB_SPRAM256KA",
                i_CLOCK=ClockSignal(),
                i_ADDRESS=address,
                i_DATAIN=Cat(self.write_data[low : low + 16], Const(0, 16))[:16],
                i_MASKWREN=Cat(mask[low // 4 : low // 4 + 4], Const(0, 4))[:4],
                i_WREN=writing,
                i_CHIPSELECT=Const(1, 1),
                i_STANDBY=Const(0, 1),
                i_SLEEP=Const(0, 1),
                i_POWEROFF=Const(1, 1),  # active low
                o_DATAOUT=word,
            )
            words.append(word)
        m.d.comb += self.read_data.eq(Cat(words))
