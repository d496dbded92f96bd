"""Sipeed Tang Nano 9K: Gowin GW1NR-9C, 27 MHz, BL702."""

from typing import TYPE_CHECKING

from dorefabric.hw.config import FabricConfig

from .board import Board, Resources
from .clocking import GowinPll

if TYPE_CHECKING:
    from amaranth.build import Platform

__all__ = ["BOARD"]


def _platform() -> "Platform":
    from .gowin import TangNano9k

    return TangNano9k()


BOARD = Board(
    name="tang_nano_9k",
    title="Sipeed Tang Nano 9K",
    device="GW1NR-LV9QN88PC6/I5",
    platform=_platform,
    clock="clk27",
    input_hz=27_000_000,
    pll=GowinPll.solve(27_000_000, 40_500_000, device="GW1NR-9C"),
    resources=Resources(lut=8640, flip_flops=6480, block_ram=26, block_ram_bits=18_432),
    bitstream="top.fs",
    programmers=(("openFPGALoader", "-b", "tangnano9k"),),
    # Not yosys' own ALU chains: beside those of the elements they leave the flip-flops no room.
    tool_options=(("synth_opts", "-nowidelut -noalu"),),
    config=FabricConfig(
        name="tang_nano_9k",
        rows=3,
        columns=8,
        lanes=64,
        row_wrap=False,
        prefetch=False,
        tile_columns=8,
        threshold_columns=8,
        accumulator_bits=20,
        threshold_bits=16,
        weight_depth=512,
        feature_depth=512,
        threshold_depth=128,
        program_depth=512,
        tap_depth=512,
        technology="gowin",
        clock_frequency=40_500_000,
        baud_rate=1_000_000,
    ),
)
