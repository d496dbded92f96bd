"""The comparison of methods on the smallest network, and the overhead of quantized layers."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from dorefabric.hw.errors import DorefabricError
from dorefabric.sim.benchmarks import LAYERS_CONFIG
from dorefabric.sim.method_benchmarks import ROWS, methods, mls_differences, overhead
from dorefabric.sw.device_model import DeviceModel
from dorefabric.sw.methods import Method
from dorefabric.sw.models import build_model


@contextmanager
def silent(description, total):
    yield lambda done: None


def compare(folder, rows):
    return methods(model="digits", data_dir=None, output=str(folder), epochs=1, seeds=1, rows=rows, simulate=0,
                   seed=0, progress_bar=silent)  # fmt: skip


def test_methods_are_kept_and_taken_up_again(tmp_path):
    first = compare(tmp_path, "float; AQE 2-2")
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(files) == 2 and [row["name"] for row in first["rows"]] == ["float", "AQE 2-2"]
    assert all(row["accuracies"][0] > 0.2 and row["epochs"] == 1 for row in first["rows"])
    again = compare(tmp_path, "AQE 2-2; float")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    assert [row["accuracies"] for row in again["rows"]] == [row["accuracies"] for row in reversed(first["rows"])]


def test_unknown_row(tmp_path):
    with pytest.raises(DorefabricError, match=r"^unknown row 'BNN'; known: float; DoReFa 1-1-32"):
        compare(tmp_path, "BNN")


def test_overhead_is_measured():
    report = overhead(model="digits", repeats=1, seed=0, progress_bar=silent)
    assert set(report["seconds"]) == set(ROWS) - {"MLS <2,1>"}
    assert all(seconds > 0 for seconds in report["seconds"].values())


def test_rows_that_are_trained_where_they_are_named(tmp_path):
    report = compare(tmp_path, "A2Q 4-4; learned clip 2-2")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["digits-a2q-4-4-32-0.pt",
                                                                  "digits-learned-clip-2-2-32-0.pt"]
    assert report["rows"][1]["method"] == "learned-clip"


class Wrong(DeviceModel):
    """A circuit with one bit of the feature memory that is read wrongly."""

    def read(self, address, count):
        words = super().read(address, count)
        if address >> 24 == 5:
            words[0] ^= 1
        return words


def test_every_layer_of_an_mls_network_is_compared():
    torch.manual_seed(0)
    model = Method(name="mls").apply(build_model("digits", 32, 32)).eval()
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 8, 8), dtype=np.uint8)
    assert mls_differences(model, images, DeviceModel(LAYERS_CONFIG), LAYERS_CONFIG, silent) == 0
    assert mls_differences(model, images, Wrong(LAYERS_CONFIG), LAYERS_CONFIG, silent) > 0
