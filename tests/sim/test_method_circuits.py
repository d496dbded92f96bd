"""Networks of every method on a circuit against their golden models."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from dorefabric.sim.benchmarks import LAYERS_CONFIG
from dorefabric.sim.method_benchmarks import methods
from dorefabric.sim.method_circuits import circuit_differences, mls_differences
from dorefabric.sw.device_model import DeviceModel
from dorefabric.sw.methods import Method
from dorefabric.sw.model_file import save_model
from dorefabric.sw.models import build_model


@contextmanager
def silent(description, total):
    yield lambda done: None


def test_rows_that_are_trained_where_they_are_named(tmp_path):
    report = methods(model="digits", data_dir=None, output=str(tmp_path), epochs=1, seeds=1,
                     rows="A2Q 4-4; learned clip 2-2", simulate=0, seed=0, progress_bar=silent)  # fmt: skip
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["digits-a2q-4-4-32-0.pt",
                                                                  "digits-learned-clip-2-2-32-0.pt"]
    assert report["rows"][1]["method"] == "learned-clip"


def test_every_layer_of_an_mls_network_is_compared(wrong_circuit):
    torch.manual_seed(0)
    model = Method(name="mls").apply(build_model("digits", 32, 32)).eval()
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 8, 8), dtype=np.uint8)
    assert mls_differences(model, images, DeviceModel(LAYERS_CONFIG), LAYERS_CONFIG, silent) == 0
    assert mls_differences(model, images, wrong_circuit(LAYERS_CONFIG), LAYERS_CONFIG, silent) > 0


@pytest.mark.parametrize("method, bits", [(Method(), (1, 2, 32)), (Method(name="mls"), (32, 32, 32))])
def test_a_checkpoint_of_any_method(method, bits, tmp_path, monkeypatch, wrong_circuit):
    torch.manual_seed(0)
    model = method.apply(build_model("digits", *bits))
    model(torch.rand(32, 1, 8, 8))
    path = tmp_path / "net.pt"
    save_model(model.eval(), path, name="digits", bits=bits, method=method)
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 8, 8), dtype=np.uint8)
    for circuit in (DeviceModel, wrong_circuit):
        monkeypatch.setattr("dorefabric.sim.verilator.VerilatorLink", circuit)
        assert (circuit_differences(path, images, silent) > 0) == (circuit is wrong_circuit)
