"""Lattice iCE40HX8K breakout board (iCE40HX8K-B-EVN): 12 MHz, FT2232H."""

from typing import TYPE_CHECKING

from dorefabric.hw.config import FabricConfig

from .board import Board, Resources
from .clocking import Ice40Pll

if TYPE_CHECKING:
    from amaranth.build import Platform

__all__ = ["BOARD"]


def _platform() -> "Platform":
    from amaranth_boards.ice40_hx8k_b_evn import ICE40HX8KBEVNPlatform

    return ICE40HX8KBEVNPlatform()


BOARD = Board(
    name="hx8k_evn",
    title="Lattice iCE40HX8K-B-EVN",
    device="iCE40HX8K-CT256",
    platform=_platform,
    clock="clk12",
    input_hz=12_000_000,
    pll=Ice40Pll.solve(12_000_000, 69_000_000, pad=False),
    resources=Resources(lut=7680, flip_flops=7680, block_ram=32, block_ram_bits=4096),
    bitstream="top.bin",
    programmers=(("iceprog",), ("openFPGALoader", "-b", "ice40_generic")),
    tool_options=(("nextpnr_opts", "--placer static --no-tmdriv"),),
    config=FabricConfig(
        name="hx8k_evn",
        rows=4,
        columns=4,
        lanes=32,
        row_wrap=False,
        prefetch=False,
        tile_columns=4,
        accumulator_bits=20,
        threshold_bits=16,
        weight_depth=256,
        feature_depth=256,
        threshold_depth=512,
        program_depth=256,
        tap_depth=256,
        technology="ice40",
        clock_frequency=69_000_000,
        baud_rate=3_000_000,
    ),
)
