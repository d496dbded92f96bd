"""Counters of clock cycles, steps and stalls: of a descriptor, of a run, and between runs."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Counters"]


class Counters(wiring.Component):
    """What the circuit counts, apart from where it is stored.

    Members
    -------
    begin : In; the first cycle that a descriptor counts
    hold : In; a cycle that it does not count
    issue, stall : In; a step is issued, a step waits
    count_run, completed : In; ``stalls`` becomes 32-bit ``completed`` and one: the stalls themselves are stored by then
    busy : In; a run goes on
    run_ends : In; in its last cycle
    interval : Out; cycles since the descriptor began; between runs, since the latest one ended
    steps, stalls : Out; of the descriptor
    cycles : Out; of the current or latest run
    runs : Out; since reset
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "begin": In(1),
                "hold": In(1),
                "issue": In(1),
                "stall": In(1),
                "count_run": In(1),
                "completed": In(32),
                "busy": In(1),
                "run_ends": In(1),
                "interval": Out(32),
                "steps": Out(32),
                "stalls": Out(32),
                "cycles": Out(32),
                "runs": Out(24),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        steps, stalls = Signal(32, reset_less=True), Signal(32, reset_less=True)
        m.d.comb += [self.steps.eq(steps), self.stalls.eq(stalls)]
        with m.If(self.issue):
            m.d.sync += steps.eq(steps + 1)
        with m.If(self.stall | self.count_run):
            m.d.sync += stalls.eq(Mux(self.count_run, self.completed, stalls) + 1)
        with m.If(self.begin):
            m.d.sync += [steps.eq(0), stalls.eq(0)]

        with m.If(self.run_ends):
            m.d.sync += self.interval.eq(0)
        with m.Elif(self.begin):
            m.d.sync += self.interval.eq(1)
        with m.Elif(~self.hold):
            m.d.sync += self.interval.eq(self.interval + 1)

        busy_before = Signal()
        m.d.sync += busy_before.eq(self.busy)
        with m.If(self.busy):
            m.d.sync += self.cycles.eq(Mux(busy_before, self.cycles + 1, 1))
        with m.If(self.run_ends):
            m.d.sync += self.runs.eq(self.runs + 1)
        return m
