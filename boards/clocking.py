"""Phase-locked loops of the supported devices: dividers in plain Python, and the circuit that makes a clock.

Each class below is the divider setting of one device family. ``solve(input_hz, output_hz)`` searches it,
``output_hz`` gives the exact frequency back, and the constructor refuses what the data sheet does not permit,
so a setting that exists is a legal one. Only exact solutions are returned: the host link's baud rate and the
reported speed are both computed from the clock.

| class        | primitive                         | output frequency                        | oscillator          |
|--------------|-----------------------------------|-----------------------------------------|---------------------|
| `Ice40Pll`   | ``SB_PLL40_PAD``, ``SB_PLL40_CORE`` | input / (R + 1) · (F + 1) / 2**Q       | output · 2**Q       |
| `Ecp5Pll`    | ``EHXPLLL``                       | input / reference · feedback            | output · divider    |
| `GowinPll`   | ``rPLL``                          | input / (I + 1) · (F + 1)               | output · divider    |
| `XilinxPll`  | ``PLLE2_BASE``                    | input / reference · feedback / divider  | output · divider    |
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

from dorefabric.hw.errors import DorefabricError

if TYPE_CHECKING:
    from amaranth.hdl import Instance, IOValue, Value

__all__ = ["ClockError", "Ecp5Pll", "GowinPll", "Ice40Pll", "Pll", "XilinxPll"]


class ClockError(DorefabricError, ValueError):
    """A clock frequency that the device's phase-locked loop cannot make."""


def _megahertz(frequency: Fraction | int) -> str:
    return f"{float(frequency) / 1e6:g} MHz"


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ClockError(f"{name} must be from {low} to {high}, not {value}")


def _check_hz(name: str, value: Fraction, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ClockError(f"{name} must be from {_megahertz(low)} to {_megahertz(high)}, not {_megahertz(value)}")


@dataclass(frozen=True, kw_only=True)
class Pll:
    """What the families share: an input frequency in hertz, and a search over legal settings."""

    primitive: ClassVar[str]
    input_hz: int

    @property
    def oscillator_hz(self) -> Fraction:
        """Frequency of the voltage-controlled oscillator."""
        raise NotImplementedError

    @property
    def output_hz(self) -> Fraction:
        """Frequency of the clock that the circuit runs on."""
        raise NotImplementedError

    @classmethod
    def _exact(cls, input_hz: int, output_hz: int, candidates: Iterable["Pll"]) -> "Pll":
        for candidate in candidates:
            if candidate.output_hz == output_hz:
                return candidate
        raise ClockError(f"{cls.primitive} cannot make exactly {_megahertz(output_hz)} from {_megahertz(input_hz)}")

    def instance(self, clock_in: "Value | IOValue", clock_out: "Value", locked: "Value") -> "Instance":
        """The primitive, with ``clock_out`` and ``locked`` driven by it."""
        raise NotImplementedError


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
        _check("divr", self.divr, 0, 15)
        _check("divf", self.divf, 0, 127)
        _check("divq", self.divq, 1, 6)
        _check_hz("phase detector frequency", self._detector_hz, 10_000_000, 133_000_000)
        _check_hz("oscillator frequency", self.oscillator_hz, 533_000_000, 1_066_000_000)
        _check_hz("output frequency", self.output_hz, 16_000_000, 275_000_000)

    @property
    def _detector_hz(self) -> Fraction:
        return Fraction(self.input_hz, self.divr + 1)

    @property
    def oscillator_hz(self) -> Fraction:
        return self._detector_hz * (self.divf + 1)

    @property
    def output_hz(self) -> Fraction:
        return self.oscillator_hz / (1 << self.divq)

    @property
    def filter_range(self) -> int:
        """Loop filter setting for the phase detector's frequency (table of ``icepll``)."""
        limits = (17, 26, 44, 66, 101)
        return 1 + sum(self._detector_hz >= limit * 1_000_000 for limit in limits)

    @classmethod
    def solve(cls, input_hz: int, output_hz: int, *, pad: bool = True) -> "Pll":
        """The setting of smallest reference and output divider; `ClockError` when there is no exact one."""

        def candidates() -> Iterable[Pll]:
            for divr in range(16):
                for divq in range(1, 7):
                    divf = Fraction(output_hz * (1 << divq) * (divr + 1), input_hz) - 1
                    if divf.denominator == 1:
                        try:
                            yield cls(input_hz=input_hz, divr=divr, divf=int(divf), divq=divq, pad=pad)
                        except ClockError:
                            continue

        return cls._exact(input_hz, output_hz, candidates())

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
            _check(name, getattr(self, name), 1, 128)
        _check_hz("phase detector frequency", Fraction(self.input_hz, self.reference), 3_125_000, 400_000_000)
        _check_hz("oscillator frequency", self.oscillator_hz, 400_000_000, 800_000_000)
        _check_hz("output frequency", self.output_hz, 3_125_000, 400_000_000)

    @property
    def output_hz(self) -> Fraction:
        return Fraction(self.input_hz * self.feedback, self.reference)

    @property
    def oscillator_hz(self) -> Fraction:
        return self.output_hz * self.divider

    @classmethod
    def solve(cls, input_hz: int, output_hz: int) -> "Pll":
        """The setting of smallest reference divider whose oscillator is nearest 600 MHz, mid-range."""
        divider = max(1, round(600_000_000 / output_hz))

        def candidates() -> Iterable[Pll]:
            for reference in range(1, 129):
                feedback = Fraction(output_hz * reference, input_hz)
                if feedback.denominator == 1:
                    try:
                        yield cls(input_hz=input_hz, reference=reference, feedback=int(feedback), divider=divider)
                    except ClockError:
                        continue

        return cls._exact(input_hz, output_hz, candidates())

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
        _check("idiv", self.idiv, 0, 63)
        _check("fbdiv", self.fbdiv, 0, 63)
        if self.odiv not in self.DIVIDERS:
            raise ClockError(f"odiv must be one of {', '.join(map(str, self.DIVIDERS))}, not {self.odiv}")
        detector, oscillator, output = _GOWIN_LIMITS[self.device]
        _check_hz("phase detector frequency", Fraction(self.input_hz, self.idiv + 1), *detector)
        _check_hz("oscillator frequency", self.oscillator_hz, *oscillator)
        _check_hz("output frequency", self.output_hz, *output)

    @property
    def output_hz(self) -> Fraction:
        return Fraction(self.input_hz * (self.fbdiv + 1), self.idiv + 1)

    @property
    def oscillator_hz(self) -> Fraction:
        return self.output_hz * self.odiv

    @classmethod
    def solve(cls, input_hz: int, output_hz: int, *, device: str) -> "Pll":
        """The setting of smallest reference and output divider; `ClockError` when there is no exact one."""

        def candidates() -> Iterable[Pll]:
            for idiv in range(64):
                fbdiv = Fraction(output_hz * (idiv + 1), input_hz) - 1
                for odiv in cls.DIVIDERS if fbdiv.denominator == 1 else ():
                    try:
                        yield cls(input_hz=input_hz, device=device, idiv=idiv, fbdiv=int(fbdiv), odiv=odiv)
                    except ClockError:
                        continue

        return cls._exact(input_hz, output_hz, candidates())

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
        _check("reference", self.reference, 1, 56)
        _check("feedback", self.feedback, 2, 64)
        _check("divider", self.divider, 1, 128)
        _check_hz("phase detector frequency", Fraction(self.input_hz, self.reference), 19_000_000, 450_000_000)
        _check_hz("oscillator frequency", self.oscillator_hz, 800_000_000, 1_600_000_000)
        _check_hz("output frequency", self.output_hz, 6_250_000, 464_000_000)

    @property
    def oscillator_hz(self) -> Fraction:
        return Fraction(self.input_hz * self.feedback, self.reference)

    @property
    def output_hz(self) -> Fraction:
        return self.oscillator_hz / self.divider

    @classmethod
    def solve(cls, input_hz: int, output_hz: int) -> "Pll":
        """The setting of smallest reference and output divider; `ClockError` when there is no exact one."""

        def candidates() -> Iterable[Pll]:
            for reference in range(1, 57):
                for divider in range(1, 129):
                    feedback = Fraction(output_hz * divider * reference, input_hz)
                    if feedback.denominator == 1:
                        try:
                            yield cls(input_hz=input_hz, reference=reference, feedback=int(feedback),
                                      divider=divider)  # fmt: skip
                        except ClockError:
                            continue

        return cls._exact(input_hz, output_hz, candidates())

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
