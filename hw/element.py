"""Processing element: mismatches of two words, accumulated."""

from collections.abc import Iterable

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .element_ecp5 import MAPPED_LANES, map_element
from .element_gowin import connect_element
from .popcount import Popcount, popcount
from .shared import mapped

__all__ = ["Element", "accumulate"]


def accumulate(steps: Iterable[tuple[int, int, bool]], bits: int) -> int:
    """What an `Element` holds after ``steps`` of (activations, weights, double), modulo 2**``bits``."""
    total = 0
    for activations, weights, double in steps:
        total = (2 * total if double else total) + popcount(activations ^ weights)
    return total & (1 << bits) - 1


class Element(wiring.Component):
    """XOR, population count and accumulator.

    When ``enable`` is set, accumulator <- (0 if clear else 2 · accumulator if double else accumulator) + count, for the
    count of the operands given `timing.popcount_latency` cycles before: the control signals are that much later than
    the operands. Throughput: one word a cycle. The accumulator wraps modulo 2**``accumulator_bits``.

    Members
    -------
    activations, weights : In, ``lanes`` bits
    enable, clear, double : In
    accumulator : Out, ``accumulator_bits`` bits
    """

    def __init__(self, *, lanes: int, accumulator_bits: int, technology: str) -> None:
        self.lanes, self.technology = lanes, technology
        super().__init__(
            {
                "activations": In(lanes),
                "weights": In(lanes),
                "enable": In(1),
                "clear": In(1),
                "double": In(1),
                "accumulator": Out(accumulator_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.technology == "ecp5" and self.lanes >= MAPPED_LANES and mapped(platform):
            accumulator = map_element(
                m, self.activations, self.weights, enable=self.enable, clear=self.clear, double=self.double,
                accumulator_bits=len(self.accumulator),
            )  # fmt: skip
            m.d.comb += self.accumulator.eq(accumulator)
            return m
        if self.technology == "gowin" and mapped(platform):
            connect_element(m, self)
            return m
        m.submodules.mismatches = mismatches = Popcount(self.lanes, self.technology)
        m.d.comb += mismatches.lanes.eq(self.activations ^ self.weights)

        addend = Signal.like(self.accumulator)
        total = Signal(len(addend) + 1)
        register = Signal.like(self.accumulator, reset_less=True)
        m.d.comb += [
            addend.eq(Mux(self.clear, 0, Mux(self.double, register << 1, register))),
            # A one and the left-over lane below the least significant bit: their carry is the adder's carry input.
            total.eq(Cat(Const(1, 1), addend) + Cat(mismatches.carry, mismatches.count)),
            self.accumulator.eq(register),
        ]
        with m.If(self.enable):
            m.d.sync += register.eq(total[1:])
        return m
