"""Registers in a row, and a memory that does the same."""

from amaranth import Module, Mux, Signal, Value, unsigned
from amaranth.lib.memory import Memory

__all__ = ["delay", "delay_in_memory"]


def delay(m: Module, value: Value, cycles: int, *, name: str, reset: bool = False) -> Value:
    """``value`` as it was ``cycles`` clock cycles ago; ``reset`` clears the registers with the domain."""
    value = Value.cast(value)
    for index in range(cycles):
        register = Signal(value.shape(), name=f"{name}_{index + 1}", reset_less=not reset)
        m.d.sync += register.eq(value)
        value = register
    return value


def delay_in_memory(m: Module, value: Value, cycles: int, *, name: str) -> Value:
    """`delay` in a memory of ``cycles`` words that is read without a clock: LUT memory, where registers are dear."""
    value = Value.cast(value)
    memory = Memory(shape=unsigned(len(value)), depth=cycles, init=[], attrs={"ram_style": "distributed"})
    m.submodules[name] = memory
    write, read = memory.write_port(), memory.read_port(domain="comb")
    place = Signal(range(cycles), name=f"{name}_place")
    m.d.sync += place.eq(Mux(place == cycles - 1, 0, place + 1))
    m.d.comb += [write.addr.eq(place), write.data.eq(value), write.en.eq(1), read.addr.eq(place)]
    return read.data
