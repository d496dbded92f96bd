"""The phase-locked loop of Gowin LittleBee and Arora."""

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, Self

from .base import ClockError, Pll, check

if TYPE_CHECKING:
    from amaranth.hdl import Instance, IOValue, Value

__all__ = ["GowinPll"]


_GOWIN_LIMITS = {
    # phase detector, oscillator and output ranges in hertz
    "GW1NR-9C": ((3_000_000, 400_000_000), (400_000_000, 1_200_000_000), (3_125_000, 600_000_000)),
    "GW2A-18C": ((3_000_000, 500_000_000), (500_000_000, 1_250_000_000), (3_906_250, 625_000_000)),
}


@dataclass(frozen=True, kw_only=True)
class GowinPll(Pll):
    """Gowin ``rPLL`` of GW1NR-9C (speed C6/I5) and GW2A-18C (speed C8/I7).

    Ranges are those of Gowin's data sheets DS117 and DS226 as Project Apicula's ``gowin_pll`` lists them.

    Attributes
    ----------
    device : str
        Gowin's device name, ``GW1NR-9C`` or ``GW2A-18C``.
    idiv, fbdiv : int
        0..63: reference and feedback divider less one.
    odiv : int
        Oscillator frequency over output frequency: 2, 4, 8, 16, 32, 48, 64, 80, 96, 112 or 128.
    """

    primitive: ClassVar[str] = "rPLL"
    DIVIDERS: ClassVar[tuple[int, ...]] = (2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128)
    device: str
    idiv: int
    fbdiv: int
    odiv: int

    def __post_init__(self) -> None:
        if self.device not in _GOWIN_LIMITS:
            raise ClockError(f"device must be one of {', '.join(_GOWIN_LIMITS)}, not {self.device!r}")
        check("idiv", self.idiv, 0, 63)
        check("fbdiv", self.fbdiv, 0, 63)
        if self.odiv not in self.DIVIDERS:
            raise ClockError(f"odiv must be one of {', '.join(map(str, self.DIVIDERS))}, not {self.odiv}")
        detector, oscillator, output = _GOWIN_LIMITS[self.device]
        self._check_clocks(detector=detector, oscillator=oscillator, output=output)

    @property
    def detector_hz(self) -> Fraction:
        return Fraction(self.input_hz, self.idiv + 1)

    @property
    def output_hz(self) -> Fraction:
        return Fraction(self.input_hz * (self.fbdiv + 1), self.idiv + 1)

    @property
    def oscillator_hz(self) -> Fraction:
        return self.output_hz * self.odiv

    @classmethod
    def solve(cls, input_hz: int, output_hz: int, *, device: str) -> Self:
        """The setting of smallest reference and output divider; `ClockError` when there is no exact one."""

        settings = (
            {"device": device, "idiv": idiv, "fbdiv": int(fbdiv), "odiv": odiv}
            for idiv in range(64)
            if (fbdiv := Fraction(output_hz * (idiv + 1), input_hz) - 1).denominator == 1
            for odiv in cls.DIVIDERS
        )
        return cls._exact(input_hz, output_hz, settings)

    def instance(self, clock_in: "Value | IOValue", clock_out: "Value", locked: "Value") -> "Instance":
        from amaranth.hdl import Const, Instance

        return Instance(
            "rPLL",
            p_DEVICE=self.device,
            p_FCLKIN=f"{self.input_hz / 1e6:g}",
            p_DYN_IDIV_SEL="false",
            p_IDIV_SEL=self.idiv,
            p_DYN_FBDIV_SEL="false",
            p_FBDIV_SEL=self.fbdiv,
            p_DYN_ODIV_SEL="false",
            p_ODIV_SEL=self.odiv,
            p_CLKFB_SEL="internal",
            i_CLKIN=clock_in,
            i_CLKFB=Const(0),
            i_RESET=Const(0),
            i_RESET_P=Const(0),
            i_FBDSEL=Const(0, 6),
            i_IDSEL=Const(0, 6),
            i_ODSEL=Const(0, 6),
            i_PSDA=Const(0, 4),
            i_DUTYDA=Const(0, 4),
            i_FDLY=Const(0, 4),
            o_CLKOUT=clock_out,
            o_LOCK=locked,
        )
