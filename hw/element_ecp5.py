"""Processing element of ECP5 carry chains: gates, population count and accumulator share their LUT4."""

from collections.abc import Sequence

from amaranth import Cat, Const, Module, Mux, Signal, Value

from .ecp5_chain import ADD, ADD_GATED, ADD_SHIFT, CarryChain, Lane

__all__ = ["MAPPED_LANES", "map_element"]

MAPPED_LANES = 32
"""Lanes from which the mapped form has the registers of the behavioural one."""


def _register(m: Module, values: Sequence[Value], name: str) -> list[Value]:
    register = Signal(len(values), name=name, reset_less=True)
    m.d.sync += register.eq(Cat(values))
    return list(register)


def _seven(chain: CarryChain, lanes: Sequence[tuple[Value, Value]], name: str) -> list[Value]:
    """Count of seven gated lanes, three bits."""
    counts = []
    for index in (0, 3):
        chain.start(lanes[index])
        low = chain.cell(ADD_GATED, *lanes[index + 1], *lanes[index + 2], name=f"{name}_leaf_{index}")
        counts.append([low, chain.carry(f"{name}_leaf_carry_{index}")])
    return chain.add(lanes[6], *counts, name=name)


def map_element(m: Module, activations: Value, weights: Value, *, enable: Value, clear: Value, double: Value,
                accumulator_bits: int) -> Signal:  # fmt: skip
    """The circuit of `element.Element` for ECP5; returns the accumulator.

    64 lanes, two registers from the operands to the accumulator's adder, as `timing.popcount_registers` has them::

        stage 1   8 × 7 lanes to 3 bits           56 LUT4         8 lanes left: gate and register, 8 LUT4
        stage 2   4 × (3 + 3 bits + lane)         16
                  2 × (4 + 4 bits + lane)         10
                  1 × (5 + 5 bits + lane)          6
        sum       count + lane + accumulator      1 + accumulator_bits, and 6 to clear and double below the count's top

    in chains of less than 40 cells: 1.67 LUT4 a lane plus the accumulator's clear, for 18 bits 1.97.
    """
    lanes: list[tuple[Value, Value]] = list(zip(activations, weights, strict=True))
    groups = len(lanes) // 8
    rest = _register(m, [a ^ w for a, w in lanes[7 * groups :]], "lanes")
    counts: list[list[Value]] = []
    chains = []
    for begin in range(0, groups, 4):
        chain = CarryChain()
        chains.append(chain)
        for group in range(begin, begin + 4):
            count = _seven(chain, lanes[7 * group : 7 * group + 7], f"seven_{group}")
            counts.append(_register(m, count, f"count_{group}"))
    # Pairs of counts, as long as there are two: the first level joins the chains that made them.
    level = 0
    last = CarryChain()
    while len(counts) > 1:
        sums: list[list[Value]] = []
        for index in range(0, len(counts), 2):
            lane: Lane = rest.pop(0)
            chain = chains[index * len(chains) // len(counts)] if level == 0 else last
            sums.append(list(chain.add(lane, counts[index], counts[index + 1], name=f"sum_{level}_{index}")))
        counts, level = sums, level + 1
    count = _register(m, counts[0], "count")
    (carry,) = _register(m, rest, "carry")

    accumulator = Signal(accumulator_bits, reset_less=True)
    before = Cat(Const(0, 1), accumulator)
    last.start(carry)
    total: list[Value] = []
    for bit in range(accumulator_bits):
        shifted, same = before[bit], accumulator[bit]
        if bit < len(count):
            kept = Mux(clear, 0, Mux(double, shifted, same))
            total.append(last.cell(ADD, count[bit], Const(1), kept, name=f"total_{bit}"))
        else:
            total.append(last.cell(ADD_SHIFT, clear, double, shifted, same, name=f"total_{bit}"))
    with m.If(enable):
        m.d.sync += accumulator.eq(Cat(total))
    for index, chain in enumerate([*chains, last]):
        chain.place(m, f"chain_{index}")
    return accumulator
