"""Radiona ULX3S with a Lattice LFE5U-12F, -25F, -45F or -85F: 25 MHz, FT231X.

The 45F is sized by the area model and has not been routed. The open tools see the same die in 12F and 25F; the
configuration of the 12F stays within what Lattice sells as one.
"""

from fractions import Fraction
from typing import TYPE_CHECKING

from dorefabric.hw.config import FabricConfig

from .board import Board, Resources
from .clocking import Ecp5Pll
from .ecp5_floorplan import Floorplan

if TYPE_CHECKING:
    from amaranth.build import Platform

__all__ = ["BOARDS"]


def _board(
    size: str,
    *,
    lut: int,
    block_ram: int,
    rows: int,
    columns: int,
    clock_hz: int | Fraction,
    floorplan: Floorplan,
    feature_depth: int = 1024,
) -> Board:
    """``rows`` × ``columns`` × 64 lanes on the part of that size."""

    def platform() -> "Platform":
        from amaranth_boards import ulx3s

        made: Platform = getattr(ulx3s, f"ULX3S_{size}_Platform")()
        return made

    name = f"ulx3s_{size.lower()}"
    return Board(
        name=name,
        title=f"Radiona ULX3S {size}",
        device=f"LFE5U-{size}-6BG381C",
        platform=platform,
        clock="clk25",
        input_hz=25_000_000,
        pll=Ecp5Pll.solve(25_000_000, clock_hz),
        resources=Resources(lut=lut, flip_flops=lut, block_ram=block_ram, block_ram_bits=18_432),
        bitstream="top.bit",
        programmers=(("openFPGALoader", "-b", "ulx3s"),),
        tool_options=(
            ("synth_opts", "-noabc9"),
            # The static placer does not converge with carry chains, nor router2 with a 25F that is full of them. Of the
            # weights of timing tried, 10 (the default) to 100, this one leaves the fewest late paths.
            ("nextpnr_opts", "--router router1 --placer-heap-timingweight 50"),
            ("ecppack_opts", "--compress"),
        ),
        tie_high=(("esp32", "gpio0"),),
        floorplan=floorplan,
        gated_clock=size == "85F",
        routed=size != "45F",
        config=FabricConfig(
            name=name,
            rows=rows,
            columns=columns,
            lanes=64,
            tile_columns=4,
            accumulator_bits=20,
            threshold_bits=18,
            weight_depth=512,
            feature_depth=feature_depth,
            threshold_depth=512,
            program_depth=512,
            tap_depth=512,
            technology="ecp5",
            clock_frequency=int(clock_hz),
            baud_rate=3_000_000,
        ),
    )


# Operands and control go round the chip and end where they begin, next to control and feature memory in the band.
BOARDS = (
    _board("12F", lut=12_096, block_ram=32, rows=4, columns=8, clock_hz=Fraction(400_000_000, 3), feature_depth=512,
           floorplan=Floorplan(tiles=((0, 1),), band=28)),
    _board("25F", lut=24_288, block_ram=56, rows=6, columns=16, clock_hz=50_000_000, feature_depth=512,
           floorplan=Floorplan(tiles=((1, 2), (), (0, 3)), band=4)),
    _board("45F", lut=43_848, block_ram=108, rows=5, columns=32, clock_hz=50_000_000,
           floorplan=Floorplan(tiles=((1, 2, 3), (), (0, 5, 4), (7, 6)), band=6)),
    _board("85F", lut=83_640, block_ram=208, rows=6, columns=64, clock_hz=Fraction(400_000_000, 3),
           floorplan=Floorplan(tiles=((2, 3, 4, 5), (1, 0, 7, 6), (), (14, 15, 8, 9), (13, 12, 11, 10)), band=13)),
)  # fmt: skip
