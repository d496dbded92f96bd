"""The table of builds in the README: how it is made, and that it belongs to the boards as they are."""

import json
from pathlib import Path

import pytest

import dorefabric.boards
from dorefabric.boards import BOARDS
from dorefabric.boards.report import BuildReport, Clock, Usage
from dorefabric.boards.table import BEGIN, END, main, table

README = Path(dorefabric.boards.__file__).parent / "README.md"


def report(name: str, routed: bool = True, array: Usage | None = None) -> dict:
    board = BOARDS[name]
    clocks = (Clock("clk", 99.04, board.clock_hz / 1e6),) if routed else ()
    return BuildReport(
        board=board, usage=Usage(1320, 660, 15), clocks=clocks, seed=4, tools={"yosys": "yosys 1", "icepack": "pack 2"},
        seconds={"place": 3.0, "route": 4.4}, date="2026-01-02T03:04:05+00:00", bitstream=None,
        array=array,
    ).to_dict()  # fmt: skip


def test_row():
    lines = table([report("icebreaker")]).splitlines()
    config = BOARDS["icebreaker"].config
    assert lines[2] == (
        f"| icebreaker | iCE40UP5K-SG48 | {config.rows} × {config.columns} × {config.lanes} | {config.total_lanes} "
        f"| 1,320 / 5,280 (25%) | 660 / 5,280 (12%) | 15 / 30 (50%) | – | {config.clock_frequency / 1e6:g} | 99.0 "
        f"| {2 * config.total_lanes * config.clock_frequency / 1e9:,.1f} | 4 | 7 | 2026-01-02 |"
    )
    assert lines[-1] == "Tools: pack 2, yosys 1."


def test_array_alone():
    lanes = BOARDS["icebreaker"].config.total_lanes
    (row,) = table([report("icebreaker", array=Usage(3 * lanes, 2 * lanes, 4))]).splitlines()[2:3]
    assert " | 3.00, 2.00 | " in row


def test_order_is_routed_first_then_by_lanes():
    reports = [report("arty_a7", routed=False), report("ulx3s_85f"), report("icebreaker")]
    names = [line.split(" | ")[0].removeprefix("| ") for line in table(reports).splitlines()[2:5]]
    assert names == ["icebreaker", "ulx3s_85f", "arty_a7"]


def test_update_replaces_what_is_between_the_marks(tmp_path):
    file, page = tmp_path / "report.json", tmp_path / "README.md"
    file.write_text(json.dumps(report("icebreaker")))
    page.write_text("# boards\n<!-- builds -->\nold\n<!-- end of builds -->\nafter\n")
    assert main([str(file), "--update", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("# boards\n<!-- builds -->\n| board |")
    assert text.endswith("<!-- end of builds -->\nafter\n")
    assert "old" not in text


def test_page_without_marks(tmp_path, capsys):
    file, page = tmp_path / "report.json", tmp_path / "README.md"
    file.write_text(json.dumps(report("icebreaker")))
    page.write_text("# boards\n")
    assert main([str(file), "--update", str(page)]) == 2
    assert capsys.readouterr().err == (
        f"error: {page} does not have the marks <!-- builds --> and <!-- end of builds -->\n"
    )
    assert page.read_text() == "# boards\n"


@pytest.mark.skipif(not README.is_file(), reason="the README is not in an installed package")
@pytest.mark.parametrize("name", [name for name, board in BOARDS.items() if board.routed])
def test_the_committed_table_is_of_this_configuration(name):
    """A board whose configuration or clock changes has to be built again."""
    board = BOARDS[name]
    config = board.config
    builds = README.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = [line.split(" | ") for line in builds.splitlines() if line.startswith(f"| {name} | ")]
    assert len(rows) == 1
    (row,) = rows
    assert row[1] == board.device
    assert row[2] == f"{config.rows} × {config.columns} × {config.lanes}"
    assert row[8] == f"{board.clock_hz / 1e6:g}"
    if board.toolchain == "nextpnr":
        assert float(row[9]) >= float(row[8])
