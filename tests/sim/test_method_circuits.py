"""Networks of every method on a circuit against their golden models."""

from contextlib import contextmanager

import numpy as np
import torch

from dorefabric.sim.benchmarks import LAYERS_CONFIG
from dorefabric.sim.method_benchmarks import methods
from dorefabric.sim.method_circuits import mls_differences
from dorefabric.sw.device_model import DeviceModel
from dorefabric.sw.methods import Method
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
