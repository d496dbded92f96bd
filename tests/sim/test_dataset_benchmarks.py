"""The figures on whole data sets, with a few images in their place and the circuit model in the place of Verilator."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from dorefabric.hw.errors import DorefabricError
from dorefabric.sim import dataset_benchmarks
from dorefabric.sim.benchmarks import LAYERS_CONFIG
from dorefabric.sim.dataset_benchmarks import cifar, mnist
from dorefabric.sw import datasets, train
from dorefabric.sw.device_model import DeviceModel
from dorefabric.sw.model_file import load_model, save_model
from dorefabric.sw.models import build_model


@contextmanager
def silent(description, total):
    yield lambda done: None


@pytest.fixture
def few(monkeypatch):
    """40 random images of any data set."""

    def load(name, folder, split):
        rng = np.random.default_rng(0)
        shape = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}[name]
        return rng.integers(0, 256, (40, *shape), dtype=np.uint8), rng.integers(0, 10, 40)

    for module in (datasets, train):
        monkeypatch.setattr(module, "load_dataset", load)
    monkeypatch.setattr(dataset_benchmarks, "VerilatorLink", DeviceModel)


def run_mnist(path, bits=(1, 2), model="mlp"):
    return mnist(model, bits, "nowhere", LAYERS_CONFIG, 3, str(path), 0, silent)


def test_mnist(few, monkeypatch, tmp_path, wrong_circuit):
    path = tmp_path / "net.pt"
    report = run_mnist(path)
    assert report["differences"] == 0 and report["images"] == 40 and report["simulated"] == 3
    assert report["accuracy"] == train.evaluate(load_model(path), *datasets.load_dataset("mnist", None, "test"))
    assert sum(layer["cycles"] for layer in report["layers"]) > 0
    before = path.stat().st_mtime_ns
    monkeypatch.setattr(dataset_benchmarks, "VerilatorLink", wrong_circuit)
    assert run_mnist(path)["differences"] > 0
    assert path.stat().st_mtime_ns == before        # a complete training is taken as it is
    with pytest.raises(DorefabricError, match=r"was trained with bits \[1, 2, 32\], not \[2, 2, 32\]$"):
        run_mnist(path, (2, 2))
    with pytest.raises(DorefabricError, match=r"^unknown network 'vgg': choose one of"):
        run_mnist(path, model="vgg")


def test_cifar(few, monkeypatch, tmp_path, wrong_circuit):
    torch.manual_seed(0)
    model = build_model("cifar-mini", 1, 2)
    model(torch.rand(16, 3, 32, 32))
    path = tmp_path / "net.pt"
    save_model(model.eval(), path, name="cifar-mini", bits=(1, 2, 32))
    report = cifar(str(path), "nowhere", LAYERS_CONFIG, 2, 0, silent)
    assert report["differences"] == 0 and report["cycles"] == report["predicted_cycles"] > 0
    assert report["accuracy"] == pytest.approx(
        train.evaluate(model, *datasets.load_dataset("cifar10", None, "test")), abs=0.051)
    assert report["output_words"] > 0 and report["input_words"] >= 3 * 32 * 32 * 8 // 32
    monkeypatch.setattr(dataset_benchmarks, "VerilatorLink", wrong_circuit)
    assert cifar(str(path), "nowhere", LAYERS_CONFIG, 2, 0, silent)["differences"] > 0
