"""Properties for proofs with `formal.py`: the stream contract of `hw/streams.py`, as assertions or assumptions."""

from typing import Any

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Module, Signal, Value

__all__ = ["TaggedElement", "assert_stable", "assume_stable", "free"]


def free(m: Module, signal: Any) -> None:
    """Let the solver choose ``signal`` anew in every cycle."""
    value = Value.cast(signal)
    m.d.comb += value.eq(AnySeq(len(value)))


def _stable(m: Module, port: Any, check: Any) -> None:
    payload = Value.cast(port.payload)
    waiting = Signal(name="waiting")
    before = Signal(len(payload), name="payload_before")
    m.d.sync += [waiting.eq(port.valid & ~port.ready), before.eq(payload)]
    with m.If(waiting):
        m.d.comb += [check(port.valid), check(payload == before)]


def assert_stable(m: Module, port: Any) -> None:
    """``port`` keeps valid and payload until they are taken."""
    _stable(m, port, Assert)


def assume_stable(m: Module, port: Any) -> None:
    """Whoever drives ``port`` keeps valid and payload until they are taken."""
    _stable(m, port, Assume)


class TaggedElement:
    """Follows one arbitrary element through a unit that holds ``capacity`` elements at most, in order.

    ``enter`` and ``leave`` are (strobe, element). Since the solver chooses which element is tagged, what holds for
    it holds for all. For induction the harness ties ``held`` (elements in the unit), ``ahead`` (elements before the
    tagged one) and ``value`` to the unit's registers.

    The tag itself asserts that the unit never gives more than it was given nor holds more than ``capacity``, and
    that the tagged element comes out unchanged when its turn comes: nothing is lost, repeated or reordered.
    """

    def __init__(self, m: Module, enter: tuple[Any, Any], leave: tuple[Any, Any], capacity: int) -> None:
        entering, entered = enter
        leaving, left = leave
        self.held = Signal(range(capacity + 1))
        self.inside = Signal()
        self.ahead = Signal(range(capacity + 1))
        self.value = Signal(len(Value.cast(entered)))
        gone = Signal()
        tag_it = Signal()
        m.d.comb += tag_it.eq(entering & AnySeq(1) & ~self.inside & ~gone)
        m.d.sync += self.held.eq(self.held + entering - leaving)
        m.d.comb += [Assert(self.held <= capacity), Assert(~leaving | (self.held != 0))]
        with m.If(tag_it):
            m.d.sync += [self.inside.eq(1), self.value.eq(Value.cast(entered)), self.ahead.eq(self.held - leaving)]
        with m.If(self.inside):
            m.d.comb += Assert(self.ahead < self.held)
            with m.If(leaving):
                m.d.sync += self.ahead.eq(self.ahead - 1)
                with m.If(self.ahead == 0):
                    m.d.comb += Assert(Value.cast(left) == self.value)
                    m.d.sync += [self.inside.eq(0), gone.eq(1)]
