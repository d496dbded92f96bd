"""Training: figures, checkpoints that survive anything, resuming bit for bit."""

import csv
import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from dorefabric.sw import train as module
from dorefabric.sw.datasets import load_dataset
from dorefabric.sw.layers import QuantConv2d
from dorefabric.sw.methods import Method
from dorefabric.sw.model_file import EpochMetrics, ModelFileError, load_model, read_model_file, save_model
from dorefabric.sw.models import MODELS, build_model
from dorefabric.sw.recipes import schedule
from dorefabric.sw.train import TrainConfig, TrainError, evaluate, logit_scale, train

torch.set_num_threads(1)    # many small operations: threads only wait for each other

DIGITS = TrainConfig(dataset="digits", model="digits", epochs=2, progress=False)


def same_state(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two epochs of the digits, with gradient bits so that the noise is part of it."""
    config = replace(DIGITS, gradient_bits=6, output=tmp_path_factory.mktemp("trained") / "digits.pt")
    return config, train(config)


def test_learns(trained):
    config, result = trained
    assert [metrics.epoch for metrics in result.history] == [1, 2]
    assert result.history[1].loss < result.history[0].loss
    assert result.test_accuracy > 0.6
    assert result.output == config.output
    assert not result.model.training
    images, labels = load_dataset("digits", None, "test")
    assert evaluate(result.model, images, labels) == result.test_accuracy


def test_the_seed_decides(trained):
    config, result = trained
    before = torch.get_rng_state()
    torch.rand(7)                                   # the caller's random state plays no part
    moved = torch.get_rng_state()
    assert same_state(train(replace(config, output=None)).model, result.model)
    assert torch.equal(torch.get_rng_state(), moved)
    torch.set_rng_state(before)
    assert not same_state(train(replace(config, output=None, seed=1)).model, result.model)


def test_file_holds_what_it_says(trained):
    config, result = trained
    content = torch.load(config.output, weights_only=True)
    assert content["format"] == "dorefabric-model" and content["version"] == 1
    assert content["model"] == "digits" and content["dataset"] == "digits"
    assert content["bits"] == [1, 2, 6] and content["input_shape"] == [1, 8, 8] and content["seed"] == 0
    assert [EpochMetrics(**metrics) for metrics in content["history"]] == result.history
    model = load_model(config.output, "digits")
    assert same_state(model, result.model) and not model.training
    assert [m.gradient_bits for m in model.modules() if isinstance(m, QuantConv2d)] == [32, 6, 6]
    assert all(parameter.is_contiguous() for parameter in model.parameters())


class Stop(Exception):
    pass


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, Stop])
def test_resume_is_bit_identical(trained, tmp_path, interruption):
    config, whole = trained
    config = replace(config, output=tmp_path / "deep" / "digits.pt")

    def stop(metrics):
        raise interruption

    with pytest.raises(interruption):
        train(config, on_epoch=stop)
    assert len(read_model_file(config.output)["history"]) == 1
    result = train(replace(config, resume=True))
    assert same_state(result.model, whole.model)
    assert [m.loss for m in result.history] == [m.loss for m in whole.history]
    # Nothing is left to do: the same again.
    assert same_state(train(replace(config, resume=True)).model, whole.model)


def test_interrupted_inside_an_epoch(trained, tmp_path, monkeypatch):
    """Ctrl-C in the second epoch: the file of the first stays, and continuing gives the same network."""
    config, whole = trained
    config = replace(config, output=tmp_path / "digits.pt")
    calls = 0
    real = module.augmented

    def interrupt(images, recipe):
        nonlocal calls
        calls += 1
        if calls == 60:
            raise KeyboardInterrupt
        return real(images, recipe)

    monkeypatch.setattr(module, "augmented", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    monkeypatch.undo()
    assert len(read_model_file(config.output)["history"]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["digits.pt"]
    assert same_state(train(replace(config, resume=True)).model, whole.model)


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError("disk full")])
def test_interrupted_while_saving(trained, tmp_path, monkeypatch, fault):
    _, result = trained
    path = tmp_path / "digits.pt"
    save_model(result.model, path, name="digits", bits=(1, 2, 6))
    good = path.read_bytes()

    def half(content, file):
        file.write(b"half of it")
        raise fault

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises((KeyboardInterrupt, ModelFileError)) as caught:
        save_model(result.model, path, name="digits", bits=(1, 2, 6))
    assert caught.type is KeyboardInterrupt or str(caught.value) == f"cannot write model file {path}: disk full"
    assert path.read_bytes() == good
    assert [p.name for p in tmp_path.iterdir()] == ["digits.pt"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_stops(tmp_path, monkeypatch, value):
    config = replace(DIGITS, output=tmp_path / "digits.pt")
    calls = 0
    real = torch.nn.functional.cross_entropy

    def broken(logits, labels):
        nonlocal calls
        calls += 1
        return real(logits, labels) * (value if calls == 50 else 1)

    monkeypatch.setattr(module.functional, "cross_entropy", broken)
    with pytest.raises(TrainError) as error:
        train(config)
    assert str(error.value) == (f"the loss became {value} in epoch 2, step 5: lower the learning rate "
                                f"(0.005); {config.output} keeps epoch 1")
    assert len(read_model_file(config.output)["history"]) == 1
    load_model(config.output)


def test_logits_of_a_quantized_last_layer_are_scaled():
    assert logit_scale(build_model("digits", 1, 2)) == pytest.approx(3 / math.sqrt(128))
    assert logit_scale(build_model("digits", 32, 32)) == 1.0


def test_resume_refuses_another_training(trained):
    config, _ = trained
    with pytest.raises(TrainError) as error:
        train(replace(config, resume=True, activation_bits=3))
    assert str(error.value) == \
        f"cannot resume: {config.output} was trained with bits [1, 2, 6], not [1, 3, 6]"
    with pytest.raises(TrainError, match="was trained with seed 0, not 7"):
        train(replace(config, resume=True, seed=7))


def test_resume_needs_a_training_file(trained, tmp_path):
    config, result = trained
    path = tmp_path / "digits.pt"
    with pytest.raises(ModelFileError, match="does not exist"):
        train(replace(config, resume=True, output=path))
    save_model(result.model, path, name="digits", bits=(1, 2, 6))
    with pytest.raises(TrainError) as error:
        train(replace(config, resume=True, output=path))
    assert str(error.value) == f"cannot resume: {path} holds no training state"


# Starting from another network's weights ---------------------------------------------------------------

@pytest.mark.parametrize("method, bits", [
    (Method(), (2, 2)), (Method(name="aqe"), (1, 1)), (Method(name="a2q"), (4, 4)), (Method(learned_clip=True), (1, 2)),
])
def test_initial_weights(trained, method, bits):
    config, result = trained
    seen = {}

    def prepare(model):
        seen.update({key: value.clone() for key, value in model.state_dict().items()})

    train(replace(DIGITS, epochs=1, method=method, weight_bits=bits[0], activation_bits=bits[1],
                  initial=config.output), prepare=prepare)  # fmt: skip
    known = result.model.state_dict()
    assert set(known) <= set(seen) and all(torch.equal(seen[key], known[key]) for key in known)
    if method.name == "a2q":        # derived from the weights that were loaded, not from fresh ones
        weight = known["conv1.conv.weight"]
        assert torch.allclose(seen["conv1.conv.log_norm"].flatten(), weight.abs().sum((1, 2, 3)).log2())


def test_initial_weights_are_part_of_what_resume_compares(trained, tmp_path):
    config = replace(DIGITS, epochs=1, output=tmp_path / "digits.pt", initial=trained[0].output)
    train(config)
    assert train(replace(config, resume=True)).history[0].epoch == 1
    with pytest.raises(TrainError, match=r"was trained with initial 'digits\.pt', not None"):
        train(replace(config, initial=None, resume=True))


def test_initial_weights_refused(trained, tmp_path):
    path = tmp_path / "none.pt"
    with pytest.raises(ModelFileError, match="does not exist"):
        train(replace(DIGITS, initial=path))
    save_model(build_model("mlp", 32, 32), path, name="mlp", bits=(32, 32, 32))
    with pytest.raises(ModelFileError) as error:
        train(replace(DIGITS, initial=path))
    assert str(error.value) == f"{path} holds the network 'mlp', not 'digits'"
    changed(trained[0].output, path, state_dict={})
    with pytest.raises(ModelFileError) as error:
        train(replace(DIGITS, initial=path))
    assert str(error.value) == f"{path} does not fit the network 'digits'"


# Model files -----------------------------------------------------------------------------------------

def refused(path, name=None):
    with pytest.raises(ModelFileError) as error:
        load_model(path, name)
    assert "\n" not in str(error.value)
    return str(error.value)


def changed(source, path, **changes):
    content = torch.load(source, weights_only=True)
    content.update(changes)
    torch.save({key: value for key, value in content.items() if value is not Stop}, path)
    return path


def test_refused_files(trained, tmp_path):
    good = trained[0].output
    path = tmp_path / "bad.pt"
    assert refused(path) == f"model file {path} does not exist"
    assert refused(tmp_path) == f"model file {tmp_path} does not exist"
    for content in (b"", b"P", b"hello, world", good.read_bytes()[7:]):
        path.write_bytes(content)
        assert refused(path) == f"{path} is not a dorefabric model file"
    torch.save([1, 2], path)
    assert refused(path) == f"{path} is not a dorefabric model file"
    torch.save(build_model("digits", 1, 2), path)             # a pickled module: foreign, and never run
    assert refused(path) == f"{path} is not a dorefabric model file"
    assert refused(good, "lenet") == f"{good} holds the network 'digits', not 'lenet'"
    changed(good, path, version=2)
    assert refused(path) == f"{path} has model file version 2; this dorefabric reads up to 1: update it"
    changed(good, path, model="vgg")
    assert refused(path) == f"{path} holds the unknown network 'vgg'"
    changed(good, path, history=Stop)
    assert refused(path) == f"{path} is damaged: it lacks history"
    for changes in ({"model": "mlp"}, {"bits": [1, 9, 32]}, {"bits": 3}, {"state_dict": {}}):
        changed(good, path, **changes)
        assert "does not fit the network" in refused(path)


def test_truncated_and_flipped_files(trained, tmp_path):
    raw = trained[0].output.read_bytes()
    path = tmp_path / "bad.pt"
    for length in (3, 100, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:length])
        assert refused(path) == f"{path} is damaged or incomplete"
    rng = np.random.default_rng(0)
    refusals = 0
    for position in rng.integers(4, len(raw), 40):
        path.write_bytes(raw[:position] + bytes((raw[position] ^ 255,)) + raw[position + 1:])
        try:  # padding between the records may change without harm
            assert same_state(load_model(path), trained[1].model)
        except ModelFileError:
            refusals += 1
    assert refusals > 20


# Configuration, evaluation, progress -------------------------------------------------------------------

@pytest.mark.parametrize("changes, message", [
    ({"model": "vgg"}, f"unknown network 'vgg': choose one of {', '.join(MODELS)}"),
    ({"model": "lenet"}, "network 'lenet' takes data set 'mnist', not 'digits'"),
    ({"weight_bits": 9}, "weight bits must be 1 to 8, or 32 for float, not 9"),
    ({"gradient_bits": 0}, "gradient bits must be 1 to 8, or 32 for float, not 0"),
    ({"epochs": 0}, "epochs must be at least 1, not 0"),
    ({"batch_size": 1}, "batch size must be at least 2, not 1"),
    ({"learning_rate": -1.0}, "learning rate must be a positive number, not -1.0"),
    ({"learning_rate": math.nan}, "learning rate must be a positive number, not nan"),
    ({"optimizer": "lion"}, "optimizer must be 'adam' or 'sgd', not 'lion'"),
    ({"shift": -1}, "shift must be at least 0 pixels, not -1"),
    ({"seed": -1}, "seed must be 0 to 2**63 - 1, not -1"),
    ({"resume": True}, "resume needs an output: the checkpoint to continue from")])
def test_bad_configuration(changes, message):
    with pytest.raises(ValueError) as error:
        replace(DIGITS, **changes)
    assert str(error.value) == message


def test_recipe():
    recipe = replace(DIGITS, epochs=None, learning_rate=0.1, optimizer="sgd").recipe
    assert (recipe.epochs, recipe.learning_rate, recipe.optimizer) == (40, 0.1, "sgd")


def test_other_bits_and_sgd_train():
    first, second = train(replace(DIGITS, model="resnet-digits", weight_bits=2, activation_bits=32,
                                  optimizer="sgd", learning_rate=0.05)).history
    assert second.loss < first.loss and second.train_accuracy > first.train_accuracy + 0.1


def test_shift_moves_whole_images():
    """A one-pixel image moves as a whole: its centre of mass, the same in both channels, moves uniformly."""
    images = torch.zeros(512, 2, 9, 11, dtype=torch.uint8)
    images[:, 0, 4, 5], images[:, 1, 4, 5] = 255, 51
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        moved = module.augmented(images, replace(DIGITS, shift=1.5).recipe)
    assert moved.shape == images.shape and moved.min() >= 0
    torch.testing.assert_close(moved[:, 1], moved[:, 0] / 5)
    torch.testing.assert_close(moved[:, 0].sum(dim=(1, 2)), torch.ones(512))
    for axis, size, centre in ((1, 9, 4), (2, 11, 5)):
        shift = (moved[:, 0].sum(dim=3 - axis) * torch.arange(size)).sum(dim=1) - centre
        assert shift.abs().max() <= 1.5 + 1e-5
        assert shift.max() > 1.4 and shift.min() < -1.4 and shift.mean().abs() < 0.1


def test_no_augmentation_leaves_the_pixels():
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(module.augmented(images, replace(DIGITS, shift=0.0).recipe), images / 255)


def test_flip_mirrors_half():
    images = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8).repeat(200, 1, 1, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        seen = module.augmented(images, replace(DIGITS.recipe, shift=0, flip=True))
    mirrored = (seen == images.flip(3) / 255).flatten(1).all(dim=1)
    assert ((seen == images / 255).flatten(1).all(dim=1) ^ mirrored).all()
    assert 60 < mirrored.sum() < 140


def test_evaluate():
    images, labels = load_dataset("digits", None, "test")
    model = build_model("digits", 1, 2)
    assert evaluate(model, images, labels, 7) == evaluate(model, images, labels, 355)
    assert model.training
    with pytest.raises(ValueError, match="must be equally many, not 355 and 3"):
        evaluate(model, images, labels[:3])


def test_progress_is_printed():
    text = io.StringIO()
    train(replace(DIGITS, epochs=1, progress=True), console=Console(file=text, width=100))
    assert "epoch   1/1  loss" in text.getvalue() and "test" in text.getvalue()


def test_log_holds_every_epoch(trained, tmp_path):
    config, _ = trained
    config = replace(config, output=tmp_path / "digits.pt", log=tmp_path / "logs" / "digits.csv", epochs=1)
    train(config)
    train(replace(config, epochs=2, resume=True))
    rows = list(csv.DictReader(config.log.read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == [1, 2]
    assert all(math.isfinite(float(value)) for row in rows for value in row.values())


@pytest.mark.parametrize("field", ["output", "log"])
def test_unwritable_files_are_refused_first(tmp_path, field, monkeypatch):
    monkeypatch.setattr(module, "_train_epoch", lambda *_, **__: pytest.fail("training began"))
    with pytest.raises(TrainError, match="is a folder: name a file in it"):
        train(replace(DIGITS, **{field: tmp_path}))
    (tmp_path / "file").touch()
    with pytest.raises(TrainError, match="cannot make the folder"):
        train(replace(DIGITS, **{field: tmp_path / "file" / "model.pt"}))


def test_crop_moves_whole_images_by_whole_pixels():
    images = torch.zeros(400, 2, 9, 9, dtype=torch.uint8)
    images[:, 0, 4, 4], images[:, 1, 4, 4] = 255, 51
    recipe = replace(DIGITS, shift=0).recipe
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        moved = module.augmented(images, replace(recipe, crop=2))
    places = moved[:, 0].flatten(1).argmax(1)
    assert moved.shape == images.shape and set(moved[:, 0].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(moved[:, 1].flatten(1).argmax(1), places)
    assert {(int(p) // 9, int(p) % 9) for p in places} == {(y, x) for y in range(2, 7) for x in range(2, 7)}


def test_schedule():
    factors = [schedule(done, 0.25) for done in np.linspace(0, 1, 9)]
    assert factors[0] == 0 and factors[2] == 1 and factors[-1] == pytest.approx(0)
    assert factors[1] == 0.5 and factors[5] == pytest.approx(0.5)
    assert schedule(0.5, 0.0) == pytest.approx(0.5)


def test_bfloat16_trains_and_is_evaluated_in_float32():
    """The logits of training come from bfloat16 layers; the network, its statistics and its figures are float32."""
    result = train(replace(DIGITS, epochs=1, precision="bfloat16"))
    assert result.test_accuracy > 0.5
    assert all(value.dtype != torch.bfloat16 for value in result.model.state_dict().values())
    images, labels = load_dataset("digits", None, "test")
    assert evaluate(result.model, images, labels) == result.test_accuracy
