"""Whole designs: the core behind one of its front ends.

| front | component  | outside                                                            |
|-------|------------|--------------------------------------------------------------------|
| uart  | `UartTop`  | ``rx``, ``tx``: frames of `frames.py`, 8N1                         |
| axi   | `AxiTop`   | AXI4-Lite for the memory map, AXI4-Stream in and out for bulk data |
| bus   | `BusTop`   | the bus of `bus.py` itself                                         |
"""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from .axi import AxiFront, AxiSignature
from .bus import BusSignature
from .config import FabricConfig
from .core import Core
from .front import SerialFront
from .timing import captures_early
from .uart import UARTReceiver, UARTTransmitter

__all__ = ["AxiTop", "BusTop", "UartTop", "top_for"]


class BusTop(Component):
    """The core alone.

    Members
    -------
    bus : BusSignature
        Accepts requests.
    busy : Out(1)
        A program is running.
    """

    def __init__(self, config: FabricConfig, *, core: Component | None = None) -> None:
        self._core = Core(config) if core is None else core
        super().__init__({"bus": In(BusSignature()), "busy": Out(1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.core = self._core
        connect(m, flipped(self.bus), self._core.bus)
        m.d.comb += self.busy.eq(self._core.busy)
        return m


class UartTop(Component):
    """The core behind a serial line.

    Parameters
    ----------
    config : FabricConfig
        ``clock_frequency`` and ``baud_rate`` set the line's speed.
    core : Component
        What to put behind the front end instead of the core: members ``bus`` and ``busy`` like `BusTop`'s.

    Members
    -------
    rx : In(1)
        From the host, asynchronous, high when idle.
    tx : Out(1)
        To the host, from a flip-flop, high when idle.
    busy : Out(1)
        A program is running.
    """

    def __init__(self, config: FabricConfig, *, core: Component | None = None) -> None:
        self._core = Core(config) if core is None else core
        self._rates = config.clock_frequency, config.baud_rate
        self._registered = captures_early(config.technology)  # registers are cheap
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "busy": Out(1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.receiver = receiver = UARTReceiver(*self._rates, registered=self._registered)
        m.submodules.transmitter = transmitter = UARTTransmitter(*self._rates, registered=self._registered)
        m.submodules.front = front = SerialFront(registered=self._registered)
        m.submodules.core = self._core
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            self.busy.eq(self._core.busy),
        ]
        connect(m, receiver.o, front.i)
        connect(m, front.o, transmitter.i)
        connect(m, front.bus, self._core.bus)
        return m


class AxiTop(Component):
    """The core behind AXI4-Lite and AXI4-Stream ports; `axi.py` has the ports and the front end's registers.

    Members
    -------
    s_axi_*, s_axis_*, m_axis_*
        As in `AxiSignature`, but flat, so that they keep the names that vendors' tools look for.
    busy : Out(1)
        A program is running: an interrupt when inverted.
    """

    def __init__(self, config: FabricConfig, *, core: Component | None = None) -> None:
        self._core = Core(config) if core is None else core
        super().__init__({**AxiSignature().members, "busy": Out(1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.front = front = AxiFront()
        m.submodules.core = self._core
        m.d.comb += self.busy.eq(self._core.busy)
        for name, member in AxiSignature().members.items():
            inside, outside = getattr(front, name), getattr(self, name)
            m.d.comb += inside.eq(outside) if member.flow is wiring.In else outside.eq(inside)
        connect(m, front.bus, self._core.bus)
        return m


def top_for(config: FabricConfig, *, core: Component | None = None) -> Component:
    """The design with the front end that ``config.front`` names."""
    return {"uart": UartTop, "axi": AxiTop, "bus": BusTop}[config.front](config, core=core)
