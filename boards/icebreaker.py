"""1BitSquared iCEBreaker: Lattice iCE40UP5K, 12 MHz, FT2232H."""

from typing import TYPE_CHECKING

from dorefabric.hw.config import FabricConfig

from .board import Board, Resources
from .clocking import Ice40Pll

if TYPE_CHECKING:
    from amaranth.build import Platform

__all__ = ["BOARD"]


def _platform() -> "Platform":
    from amaranth_boards.icebreaker import ICEBreakerPlatform

    return ICEBreakerPlatform()


BOARD = Board(
    name="icebreaker",
    title="1BitSquared iCEBreaker",
    device="iCE40UP5K-SG48",
    platform=_platform,
    clock="clk12",
    input_hz=12_000_000,
    pll=Ice40Pll.solve(12_000_000, 30_000_000),
    resources=Resources(lut=5280, flip_flops=5280, block_ram=30, block_ram_bits=4096),
    bitstream="top.bin",
    programmers=(("iceprog",), ("openFPGALoader", "-b", "ice40_generic")),
    # Not -dsp: with it and the SB_MAC16 and SPRAM instances of our own, the netlist differed from the model on some
    # random descriptors; either alone did not.
    tool_options=(("synth_opts", "-device u"), ("nextpnr_opts", "--placer static --no-tmdriv")),
    leds=1,
    config=FabricConfig(
        name="icebreaker",
        rows=2,
        columns=8,
        lanes=32,
        row_wrap=False,
        prefetch=False,
        tile_columns=8,
        threshold_columns=4,
        accumulator_bits=18,
        threshold_bits=16,
        weight_depth=256,
        image_size=63,
        feature_depth=16384,
        feature_ports=1,
        threshold_depth=64,
        program_depth=512,
        tap_depth=256,
        technology="ice40",
        clock_frequency=30_000_000,
        baud_rate=3_000_000,
    ),
)
