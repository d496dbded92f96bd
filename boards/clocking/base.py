"""What the phase-locked loops of all families share."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

from dorefabric.hw.errors import DorefabricError

if TYPE_CHECKING:
    from amaranth.hdl import Instance, IOValue, Value

__all__ = ["ClockError", "Pll", "check", "check_hz", "megahertz"]


class ClockError(DorefabricError, ValueError):
    """A clock frequency that the device's phase-locked loop cannot make."""


def megahertz(frequency: Fraction | int) -> str:
    return f"{float(frequency) / 1e6:g} MHz"


def check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ClockError(f"{name} must be from {low} to {high}, not {value}")


def check_hz(name: str, value: Fraction, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ClockError(f"{name} must be from {megahertz(low)} to {megahertz(high)}, not {megahertz(value)}")


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
        raise ClockError(f"{cls.primitive} cannot make exactly {megahertz(output_hz)} from {megahertz(input_hz)}")

    def instance(self, clock_in: "Value | IOValue", clock_out: "Value", locked: "Value") -> "Instance":
        """The primitive, with ``clock_out`` and ``locked`` driven by it."""
        raise NotImplementedError
