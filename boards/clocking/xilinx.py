"""The phase-locked loop of Xilinx 7-series."""

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, Self

from .base import Pll, check

if TYPE_CHECKING:
    from amaranth.hdl import Instance, IOValue, Value

__all__ = ["XilinxPll"]


@dataclass(frozen=True, kw_only=True)
class XilinxPll(Pll):
    """Xilinx 7 series ``PLLE2_BASE``, speed grade -1.

    Ranges: phase detector 19 to 450 MHz, oscillator 800 to 1,600 MHz, output 6.25 to 464 MHz (DS181,
    PLL switching characteristics; the global clock buffer's 464 MHz caps the output).
    """

    primitive: ClassVar[str] = "PLLE2_BASE"
    reference: int
    feedback: int
    divider: int

    def __post_init__(self) -> None:
        check("reference", self.reference, 1, 56)
        check("feedback", self.feedback, 2, 64)
        check("divider", self.divider, 1, 128)
        self._check_clocks(
            detector=(19_000_000, 450_000_000), oscillator=(800_000_000, 1_600_000_000), output=(6_250_000, 464_000_000)
        )

    @property
    def detector_hz(self) -> Fraction:
        return Fraction(self.input_hz, self.reference)

    @property
    def oscillator_hz(self) -> Fraction:
        return Fraction(self.input_hz * self.feedback, self.reference)

    @property
    def output_hz(self) -> Fraction:
        return self.oscillator_hz / self.divider

    @classmethod
    def solve(cls, input_hz: int, output_hz: int) -> Self:
        """The setting of smallest reference and output divider; `ClockError` when there is no exact one."""

        settings = (
            {"reference": reference, "feedback": int(feedback), "divider": divider}
            for reference in range(1, 57)
            for divider in range(1, 129)
            if (feedback := Fraction(output_hz * divider * reference, input_hz)).denominator == 1
        )
        return cls._exact(input_hz, output_hz, settings)

    def instance(self, clock_in: "Value | IOValue", clock_out: "Value", locked: "Value") -> "Instance":
        from amaranth.hdl import Const, Instance, Signal

        feedback = Signal(name="pll_feedback")
        return Instance(
            "PLLE2_BASE",
            p_CLKIN1_PERIOD=1e9 / self.input_hz,
            p_DIVCLK_DIVIDE=self.reference,
            p_CLKFBOUT_MULT=self.feedback,
            p_CLKOUT0_DIVIDE=self.divider,
            i_CLKIN1=clock_in,
            i_CLKFBIN=feedback,
            i_RST=Const(0),
            i_PWRDWN=Const(0),
            o_CLKFBOUT=feedback,
            o_CLKOUT0=clock_out,
            o_LOCKED=locked,
        )
