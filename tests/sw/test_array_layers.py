"""Training with products on the circuit model: equal to the software twin bit for bit, close to the ordinary layers."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from dorefabric.hw.config import FabricConfig
from dorefabric.sw.array_layers import ArrayConv2d, ArrayLayerError, ArrayLinear, train_on_array
from dorefabric.sw.conventions import Conventions
from dorefabric.sw.device_model import DeviceModel
from dorefabric.sw.layers import QuantActivation, QuantConv2d, QuantInput, QuantLinear, QuantWeight
from dorefabric.sw.learned_clip import LearnedClipActivation
from dorefabric.sw.matrix_plan import MatrixError
from dorefabric.sw.matrix_unit import MatrixUnit
from dorefabric.sw.methods import Method
from dorefabric.sw.models import build_model
from dorefabric.sw.training_products import ArrayProducts, SoftwareProducts

CONFIG = FabricConfig(name="unit", rows=4, columns=8, lanes=32, weight_depth=512, feature_depth=1024)


def network(bits=(1, 2, 4), stride=1):
    """A small network whose layers all have quantized gradients."""
    w, a, g = bits
    return nn.Sequential(
        QuantInput(4), QuantConv2d(1, 4, 3, padding=1, weight_bits=w, gradient_bits=g), nn.BatchNorm2d(4),
        QuantActivation(a), QuantConv2d(4, 6, 3, stride, weight_bits=w, gradient_bits=g), nn.BatchNorm2d(6),
        nn.MaxPool2d(2), QuantActivation(a), nn.Flatten(),
        QuantLinear(54 if stride == 1 else 6, 5, w, g),
    )  # fmt: skip


def array_products():
    return ArrayProducts(MatrixUnit(DeviceModel(CONFIG), CONFIG))


def train(model, steps=2):
    """Losses, and gradients and state after the last step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for step in range(steps):
        rng = torch.Generator().manual_seed(step)
        images, labels = torch.rand(6, 1, 8, 8, generator=rng), torch.randint(0, 5, (6,), generator=rng)
        torch.manual_seed(100 + step)
        loss = functional.cross_entropy(0.3 * model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, [p.grad.clone() for p in model.parameters()], list(model.state_dict().values())


@pytest.mark.parametrize("bits, stride", [((1, 2, 4), 1), ((1, 2, 6), 2), ((3, 4, 8), 1), ((8, 1, 1), 1)])
def test_two_steps_equal_the_software_twin(bits, stride):
    torch.manual_seed(0)
    first = network(bits, stride)
    second, plain = copy.deepcopy(first), copy.deepcopy(first)
    meter = train_on_array(first, array_products())
    train_on_array(second, SoftwareProducts())
    results = [train(first), train(second)]
    assert results[0][0] == results[1][0]
    for ours, twins in zip(results[0][1] + results[0][2], results[1][1] + results[1][2], strict=True):
        assert torch.equal(ours, twins)
    works = meter.take()
    assert not meter.take() and len(works) == 2 * 8       # the first layer has no input gradient
    assert all(work.on_array and work.usage.cycles == work.usage.predicted > 0 for work in works)
    # The first step is that of the ordinary layers but for the rounding of their float sums.
    torch.testing.assert_close(results[0][0][0], train(plain, 1)[0][0], rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_the_ordinary_layers():
    """Without noise, and in float64, rounding errors do not decide any code."""
    torch.manual_seed(1)
    ordinary = network((2, 3, 5)).double()
    for module in ordinary.modules():
        if isinstance(module, QuantWeight):
            module.conventions = Conventions(gradient_noise=False)
    ours = copy.deepcopy(ordinary)
    train_on_array(ours, array_products())
    images = torch.rand(4, 1, 8, 8, dtype=torch.float64)
    for model in (ordinary, ours):
        (model(images).square().sum() / 7).backward()
    for a, b in zip(ordinary.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-12)


def test_layers_are_swapped_and_measured():
    model = build_model("digits", 1, 2, 6)
    names = [name for name, _ in model.named_parameters()]
    meter = train_on_array(model, array_products())
    assert [name for name, _ in model.named_parameters()] == names
    kinds = [type(m) for m in model.modules() if isinstance(m, QuantWeight)]
    assert kinds == [ArrayConv2d] * 3 + [ArrayLinear]
    model(torch.rand(2, 1, 8, 8)).sum().backward()
    on_array = {(work.layer, work.kind): work.on_array for work in meter.take()}
    # Gradients of the first and the last layer are float, as in the paper's networks.
    assert on_array == {
        ("conv1.conv", "forward"): True, ("conv2.conv", "forward"): True, ("conv3.conv", "forward"): True,
        ("output", "forward"): True, ("output", "input gradient"): False, ("output", "weight gradient"): False,
        ("conv3.conv", "input gradient"): True, ("conv3.conv", "weight gradient"): True,
        ("conv2.conv", "input gradient"): True, ("conv2.conv", "weight gradient"): True,
        ("conv1.conv", "weight gradient"): False,
    }  # fmt: skip


def test_float_layers_stay_on_the_host():
    model = network()
    model[1].weight_bits = 32
    meter = train_on_array(model, SoftwareProducts())
    assert type(model[1]) is QuantConv2d
    model(torch.rand(2, 1, 8, 8)).sum().backward()
    works = [work for work in meter.take() if work.layer == "1"]
    assert [(work.kind, work.on_array) for work in works] == [("forward", False), ("weight gradient", False)]
    assert works[0].multiply_accumulates == 2 * 4 * 64 * 9


def test_zero_gradients_stay_zero():
    model = network()
    train_on_array(model, array_products())
    (0 * model(torch.rand(2, 1, 8, 8)).sum()).backward()
    assert all(not p.grad.any() for p in model.parameters())


def changed(change):
    model = network()
    change(model)
    return model


BAD = [
    (lambda m: m.__setitem__(3, QuantActivation(32)),
     r"^4: its input is float, its gradients 4 bits: the array multiplies codes of 1 to 8 bits, so quantize the "
     r"activations in front of it$"),
    (lambda m: m.__setitem__(3, LearnedClipActivation(2)),
     r"^4: its input comes from LearnedClipActivation, but the array trains on the codes of QuantActivation: train "
     r"with the method 'dorefa'$"),
    (lambda m: setattr(m[4], "groups", 2), r"^4: groups must be 1 to train on the array, not 2$"),
    (lambda m: setattr(m[4], "padding", "same"), r"^4: padding must be numbers to train on the array, not 'same'$"),
    (lambda m: setattr(m[9], "bias", nn.Parameter(torch.zeros(5))),
     r"^9: a layer on the array has no bias: leave it to the batch norm$"),
    (lambda m: setattr(m[4], "conventions", Conventions(weight_scale="channel")),
     r"^4: weights with a scale for each channel have no integer input gradient: use the convention "
     r"weight_scale='layer'$"),
]  # fmt: skip


@pytest.mark.parametrize("change, message", BAD)
def test_layers_that_the_array_does_not_train(change, message):
    model = changed(change)
    before = [type(module) for module in model.modules()]
    with pytest.raises(ArrayLayerError, match=message):
        train_on_array(model, SoftwareProducts())
    assert [type(module) for module in model.modules()] == before


def test_other_methods_are_refused():
    model = Method(name="aqe").apply(build_model("digits", 2, 2))
    with pytest.raises(ArrayLayerError, match=r"^conv1.conv: AsymptoticConv2d is not trained on the array; only the"):
        train_on_array(model, SoftwareProducts())


def test_an_input_that_is_no_code():
    model = network()
    model.insert(4, nn.Dropout(0.5))        # scales what it keeps
    train_on_array(model, SoftwareProducts())
    with pytest.raises(ArrayLayerError, match=r"^5: its input is not made of 2-bit codes: put a QuantActivation in"):
        model(torch.rand(2, 1, 8, 8))


def test_products_that_do_not_fit():
    config = FabricConfig(name="narrow", rows=4, columns=8, lanes=32, activation_bits=2, weight_bits=2)
    model = network()
    train_on_array(model, ArrayProducts(MatrixUnit(DeviceModel(config), config)))
    with pytest.raises(MatrixError, match=r"^codes of 4 bits on the pixel side: configuration 'narrow' has 1 to 2$"):
        model(torch.rand(2, 1, 8, 8))
