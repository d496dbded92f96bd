"""Training on the simulated array against its software twin."""

import json
from contextlib import contextmanager

import numpy as np
import pytest

from dorefabric.hw.errors import DorefabricError
from dorefabric.sim.tools import ToolError, find_compiler, find_verilator
from dorefabric.sim.training_benchmark import TRAINING_CONFIG, _different, training
from dorefabric.sw import cli, datasets, train
from dorefabric.sw.lower import lower
from dorefabric.sw.model_file import load_model


@contextmanager
def silent(description, total):
    yield lambda done: None


def run(config=TRAINING_CONFIG, **options):
    chosen = {"model": "digits", "method": "dorefa", "bits": [(1, 2, 4)], "steps": 2, "batch": 4, "engine": "interpret",
              "float_ends": False, "learning_rate": 3e-3, "data_dir": None, "seed": 0}  # fmt: skip
    return training(**(chosen | options), config=config, progress_bar=silent)


@pytest.mark.parametrize("gradient_bits", [4, 6])
def test_steps_on_the_simulated_array_equal_the_twin(small, gradient_bits):
    try:
        find_verilator()
        find_compiler()
    except ToolError as error:
        pytest.skip(str(error))
    report = run(small, engine="verilator", bits=[(1, 2, gradient_bits)], steps=2, batch=2)
    assert report["differences"] == 0
    result = report["runs"][0]
    assert result["share"] == 1 and len(result["losses"]) == 2
    assert {layer["cycles"] == layer["predicted"] for layer in result["layers"]} == {True}
    assert "1 of" not in report["summary"] and "0 differences" in report["summary"]


def test_the_loss_falls_and_work_is_counted():
    report = run(steps=8, batch=16)
    result = report["runs"][0]
    assert report["differences"] == 0
    assert np.mean(result["losses"][-3:]) < np.mean(result["losses"][:3]) - 0.2
    # Multiply-accumulates of a sample: 64 pixels by 9 by 16, 64 by 144 by 32, 16 by 288 by 32, 128 by 10.
    forward = 16 * (64 * 9 * 16 + 64 * 144 * 32 + 16 * 288 * 32 + 128 * 10)
    step = result["step"]
    assert step["forward"]["multiply_accumulates"] == step["weight gradient"]["multiply_accumulates"] == forward
    assert step["input gradient"]["multiply_accumulates"] == forward - 16 * 64 * 9 * 16
    assert step["all"]["cycles"] == sum(layer["cycles"] for layer in result["layers"])
    assert len(report["tables"][0][2]) == 4 and len(report["details"][0][2]) == 11


def test_float_gradients_of_the_ends_stay_on_the_host():
    result = run(steps=1, float_ends=True)["runs"][0]
    assert 0.98 < result["share"] < 1
    assert {layer["layer"] for layer in result["layers"] if not layer["on_array"]} == {"conv1.conv", "output"}


def test_mls_trains_on_the_array():
    report = run(method="mls", batch=2)
    assert report["differences"] == 0 and report["runs"][0]["name"] == "MLS <2,1>"
    assert {layer["layer"] for layer in report["runs"][0]["layers"] if not layer["on_array"]} == {"output"}


def test_command(tmp_path, capsys):
    path = tmp_path / "report.json"
    options = ["bench", "training", "--engine", "interpret", "--steps", "1", "--batch", "2", "--json", str(path)]
    assert cli.main([*options, "--bits", "1,2,4", "2,2,6"]) == 0
    report = json.loads(path.read_text())
    assert report["ok"] and report["differences"] == 0 and [r["name"] for r in report["runs"]] == ["W1A2G4", "W2A2G6"]
    assert report["runs"][0]["step"]["all"]["cycles"] > 0
    assert cli.main([*options, "--bits", "1,9,4"]) == 2
    assert "activation bits must be 1 to 8, or 32 for float, not '9'" in capsys.readouterr().err


TRAIN = ["train", "--model", "digits", "--bits", "1,2,4", "--epochs", "1", "--on-array"]


def test_train_command(tmp_path, monkeypatch):
    """An epoch of a few images; the checkpoint is that of the ordinary network."""
    load = datasets.load_dataset
    for module in (datasets, train):
        monkeypatch.setattr(module, "load_dataset", lambda *args: tuple(part[:40] for part in load(*args)))
    path, report = tmp_path / "net.pt", tmp_path / "report.json"
    assert cli.main([*TRAIN, "interpret", "-o", str(path), "--json", str(report)]) == 0
    used = json.loads(report.read_text())["array"]
    assert used["multiply_accumulates"]["array"] > 50 * used["multiply_accumulates"]["host"] > 0
    assert used["cycles"] > 0
    lowered = lower(load_model(path))
    assert lowered.input.edge.shape == (1, 8, 8)
    # Nothing is left to train.
    assert cli.main([*TRAIN, "interpret", "-o", str(path), "--json", str(report), "--resume"]) == 0
    assert json.loads(report.read_text())["array"]["multiply_accumulates"] == {"array": 0, "host": 0}


def test_a_circuit_needs_on_array(tmp_path, capsys):
    options = ["--board", "icebreaker", "-o", str(tmp_path / "net.pt")]
    assert cli.main([*TRAIN[:-1], *options]) == 2
    assert "--board and --config name the circuit of --on-array, which is not given" in capsys.readouterr().err
    config = tmp_path / "c.toml"
    config.write_text(TRAINING_CONFIG.to_toml())
    assert cli.main([*TRAIN, "interpret", *options, "--config", str(config)]) == 2
    assert "name one of --board and --config, not both" in capsys.readouterr().err


@pytest.mark.parametrize("target, options, message", [
    ("spice", [], "--on-array must be interpret, verilator, pysim or a serial port, not 'spice'"),
    ("interpret", ["--precision", "bfloat16"], "--on-array needs --precision float32 and --device cpu, not bfloat16"),
    ("interpret", ["--method", "aqe", "--bits", "2,2"], "conv1.conv: AsymptoticConv2d is not trained on the array"),
])  # fmt: skip
def test_what_the_train_command_refuses(tmp_path, capsys, target, options, message):
    path = tmp_path / "net.pt"
    assert cli.main([*TRAIN, target, *options, "-o", str(path)]) == 2
    assert message in capsys.readouterr().err and not path.exists()


def test_differences_are_seen():
    a = np.array([1.0, np.nan, 0.0], np.float32)
    assert _different(a, a.copy()) == 0
    assert _different(a, np.array([1.0, np.nan, -0.0], np.float32)) == 1
    assert _different(np.float32(1), np.nextafter(np.float32(1), np.float32(2))) == 1


@pytest.mark.parametrize("options, message", [
    ({"model": "vgg"}, r"^unknown model 'vgg'; known: digits"),
    ({"method": "aqe"}, r"^--method must be dorefa or mls to train on the array, not 'aqe'$"),
    ({"steps": 0}, r"^--steps must be at least 1, not 0$"),
    ({"steps": 100, "batch": 100}, r"^100 steps of 100 images need 10000 images; digits has 1442$"),
    ({"bits": [(1, 32, 4)]}, r"^4-bit gradients need quantized activations, of 1 to 8 bits, not 32$"),
    ({"bits": [(1, 32, 32)]}, r"^conv2.conv: its input is float: the array multiplies codes of 1 to 8 bits"),
])  # fmt: skip
def test_bad_input(options, message):
    with pytest.raises(DorefabricError, match=message):
        run(**options)
