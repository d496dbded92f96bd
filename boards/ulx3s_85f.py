"""Radiona ULX3S with a Lattice LFE5U-85F: 25 MHz, FT231X."""

from typing import TYPE_CHECKING

from dorefabric.hw.config import FabricConfig

from .board import Board, Resources
from .clocking import Ecp5Pll
from .ecp5_floorplan import Floorplan

if TYPE_CHECKING:
    from amaranth.build import Platform

__all__ = ["BOARD"]


def _platform() -> "Platform":
    from amaranth_boards.ulx3s import ULX3S_85F_Platform

    return ULX3S_85F_Platform()


BOARD = Board(
    name="ulx3s_85f",
    title="Radiona ULX3S 85F",
    device="LFE5U-85F-6BG381C",
    platform=_platform,
    clock="clk25",
    input_hz=25_000_000,
    pll=Ecp5Pll.solve(25_000_000, 90_000_000),
    resources=Resources(lut=83_640, flip_flops=83_640, block_ram=208, block_ram_bits=18_432),
    bitstream="top.bit",
    programmers=(("openFPGALoader", "-b", "ulx3s"),),
    tool_options=(
        ("synth_opts", "-noabc9"),
        # The static placer does not converge with carry chains, nor router2 with so dense an array.
        ("nextpnr_opts", "--router router1"),
        ("ecppack_opts", "--compress"),
    ),
    tie_high=(("esp32", "gpio0"),),
    # Operands and control go round the chip and end where they begin, next to control and feature memory.
    floorplan=Floorplan(
        pitch=(7, 5),
        tiles=(
            (2, 3, 4, 5),
            (1, 0, 7, 6),
            (),
            (14, 15, 8, 9),
            (13, 12, 11, 10),
        ),
    ),
    config=FabricConfig(
        name="ulx3s_85f",
        rows=4,
        columns=64,
        lanes=64,
        tile_columns=4,
        accumulator_bits=20,
        threshold_bits=18,
        row_wrap=False,
        weight_depth=512,
        feature_depth=1024,
        threshold_depth=512,
        program_depth=512,
        tap_depth=512,
        technology="ecp5",
        clock_frequency=90_000_000,
        baud_rate=3_000_000,
    ),
)
