"""The table of cells a lane: the naive array computes what the elements do, and takes more cells."""

from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from dorefabric.boards.lanes import NaiveElement, lanes_table
from dorefabric.hw.element import accumulate

WORD = st.integers(0, 255)


@settings(max_examples=20)
@given(st.lists(st.tuples(WORD, WORD, st.booleans()), min_size=1, max_size=12))
def test_the_naive_element_accumulates_mismatches(steps: list[tuple[int, int, bool]]) -> None:
    element = NaiveElement(lanes=8, accumulator_bits=6, technology="generic")

    async def bench(ctx):  # type: ignore[no-untyped-def]
        for number, (activations, weights, double) in enumerate(steps):
            for signal, value in (("activations", activations), ("weights", weights), ("double", double),
                                  ("clear", number == 0), ("enable", 1)):  # fmt: skip
                ctx.set(getattr(element, signal), value)
            await ctx.tick()
        assert ctx.get(element.accumulator) == accumulate([(a, w, d and n > 0) for n, (a, w, d) in enumerate(steps)], 6)

    simulator = Simulator(element)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_the_table() -> None:
    head, _, row, *_ = lanes_table(rows=1, columns=2, lanes=32, bits=12, technologies=("ecp5",)).splitlines()
    technology, cells, naive, _, ours, _ = (cell.strip() for cell in row.strip("| ").split("|"))
    assert (technology, cells) == ("ecp5", "LUT4") and head.count("|") == row.count("|")
    assert 1.5 < float(ours) < 0.75 * float(naive)
