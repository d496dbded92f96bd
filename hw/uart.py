"""Asynchronous serial receiver and transmitter: 8 data bits, no parity, one stop bit.

The bit time need not be a whole number of clock cycles: edge k of a character is at round(k · clock / baud)
cycles after its first, so the error never adds up. At least 4 cycles a bit.

``registered``, for fast clocks: a timer counts to -1, so that one flip-flop tells its end, not all.
"""

import math

from amaranth.hdl import Array, Cat, Const, Module, Signal, Value
from amaranth.lib import stream
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import Component, In, Out

from .pipeline import delay

__all__ = ["MIN_CYCLES_PER_BIT", "UARTReceiver", "UARTTransmitter", "bit_edges", "sample_times"]

MIN_CYCLES_PER_BIT = 4

_BITS = 10  # start, 8 data, stop


def _check(clock_frequency: int, baud_rate: int) -> None:
    if clock_frequency < MIN_CYCLES_PER_BIT * baud_rate:
        raise ValueError(
            f"baud_rate must not exceed a quarter of clock_frequency "
            f"({clock_frequency // MIN_CYCLES_PER_BIT}), not {baud_rate}"
        )


def bit_edges(clock_frequency: int, baud_rate: int) -> list[int]:
    """Clock cycles from the first edge of a character to the start of bit 0 … 9, and to its end."""
    _check(clock_frequency, baud_rate)
    return [(2 * k * clock_frequency + baud_rate) // (2 * baud_rate) for k in range(_BITS + 1)]


def sample_times(clock_frequency: int, baud_rate: int) -> list[int]:
    """Clock cycles from the detection of the start bit to the middle of bit 0 … 9."""
    _check(clock_frequency, baud_rate)
    return [math.floor((2 * k + 1) * clock_frequency / (2 * baud_rate)) for k in range(_BITS)]


def _timer(waits: list[int], registered: bool) -> tuple[Signal, Value, list[Const]]:
    """A signal to count down, whether it is at its end, and what to load for each wait (last: already at its end)."""
    late = int(registered)
    timer = Signal(range(-late, max(waits)), name="timer")
    loads = [Const(wait - 1 - late, timer.shape()) for wait in [*waits, 1]]
    return timer, timer[-1] if registered else timer == 0, loads


class UARTReceiver(Component):
    """Received characters as a stream.

    The line passes two flip-flops and a majority vote over three cycles, so neither metastability nor a glitch
    of one cycle reaches the logic. A start bit that is no longer low in its middle is ignored. A character
    without a stop bit is dropped, as is one that ends before the previous one was taken: the frames' CRC finds
    both. Tolerates transmitters that are 2.5 % off at 4 cycles a bit, 3.5 % from 8 cycles a bit.

    Members
    -------
    rx : In(1)
        The line, asynchronous, high when idle.
    o : stream of 8 bits
        Valid from the middle of the stop bit until taken.
    """

    def __init__(self, clock_frequency: int, baud_rate: int, *, registered: bool = False) -> None:
        self._samples = sample_times(clock_frequency, baud_rate)
        self._registered = registered
        super().__init__({"rx": In(1), "o": Out(stream.Signature(8))})

    def elaborate(self, platform) -> Module:
        m = Module()
        waits = [self._samples[0]] + [b - a for a, b in zip(self._samples, self._samples[1:], strict=False)]

        synchronised = Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.rx, synchronised, init=1)
        taps = Signal(2, init=0b11)
        line = Signal(init=1)
        m.d.sync += taps.eq(Cat(synchronised, taps[0]))
        m.d.sync += line.eq((synchronised & taps[0]) | (synchronised & taps[1]) | (taps[0] & taps[1]))

        timer, due, loads = _timer(waits, self._registered)
        bit = Signal(range(_BITS))
        shift = Signal(8, reset_less=True)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [bit.eq(0), timer.eq(loads[0])]
                with m.If(~line):
                    m.next = "RECEIVE"
            with m.State("RECEIVE"):
                m.d.sync += timer.eq(timer - 1)
                with m.If(due):
                    m.d.sync += timer.eq(Array(loads[1:])[bit])
                    m.d.sync += bit.eq(bit + 1)
                    m.d.sync += shift.eq(Cat(shift[1:], line))
                    with m.If((bit == 0) & line):
                        m.next = "IDLE"
                    with m.If(bit == _BITS - 1):
                        m.next = "WAIT"
                        with m.If(line):
                            m.next = "IDLE"
                            with m.If(~self.o.valid | self.o.ready):
                                m.d.sync += [self.o.payload.eq(shift), self.o.valid.eq(1)]
            with m.State("WAIT"), m.If(line):  # a break: no start bit before the line has been high
                m.next = "IDLE"
        return m


class UARTTransmitter(Component):
    """Sends a stream of characters, back to back when they are there in time.

    Members
    -------
    i : stream of 8 bits
        Ready when idle, and in the last cycle of a stop bit.
    tx : Out(1)
        The line, from a flip-flop, high when idle.
    """

    def __init__(self, clock_frequency: int, baud_rate: int, *, registered: bool = False) -> None:
        self._edges = bit_edges(clock_frequency, baud_rate)
        self._registered = registered
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        waits = [b - a for a, b in zip(self._edges, self._edges[1:], strict=False)]
        shift = Signal(_BITS - 1, init=(1 << _BITS - 1) - 1)  # the bits after the one on the line
        timer, over, loads = _timer(waits, self._registered)
        left = Signal(range(_BITS))
        last = delay(m, left == 0, int(self._registered), name="last")
        busy = Signal()
        bit_ends = Signal()
        m.d.comb += [
            bit_ends.eq(over),
            self.i.ready.eq(~busy | bit_ends & last),
        ]
        with m.If(~bit_ends):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(busy):
            # left counts 9 .. 0; the wait of the bit that begins now is that of bit 10 - left
            following = [loads[0] if k == 0 else loads[_BITS - k] for k in range(_BITS)]
            m.d.sync += [
                Cat(self.tx, shift).eq(Cat(shift, 1)),
                timer.eq(Array(following)[left]),
                left.eq(left - 1),
            ]
            with m.If(last):
                m.d.sync += [busy.eq(0), timer.eq(loads[-1])]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                Cat(self.tx, shift).eq(Cat(Const(0, 1), self.i.payload, Const(1, 1))),
                timer.eq(loads[0]),
                left.eq(_BITS - 1),
                busy.eq(1),
            ]
        return m
