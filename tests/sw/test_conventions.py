"""Conventions of DoReFa-Net against NumPy oracles, each where it differs from the default."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dorefabric.sw import quantize
from dorefabric.sw.conventions import AUTHORS, PAPER, Conventions, parse_conventions
from dorefabric.sw.layers import QuantConv2d
from dorefabric.sw.lower import LoweringError, lower

WEIGHTS = hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=4, max_side=4), elements=st.floats(-3, 3))
CHANNEL = Conventions(weight_scale="channel")


@pytest.mark.parametrize("changes, message", [
    ({"rounding": "down"}, "rounding must be one of 'even', 'up', not 'down'"),
    ({"sign_of_zero": True}, "sign_of_zero must be one of 1, 0, -1, not True"),
    ({"weight_scale": "tensor"}, "weight_scale must be one of 'layer', 'channel', not 'tensor'"),
    ({"gradient_noise": 1}, "gradient_noise must be one of True, False, not 1")])
def test_bad_values(changes, message):
    with pytest.raises(ValueError) as error:
        Conventions(**changes)
    assert str(error.value) == message


def test_conventions_of_a_command():
    assert parse_conventions([]) == AUTHORS
    given = parse_conventions(["sign_of_zero=-1", "weight_scale=channel", "gradient_noise=False"])
    assert given == Conventions(sign_of_zero=-1, weight_scale="channel", gradient_noise=False)
    with pytest.raises(ValueError, match=r"^unknown convention 'colour': choose of sign_of_zero, rounding"):
        parse_conventions(["colour=red"])
    with pytest.raises(ValueError, match=r"^rounding must be one of 'even', 'up', not 'odd'"):
        parse_conventions(["rounding=odd"])


@pytest.mark.parametrize("sign", [1, -1])
def test_sign_of_zero(sign):
    codes, _ = quantize.weight_codes(torch.tensor([0.0, -0.0, 2.0, -2.0]), 1, Conventions(sign_of_zero=sign))
    assert codes.tolist() == [sign, sign, 1, -1]


def test_a_zero_sign_trains_but_has_no_code():
    weight, conventions = torch.tensor([0.0, 3.0]), Conventions(sign_of_zero=0)
    assert quantize.quantize_weight(weight, 1, conventions).tolist() == [0.0, 1.5]
    with pytest.raises(ValueError, match="whose sign by these conventions is 0"):
        quantize.weight_codes(weight, 1, conventions)


@given(hnp.arrays(np.float64, 5, elements=st.floats(-1, 2)), st.integers(1, 8))
def test_rounding_up(x, bits):
    n = 2**bits - 1
    conventions = Conventions(rounding="up")
    expected = np.floor(np.clip(x, 0, 1) * n + 0.5)
    assert np.array_equal(quantize.activation_codes(torch.from_numpy(x), bits, conventions).numpy(), expected)
    value = quantize.quantize_activation(torch.from_numpy(x), bits, conventions)
    assert np.array_equal(value.numpy(), expected / n)
    assert quantize.activation_codes(torch.tensor(0.5), 1, conventions) == 1
    assert quantize.activation_codes(torch.tensor(0.5), 1, AUTHORS) == 0


@given(WEIGHTS, st.integers(1, 8))
@example(np.array([[2.22507386e-309]]), 2)
def test_channel_scale(weight, bits):
    """A layer with a scale for each channel is its channels as layers of their own."""
    codes, scale = quantize.weight_codes(torch.from_numpy(weight), bits, CHANNEL)
    value = quantize.quantize_weight(torch.from_numpy(weight), bits, CHANNEL)
    assert torch.equal(value, codes.double() * scale)
    for channel in range(len(weight)):
        alone, alone_scale = quantize.weight_codes(torch.from_numpy(weight[channel].reshape(-1)), bits)
        assert torch.equal(codes[channel].reshape(-1), alone)
        expected = np.abs(weight[channel]).mean() if bits == 1 else 1 / (2**bits - 1)
        mine = scale if isinstance(scale, float) else float(scale[channel])
        np.testing.assert_allclose(mine, expected, rtol=1e-12)
        np.testing.assert_allclose(alone_scale, expected, rtol=1e-12)


def test_absolute_activation():
    x = torch.tensor([-2.0, -0.4, 0.4, 2.0], requires_grad=True)
    y = quantize.quantize_activation(x, 2, Conventions(activation="abs"))
    torch.testing.assert_close(y, torch.tensor([1, 1 / 3, 1 / 3, 1]))
    y.backward(torch.ones(4))
    assert x.grad.tolist() == [0, -1, 1, 0]


def test_absolute_activation_has_no_thresholds():
    from dorefabric.sw.layers import QuantActivation, QuantInput

    torch.manual_seed(0)
    model = torch.nn.Sequential(QuantInput(), QuantConv2d(1, 2, 3, weight_bits=1), torch.nn.BatchNorm2d(2),
                                QuantActivation(2))
    model[-1].conventions = Conventions(activation="abs")
    with pytest.raises(LoweringError, match="not a monotone function"):
        lower(model.eval(), (1, 5, 5))


@given(hnp.arrays(np.float64, (2, 5), elements=st.floats(-9, 9)), st.integers(1, 8))
def test_without_noise(grad, bits):
    n = 2**bits - 1
    peak = np.abs(grad).max(axis=1, keepdims=True)
    unit = grad / (2 * np.where(peak > 0, peak, 1)) + 0.5
    codes, _ = quantize.gradient_codes(torch.from_numpy(grad), bits, None, Conventions(gradient_noise=False))
    sure = np.abs(unit * n % 1 - 0.5) > 1e-9
    assert np.array_equal(codes.numpy()[sure], (2 * np.rint(unit * n) - n)[sure])


def test_the_papers_gradient_is_not_clipped():
    """The same codes for the same noise, but for the extreme ones, which rounding errors may lift by one step."""
    grad = torch.randn(64, 50, generator=torch.Generator().manual_seed(0))
    free, _ = quantize.gradient_codes(grad, 2, torch.Generator().manual_seed(1), PAPER)
    clipped, _ = quantize.gradient_codes(grad, 2, torch.Generator().manual_seed(1), AUTHORS)
    assert torch.equal(free.clamp(-3, 3), clipped) and free.abs().max() <= 5


def test_eval_mode_remembers_the_weight():
    layer = QuantConv2d(2, 3, 3, weight_bits=2).eval()
    with torch.no_grad():
        first = layer.current_weight()
        assert layer.current_weight() is first
        layer.weight.add_(1.0)
        assert not torch.equal(layer.current_weight(), first)
        assert torch.equal(layer.current_weight(), layer.quantized_weight())
    assert layer.current_weight().requires_grad
