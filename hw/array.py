"""The array: column tiles in a row."""

from functools import partial

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .config import FabricConfig
from .pipeline import delay
from .shared import place
from .tile import Tile, activation_layout, control_layout, host_enables, host_layout
from .timing import extra_registers

__all__ = ["SystolicArray"]


class SystolicArray(wiring.Component):
    """``tiles`` column tiles; operands and control enter tile 0 and move one tile a cycle.

    The tiles' bits are delayed to leave together, with those of the last tile: a slot's bits are out 4 + tiles - 1
    cycles after its ``first``. Members are those of `Tile`, without the way out; where clocks are fast the host's words
    take a cycle more, and their ``enables`` are found here.
    """

    def __init__(self, config: FabricConfig) -> None:
        self.config = config
        super().__init__(
            {
                "activations": In(activation_layout(config)),
                "control": In(control_layout(config)),
                "host": In(host_layout(config)),
                "bits": Out(config.columns),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        activations, control, host = self.activations, self.control, self.host
        if extra_registers(self.config.technology):
            host = Signal.like(self.host, reset_less=True)
            m.d.sync += [host.eq(self.host), host.enables.eq(Cat(host_enables(self.config, self.host, 0)))]
        bits = []
        for index in range(self.config.tiles):
            tile = place(m, platform, f"tile_{index}", "tile", partial(Tile, self.config))
            m.d.comb += [tile.activations.eq(activations), tile.control.eq(control), tile.host.eq(host)]
            activations, control, host = tile.next_activations, tile.next_control, tile.next_host
            bits.append(delay(m, tile.bits, self.config.tiles - 1 - index, name=f"bits_{index}"))
        m.d.comb += self.bits.eq(Cat(bits))
        return m
