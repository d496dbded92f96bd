"""Digilent Arty A7-35T: Xilinx XC7A35T, 100 MHz, FT2232H."""

from typing import TYPE_CHECKING

from dorefabric.hw.config import FabricConfig

from .board import Board, Resources
from .clocking import XilinxPll

if TYPE_CHECKING:
    from amaranth.build import Platform

__all__ = ["BOARD"]


def _platform() -> "Platform":
    from amaranth_boards.arty_a7 import ArtyA7_35Platform

    return ArtyA7_35Platform()


BOARD = Board(
    name="arty_a7",
    title="Digilent Arty A7-35T",
    device="XC7A35TICSG324-1L",
    platform=_platform,
    clock="clk100",
    input_hz=100_000_000,
    pll=XilinxPll.solve(100_000_000, 50_000_000),
    resources=Resources(lut=20_800, flip_flops=41_600, block_ram=50, block_ram_bits=36_864),
    bitstream="top.bit",
    programmers=(("openFPGALoader", "-b", "arty_a7_35t"),),
    toolchain="vendor",
    config=FabricConfig(
        name="arty_a7",
        rows=4,
        columns=16,
        lanes=64,
        tile_columns=4,
        accumulator_bits=20,
        threshold_bits=20,
        weight_depth=1024,
        feature_depth=1024,
        threshold_depth=512,
        program_depth=512,
        tap_depth=512,
        technology="xilinx",
        clock_frequency=50_000_000,
        baud_rate=3_000_000,
    ),
)
