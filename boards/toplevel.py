"""The board's top: clock, reset and pins around a design with a serial port."""

from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, Instance, Module, ResetSignal, Signal
from amaranth.lib import io, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import Out

from .board import Board
from .clocking import Ice40Pll

__all__ = ["RESET_SECONDS", "BoardTop", "ClockReset"]

RESET_SECONDS = 20e-6
"""Reset after the clock is stable. iCE40 block memories read as zeros for about 3 microseconds after
configuration (IceStorm issue 76); 20 leaves a margin and costs nothing elsewhere."""


class ClockReset(wiring.Component):
    """Makes the circuit's clock and reset from the board's input clock.

    The clock comes from the board's phase-locked loop if it has one. Reset is held until the loop is locked and
    `RESET_SECONDS` have passed, and again whenever lock is lost; it changes synchronously with the clock.

    With ``gated_clock`` the clock itself is held, by the gate that every global clock of an ECP5 passes, and there is
    no reset: registers have their first values from the configuration, and a net to all of them would take wires that
    an array needs, and be its slowest path. When lock is lost the clock stops, and the circuit goes on where it was.

    Members
    -------
    clock : Out(1)
    reset : Out(1); 0 where the clock is gated

    Attributes
    ----------
    gated : bool
        Whether the clock is held instead of reset.
    """

    def __init__(self, board: Board) -> None:
        super().__init__({"clock": Out(1), "reset": Out(1)})
        self._board = board
        self.gated = board.gated_clock

    def elaborate(self, platform: Any) -> Module:
        board = self._board
        m = Module()
        pin = platform.request(board.clock, dir="-")
        clock = Signal()
        locked = Signal()
        if isinstance(board.pll, Ice40Pll) and board.pll.pad:
            # The pad belongs to the loop: no input buffer may sit between.
            m.submodules.pll = board.pll.instance(pin.io, clock, locked)
        else:
            m.submodules.buffer = buffer = io.Buffer("i", pin)
            if board.pll is None:
                m.d.comb += [clock.eq(buffer.i), locked.eq(1)]
            else:
                m.submodules.pll = board.pll.instance(buffer.i, clock, locked)

        m.domains.start = ClockDomain("start", reset_less=True, local=True)
        m.d.comb += ClockSignal("start").eq(clock)

        stable = Signal()
        m.submodules.locked = FFSynchronizer(locked, stable, o_domain="start")
        cycles = round(RESET_SECONDS * board.clock_hz)
        timer = Signal(range(cycles + 1))
        ready = Signal()
        with m.If(~stable):
            m.d.start += [timer.eq(0), ready.eq(0)]
        with m.Elif(timer == cycles):
            m.d.start += ready.eq(1)
        with m.Else():
            m.d.start += timer.eq(timer + 1)
        if self.gated:
            m.submodules.gate = Instance("DCCA", i_CLKI=clock, i_CE=ready, o_CLKO=self.clock)
        else:
            m.d.comb += [self.clock.eq(clock), self.reset.eq(~ready)]
        return m


class BoardTop(wiring.Component):
    """``design`` on ``board``.

    Parameters
    ----------
    board : Board
    design : Component
        Has ports ``rx`` (in, asynchronous) and ``tx`` (out), serial lines that idle high, and may have ``busy``
        (out). Its ``sync`` domain runs at ``board.clock_hz``.

    LED 0 shows ``busy``; LED 1, if the board has it, blinks about once a second while the clock runs.
    """

    def __init__(self, board: Board, design: wiring.Component) -> None:
        super().__init__({})
        self._board = board
        self._design = design

    def elaborate(self, platform: Any) -> Module:
        board, design = self._board, self._design
        m = Module()
        m.submodules.clock = clock = ClockReset(board)
        m.domains.sync = ClockDomain("sync", reset_less=clock.gated)
        m.d.comb += ClockSignal("sync").eq(clock.clock)
        if not clock.gated:
            m.d.comb += ResetSignal("sync").eq(clock.reset)
        m.submodules.design = design

        uart = platform.request(*board.uart, dir="-")
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [design.rx.eq(rx.i), tx.o.eq(design.tx)]

        lights = []
        for index in range(board.leds):
            m.submodules[f"led_{index}"] = light = io.Buffer("o", platform.request("led", index, dir="-"))
            lights.append(light.o)
        if lights and hasattr(design, "busy"):
            m.d.comb += lights[0].eq(design.busy)
        if len(lights) > 1:
            heartbeat = Signal((board.clock_hz - 1).bit_length() - 1)
            m.d.sync += heartbeat.eq(heartbeat + 1)
            m.d.comb += lights[1].eq(heartbeat[-1])
        for resource, subsignal in board.tie_high:
            ports = platform.request(resource, 0, dir="-")
            m.submodules[f"tie_{subsignal}"] = tie = io.Buffer("o", getattr(ports, subsignal))
            m.d.comb += tie.o.eq(1)
        return m
