"""Population count: how many of the lanes are 1."""

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .config import TECHNOLOGIES
from .timing import popcount_registers

__all__ = ["Popcount", "popcount"]


def popcount(lanes: int) -> int:
    """What `Popcount` computes: the ones among the bits of ``lanes``."""
    return lanes.bit_count()


class Popcount(wiring.Component):
    """Registered population count of ``width`` lanes.

    A counter tree of full adders that never wastes a carry input: level n adds two n-bit counts and one more lane,
    so 2**n - 1 lanes give an n-bit count. The last lane is left over as ``carry``, for the carry input of the
    accumulator's adder. A level is written for all its adders at once, as vectors::

        width 8     lanes   0 1 2 3 | 4 5 | 6 | 7
        level 1             (0 + 2 + 4)  (1 + 3 + 5)      two 2-bit counts
        level 2                  (... + ... + 6)          one 3-bit count, and lane 7 is the carry

    The explicit logic keeps yosys from rebuilding the tree as one large macro of its own; a full adder is two LUT4,
    and the exclusive-or that makes a lane folds into the adder it enters.

    Latency: `timing.popcount_latency`; throughput: one word a cycle.

    Parameters
    ----------
    width : int
        Lanes: a power of two, at least 8.
    technology : str
        Fabric; decides where there are registers besides those of the outputs.

    Members
    -------
    lanes : In, ``width`` bits
    count, carry : Out; count + carry is the number of ones
    """

    def __init__(self, width: int, technology: str = "generic") -> None:
        if isinstance(width, bool) or not isinstance(width, int) or width < 8 or width & (width - 1):
            raise ValueError(f"popcount width must be a power of two of at least 8, not {width!r}")
        if technology not in TECHNOLOGIES:
            raise ValueError(f"technology must be one of {', '.join(TECHNOLOGIES)}, not {technology!r}")
        self.width = width
        self.technology = technology
        super().__init__({"lanes": In(width), "count": Out(width.bit_length() - 1), "carry": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()

        def register(value, name):
            signal = Signal(value.shape(), name=name, reset_less=True)
            m.d.sync += signal.eq(value)
            return signal

        def wire(value, name):
            signal = Signal(value.shape(), name=name)
            m.d.comb += signal.eq(value)
            return signal

        registers = popcount_registers(self.width, self.technology)
        # Bit plane i of all counts of the level, and the lanes that have not been added yet.
        planes, rest = [self.lanes[: self.width // 2]], self.lanes[self.width // 2 :]
        level = 0
        while len(planes[0]) > 1:
            level += 1
            half = len(planes[0]) // 2
            carry, rest = rest[:half], rest[half:]
            sums = []
            for index, plane in enumerate(planes):
                a, b = plane[:half], plane[half:]
                propagate = wire(a ^ b, f"propagate_{level}_{index}")
                sums.append(wire(propagate ^ carry, f"sum_{level}_{index}"))
                if level == 1 and self.technology == "ice40":
                    # In terms of the sum, so that the gates of the lanes fold into three LUT4 for each adder.
                    carry = (propagate & ~sums[-1]) | (~propagate & a)
                else:
                    carry = (a & b) | (propagate & carry)
                carry = wire(carry, f"carry_{level}_{index}")
            planes = [*sums, carry]
            if level in registers:
                planes = [register(plane, f"count_{level}_{index}") for index, plane in enumerate(planes)]
                rest = register(rest, f"lanes_{level}")
        m.d.comb += [
            self.count.eq(register(Cat(planes), "count_register")),
            self.carry.eq(register(rest, "carry_register")),
        ]
        return m
