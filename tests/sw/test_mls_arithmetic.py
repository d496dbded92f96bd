"""MLS layers in integers on the circuit model: equal to the golden model bit for bit, close to the trained floats."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from dorefabric.hw.config import FabricConfig
from dorefabric.sw.device_model import DeviceModel
from dorefabric.sw.layers import QuantConv2d
from dorefabric.sw.matrix_plan import MatrixError
from dorefabric.sw.matrix_unit import MatrixUnit
from dorefabric.sw.methods import Method
from dorefabric.sw.mls import (
    MlsFormat,
    mls_convolution,
    mls_encode,
    mls_input_gradient,
    mls_linear,
    mls_weight_gradient,
)
from dorefabric.sw.mls_arithmetic import ArrayMultiply, MlsArithmetic, mls_arithmetic
from dorefabric.sw.mls_layers import MlsConv2d
from dorefabric.sw.models import build_model

CONFIG = FabricConfig(name="unit", rows=4, columns=8, lanes=32, weight_depth=512, feature_depth=1024)
ELEMENTS = st.sampled_from([(2, 1), (2, 4), (0, 3), (1, 2), (3, 0)])


def multiply():
    return ArrayMultiply(MatrixUnit(DeviceModel(CONFIG), CONFIG))


@settings(max_examples=30)
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
    meter = mls_arithmetic(ours, multiply())
    assert sum(isinstance(module, MlsArithmetic) for module in ours.modules()) == 4
    images = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(ours(images), golden(images))
        torch.testing.assert_close(golden(images), trained(images), rtol=1e-4, atol=1e-5)
    works = meter.take()
    assert [work.kind for work in works] == ["forward"] * 4
    assert all(work.usage.cycles == work.usage.predicted > 0 and work.pair_operations > 0 for work in works)


@settings(max_examples=40)
@given(st.tuples(st.integers(1, 3), st.integers(1, 3)), st.tuples(st.integers(1, 3), st.integers(1, 3)),
       st.integers(0, 2**32))  # fmt: skip
def test_gradients_are_those_of_a_convolution(kernel, stride, seed):
    rng = np.random.default_rng(seed)
    padding = tuple(int(rng.integers(0, k)) for k in kernel)
    samples, inputs, outputs = rng.integers(1, 4, 3)
    x = mls_encode(torch.from_numpy(rng.normal(size=(samples, inputs, *rng.integers(3, 7, 2)))), MlsFormat())
    weight = mls_encode(torch.from_numpy(rng.normal(size=(outputs, inputs, *kernel))), MlsFormat())
    values = x.values().requires_grad_(), weight.values().requires_grad_()
    y = functional.conv2d(*values, None, stride, padding)
    error = mls_encode(torch.from_numpy(rng.normal(size=y.shape)), MlsFormat())
    y.backward(error.values())
    options = {"stride": stride, "padding": padding}
    for own in ({}, {"multiply": multiply()}):
        found = (mls_input_gradient(error, weight, x.codes.shape[2:], **options, **own),
                 mls_weight_gradient(x, error, kernel, **options, **own))  # fmt: skip
        for ours, tensor in zip(found, values, strict=True):
            np.testing.assert_allclose(ours, tensor.grad, rtol=1e-9, atol=1e-12)


def test_two_training_steps_equal_the_golden_model():
    torch.manual_seed(0)
    trained = Method(name="mls").apply(build_model("digits", 32, 32))
    models = [copy.deepcopy(trained) for _ in range(3)]
    meters = [mls_arithmetic(models[0]), mls_arithmetic(models[1], multiply())]
    losses = []
    for model in models:
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for step in range(2):
            torch.manual_seed(step)
            loss = functional.cross_entropy(model(torch.rand(3, 1, 8, 8)), torch.tensor([1, 2, 3]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[:2] == losses[2:4]
    for golden, ours in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(golden.grad, ours.grad) and torch.equal(golden, ours)
    assert losses[0] == pytest.approx(losses[4], rel=1e-5)
    works = meters[1].take()
    # All but the gradients of the fully connected layer, twice; the first layer has no input gradient.
    assert sum(work.on_array for work in works) == 2 * 9 and len(works) == 2 * 11
    assert len(meters[0].take()) == len(works)


def test_refusals():
    with pytest.raises(ValueError, match=r"^the network has no MLS layer: train it with the method 'mls'$"):
        mls_arithmetic(build_model("digits", 1, 2))
    grouped = torch.nn.Sequential(MlsConv2d(2, 2, 3, groups=2, weight_bits=32))
    with pytest.raises(ValueError, match=r"^0: the arithmetic of MLS has no groups of channels"):
        mls_arithmetic(grouped)
    assert isinstance(grouped[0], QuantConv2d)
    padded = torch.nn.Sequential(MlsConv2d(2, 2, (3, 1), padding=(1, 1), weight_bits=32))
    with pytest.raises(ValueError, match=r"^0: padding \(1, 1\) must be less than the kernel \(3, 1\)$"):
        mls_arithmetic(padded)
    wide = mls_encode(torch.tensor([[-1.0, 1.0]]), MlsFormat(element=(3, 4), axes=(0,)))
    with pytest.raises(MatrixError, match=r"^codes reach from 0 to 3968, which 8 bits cannot hold$"):
        mls_linear(wide, wide, multiply())
