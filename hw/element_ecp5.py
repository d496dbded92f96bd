"""Processing element of ECP5 carry chains: gates, population count and accumulator share their LUT4."""

from collections.abc import Sequence

from amaranth import Cat, Const, Module, Mux, Signal, Value

from .ecp5_chain import ADD, ADD_GATED, ADD_SHIFT, CarryChain, Lane
from .timing import popcount_registers

__all__ = ["MAPPED_LANES", "map_element"]

MAPPED_LANES = 32
"""Lanes from which the mapped form has the registers of the behavioural one."""

LEAF_GROUPS = 4
"""Adders of 7 lanes, and of later levels, that share a chain: it is short enough for its false path."""


def _register(m: Module, values: Sequence[Value], name: str) -> list[Value]:
    register = Signal(len(values), name=name, reset_less=True)
    m.d.sync += register.eq(Cat(values))
    return list(register)


def map_element(m: Module, activations: Value, weights: Value, *, enable: Value, clear: Value, double: Value,
                accumulator_bits: int) -> Signal:  # fmt: skip
    """The circuit of `element.Element` for ECP5; returns the accumulator. 64 lanes and 18 bits, for example:

    | stage | adders                              | LUT4 | ends | registers                                |
    |-------|-------------------------------------|------|------|------------------------------------------|
    | 1     | 16 × 3 gated lanes                  | 32   | 2    |                                          |
    |       | 8 × (2 + 2 bits + gated lane)       | 24   | 2    | 24; 8 more lanes, gated by a LUT4 each   |
    | 2     | 4 × (3 + 3 bits + lane)             | 16   | 1    | 16; 4 lanes                              |
    | 3     | 2 × (4 + 4 bits + lane)             | 10   | 1    |                                          |
    |       | 5 + 5 bits + lane                   | 6    | 1    | 6; 1 lane                                |
    | sum   | count + lane + accumulator          | 19   |      | 18; 6 LUT4 clear and double below bit 6  |

    128 LUT4 and 77 flip-flops, 2.0 and 1.2 a lane. Adders of one level share chains; those of different levels do not:
    timing analysis does not know that a cell with P = 0 stops the carry, and would follow it from level to level.
    """
    lanes: list[tuple[Value, Value]] = list(zip(activations, weights, strict=True))
    groups = len(lanes) // 8
    registers = popcount_registers(len(lanes), "ecp5")
    chains: list[CarryChain] = []

    def open_chains(count: int) -> list[CarryChain]:
        opened = [CarryChain() for _ in range(count)]
        chains.extend(opened)
        return opened

    # Level 1: three lanes each.
    shared = open_chains(max(1, groups // LEAF_GROUPS))
    counts: list[list[Value]] = []
    for leaf in range(2 * groups):
        chain = shared[leaf * len(shared) // (2 * groups)]
        chain.start(lanes[3 * leaf])
        low = chain.cell(ADD_GATED, *lanes[3 * leaf + 1], *lanes[3 * leaf + 2], name=f"leaf_{leaf}")
        counts.append([low, chain.carry(f"leaf_carry_{leaf}")])
    gates = lanes[6 * groups :]

    # Pairs of counts and one lane more, as long as there are two counts.
    rest: list[Lane] = list(gates)
    level = 1
    while len(counts) > 1:
        level += 1
        adders = len(counts) // 2
        shared = open_chains(max(1, adders // LEAF_GROUPS))
        counts = [
            list(shared[index * len(shared) // adders].add(
                rest.pop(0), counts[2 * index], counts[2 * index + 1], f"sum_{level}_{index}"))
            for index in range(adders)
        ]  # fmt: skip
        if level in registers or len(counts) == 1:
            counts = [_register(m, count, f"count_{level}_{index}") for index, count in enumerate(counts)]
            bits = [lane[0] ^ lane[1] if isinstance(lane, tuple) else lane for lane in rest]
            rest = list(_register(m, bits, f"lanes_{level}"))
    (count,), (carry,) = counts, rest

    accumulator = Signal(accumulator_bits, reset_less=True)
    before = Cat(Const(0, 1), accumulator)
    (chain,) = open_chains(1)
    chain.start(carry)
    total: list[Value] = []
    for bit in range(accumulator_bits):
        shifted, same = before[bit], accumulator[bit]
        if bit < len(count):
            kept = Mux(clear, 0, Mux(double, shifted, same))
            total.append(chain.cell(ADD, count[bit], Const(1), kept, name=f"total_{bit}"))
        else:
            total.append(chain.cell(ADD_SHIFT, clear, double, shifted, same, name=f"total_{bit}"))
    with m.If(enable):
        m.d.sync += accumulator.eq(Cat(total))
    for index, chain in enumerate(chains):
        chain.place(m, f"chain_{index}")
    return accumulator
