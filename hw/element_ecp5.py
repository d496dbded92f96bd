"""Processing element of ECP5 carry chains: gates, population count and accumulator share their LUT4."""

from amaranth import Cat, Const, Module, Mux, Signal, Value

from .ecp5_chain import ADD, ADD_GATED, ADD_SHIFT, CarryChain
from .pipeline import delay
from .timing import popcount_registers

__all__ = ["MAPPED_LANES", "map_element"]

HALF = 4
"""Groups of eight lanes whose first levels share chains."""

MAPPED_LANES = 8 * HALF
"""Lanes from which the mapped form has the registers of the behavioural one."""


def _delay(m: Module, lane: tuple[Value, Value], cycles: int, name: str) -> tuple[Value, Value]:
    """Operands of a lane that is added later. Elements of a row or column have the same: synthesis keeps one."""
    return delay(m, lane[0], cycles, name=f"{name}_activation"), delay(m, lane[1], cycles, name=f"{name}_weight")


def map_element(m: Module, activations: Value, weights: Value, *, enable: Value, clear: Value, double: Value,
                accumulator_bits: int) -> Signal:  # fmt: skip
    """The circuit of `element.Element` for ECP5; returns the accumulator. 64 lanes and 18 bits, for example:

    | stage | level | adders                        | LUT4 | registers                             |
    |-------|-------|-------------------------------|------|---------------------------------------|
    | 1     | 1     | 16 × 3 gated lanes            | 32   |                                       |
    |       | 2     | 8 × (2 + 2 bits + gated lane) | 24   | 24                                    |
    | 2     | 3     | 4 × (3 + 3 bits + gated lane) | 16   |                                       |
    |       | 4     | 2 × (4 + 4 bits + gated lane) | 10   | 10                                    |
    | 3     | 5     | 5 + 5 bits + gated lane       | 6    | 6                                     |
    | sum   |       | count + gated lane + previous | 19   | 18; 6 LUT4 clear and double below bit 6 |

    With the ends of five chains 120 LUT4 and 58 flip-flops, 1.88 and 0.91 a lane. Timing analysis does not know that a
    cell with P = 0 stops the carry and follows it through the rest of its chain. So adders share a chain only where
    that adds no level to any stage: levels 1 and 3, levels 2 and 4, level 5 and the sum::

        2 × (level 1 × 8, level 3 × 2)    2 × (level 2 × 4, level 4)    level 5, sum
    """
    lanes: list[tuple[Value, Value]] = list(zip(activations, weights, strict=True))
    groups = len(lanes) // 8  # of seven lanes and one more
    first = [CarryChain() for _ in range(groups // HALF)]  # odd levels
    second = [CarryChain() for _ in range(groups // HALF)]  # even levels

    counts: list[list[Value]] = []
    for leaf in range(2 * groups):
        chain = first[leaf // (2 * HALF)]
        chain.start(lanes[3 * leaf])
        low = chain.cell(ADD_GATED, *lanes[3 * leaf + 1], *lanes[3 * leaf + 2], name=f"leaf_{leaf}")
        counts.append([low, chain.carry(f"leaf_carry_{leaf}")])
    rest = lanes[6 * groups :]

    last = CarryChain()
    level = stage = 1
    while len(counts) > 1:
        level += 1
        adders = len(counts) // 2
        chains = [last] if adders == 1 else second if level % 2 == 0 else first
        sums = []
        for index in range(adders):
            lane = _delay(m, rest.pop(0), stage - 1, f"lane_{level}_{index}")
            chain = chains[index * len(chains) // adders]
            sums.append(list(chain.add(lane, counts[2 * index], counts[2 * index + 1], f"sum_{level}_{index}")))
        counts = sums
        if level in popcount_registers(len(lanes), "ecp5") or adders == 1:
            counts = [list(delay(m, Cat(count), 1, name=f"count_{level}_{i}")) for i, count in enumerate(counts)]
            stage += 1
    (count,) = counts

    accumulator = Signal(accumulator_bits, reset_less=True)
    before = Cat(Const(0, 1), accumulator)
    last.start(_delay(m, rest.pop(), stage - 1, "lane"))
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
    for index, chain in enumerate([*first, *second, last]):
        chain.place(m, f"chain_{index}")
    return accumulator
