"""The phase-locked loop of iCE40."""

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, Self

from .base import Pll, check

if TYPE_CHECKING:
    from amaranth.hdl import Instance, IOValue, Value

__all__ = ["Ice40Pll"]


@dataclass(frozen=True, kw_only=True)
class Ice40Pll(Pll):
    """iCE40 LP, HX and UltraPlus, feedback path ``SIMPLE``.

    Ranges: input and phase detector 10 to 133 MHz, oscillator 533 to 1,066 MHz, output 16 to 275 MHz
    (iCE40 family data sheet, sysCLOCK PLL timing; the same as IceStorm's ``icepll``).

    Attributes
    ----------
    divr, divf, divq : int
        0..15, 0..127 and 1..6.
    pad : bool
        The clock pin is the loop's own pad (``SB_PLL40_PAD``); otherwise it arrives through fabric.
    """

    primitive: ClassVar[str] = "SB_PLL40"
    divr: int
    divf: int
    divq: int
    pad: bool = True

    def __post_init__(self) -> None:
        check("divr", self.divr, 0, 15)
        check("divf", self.divf, 0, 127)
        check("divq", self.divq, 1, 6)
        self._check_clocks(
            detector=(10_000_000, 133_000_000),
            oscillator=(533_000_000, 1_066_000_000),
            output=(16_000_000, 275_000_000),
        )

    @property
    def detector_hz(self) -> Fraction:
        return Fraction(self.input_hz, self.divr + 1)

    @property
    def oscillator_hz(self) -> Fraction:
        return self.detector_hz * (self.divf + 1)

    @property
    def output_hz(self) -> Fraction:
        return self.oscillator_hz / (1 << self.divq)

    @property
    def filter_range(self) -> int:
        """Loop filter setting for the phase detector's frequency (table of ``icepll``)."""
        limits = (17, 26, 44, 66, 101)
        return 1 + sum(self.detector_hz >= limit * 1_000_000 for limit in limits)

    @classmethod
    def solve(cls, input_hz: int, output_hz: int, *, pad: bool = True) -> Self:
        """The setting of smallest reference and output divider; `ClockError` when there is no exact one."""

        settings = (
            {"divr": divr, "divf": int(divf), "divq": divq, "pad": pad}
            for divr in range(16)
            for divq in range(1, 7)
            if (divf := Fraction(output_hz * (1 << divq) * (divr + 1), input_hz) - 1).denominator == 1
        )
        return cls._exact(input_hz, output_hz, settings)

    def instance(self, clock_in: "Value | IOValue", clock_out: "Value", locked: "Value") -> "Instance":
        from amaranth.hdl import Const, Instance

        source = {"i_PACKAGEPIN" if self.pad else "i_REFERENCECLK": clock_in}
        return Instance(
            "SB_PLL40_PAD" if self.pad else "SB_PLL40_CORE",
            p_FEEDBACK_PATH="SIMPLE",
            p_PLLOUT_SELECT="GENCLK",
            p_DIVR=Const(self.divr, 4),
            p_DIVF=Const(self.divf, 7),
            p_DIVQ=Const(self.divq, 3),
            p_FILTER_RANGE=Const(self.filter_range, 3),
            i_RESETB=Const(1),
            i_BYPASS=Const(0),
            **source,
            o_PLLOUTGLOBAL=clock_out,
            o_LOCK=locked,
        )
