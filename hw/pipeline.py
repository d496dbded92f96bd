"""Registers in a row."""

from amaranth import Module, Signal, Value

__all__ = ["delay"]


def delay(m: Module, value: Value, cycles: int, *, name: str, reset: bool = False) -> Value:
    """``value`` as it was ``cycles`` clock cycles ago; ``reset`` clears the registers with the domain."""
    value = Value.cast(value)
    for index in range(cycles):
        register = Signal(value.shape(), name=f"{name}_{index + 1}", reset_less=not reset)
        m.d.sync += register.eq(value)
        value = register
    return value
