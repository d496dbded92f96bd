"""AQE: levels, estimator and schedule against oracles written from the formulas."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dorefabric.sw import aqe
from dorefabric.sw.aqe_layers import AsymptoticActivation, AsymptoticConv2d

VALUES = hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=6), elements=st.floats(-2, 2))


def oracle(a, bits, delta=None):
    """The nearest level, the smaller magnitude at a tie; by search through all levels."""
    a = np.clip(a, -1, 1)
    if bits == 1:
        return np.where(a >= 0, 1.0, -1.0)
    levels = np.array([0.0, *(2.0**-p for p in reversed(range(2 ** (bits - 1) - 1)))])
    index = np.abs(np.abs(a)[..., None] - levels).argmin(-1)       # the first, smaller one at a tie
    if delta is not None:
        index = np.where(np.abs(a) <= delta, 0, np.maximum(index, 1))
    return np.sign(a) * levels[index]


@pytest.mark.parametrize("bits, expected", [
    (1, ((-1, 1), 1)), (2, ((-1, 0, 1), 1)), (3, ((-4, -2, -1, 0, 1, 2, 4), 4))])
def test_levels(bits, expected):
    assert aqe.level_integers(bits) == expected
    assert aqe.level_integers(4)[0][-7:] == (1, 2, 4, 8, 16, 32, 64)


@given(VALUES, st.integers(1, 4))
def test_quantizer(a, bits):
    integers = aqe.quantized_integers(torch.from_numpy(a).clamp(-1, 1), bits)
    one = aqe.level_integers(bits)[1]
    assert np.array_equal(integers.numpy() / one, oracle(a, bits))
    assert set(integers.unique().tolist()) <= set(aqe.level_integers(bits)[0])
    assert torch.equal(aqe.quantize_asymptotic(torch.from_numpy(a), bits), integers / one)


@given(VALUES, st.floats(0, 0.99))
def test_ternary_delta(a, delta):
    assert np.array_equal(aqe.quantize_asymptotic(torch.from_numpy(a), 2, 1.0, delta).numpy(), oracle(a, 2, delta))


@given(VALUES, st.integers(1, 4), st.floats(0.01, 1))
def test_estimator(a, bits, alpha):
    x = torch.from_numpy(a).requires_grad_()
    y = aqe.quantize_asymptotic(x, bits, alpha)
    expected = alpha * oracle(a, bits) + (1 - alpha) * np.clip(a, -1, 1)
    np.testing.assert_allclose(y.detach().numpy(), expected, atol=1e-12)
    grad = np.linspace(-1, 1, a.size).reshape(a.shape)
    y.backward(torch.from_numpy(grad))
    np.testing.assert_allclose(x.grad.numpy(), 2 * alpha * grad * (np.abs(a) <= 1), atol=1e-12)


def test_gradient_is_the_finite_difference_of_the_mean():
    """With h constant between boundaries the forward slope is 1 - alpha; over the whole range it is 1 on average."""
    for bits in (1, 2, 3):
        ends = torch.tensor([-1.0, 1.0], dtype=torch.float64)
        rise = aqe.quantize_asymptotic(ends, bits, 0.5)
        assert (rise[1] - rise[0]) / 2 == 1
        at = torch.tensor([0.9, 0.9 + 1e-6], dtype=torch.float64)
        low, high = aqe.quantize_asymptotic(at, bits, 0.25)
        assert abs((high - low) / 1e-6 - 0.75) < 1e-6


@given(st.floats(0.01, 1), st.floats(0, 1))
def test_schedule(start, reach):
    values = [aqe.alpha_schedule(done, start, reach) for done in np.linspace(0, 1, 21)]
    assert all(a <= b for a, b in pairwise(values)) and values[-1] == 1
    assert values[0] == (1 if reach == 0 else start)


@pytest.mark.parametrize("call, message", [
    (lambda: aqe.alpha_schedule(0, 0.5, 1.2), "alpha must reach 1 during training"),
    (lambda: aqe.alpha_schedule(0, 0.0), "alpha must start above 0"),
    (lambda: aqe.check_schedule(0.5, float("nan")), "alpha must reach 1 during training"),
    (lambda: aqe.quantize_asymptotic(torch.zeros(1), 2, 1.5), "alpha must be above 0 and at most 1, not 1.5"),
    (lambda: aqe.quantize_asymptotic(torch.zeros(1), 3, 1.0, 0.25), "delta must be at least 0 and below"),
    (lambda: aqe.quantize_asymptotic(torch.zeros(1), 5), "level bits of AQE must be 1 to 4, not 5"),
    (lambda: AsymptoticActivation(2).codes(torch.tensor([float("nan")])), "activations contain NaN")])
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@given(VALUES, st.integers(1, 4))
def test_activation_codes(a, bits):
    layer = AsymptoticActivation(bits)
    codes = layer.codes(torch.from_numpy(a))
    assert codes.min() >= 0 and codes.max() <= layer.largest_code < 1 << layer.code_bits
    assert torch.equal((codes - layer.zero) * layer.unit, layer(torch.from_numpy(a)))


@pytest.mark.parametrize("bits, planes", [(1, 1), (2, 2), (3, 4), (4, 8)])
def test_weight_codes(bits, planes):
    torch.manual_seed(0)
    layer = AsymptoticConv2d(30, 40, 3, weight_bits=bits)
    codes, scale = layer.weight_codes()
    assert torch.equal(codes * scale, layer.eval().quantized_weight())
    assert layer.integer_bits == planes and layer.bipolar == (bits == 1)
    assert set(codes.unique().tolist()) == set(aqe.level_integers(bits)[0])   # a fresh layer reaches every level


def test_zero_weights():
    layer = AsymptoticConv2d(1, 1, 3, weight_bits=2)
    torch.nn.init.zeros_(layer.weight)
    assert layer.weight_codes()[0].eq(0).all() and layer.quantized_weight().eq(0).all()


def test_alpha_acts_in_training_alone():
    layer = AsymptoticActivation(2)
    layer.alpha = 0.5
    x = torch.tensor([0.8])
    assert layer(x).item() == pytest.approx(0.9) and layer.eval()(x).item() == 1
