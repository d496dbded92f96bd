"""`Board`: everything the build needs to know about a supported board, as data."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.errors import DorefabricError

from .clocking import Ecp5Pll, Pll
from .ecp5_floorplan import Floorplan

if TYPE_CHECKING:
    from amaranth.build import Platform

__all__ = ["Board", "BoardError", "Resources"]


class BoardError(DorefabricError, ValueError):
    """A board that does not exist or whose description contradicts itself."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a device holds.

    Attributes
    ----------
    lut : int
        Look-up tables: 4 inputs each, 6 on Xilinx.
    flip_flops : int
    block_ram : int
        Block memories of ``block_ram_bits`` bits.
    block_ram_bits : int
    """

    lut: int
    flip_flops: int
    block_ram: int
    block_ram_bits: int


@dataclass(frozen=True, kw_only=True)
class Board:
    """One supported board.

    Attributes
    ----------
    name, title : str
        The name on the command line, and the one on the box.
    device : str
        The part, as its maker writes it.
    platform : callable
        Returns a new Amaranth platform; imports amaranth only when called.
    clock : str
        The platform resource of the input clock.
    pll : Pll or None
        Makes the circuit's clock from the input clock; None: the input clock itself.
    uart : tuple of str, int
        The platform resource of the host link.
    leds : int
        How many ``led`` resources show life: 0 busy, 1 heartbeat (which costs a 24-bit counter).
    tie_high : tuple of (resource, subsignal)
        Pins that the board needs driven high.
    config : FabricConfig
        The accelerator that has been shown to route with timing met, unless ``routed`` is false (Arty A7: that
        synthesises).
    routed : bool
        Whether ``config`` has been placed and routed; otherwise its size comes from the area model.
    toolchain : str
        ``nextpnr``, or ``vendor``: Verilog and a project for the vendor's tool, counted with yosys.
    resources : Resources
    bitstream : str
        File name of the bitstream.
    tool_options : tuple of (str, str)
        Amaranth overrides: options of the tools.
    floorplan : Floorplan or None
        Where the elements of ``config`` lie, on an ECP5; None: the placer decides.
    gated_clock : bool
        Hold the clock instead of a reset until it is stable, see `toplevel.ClockReset`. ECP5 only, and of these the
        85F: nextpnr finds no way to the gate on the smaller dies.
    programmers : tuple of commands
        Commands that load the bitstream, which is appended; the first one that is installed is used.
    """

    name: str
    title: str
    device: str
    platform: Callable[[], "Platform"]
    clock: str
    input_hz: int
    pll: Pll | None
    config: FabricConfig
    resources: Resources
    bitstream: str
    programmers: tuple[tuple[str, ...], ...]
    toolchain: str = "nextpnr"
    uart: tuple[str, int] = ("uart", 0)
    leds: int = 2
    tie_high: tuple[tuple[str, str], ...] = ()
    tool_options: tuple[tuple[str, str], ...] = ()
    floorplan: Floorplan | None = None
    gated_clock: bool = False
    routed: bool = True

    def __post_init__(self) -> None:
        if self.toolchain not in ("nextpnr", "vendor"):
            raise BoardError(f"board {self.name}: toolchain must be nextpnr or vendor, not {self.toolchain!r}")
        if self.gated_clock and not isinstance(self.pll, Ecp5Pll):
            raise BoardError(f"board {self.name}: gated_clock needs the phase-locked loop of an ECP5")
        if self.pll is not None and self.pll.input_hz != self.input_hz:
            raise BoardError(
                f"board {self.name}: the PLL expects {self.pll.input_hz} Hz, the input clock is {self.input_hz} Hz"
            )
        if self.clock_hz != self.config.clock_frequency:
            raise BoardError(
                f"board {self.name}: the clock is {self.clock_hz} Hz, "
                f"the configuration says {self.config.clock_frequency} Hz"
            )

    @property
    def clock_hz(self) -> int:
        """Frequency of the circuit's clock, in whole hertz."""
        return self.input_hz if self.pll is None else int(self.pll.output_hz)
