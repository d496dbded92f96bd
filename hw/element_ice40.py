"""Accumulator of a processing element in a multiplier block of an iCE40 UltraPlus."""

from amaranth import Cat, ClockSignal, Const, Instance, Module, Signal, Value

__all__ = ["BLOCKS", "BLOCK_BITS", "blocks", "map_accumulator"]

BLOCKS = {"iCE40UP3K": 4, "iCE40UP5K": 8}
"""``SB_MAC16`` of each part: a multiplier, and two adders of 16 bits with registers, which can be one."""

BLOCK_BITS = 31
"""Bits of an accumulator in a block: the lowest bit of the adder makes the carry of the popcount's left-over lane."""


def blocks(platform: object) -> int:
    """How many accumulators the platform's part has blocks for."""
    return BLOCKS.get(getattr(platform, "device", "").split("-")[0], 0)


def map_accumulator(m: Module, addend: Value, count: Value, carry: Value, enable: Value, accumulator: Signal) -> None:
    """accumulator <- addend + count + carry when ``enable`` is set, in the adders and the register of one block.

    Of the logic cells of an accumulator, of at most `BLOCK_BITS`, only those remain that make the addend.
    """
    added, kept, total = Signal(32), Signal(32), Signal(32)
    m.d.comb += [
        # A one and the left-over lane below the least significant bit: their sum is the adder's carry.
        added.eq(Cat(carry, count)),
        kept.eq(Cat(Const(1, 1), addend)),
        accumulator.eq(total[1:]),
    ]
    unused = {f"i_{name}": Const(0, 1) for name in (
        "AHOLD", "BHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT", "OLOADTOP", "OLOADBOT",
        "ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT", "CI", "ACCUMCI", "SIGNEXTIN",
    )}  # fmt: skip
    m.submodules.block = Instance(
        "SB_MAC16",
        # The registered sum of A and C in the upper half, of B and D in the lower one, which carries into it.
        p_TOPOUTPUT_SELECT=Const(1, 2), p_BOTOUTPUT_SELECT=Const(1, 2),
        p_TOPADDSUB_LOWERINPUT=Const(0, 2), p_BOTADDSUB_LOWERINPUT=Const(0, 2),
        p_TOPADDSUB_UPPERINPUT=Const(1, 1), p_BOTADDSUB_UPPERINPUT=Const(1, 1),
        p_TOPADDSUB_CARRYSELECT=Const(2, 2), p_BOTADDSUB_CARRYSELECT=Const(0, 2),
        i_CLK=ClockSignal(), i_CE=enable,
        i_A=added[16:], i_C=kept[16:], i_B=added[:16], i_D=kept[:16], **unused,
        o_O=total,
    )  # fmt: skip
