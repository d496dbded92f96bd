"""Registers that hold a descriptor, filled word by word from the program memory."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .config import FabricConfig
from .descriptor import COUNTS, descriptor_layout
from .isa import BLOCK_WORDS, DESCRIPTOR_FIELDS
from .timing import LOOP_COUNTS, PARAMETER_WORDS

__all__ = ["DescriptorRegisters"]


class DescriptorRegisters(wiring.Component):
    """The descriptor that runs and, with ``prefetch``, a second set of registers for the one after it.

    Without ``prefetch`` words go to ``descriptor`` at once. With it they wait until ``exchange``, and only then change
    what the datapath sees.

    Members
    -------
    clear : In; before the first word
    load, number, word : In; 32-bit ``word`` is number 0 to 17 of the descriptor that is read
    exchange : In; the descriptor that was read becomes ``descriptor`` in the next cycle; only with ``prefetch``
    descriptor : Out; `descriptor.descriptor_layout`
    empty : Out; a loop count of what was read is 0
    detour : Out; ``empty``, or a block is to be copied. Without ``prefetch`` the word that is loaded counts already
    """

    def __init__(self, config: FabricConfig) -> None:
        self.config = config
        super().__init__(
            {
                "clear": In(1),
                "load": In(1),
                "number": In(range(PARAMETER_WORDS)),
                "word": In(32),
                "exchange": In(1),
                "descriptor": Out(descriptor_layout(config)),
                "empty": Out(1),
                "detour": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        read = Signal.like(self.descriptor, reset_less=True)
        detour = Signal(reset_less=True)
        found = Signal()  # reasons for a detour in this word
        with m.If(self.load), m.Switch(self.number):
            for number in range(PARAMETER_WORDS):
                with m.Case(number):
                    if number in BLOCK_WORDS.values():
                        m.d.comb += found.eq(self.word[16:] != 0)
                        continue
                    for field in (field for field in DESCRIPTOR_FIELDS if field.word == number):
                        bits = self.word[field.lsb : field.lsb + field.width]
                        m.d.sync += read[field.name].eq(bits - 1 if field.name in COUNTS else bits)
                        if field.name in LOOP_COUNTS:
                            with m.If(bits == 0):
                                m.d.comb += found.eq(1)
                                m.d.sync += self.empty.eq(1)
        with m.If(self.clear):
            m.d.sync += [self.empty.eq(0), detour.eq(0)]
        with m.Elif(found):
            m.d.sync += detour.eq(1)

        if not self.config.prefetch:
            m.d.comb += [self.descriptor.eq(read), self.detour.eq(detour | found)]
            return m
        running = Signal.like(self.descriptor, reset_less=True)
        with m.If(self.exchange):
            m.d.sync += running.eq(read)
        m.d.comb += [self.descriptor.eq(running), self.detour.eq(detour)]
        return m
