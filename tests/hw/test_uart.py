"""UART: round trips, transmitters off by some per cent, glitches, breaks, fractional rates."""

import random
from collections.abc import Callable
from functools import partial

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from dorefabric.hw.uart import UARTReceiver, UARTTransmitter, bit_edges, sample_times
from dorefabric.sim.processes import sink, source

RATES = [(4_000_000, 1_000_000), (27_000_000, 2_000_000), (12_000_000, 1_000_000), (25_000_000, 3_000_000)]


def line_levels(characters: list[int], cycles_per_bit: float, gap: float = 0.0) -> list[int]:
    """The line, cycle by cycle, of a transmitter whose bits take ``cycles_per_bit`` of the receiver's cycles."""
    bits = [1] * 3
    for character in characters:
        bits += [0, *((character >> k & 1) for k in range(8)), 1]
    bits += [1] * 3
    return [bits[int((cycle + gap) / cycles_per_bit)] for cycle in range(int(len(bits) * cycles_per_bit - gap))]


@pytest.fixture(params=[False, True], ids=["plain", "registered"])
def registered(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture
def receive(registered: bool) -> Callable[[int, int, list[int]], list[int]]:
    return partial(reception, registered)


def reception(registered: bool, clock: int, baud: int, levels: list[int]) -> list[int]:
    dut = UARTReceiver(clock, baud, registered=registered)
    received: list[int] = []
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def drive(ctx) -> None:
        for level in levels:
            ctx.set(dut.rx, level)
            await ctx.tick()
        ctx.set(dut.rx, 1)
        await ctx.tick().repeat(20)

    simulator.add_testbench(drive)
    simulator.add_testbench(sink(dut.o, received), background=True)
    simulator.run()
    return received


@pytest.mark.parametrize(("clock", "baud"), RATES)
def test_transmitter_to_receiver(clock: int, baud: int, registered: bool) -> None:
    m = Module()
    m.submodules.transmitter = transmitter = UARTTransmitter(clock, baud, registered=registered)
    m.submodules.receiver = receiver = UARTReceiver(clock, baud, registered=registered)
    m.d.comb += receiver.rx.eq(transmitter.tx)
    rng = random.Random(baud)
    characters = [0x00, 0xFF, 0x55, 0xAA, *(rng.randrange(256) for _ in range(20))]
    received: list[int] = []
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    elapsed = cycles = 0

    async def count(ctx) -> None:
        nonlocal elapsed
        while True:
            await ctx.tick()
            elapsed += 1

    async def bench(ctx) -> None:
        nonlocal cycles
        await source(transmitter.i, characters)(ctx)
        await source(transmitter.i, [0])(ctx)
        cycles = elapsed
        await ctx.tick().repeat(bit_edges(clock, baud)[10] + 8)

    simulator.add_testbench(count, background=True)
    simulator.add_testbench(bench)
    simulator.add_testbench(sink(receiver.o, received), background=True)
    simulator.run()
    assert received == [*characters, 0]
    # Back to back: the next character starts when the stop bit of the one before ends.
    assert cycles == pytest.approx(bit_edges(clock, baud)[10] * len(characters), abs=2)


@pytest.mark.parametrize(("clock", "baud", "tolerance"),
                         [(4, 1, 0.025), (27, 4, 0.025), (8, 1, 0.035), (26, 1, 0.04)])  # fmt: skip
def test_receiver_tolerates_other_clocks(receive, clock: int, baud: int, tolerance: float) -> None:
    characters = [0x00, 0xFF, 0x55, 0x80, 0x7F, 0x01]
    for error in (-tolerance, 0, tolerance):
        for phase in (0.0, 0.37, 0.74):
            levels = line_levels(characters, clock / baud * (1 + error), phase)
            assert receive(clock, baud, levels) == characters


def test_glitches_and_false_starts_are_ignored(receive) -> None:
    levels = line_levels([0x5A, 0xC3], 8)
    glitched = list(levels)
    glitched[10] = 0  # one cycle low while idle
    for cycle in range(30, len(levels) - 10, 16):  # one cycle inverted, near the middle of bits too
        glitched[cycle] ^= 1
    assert receive(8, 1, glitched) == [0x5A, 0xC3]
    short = [1] * 10 + [0] * 3 + [1] * 30  # low for less than half a bit
    assert receive(8, 1, short + levels) == [0x5A, 0xC3]


def test_character_without_stop_bit_is_dropped(receive) -> None:
    good = line_levels([0x41], 8)
    broken = [0] * 8 * 10 + [1] * 12  # a break of ten bits
    assert receive(8, 1, good + broken + good) == [0x41, 0x41]
    long_break = [0] * 8 * 37 + [1] * 12
    assert receive(8, 1, good + long_break + good) == [0x41, 0x41]


def test_untaken_character_stays_and_the_next_is_dropped(registered: bool) -> None:
    dut = UARTReceiver(4, 1, registered=registered)
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def bench(ctx) -> None:
        for level in line_levels([0x12, 0x34], 4) + [1] * 10:
            ctx.set(dut.rx, level)
            await ctx.tick()
        assert ctx.get(dut.o.valid) == 1
        assert ctx.get(dut.o.payload) == 0x12
        ctx.set(dut.o.ready, 1)
        await ctx.tick()
        assert ctx.get(dut.o.valid) == 0

    simulator.add_testbench(bench)
    simulator.run()


def test_edges_do_not_accumulate_rounding() -> None:
    assert bit_edges(27, 2) == [0, 14, 27, 41, 54, 68, 81, 95, 108, 122, 135]
    assert sample_times(4, 1) == [2, 6, 10, 14, 18, 22, 26, 30, 34, 38]


def test_too_fast_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^baud_rate must not exceed a quarter of clock_frequency \(3000000\), "
                                         r"not 4000000$"):  # fmt: skip
        bit_edges(12_000_000, 4_000_000)
