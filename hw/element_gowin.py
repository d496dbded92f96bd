"""`Element` in the cells of Gowin's logic slices; see `gowin_chain` for the cells.

Population count: the tree of `popcount.Popcount`, lane for lane, with carry chains for its adders. At the first level
an adder is one cell that takes one lane gated, one lane behind a LUT and the third as the carry of a `JOIN`; every
further level adds two counts and a lane from a `JOIN`. 2**n - 1 lanes take c(2**n - 1) = 2 c(2**(n - 1) - 1) + n cells
and LUTs, c(3) = 3: 104 for 63 lanes, and two more for each chain.

Accumulator: the bits that the count reaches, and the one above, are a LUT that clears or doubles and an `ADD` cell. A
higher bit only counts carries: one `CHOOSE` cell doubles it, and the reset of its flip-flop clears it.
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .gowin_chain import ADD, CHOOSE, GATED, JOIN, CarryChain

__all__ = ["GowinAccumulator", "GowinMismatches", "connect_element"]


CHAIN_CELLS = 16
"""Most cells of a chain: with one before and one after, three tiles of six. Timing analysis takes the carry to go all
the way through a chain, although it ends at every `JOIN`."""


class _Adders:
    """Adders joined into chains. A sum gets its last bit, the carry, when the next adder begins, or at the `end`."""

    def __init__(self, m: Module, platform: object) -> None:
        self._m, self._platform = m, platform
        self._chain: CarryChain | None = None
        self._chains = self._cells = 0
        self._sum: list[Value] = []

    def add(self, carry: tuple[Value, Value], cells: list[tuple[int, tuple[Value, ...]]]) -> list[Value]:
        """The adder of the exclusive-or ``carry`` and of ``cells``, their tables and inputs; its sum."""
        if self._cells + 1 + len(cells) > CHAIN_CELLS:
            self.end()
        if self._chain is None:
            self._chain = CarryChain(self._m, self._platform, f"chain_{self._chains}")
            self._chains += 1
            self._cells = 0
            self._chain.cell(JOIN, *carry)
        else:
            self._sum.append(self._chain.cell(JOIN, *carry))
        self._cells += 1 + len(cells)
        self._sum = [self._chain.cell(table, *inputs) for table, inputs in cells]
        return self._sum

    def end(self) -> None:
        """End the chain."""
        if self._chain is not None:
            self._sum.append(self._chain.carry)
        self._chain = None


class GowinMismatches(wiring.Component):
    """Registered number of lanes in which two words differ. Latency 1.

    Members
    -------
    activations, weights : In, ``width`` bits
    count, carry : Out; count + carry is the number of mismatches; ``carry`` is the last lane's
    """

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(
            {
                "activations": In(width),
                "weights": In(width),
                "count": Out(width.bit_length() - 1),
                "carry": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.activations ^ self.weights

        def gates(lane: int) -> tuple[Value, Value]:
            return self.activations[lane], self.weights[lane]

        def named(level: int, counts: list[list[Value]]) -> None:
            """Give the sums the names that they have in `Popcount`, so that a proof can go from level to level."""
            for plane in range(level + 1):
                name = f"sum_{level}_{plane}" if plane < level else f"carry_{level}_{plane - 1}"
                vector = Signal(len(counts), name=name)
                m.d.comb += vector.eq(Cat(count[plane] for count in counts))

        # Level 1: lanes in the order of `Popcount`, first addend, second addend, carry.
        quarter = self.width // 4
        adders = _Adders(m, platform)
        counts: list[list[Value]] = []
        for index in range(quarter):
            carry, pair = gates(index + 2 * quarter), (*gates(index), lanes[index + quarter])
            counts.append(adders.add(carry, [(GATED, pair)]))
        levels = [counts]

        lane = 3 * quarter
        while len(counts) > 1:
            half = len(counts) // 2
            level = []
            for a, b in zip(counts[:half], counts[half:], strict=True):
                if len(a) != len(b):
                    adders.end()  # the last adder's carry is wanted now
                level.append(adders.add(gates(lane), [(ADD, bits) for bits in zip(a, b, strict=True)]))
                lane += 1
            counts = level
            levels.append(counts)
        adders.end()
        (count,) = counts
        for index, counts in enumerate(levels):
            named(index + 1, counts)

        registers = Signal(len(self.count), name="count_register", reset_less=True)
        carry = Signal(name="carry_register", reset_less=True)
        m.d.sync += [registers.eq(Cat(count)), carry.eq(lanes[lane])]
        m.d.comb += [self.count.eq(registers), self.carry.eq(carry)]
        return m


class GowinAccumulator(wiring.Component):
    """Accumulator of an element: clears, doubles, adds; members as of `Element`.

    ``count`` + ``carry``, the addend, is at most 2**len(count).
    """

    def __init__(self, count_bits: int, accumulator_bits: int) -> None:
        super().__init__(
            {
                "count": In(count_bits),
                "carry": In(1),
                "enable": In(1),
                "clear": In(1),
                "double": In(1),
                "accumulator": Out(accumulator_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        register = Signal(len(self.accumulator), name="register", reset_less=True)
        doubled = (register << 1)[: len(register)]
        # A slice's two flip-flops share their reset, and the chain begins with the cell of the carry: an odd number of
        # bits without a reset leaves no slice divided.
        added = min(len(register), (len(self.count) + 1) | 1)
        chain = CarryChain(m, platform, "accumulator", self.carry)
        total = []
        for index in range(len(register)):
            if index < added:
                addend = Signal(name=f"addend_{index}")
                m.d.comb += addend.eq(Mux(self.clear, 0, Mux(self.double, doubled[index], register[index])))
                bit = self.count[index] if index < len(self.count) else 0
                total.append(chain.cell(ADD, bit, addend))
            else:
                total.append(chain.cell(CHOOSE, register[index], doubled[index], self.double))
        with m.If(self.enable):
            m.d.sync += register.eq(Cat(total))
            with m.If(self.clear):
                m.d.sync += register[added:].eq(0)
        m.d.comb += self.accumulator.eq(register)
        return m


def connect_element(m: Module, element: wiring.Component) -> None:
    """Both parts behind the ports of an `element.Element`."""
    m.submodules.mismatches = mismatches = GowinMismatches(len(element.activations))
    m.submodules.total = total = GowinAccumulator(len(mismatches.count), len(element.accumulator))
    m.d.comb += [getattr(mismatches, name).eq(getattr(element, name)) for name in ("activations", "weights")]
    m.d.comb += [getattr(total, name).eq(getattr(mismatches, name)) for name in ("count", "carry")]
    m.d.comb += [getattr(total, name).eq(getattr(element, name)) for name in ("enable", "clear", "double")]
    m.d.comb += element.accumulator.eq(total.accumulator)
