"""Registers in a row, and memories that do the same."""

from amaranth import Module, Mux, Signal, Value, unsigned
from amaranth.lib.memory import Memory
from amaranth.utils import ceil_log2

from .memory import BlockMemory

__all__ = ["delay", "delay_in_block", "delay_in_memory"]


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


def delay_in_block(m: Module, value: Value, cycles: int, *, name: str) -> Value:
    """`delay` of at least 2 ``cycles`` in a block memory: where a lone register is dear and a block is left over."""
    value = Value.cast(value)
    m.submodules[name] = memory = BlockMemory(width=len(value), depth=1 << ceil_log2(cycles), style="block")
    place = Signal(range(memory.depth), name=f"{name}_place")
    m.d.sync += place.eq(place + 1)
    m.d.comb += [
        memory.write_address.eq(place),
        memory.write_data.eq(value),
        memory.write_enable.eq(1),
        # The word is out in the cycle after its address: what has been written cycles - 1 before that.
        memory.read_address.eq(place - (cycles - 1)),
    ]
    return memory.read_data
