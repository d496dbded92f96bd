"""Processing element of ECP5 carry chains: gates, population count and accumulator share their LUT4."""

from collections import defaultdict

from amaranth import Cat, Const, Module, Mux, Signal, Value

from .ecp5_chain import ADD, ADD_GATED, ADD_SHIFT, CarryChain
from .pipeline import delay
from .timing import popcount_registers

__all__ = ["CHAINS", "map_element"]

_SUM = 0
CHAINS: dict[int, tuple[tuple[int, ...], ...]] = {
    32: ((1,) * 3 + (2,) * 3, (1,) * 5 + (3, 3, 4), (2,), (_SUM,)),
    64: ((1, 1, 3, 1, 1, 1, 2, 2, 2), (1, 1, 3, 1, 1, 2, 2, 4), (1, 1, 3, 1, 1, 2, 2, 4), (1, 3, 1, 1, 2, 5), (_SUM,)),
}
"""For each number of lanes: chains, and in each the levels of its adders; `_SUM` adds the count to the accumulator.

An adder of level n takes n + 1 cells, the accumulator's one more than it has bits, and the end of a chain one, unless
the accumulator is the last, whose carry is dropped. A chain begins with a tile of the fabric, which has eight cells,
and what it leaves of its last tile is no place for another chain. 64 lanes and 20 bits take 15 tiles::

    24 = 5 × 2 + 4 + 3 × 3 + 1    2 × 24 = 2 × (4 × 2 + 4 + 2 × 3 + 5 + 1)    20 = 3 × 2 + 4 + 3 + 6 + 1    21

The operands of all lanes enter at the first two levels, six in the two cells of a first level: chains that begin with
nothing else are hard to route, so every chain has its share of them, with adders of other levels between.

Timing analysis does not know that a cell with P = 0 stops the carry, and follows it to every output behind it in the
chain. So the first level of each stage of the pipeline (1 of levels 1 and 2, 3 of levels 3 and 4) comes before all
others: an output behind it is, as its own are, at most one more adder away from a register. And the accumulator, whose
carry is long, has a chain of its own.
"""


def _delay(m: Module, lane: tuple[Value, Value], cycles: int, name: str) -> tuple[Value, Value]:
    """Operands of a lane that is added later. Elements of a row or column have the same: synthesis keeps one."""
    return delay(m, lane[0], cycles, name=f"{name}_activation"), delay(m, lane[1], cycles, name=f"{name}_weight")


def map_element(m: Module, activations: Value, weights: Value, *, enable: Value, clear: Value, double: Value,
                accumulator_bits: int) -> Signal:  # fmt: skip
    """The circuit of `element.Element` for ECP5; returns the accumulator. 64 lanes and 20 bits, for example:

    | stage | level | adders                        | LUT4 | registers                             |
    |-------|-------|-------------------------------|------|---------------------------------------|
    | 1     | 1     | 16 × 3 gated lanes            | 32   |                                       |
    |       | 2     | 8 × (2 + 2 bits + gated lane) | 24   | 24                                    |
    | 2     | 3     | 4 × (3 + 3 bits + gated lane) | 16   |                                       |
    |       | 4     | 2 × (4 + 4 bits + gated lane) | 10   | 10                                    |
    | 3     | 5     | 5 + 5 bits + gated lane       | 6    | 6                                     |
    | sum   |       | count + gated lane + previous | 21   | 20; 6 LUT4 clear and double below bit 6 |

    With the ends of four chains 119 LUT4 and 60 flip-flops, 1.86 and 0.94 a lane.
    """
    lanes: list[tuple[Value, Value]] = list(zip(activations, weights, strict=True))
    adders: dict[int, list[CarryChain]] = defaultdict(list)  # of each level

    counts: list[list[Value]] = []
    for index in range(len(lanes) // 4):
        start, first, second = lanes[3 * index : 3 * index + 3]
        adder = CarryChain()
        adder.start(start)
        low = adder.cell(ADD_GATED, *first, *second, name=f"leaf_{index}")
        counts.append([low, adder.carry(f"leaf_carry_{index}")])
        adders[1].append(adder)
    rest = lanes[3 * len(counts) :]

    level = stage = 1
    while len(counts) > 1:
        level += 1
        sums = []
        for index in range(len(counts) // 2):
            lane = _delay(m, rest.pop(0), stage - 1, f"lane_{level}_{index}")
            adder = CarryChain()
            sums.append(list(adder.add(lane, counts[2 * index], counts[2 * index + 1], f"sum_{level}_{index}")))
            adders[level].append(adder)
        counts = sums
        if level in popcount_registers(len(lanes), "ecp5") or len(counts) == 1:
            counts = [list(delay(m, Cat(count), 1, name=f"count_{level}_{i}")) for i, count in enumerate(counts)]
            stage += 1
    (count,) = counts
    last = CarryChain()
    adders[_SUM].append(last)

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
    for index, levels in enumerate(CHAINS[len(lanes)]):
        chain = CarryChain()
        for level in levels:
            chain.join(adders[level].pop(0))
        chain.place(m, f"chain_{index}")
    return accumulator
