"""MLS layers in integers on the circuit model: equal to the golden model bit for bit, close to the trained floats."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dorefabric.hw.config import FabricConfig
from dorefabric.sw.device_model import DeviceModel
from dorefabric.sw.layers import QuantConv2d
from dorefabric.sw.matrix_plan import MatrixError
from dorefabric.sw.matrix_unit import MatrixUnit
from dorefabric.sw.methods import Method
from dorefabric.sw.mls import MlsFormat, mls_convolution, mls_encode, mls_linear
from dorefabric.sw.mls_arithmetic import array_multiply, mls_arithmetic
from dorefabric.sw.mls_layers import MlsConv2d
from dorefabric.sw.models import build_model

CONFIG = FabricConfig(name="unit", rows=4, columns=8, lanes=32, weight_depth=512, feature_depth=1024)
ELEMENTS = st.sampled_from([(2, 1), (2, 4), (0, 3), (1, 2), (3, 0)])


def multiply():
    return array_multiply(MatrixUnit(DeviceModel(CONFIG), CONFIG))


@settings(deadline=None, max_examples=30)
@given(ELEMENTS, ELEMENTS, st.integers(1, 2), st.tuples(st.integers(0, 1), st.integers(0, 2)), st.integers(0, 2**32))
def test_convolutions_equal_the_golden_model(first, second, stride, padding, seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 4, 3)
    x = mls_encode(torch.from_numpy(rng.normal(size=(sizes[0], sizes[1], 5, 6))), MlsFormat(element=first))
    weight = mls_encode(torch.from_numpy(rng.normal(size=(sizes[2], sizes[1], 3, 2))), MlsFormat(element=second))
    options = {"stride": (stride, 1), "padding": padding}
    assert np.array_equal(mls_convolution(x, weight, **options, multiply=multiply()),
                          mls_convolution(x, weight, **options))  # fmt: skip


def test_a_fully_connected_layer_sums_inside_one_group():
    fmt = MlsFormat(axes=(0,))
    rng = np.random.default_rng(0)
    x, weight = (mls_encode(torch.from_numpy(rng.normal(size=size)), fmt) for size in ((4, 70), (3, 70)))
    expected = x.values().numpy() @ weight.values().numpy().T
    np.testing.assert_allclose(mls_linear(x, weight), expected, rtol=1e-12, atol=1e-12)
    assert np.array_equal(mls_linear(x, weight, multiply()), mls_linear(x, weight))
    with pytest.raises(ValueError, match=r"^the fully connected layer needs groups along axis 0 of both tensors$"):
        mls_linear(mls_encode(torch.zeros(2, 3), MlsFormat()), weight)


def test_a_network_on_the_array():
    torch.manual_seed(0)
    trained = Method(name="mls").apply(build_model("digits", 32, 32)).eval()
    golden, ours = copy.deepcopy(trained), copy.deepcopy(trained)
    mls_arithmetic(golden)
    layers = mls_arithmetic(ours, multiply())
    assert len(layers) == 4 and not any(isinstance(m, MlsConv2d) for m in ours.children())
    images = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(ours(images), golden(images))
        torch.testing.assert_close(golden(images), trained(images), rtol=1e-4, atol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match=r"^the network has no MLS layer: train it with the method 'mls'$"):
        mls_arithmetic(build_model("digits", 1, 2))
    grouped = torch.nn.Sequential(MlsConv2d(2, 2, 3, groups=2, weight_bits=32))
    with pytest.raises(ValueError, match=r"^0: the arithmetic of MLS has no groups of channels"):
        mls_arithmetic(grouped)
    assert isinstance(grouped[0], QuantConv2d)
    wide = mls_encode(torch.tensor([[-1.0, 1.0]]), MlsFormat(element=(3, 4), axes=(0,)))
    with pytest.raises(MatrixError, match=r"^codes reach from 0 to 3968, which 8 bits cannot hold$"):
        mls_linear(wide, wide, multiply())
