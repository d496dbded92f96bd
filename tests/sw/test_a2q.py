"""Weights whose accumulators cannot overflow: the bound holds for any parameters of a layer."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dorefabric.sw.a2q import BoundedConv2d, BoundedLinear, accumulator_width, norm_limit


@given(st.integers(2, 8), st.integers(1, 8), st.integers(0, 10), st.integers(0, 99), st.floats(-3, 9), st.floats(-3, 3),
       st.booleans())
def test_the_bound_holds_for_any_parameters(weight_bits, input_bits, extra, seed, norm, scale, centred):
    accumulator_bits = input_bits + 2 + extra
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = BoundedLinear(20, 3, weight_bits)
        torch.nn.init.normal_(layer.weight, 0.1, 0.2)
        layer.bound(accumulator_bits, input_bits, centred)
        torch.nn.init.constant_(layer.log_norm, norm)
        torch.nn.init.constant_(layer.log_scale, scale)
    codes, unit = layer.weight_codes()
    assert codes.abs().sum(1).max() <= norm_limit(accumulator_bits, input_bits, centred=centred)
    assert codes.min() >= -(1 << weight_bits - 1) and codes.max() < 1 << weight_bits - 1
    # The worst inputs, 0 or the largest code, in exact integers.
    worst = (1 << input_bits) - 1
    low, high = (int(codes.clamp(max=0).sum(1).min()) * worst, int(codes.clamp(min=0).sum(1).max()) * worst)
    assert accumulator_width(low, high) <= accumulator_bits
    assert torch.equal(codes * unit, layer.quantized_weight())


def test_integers_are_the_formula():
    torch.manual_seed(0)
    layer = BoundedConv2d(3, 4, 3, weight_bits=4)
    layer.bound(10, 4)
    v = layer.weight.detach().double().numpy()
    d, t = (p.detach().double().numpy() for p in (layer.log_scale, layer.log_norm))
    limit = d + np.log2((2**9 - 1) * 2.0**-4 * (1 - 1e-6))
    exact = 2 ** (np.minimum(t, limit) - d) * v / np.abs(v).sum((1, 2, 3), keepdims=True)
    sure = np.abs(exact - np.rint(exact)) > 1e-4
    codes = layer.weight_codes()[0].numpy()
    assert np.array_equal(codes[sure], np.clip(np.trunc(exact), -8, 7)[sure]) and sure.mean() > 0.9


def test_centred_integers_are_the_formula():
    torch.manual_seed(0)
    layer = BoundedConv2d(3, 4, 3, weight_bits=4)
    layer.bound(10, 4, centred=True)
    v = layer.weight.detach().double().numpy()
    v -= v.mean((1, 2, 3), keepdims=True)
    d, t = (p.detach().double().numpy() for p in (layer.log_scale, layer.log_norm))
    limit = d + np.log2((2**10 - 2) / (2**4 - 1) * (1 - 1e-6))
    exact = 2 ** (np.minimum(t, limit) - d) * v / np.abs(v).sum((1, 2, 3), keepdims=True)
    sure = np.abs(exact - np.rint(exact)) > 1e-4
    codes = layer.weight_codes()[0].numpy()
    assert np.array_equal(codes[sure], np.clip(np.trunc(exact), -8, 7)[sure]) and sure.mean() > 0.9


@pytest.mark.parametrize("input_bits", [1, 2, 8])
def test_centred_weights_have_about_twice_the_room(input_bits):
    ratio = norm_limit(20, input_bits, centred=True) / norm_limit(20, input_bits)
    assert ratio == pytest.approx(2 * 2**input_bits / (2**input_bits - 1), rel=1e-5)


def test_excess_pulls_norms_down():
    layer = BoundedLinear(64, 2, 8)
    layer.bound(10, 8)
    assert layer.excess() > 0
    layer.excess().backward()
    assert layer.log_norm.grad.eq(1).all() and layer.log_scale.grad.eq(-1).all()
    torch.nn.init.constant_(layer.log_norm, -30.0)
    assert layer.excess() == 0


@pytest.mark.parametrize("low, high, bits", [(0, 0, 1), (-1, 0, 1), (0, 1, 2), (-2, 1, 2), (-3, 1, 3), (-128, 127, 8),
                                             (0, 128, 9)])
def test_accumulator_width(low, high, bits):
    assert accumulator_width(low, high) == bits


def test_too_narrow_is_refused():
    with pytest.raises(ValueError, match="accumulator bits must be at least 10"):
        norm_limit(9, 8)
    assert norm_limit(10, 8) >= 1 and norm_limit(9, 8, signed=True) >= 1
    assert norm_limit(9, 8, centred=True) == 2
    with pytest.raises(ValueError, match="accumulator bits must be at least 9"):
        norm_limit(8, 8, centred=True)
    with pytest.raises(ValueError, match="weight bits of A2Q must be 2 to 8, not 1"):
        BoundedLinear(3, 3, 1).bound(16, 8)
