"""Every reference network builds, runs and learns at any bits, and keeps to its rules."""

import math

import pytest
import torch
from torch import nn

from dorefabric.sw.layers import QuantActivation, QuantAdd, QuantConv2d, QuantInput, QuantLinear
from dorefabric.sw.models import MODELS, build_model
from dorefabric.sw.quantize import activation_codes

torch.set_num_threads(1)    # many small operations: threads only wait for each other

SMALL = [name for name, spec in MODELS.items() if spec.dataset != "imagenet"]
LOWERED = (QuantInput, QuantConv2d, QuantLinear, nn.BatchNorm1d, nn.BatchNorm2d, nn.MaxPool2d,
           QuantActivation, nn.Flatten, nn.Dropout, QuantAdd)


@pytest.mark.parametrize("bits", [(1, 1), (1, 2, 4), (2, 3), (8, 8, 8), (32, 32, 32)])
@pytest.mark.parametrize("name", SMALL)
def test_runs_forward_and_backward(name, bits):
    model = build_model(name, *bits)
    logits = model(torch.rand(2, *MODELS[name].input_shape))
    assert logits.shape == (2, 10) and torch.isfinite(logits).all()
    logits.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_rules(name):
    model = build_model(name, 1, 2, 4)
    leaves = [m for m in model.modules() if not list(m.children())]
    assert all(isinstance(m, LOWERED) for m in leaves)
    assert isinstance(leaves[0], QuantInput) and leaves[0].bits == 8
    layers = [m for m in leaves if isinstance(m, QuantConv2d | QuantLinear)]
    assert all(m.bias is None for m in layers)
    assert [m.weight_bits for m in layers] == [1] * (len(layers) - 1) + [1 if name == "cifar-small" else 8]
    assert [m.gradient_bits for m in layers] == [32] + [4] * (len(layers) - 2) + [32]
    assert leaves[-1] is layers[-1]
    assert all(m.bits == 2 for m in leaves if isinstance(m, QuantActivation))
    assert all((m.eps, m.momentum) == (1e-4, 0.1) for m in leaves if isinstance(m, nn.BatchNorm2d))


def test_every_activation_lies_on_its_levels():
    model = build_model("resnet-digits", 1, 2).eval()
    seen = []
    for module in model.modules():
        if isinstance(module, QuantActivation):
            module.register_forward_hook(lambda _, __, y: seen.append(y))
    with torch.no_grad():
        model(torch.rand(4, 1, 8, 8))
    assert len(seen) == 6
    for y in seen:
        assert torch.equal(activation_codes(y, 2) / 3, y)


def test_digits_fits_the_smallest_board():
    """Words of 128 bits: 4 filters by 32 lanes; the first window is unfolded into lanes."""
    words = 0
    layers = [m for m in build_model("digits", 1, 2).modules() if isinstance(m, QuantConv2d | QuantLinear)]
    for index, layer in enumerate(layers):
        if isinstance(layer, QuantConv2d):
            filters, taps, channels = layer.out_channels, math.prod(layer.kernel_size), layer.in_channels
        else:
            filters, taps, channels = layer.out_features, 4, layer.in_features // 4
        if index == 0:
            taps, channels = 1, taps * channels
        words += math.ceil(filters / 4) * layer.weight_bits * taps * math.ceil(channels / 32)
    assert words == 244


def test_residual_network_adds_codes():
    assert any(isinstance(m, QuantAdd) for m in build_model("resnet-digits", 1, 2).modules())


def test_unknown_network():
    with pytest.raises(ValueError, match=r"^unknown network 'vgg': choose one of digits, resnet-"):
        build_model("vgg", 1, 2)


def test_bad_bits():
    with pytest.raises(ValueError, match=r"^activation bits must be 1 to 8, or 32 for float, not 9$"):
        build_model("digits", 1, 9)
