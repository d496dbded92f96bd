"""The command line: every bad input gives one line on standard error and exit status 2."""

import json
from pathlib import Path

import numpy as np
import pytest

from dorefabric.hw.config import FabricConfig
from dorefabric.sw.cli import VERBS, main
from dorefabric.sw.compile import compile_graph
from dorefabric.sw.random_graphs import random_layer

CONFIG = FabricConfig(name="test", rows=2, columns=4, lanes=16, tile_columns=2, accumulator_bits=32, threshold_bits=32)
BOARD_NAMES = "arty_a7, hx8k_evn, icebreaker, tang_nano_20k, tang_nano_9k, ulx3s_12f, ulx3s_25f, ulx3s_45f, ulx3s_85f"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of one command."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as exit_:
        status = int(exit_.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The message of a command that must fail with status 2 and one line."""
    status, _, error = run(capsys, *arguments)
    assert status == 2
    assert error.startswith("dorefabric: error: ") and error.count("\n") == 1, error
    return error.removeprefix("dorefabric: error: ").rstrip("\n")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "net.dfp"
    compile_graph(random_layer(np.random.default_rng(1), 1, 2, 2), CONFIG).save(path)
    return path


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, verb, "--help")
    assert status == 0
    assert f"example: dorefabric {verb}" in out


def test_bits(capsys: pytest.CaptureFixture[str]) -> None:
    def message(bits: str) -> str:
        return fails(capsys, "train", "digits", "--model", "digits", "--bits", bits, "-o", "x.pt")

    assert message("0,2") == "weight bits must be 1 to 8, or 32 for float, not '0'"
    assert message("1,9") == "activation bits must be 1 to 8, or 32 for float, not '9'"
    assert message("1,2,1.5") == "gradient bits must be 1 to 8, or 32 for float, not '1.5'"
    assert message("1") == "--bits must be W,A or W,A,G, not '1'"


def test_unknown_names(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert fails(capsys, "build", "nosuch", "-o", tmp_path) == (
        f"unknown board 'nosuch'; supported boards: {BOARD_NAMES}"
    )
    assert fails(capsys, "train", "digits", "--model", "nosuch", "--bits", "1,2", "-o", "x.pt").startswith(
        "unknown model 'nosuch'; known: digits, "
    )
    assert fails(capsys, "train", "imagenet", "--model", "cnv", "--bits", "1,2", "-o", "x.pt") == (
        "unknown data set 'imagenet'; known: digits, mnist, cifar10, svhn"
    )
    assert fails(capsys, "nosuch").startswith("argument VERB: invalid choice: 'nosuch'")


def test_configuration_fields(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert fails(capsys, "generate", "--rows", 17, "-o", tmp_path / "g") == (
        "rows must be an integer from 1 to 16, not 17"
    )
    assert fails(capsys, "generate", "--columns", 64, "--lanes", 32, "-o", tmp_path / "g") == (
        "columns must not exceed lanes (32), not 64"
    )
    assert fails(capsys, "generate", "--weight-bits", 9, "-o", tmp_path / "g") == (
        "weight_bits must be an integer from 1 to 8, not 9"
    )
    assert fails(capsys, "generate", "-o", tmp_path / "g") == (
        "name one of --board, --config, or a shape (--rows, --columns, --lanes, ...)"
    )
    config = tmp_path / "c.toml"
    config.write_text("rows = 2\ncolour = 3\n")
    assert fails(capsys, "generate", "--config", config, "-o", tmp_path / "g").startswith(
        "unknown configuration field 'colour'; known fields: accumulator_bits, "
    )
    assert fails(capsys, "generate", "--config", tmp_path / "none.toml", "-o", tmp_path / "g") == (
        f"cannot read configuration {tmp_path}/none.toml: No such file or directory"
    )
    assert not (tmp_path / "g").exists()


def test_program_files(program: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = program.read_bytes()
    damaged = tmp_path / "damaged.dfp"

    def message(content: bytes) -> str:
        damaged.write_bytes(content)
        return fails(capsys, "simulate", damaged, "--input", "x.npy")

    assert message(b"") == f"{damaged} is not a dorefabric program"
    assert message(b"hello, world, hello") == f"{damaged} is not a dorefabric program"
    assert message(data[:-7]) == f"program {damaged} is truncated: {len(data) - 7} of {len(data)} bytes"
    assert message(data[:-40] + bytes([data[-40] ^ 1]) + data[-39:]) == (
        f"program {damaged} is corrupted: the checksum does not match"
    )
    missing = tmp_path / "none.dfp"
    assert fails(capsys, "simulate", missing, "--input", "x.npy") == (
        f"cannot read program {missing}: No such file or directory"
    )


def test_inputs(program: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from dorefabric.sw.program import Program

    shape = Program.load(program).input_shape
    path = tmp_path / "x.npy"

    def message(array: np.ndarray) -> str:
        np.save(path, array)
        return fails(capsys, "simulate", program, "--input", path)

    assert message(np.zeros((2, 3), np.uint8)) == (
        f"input must have shape (N, {shape[0]}, {shape[1]}, {shape[2]}), not (2, 3)"
    )
    assert message(np.zeros((1, *shape), np.float32)) == "input must be unsigned 8-bit integers, not float32"
    assert message(np.full((1, *shape), 9, np.uint8)) == "input values must be from 0 to 3, not 9 to 9"
    path.write_text("not an array")
    assert fails(capsys, "simulate", program, "--input", path).startswith(f"{path} is not a .npy array: ")
    assert fails(capsys, "simulate", program, "--input", tmp_path / "none.npy") == (
        f"cannot read {tmp_path}/none.npy: No such file or directory"
    )


def test_wave_needs_signals(program: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from dorefabric.sw.program import Program

    np.save(tmp_path / "x.npy", np.zeros((1, *Program.load(program).input_shape), np.uint8))
    assert fails(capsys, "simulate", program, "--input", tmp_path / "x.npy", "--wave", "w.vcd") == (
        "--wave needs --engine verilator or pysim: the interpreter has no signals"
    )


def test_report_of_success_and_failure(program: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    status, _, _ = run(capsys, "boards", "--json", report)
    content = json.loads(report.read_text())
    assert status == 0 and content["ok"] and content["verb"] == "boards"
    assert content["boards"]["icebreaker"]["lanes"] >= 512
    message = fails(capsys, "build", "nosuch", "-o", tmp_path, "--json", report)
    content = json.loads(report.read_text())
    assert not content["ok"] and content["error"] == message


def test_a_report_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    report = tmp_path / "none" / "report.json"
    message = f"cannot write the report {report}: No such file or directory"
    assert fails(capsys, "boards", "--json", report) == message
    status, _, error = run(capsys, "build", "nosuch", "-o", tmp_path, "--json", report)
    assert status == 2
    assert error.splitlines()[1:] == [f"dorefabric: error: {message}"]


def test_data_directory_and_model_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    missing = tmp_path / "none"
    message = fails(
        capsys, "train", "mnist", "--model", "lenet", "--bits", "1,2", "--data-dir", missing, "-o", tmp_path / "m.pt"
    )
    assert str(missing) in message
    bad = tmp_path / "bad.pt"
    bad.write_bytes(b"hello")
    assert str(bad) in fails(capsys, "compile", bad, "--board", "icebreaker", "-o", tmp_path / "n.dfp")
    assert not (tmp_path / "n.dfp").exists()


def test_interpreter_results(program: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Whole or not at all: an output that cannot be written leaves nothing behind."""
    from dorefabric.sw.program import Program

    shape = Program.load(program).input_shape
    np.save(tmp_path / "x.npy", np.ones((3, *shape), np.uint8))
    status, _, _ = run(capsys, "simulate", program, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")
    assert status == 0
    assert len(np.load(tmp_path / "y.npy")) == 3
    folder = tmp_path / "folder"
    assert fails(capsys, "simulate", program, "--input", tmp_path / "x.npy", "--output", folder / "y.npy") == (
        f"cannot write {folder}/y.npy: No such file or directory"
    )


def test_port_that_does_not_exist(program: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from dorefabric.sw.program import Program

    np.save(tmp_path / "x.npy", np.zeros((1, *Program.load(program).input_shape), np.uint8))
    message = fails(capsys, "run", program, "--port", "/dev/nosuch", "--input", tmp_path / "x.npy",
                    "--output", tmp_path / "y.npy")  # fmt: skip
    assert message.startswith("port /dev/nosuch does not exist")
    assert not (tmp_path / "y.npy").exists()


def test_interrupt(monkeypatch: pytest.MonkeyPatch, program: Path, capsys: pytest.CaptureFixture[str],
                   tmp_path: Path) -> None:  # fmt: skip
    """Ctrl-C in the middle: status 130, one line, nothing half-written."""
    from dorefabric.sw import interpret
    from dorefabric.sw.program import Program

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    np.save(tmp_path / "x.npy", np.zeros((1, *Program.load(program).input_shape), np.uint8))
    monkeypatch.setattr(interpret, "_run_image", interrupted)
    status, _, error = run(capsys, "simulate", program, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")
    assert status == 130
    assert error == "dorefabric: interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


def test_generate_refuses_before_it_writes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = fails(capsys, "generate", "--rows", 1, "-o", tmp_path / "file" / "out")
    assert str(tmp_path / "file") in message
