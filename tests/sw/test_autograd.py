"""Gradients of clips at and beside their limits, in every type of float, against comparisons."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dorefabric.sw.autograd import clip_gradient, inside
from dorefabric.sw.layers import QuantConv2d
from dorefabric.sw.quantize import gradient_quantizer, quantize_gradient, quantize_weight, weight_codes

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("low", [0, -1])
def test_limits_belong_to_the_range(dtype, low):
    info = torch.finfo(dtype)
    least = info.tiny * info.eps
    x = torch.tensor([low, 1, 1 + info.eps, 1 - info.eps, -1 - info.eps, -least, least, -0.0, 0.5, -0.5, -3, 3],
                     dtype=dtype)  # fmt: skip
    grad = torch.arange(1, len(x) + 1).to(dtype)
    expected = torch.where((x >= low) & (x <= 1), grad, 0)
    assert torch.equal(clip_gradient(grad, x, low), expected)
    assert torch.equal(grad * inside(x, low, 1), expected)


@given(hnp.arrays("float32", hnp.array_shapes(), elements=st.floats(-2, 2, width=32)), st.floats(-2, 0),
       st.floats(0, 2))
def test_inside(x, low, high):
    x = torch.from_numpy(x)
    low, high = torch.tensor([low, high]).tolist()      # as float32 holds them
    assert torch.equal(inside(x, low, high), ((x >= low) & (x <= high)).float())


@pytest.mark.parametrize("bits", [1, 2, 8])
def test_layout_of_a_weight_is_kept(bits):
    """A convolution with one channel takes its layout from strides that the shape alone does not fix."""
    layer = QuantConv2d(1, 4, 3, weight_bits=bits).to(memory_format=torch.channels_last)
    assert layer.quantized_weight().stride() == layer.weight.stride()


@pytest.mark.parametrize("bits", [2, 5])
@pytest.mark.parametrize("shape", [(3, 4), (4, 2, 3, 3), (7,)])
def test_gradient_is_shared_by_the_largest(bits, shape):
    """Several weights of the largest magnitude, of both signs: as torch differentiates t / max |t|."""
    weight = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(bits)) - 0.5
    weight.view(-1)[[0, 3, 5]] = torch.tensor([0.75, -0.75, 0.75], dtype=torch.float64)
    weight.requires_grad_()
    grad = torch.linspace(-1, 2, weight.numel(), dtype=torch.float64).view(shape)
    squashed = torch.tanh(weight)
    expected, = torch.autograd.grad(squashed / squashed.abs().amax(), weight, grad)
    actual, = torch.autograd.grad(quantize_weight(weight, bits), weight, grad)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-15)


def test_narrow_gradients_are_quantized_in_float32():
    """bfloat16 has 8 bits: noise and rounding of a 6-bit gradient need more."""
    x = torch.zeros(4, 64, dtype=torch.bfloat16, requires_grad=True)
    grad = torch.randn(4, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    gradient_quantizer(x, 6, torch.Generator().manual_seed(1)).backward(grad)
    expected = quantize_gradient(grad.float(), 6, torch.Generator().manual_seed(1)).bfloat16()
    assert x.grad.dtype == torch.bfloat16 and torch.equal(x.grad, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_codes_in_other_types(dtype):
    weight = torch.linspace(-2, 2, 9).to(dtype)
    codes, scale = weight_codes(weight, 2)
    assert torch.equal(codes.to(dtype) * scale, quantize_weight(weight, 2))
