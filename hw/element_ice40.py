"""Two processing elements whose accumulators are the two halves of an iCE40 UltraPlus multiplier block."""

from amaranth import Cat, ClockSignal, Const, Instance, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .config import FabricConfig
from .popcount import Popcount

__all__ = ["BLOCK_BITS", "ElementPair", "has_blocks"]

BLOCKS = {"iCE40UP3K": 4, "iCE40UP5K": 8}
"""``SB_MAC16`` of each part; each has two adders of 16 bits with a register."""

BLOCK_BITS = 15
"""Bits of an accumulator in a block: the lowest bit of the adder makes the carry of the popcount's left-over lane."""


def has_blocks(config: FabricConfig, platform: object) -> bool:
    """Whether the part has a block for every two elements, and the accumulators fit them."""
    blocks = BLOCKS.get(getattr(platform, "device", "").split("-")[0], 0)
    elements = config.rows * config.columns
    return config.accumulator_bits <= BLOCK_BITS and elements % 2 == 0 and elements <= 2 * blocks


class ElementPair(wiring.Component):
    """Does what two `element.Element` do that have their control signals in common.

    The logic cells that remain of an accumulator are a multiplexer of 0, itself and its double. An element of 32 lanes
    and 15 bits takes 15 logic cells less than without the block, and a carry chain less.

    Members
    -------
    activations, weights : In, ``lanes`` bits of each element
    enable, clear, double : In
    accumulators : Out, ``accumulator_bits`` bits of each element
    """

    def __init__(self, *, lanes: int, accumulator_bits: int) -> None:
        self.lanes, self.accumulator_bits = lanes, accumulator_bits
        super().__init__(
            {
                "activations": In(lanes).array(2),
                "weights": In(lanes).array(2),
                "enable": In(1),
                "clear": In(1),
                "double": In(1),
                "accumulators": Out(accumulator_bits).array(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        added, kept = [], []
        for index in range(2):
            popcount = Popcount(self.lanes, "ice40")
            m.submodules[f"mismatches_{index}"] = popcount
            m.d.comb += popcount.lanes.eq(self.activations[index] ^ self.weights[index])
            accumulator = self.accumulators[index]
            addend = Mux(self.clear, 0, Mux(self.double, accumulator << 1, accumulator))
            # A one and the left-over lane below the least significant bit: their sum is the adder's carry.
            added.append(Signal(16, name=f"added_{index}"))
            kept.append(Signal(16, name=f"kept_{index}"))
            m.d.comb += [
                added[index].eq(Cat(popcount.carry, popcount.count)),
                kept[index].eq(Cat(Const(1, 1), addend[: self.accumulator_bits])),
            ]
        sums = Signal(32)
        low = {name: Const(0, 1) for name in (
            "i_AHOLD", "i_BHOLD", "i_CHOLD", "i_DHOLD", "i_IRSTTOP", "i_IRSTBOT", "i_ORSTTOP", "i_ORSTBOT",
            "i_OLOADTOP", "i_OLOADBOT", "i_ADDSUBTOP", "i_ADDSUBBOT", "i_OHOLDTOP", "i_OHOLDBOT", "i_CI", "i_ACCUMCI",
            "i_SIGNEXTIN",
        )}  # fmt: skip
        m.submodules.block = Instance(
            "SB_MAC16",
            # Registered sums of A and C in the upper half, of B and D in the lower one; no multiplication.
            p_TOPOUTPUT_SELECT=Const(1, 2), p_BOTOUTPUT_SELECT=Const(1, 2),
            p_TOPADDSUB_LOWERINPUT=Const(0, 2), p_BOTADDSUB_LOWERINPUT=Const(0, 2),
            p_TOPADDSUB_UPPERINPUT=Const(1, 1), p_BOTADDSUB_UPPERINPUT=Const(1, 1),
            p_TOPADDSUB_CARRYSELECT=Const(0, 2), p_BOTADDSUB_CARRYSELECT=Const(0, 2),
            p_MODE_8x8=Const(1, 1),
            i_CLK=ClockSignal(), i_CE=self.enable,
            i_A=added[0], i_C=kept[0], i_B=added[1], i_D=kept[1], **low,
            o_O=sums,
        )  # fmt: skip
        m.d.comb += [
            self.accumulators[0].eq(sums[17:]),
            self.accumulators[1].eq(sums[1:16]),
        ]
        return m
