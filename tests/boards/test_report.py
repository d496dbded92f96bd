"""Reports read from stored samples of the tools' output."""

import json
from pathlib import Path

import pytest

from dorefabric.boards import get_board
from dorefabric.boards.report import BuildReport, Clock, Usage, parse_nextpnr_report, parse_yosys_statistics
from dorefabric.boards.tools import BuildError

SAMPLES = Path(__file__).parent / "samples"


def parse(name: str):
    return parse_nextpnr_report(SAMPLES / f"{name}.json", SAMPLES / "ice40.log", name)


def test_ice40():
    usage, clocks = parse("ice40")
    assert usage == Usage(lut=52, flip_flops=39, block_ram=3, other={"ICESTORM_SPRAM": 1})
    assert clocks == (Clock("clk", 64.8, 18.0),)
    assert clocks[0].met


def test_ecp5_with_two_clocks():
    usage, clocks = parse("ecp5")
    assert usage == Usage(lut=54, flip_flops=41, block_ram=12, other={"MULT18X18D": 2, "TRELLIS_RAMW": 4})
    assert [clock.met for clock in clocks] == [False, True]


def test_gowin_counts_arithmetic_cells_as_look_up_tables():
    usage, _ = parse("gowin")
    assert usage == Usage(lut=69, flip_flops=40, block_ram=7, other={"MUX2_LUT5": 6})


def test_xilinx_statistics():
    usage = parse_yosys_statistics((SAMPLES / "xilinx.json").read_text(), "xilinx")
    assert usage == Usage(lut=18, flip_flops=43, block_ram=5.5, other={"BUFG": 1, "CARRY4": 10, "PLLE2_BASE": 1})


@pytest.mark.parametrize(
    ("technology", "cells", "expected"),
    [
        ("ice40", {"SB_LUT4": 7, "SB_DFFESR": 3, "SB_CARRY": 2, "SB_RAM40_4K": 1}, Usage(7, 3, 1, {"SB_CARRY": 2})),
        ("ecp5", {"LUT4": 7, "CCU2C": 5, "TRELLIS_FF": 3, "DP16KD": 2}, Usage(17, 3, 2)),
        ("gowin", {"LUT4": 7, "LUT2": 1, "ALU": 5, "DFFRE": 3, "SDPX9B": 2}, Usage(13, 3, 2)),
    ],
)
def test_statistics_of_the_other_technologies(technology, cells, expected):
    text = json.dumps({"design": {"num_cells_by_type": cells}})
    assert parse_yosys_statistics(text, technology) == expected


def test_missing_report(tmp_path):
    missing = tmp_path / "report.json"
    with pytest.raises(BuildError) as caught:
        parse_nextpnr_report(missing, SAMPLES / "ice40.log", "ice40")
    assert str(caught.value) == (
        f"nextpnr wrote no usable report {missing}: [Errno 2] No such file or directory: '{missing}'"
    )


def test_log_without_packing(tmp_path):
    log = tmp_path / "log"
    log.write_text("Info: nothing\n")
    with pytest.raises(BuildError) as caught:
        parse_nextpnr_report(SAMPLES / "ice40.json", log, "ice40")
    assert str(caught.value) == "nextpnr-ice40's log does not say how many flip-flops it packed"


def report(**changes) -> BuildReport:
    values = {
        "board": get_board("icebreaker"),
        "usage": Usage(2640, 528, 15, {"ICESTORM_SPRAM": 1}),
        "clocks": (Clock("clk", 30.0, get_board("icebreaker").clock_hz / 1e6),),
        "seed": 7,
        "tools": {"yosys": "yosys 1"},
        "seconds": {"place": 1.25, "route": 2.5},
        "date": "2026-01-02T03:04:05+00:00",
        "bitstream": "top.bin",
    }
    return BuildReport(**{**values, **changes})


def test_report_values():
    values = report().to_dict()
    json.dumps(values)
    config = get_board("icebreaker").config
    assert values["lanes"] == config.total_lanes
    assert values["peak_gops"] == pytest.approx(2 * config.total_lanes * config.clock_frequency / 1e9)
    assert values["fmax_mhz"] == 30.0
    assert values["timing_met"] is True
    assert values["used"] == {
        "lut": 2640, "flip_flops": 528, "block_ram": 15, "other": {"ICESTORM_SPRAM": 1},
    }  # fmt: skip
    assert values["seconds"] == {"place": 1.2, "route": 2.5}


def test_report_table():
    rows = dict(report().table_rows())
    assert rows["LUT"] == "2,640 of 5,280 (50%)"
    assert rows["block RAM"] == "15 of 30 (50%)"
    assert rows["Fmax"] == "30.0 MHz, timing met"
    assert report().table().row_count == len(rows)


def test_fmax_is_that_of_the_circuits_clock():
    required = get_board("icebreaker").clock_hz / 1e6
    clocks = (Clock("usb", 10.0, 48.0), Clock("clk", required - 1, required))
    late = report(clocks=clocks)
    assert late.fmax == required - 1
    assert late.timing_met is False
    assert dict(late.table_rows())["Fmax"] == f"{required - 1:.1f} MHz, timing NOT met"


def test_report_of_a_board_that_was_not_routed():
    counted = report(clocks=(), bitstream=None)
    assert counted.fmax is None
    assert counted.timing_met is None
    assert dict(counted.table_rows())["Fmax"] == "not routed: needs the vendor's tool"
