"""Quantized layers behave as their float twins around the quantizers, and ``prepare`` puts them in."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from dorefabric.sw import quantize
from dorefabric.sw.layers import QuantActivation, QuantAdd, QuantConv2d, QuantInput, QuantLinear, prepare

torch.set_num_threads(1)    # many small operations: threads only wait for each other


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("bits", [1, 2, 5, 8, 32])
def test_convolution(bits):
    layer = QuantConv2d(3, 4, 3, 2, 1, weight_bits=bits, groups=1)
    x = torch.rand(2, 3, 7, 7)
    weight = quantize.quantize_weight(layer.weight, bits)
    assert torch.equal(layer(x), functional.conv2d(x, weight, None, 2, 1))
    assert layer.bias is None


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_convolution_of_codes(bits):
    """The integers of weights and activations, convolved and scaled, are the layer's output."""
    layer = QuantConv2d(5, 4, 3, padding=1, weight_bits=bits)
    x = QuantActivation(2)(torch.rand(2, 5, 6, 6))
    weight, scale = layer.weight_codes()
    sums = functional.conv2d(quantize.activation_codes(x, 2).double(), weight.double(), padding=1)
    torch.testing.assert_close(layer(x).double(), sums * scale / 3, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bits", [1, 2, 8, 32])
def test_linear(bits):
    layer = QuantLinear(6, 4, bits, bias=True)
    x = torch.rand(3, 6)
    expected = functional.linear(x, quantize.quantize_weight(layer.weight, bits), layer.bias)
    assert torch.equal(layer(x), expected)
    if bits != 32:
        assert layer.weight_codes()[0].shape == (4, 6)


@pytest.mark.parametrize("layer, shape", [
    (QuantConv2d(2, 3, 3, weight_bits=2, gradient_bits=2), (4, 2, 5, 5)),
    (QuantLinear(5, 3, 2, 2), (4, 5))])
def test_output_gradient_is_quantized(layer, shape):
    """Weight gradient computed by hand from the quantized gradient of the output."""
    x = torch.rand(shape)
    layer.generator = torch.Generator().manual_seed(3)
    y = layer(x)
    grad = torch.randn(y.shape)
    y.backward(grad)

    twin = copy.deepcopy(layer)
    twin.weight.grad, twin.gradient_bits = None, 32
    twin(x).backward(quantize.quantize_gradient(grad, 2, torch.Generator().manual_seed(3)))
    assert torch.equal(layer.weight.grad, twin.weight.grad)


def test_activation_and_input():
    x = torch.tensor([-1.0, 0.2, 0.5, 2.0])
    assert torch.equal(QuantActivation(2)(x), torch.tensor([0, 1, 2, 3]) / 3)
    assert torch.equal(QuantActivation(32)(x), x.clamp(0, 1))
    pixels = torch.arange(256) / 255
    assert torch.equal(QuantInput()(pixels), pixels)


def test_max_pool_commutes_with_the_activation():
    x = torch.randn(2, 3, 8, 8)
    pool, activation = nn.MaxPool2d(2), QuantActivation(2)
    assert torch.equal(pool(activation(x)), activation(pool(x)))


def test_add():
    a, b = QuantActivation(2)(torch.rand(2, 3)), QuantActivation(2)(torch.rand(2, 3))
    assert torch.equal(QuantAdd()(a, b), a + b)


def test_repr_shows_the_bits():
    assert "weight_bits=1, gradient_bits=4" in repr(QuantConv2d(1, 2, 3, gradient_bits=4))
    assert "weight_bits=2, gradient_bits=32" in repr(QuantLinear(1, 2, 2))
    assert repr(QuantActivation(2)) == "QuantActivation(bits=2)"
    assert repr(QuantInput()) == "QuantInput(bits=8)"


@pytest.mark.parametrize("build, message", [
    (lambda: QuantConv2d(1, 1, 1, weight_bits=9), "weight bits must be 1 to 8, or 32 for float, not 9"),
    (lambda: QuantConv2d(1, 1, 1, gradient_bits=0), "gradient bits must be 1 to 8, or 32 for float, not 0"),
    (lambda: QuantLinear(1, 1, False), "weight bits must be 1 to 8, or 32 for float, not False"),
    (lambda: QuantActivation(16), "activation bits must be 1 to 8, or 32 for float, not 16"),
    (lambda: QuantInput(True), "input bits must be 1 to 8, or 32 for float, not True")])
def test_bad_bits(build, message):
    with pytest.raises(ValueError) as error:
        build()
    assert str(error.value) == message


def test_state_dicts_load_into_either_kind():
    plain, layer = nn.Conv2d(2, 3, 3, bias=False), QuantConv2d(2, 3, 3)
    layer.load_state_dict(plain.state_dict())
    plain.load_state_dict(layer.state_dict())
    assert isinstance(layer, nn.Conv2d) and isinstance(QuantLinear(1, 1), nn.Linear)


# prepare ---------------------------------------------------------------------------------------------

def ordinary():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding="same", groups=2), nn.BatchNorm2d(4), nn.ReLU6(),
        nn.Flatten(), nn.Linear(4 * 16, 10))


def test_prepare():
    model = ordinary()
    new = prepare(model, 1, 2, 4)
    assert [name for name, _ in new.named_children()] == ["quant_input", *"01234567"]
    assert isinstance(model[0], nn.Conv2d) and not isinstance(model[0], QuantConv2d)
    assert [(type(new[i]), new[i].weight_bits, new[i].gradient_bits) for i in (1, 4, 8)] == [
        (QuantConv2d, 1, 32), (QuantConv2d, 1, 4), (QuantLinear, 8, 32)]
    assert [new[i].bits for i in (0, 3, 6)] == [8, 2, 2]
    assert new[4].groups == 2 and new[4].padding == "same"
    new.load_state_dict(model.state_dict())
    assert new(torch.rand(2, 1, 4, 4)).shape == (2, 10)


def test_prepare_options():
    new = prepare(ordinary().eval(), 2, 2, first_weight_bits=8, last_weight_bits=32, input_bits=4)
    assert [new[i].weight_bits for i in (1, 4, 8)] == [8, 2, 32]
    assert new[0].bits == 4
    assert not any(module.training for module in new.modules())


def test_prepare_float_is_the_same_function():
    """32 bits change nothing but the clip at 1."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Hardtanh(0, 1), nn.Flatten(), nn.Linear(8, 3))
    x = torch.randint(256, (2, 1, 4, 4)) / 255
    assert torch.equal(prepare(model, 32, 32, last_weight_bits=32)(x), model(x))


def test_prepare_any_module():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu, self.fc = nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(), nn.Linear(16, 2)
            self.same = self.relu

        def forward(self, x):
            return self.fc(self.same(self.conv(self.relu(self.conv(x)))).flatten(1))

    new = prepare(Twice(), 1, 2)
    assert [name for name, _ in new.named_children()] == ["quant_input", "model"]
    assert new.model.same is new.model.relu and new.model.relu.bits == 2
    assert new(torch.rand(2, 1, 4, 4)).shape == (2, 2)
    assert prepare(new, 1, 1)[0] is not None and len(prepare(new, 1, 1)) == 2


def test_prepare_refuses():
    with pytest.raises(ValueError, match=r"^ReLU has no nn\.Conv2d or nn\.Linear to quantize$"):
        prepare(nn.ReLU(), 1, 2)
    with pytest.raises(ValueError, match=r"^only zero padding can be quantized, not 'reflect'$"):
        prepare(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), 1, 2)
    with pytest.raises(ValueError, match=r"^activation bits must be"):
        prepare(ordinary(), 1, 9)
