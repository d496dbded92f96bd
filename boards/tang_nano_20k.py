"""Sipeed Tang Nano 20K: Gowin GW2AR-18 (GW2A-18C to the tools), 27 MHz, BL616."""

from typing import TYPE_CHECKING

from dorefabric.hw.config import FabricConfig

from .board import Board, Resources
from .clocking import GowinPll

if TYPE_CHECKING:
    from amaranth.build import Platform

__all__ = ["BOARD"]


def _platform() -> "Platform":
    from .gowin import TangNano20k

    return TangNano20k()


BOARD = Board(
    name="tang_nano_20k",
    title="Sipeed Tang Nano 20K",
    device="GW2AR-LV18QN88C8/I7",
    platform=_platform,
    clock="clk27",
    input_hz=27_000_000,
    pll=GowinPll.solve(27_000_000, 81_000_000, device="GW2A-18C"),
    resources=Resources(lut=20_736, flip_flops=15_552, block_ram=46, block_ram_bits=18_432),
    bitstream="top.fs",
    programmers=(("openFPGALoader", "-b", "tangnano20k"),),
    tool_options=(("synth_opts", "-nowidelut"),),
    config=FabricConfig(
        name="tang_nano_20k",
        rows=4,
        columns=8,
        lanes=64,
        tile_columns=4,
        accumulator_bits=20,
        threshold_bits=16,
        weight_depth=512,
        feature_depth=512,
        threshold_depth=512,
        program_depth=512,
        tap_depth=512,
        prefetch=False,
        technology="gowin",
        clock_frequency=81_000_000,
        baud_rate=1_000_000,
    ),
)
