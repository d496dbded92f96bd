"""The phase-locked loop of ECP5."""

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, Self

from .base import Pll, check

if TYPE_CHECKING:
    from amaranth.hdl import Instance, IOValue, Value

__all__ = ["Ecp5Pll"]


@dataclass(frozen=True, kw_only=True)
class Ecp5Pll(Pll):
    """ECP5, feedback from the output clock.

    Ranges: phase detector 3.125 to 400 MHz, oscillator 400 to 800 MHz, output 3.125 to 400 MHz, dividers
    1 to 128 (ECP5 family data sheet, sysCLOCK PLL timing; the same as Project Trellis' ``ecppll``).
    """

    primitive: ClassVar[str] = "EHXPLLL"
    reference: int
    feedback: int
    divider: int

    def __post_init__(self) -> None:
        for name in ("reference", "feedback", "divider"):
            check(name, getattr(self, name), 1, 128)
        self._check_clocks(
            detector=(3_125_000, 400_000_000), oscillator=(400_000_000, 800_000_000), output=(3_125_000, 400_000_000)
        )

    @property
    def detector_hz(self) -> Fraction:
        return Fraction(self.input_hz, self.reference)

    @property
    def output_hz(self) -> Fraction:
        return Fraction(self.input_hz * self.feedback, self.reference)

    @property
    def oscillator_hz(self) -> Fraction:
        return self.output_hz * self.divider

    @classmethod
    def solve(cls, input_hz: int, output_hz: int | Fraction) -> Self:
        """The setting of smallest reference divider whose oscillator is nearest 600 MHz, mid-range."""
        divider = max(1, round(600_000_000 / output_hz))

        settings = (
            {"reference": reference, "feedback": int(feedback), "divider": divider}
            for reference in range(1, 129)
            if (feedback := Fraction(output_hz * reference, input_hz)).denominator == 1
        )
        return cls._exact(input_hz, output_hz, settings)

    def instance(self, clock_in: "Value | IOValue", clock_out: "Value", locked: "Value") -> "Instance":
        from amaranth.hdl import Const, Instance

        return Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{float(self.input_hz) / 1e6:g}",
            a_FREQUENCY_PIN_CLKOP=f"{float(self.output_hz) / 1e6:g}",
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC",
            p_OUTDIVIDER_MUXD="DIVD",
            p_CLKI_DIV=self.reference,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=self.divider,
            # Half an output period late in oscillator cycles, as ecppll sets it; there is one output only,
            # so its phase matters to nothing.
            p_CLKOP_CPHASE=max(0, (self.divider - 1) // 2),
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            p_CLKFB_DIV=self.feedback,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_CLKI=clock_in,
            i_CLKFB=clock_out,
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(1),
            i_PHASESTEP=Const(1),
            i_PHASELOADREG=Const(1),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            o_CLKOP=clock_out,
            o_LOCK=locked,
        )
