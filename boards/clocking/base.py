"""What the phase-locked loops of all families share."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Self

from dorefabric.hw.errors import DorefabricError

if TYPE_CHECKING:
    from amaranth.hdl import Instance, IOValue, Value

__all__ = ["ClockError", "Pll", "check"]


class ClockError(DorefabricError, ValueError):
    """A clock frequency that the device's phase-locked loop cannot make."""


def _megahertz(frequency: Fraction | int) -> str:
    return f"{float(frequency) / 1e6:g} MHz"


def check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ClockError(f"{name} must be from {low} to {high}, not {value}")


@dataclass(frozen=True, kw_only=True)
class Pll(ABC):
    """What the families share: an input frequency in hertz, and a search over legal settings."""

    primitive: ClassVar[str]
    input_hz: int

    @property
    @abstractmethod
    def detector_hz(self) -> Fraction:
        """Frequency at the phase detector."""

    @property
    @abstractmethod
    def oscillator_hz(self) -> Fraction:
        """Frequency of the voltage-controlled oscillator."""

    @property
    @abstractmethod
    def output_hz(self) -> Fraction:
        """Frequency of the clock that the circuit runs on."""

    def _check_clocks(self, *, detector: tuple[int, int], oscillator: tuple[int, int], output: tuple[int, int]) -> None:
        """Refuse a setting with a clock outside its range, lowest and highest in hertz."""
        for name, value, (low, high) in (
            ("phase detector", self.detector_hz, detector),
            ("oscillator", self.oscillator_hz, oscillator),
            ("output", self.output_hz, output),
        ):
            if not low <= value <= high:
                raise ClockError(
                    f"{name} frequency must be from {_megahertz(low)} to {_megahertz(high)}, not {_megahertz(value)}"
                )

    @classmethod
    def _exact(cls, input_hz: int, output_hz: int | Fraction, settings: Iterable[dict[str, Any]]) -> Self:
        """The first legal one of ``settings``, the fields besides ``input_hz``, that makes ``output_hz``."""
        for setting in settings:
            try:
                candidate = cls(input_hz=input_hz, **setting)
            except ClockError:
                continue
            if candidate.output_hz == output_hz:
                return candidate
        raise ClockError(f"{cls.primitive} cannot make exactly {_megahertz(output_hz)} from {_megahertz(input_hz)}")

    @abstractmethod
    def instance(self, clock_in: "Value | IOValue", clock_out: "Value", locked: "Value") -> "Instance":
        """The primitive, with ``clock_out`` and ``locked`` driven by it."""
