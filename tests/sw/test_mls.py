"""The MLS format against an oracle that searches the levels, and its convolution against exact sums."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dorefabric.sw.mls import MlsFormat, mls_convolution, mls_encode, mls_values, quantize_mls
from dorefabric.sw.mls_layers import MlsConv2d, MlsLinear

FORMATS = st.builds(
    MlsFormat,
    element=st.tuples(st.integers(0, 3), st.integers(0, 4)).filter(lambda pair: pair != (0, 0)),
    group=st.tuples(st.integers(0, 8), st.integers(0, 3)),
    axes=st.sampled_from([(), (0,), (0, 1), (1,)]),
)
VALUES = hnp.arrays(np.float64, (3, 2, 4), elements=st.floats(-8, 8) | st.just(0.0))


def group_scales(fmt):
    """Every scale of the format, rising, as the docstring has it."""
    exponent, mantissa = fmt.group
    steps = 1 << mantissa
    return sorted({1.0} | {(1 + m / steps) * 2.0 ** -(1 + e) for e in range(1 << exponent) for m in range(steps)})


@pytest.mark.parametrize("element, magnitudes", [
    ((2, 1), (0, 1, 2, 3, 4, 6, 8, 12)), ((2, 0), (0, 1, 2, 4)), ((0, 2), (0, 1, 2, 3)), ((1, 2), tuple(range(8))),
    ((3, 0), (0, 1, 2, 4, 8, 16, 32, 64))])
def test_magnitudes(element, magnitudes):
    assert MlsFormat(element=element).magnitudes == magnitudes


@given(VALUES, FORMATS)
def test_encoding(x, fmt):
    encoded = mls_encode(torch.from_numpy(x), fmt)
    codes, scales = encoded.codes.numpy(), np.broadcast_to(encoded.group_scale.numpy(), x.shape)
    peak = np.abs(x).max()
    assert encoded.tensor_scale == peak
    levels = np.array(fmt.magnitudes)
    assert set(np.unique(np.abs(codes))) <= set(levels.tolist())
    if not peak:
        assert not codes.any()
        return
    allowed = group_scales(fmt)
    over = tuple(axis for axis in range(3) if axis not in fmt.axes)
    ratio = np.broadcast_to(np.abs(x).max(axis=over, keepdims=True) / peak, x.shape)
    assert np.array_equal(scales, np.array(allowed)[np.searchsorted(allowed, ratio)])     # the least not below it
    exact = np.abs(x) / (peak * scales) * fmt.top
    # The nearest magnitude: no other is closer.
    assert (np.abs(exact - np.abs(codes)) <= np.abs(exact[..., None] - levels).min(-1) + 1e-9 * fmt.top).all()
    assert (codes * x >= 0).all()
    np.testing.assert_allclose(encoded.values().numpy(), codes * scales * peak / fmt.top, rtol=1e-12)


def test_stochastic_rounding_is_unbiased_between_neighbours():
    fmt = MlsFormat(stochastic=True, axes=())
    x = torch.tensor([12.0, 5.0, 0.25, -9.0]).repeat(20000, 1)
    codes = mls_encode(x, fmt, torch.Generator().manual_seed(0)).codes
    assert [set(column.tolist()) for column in codes.T] == [{12}, {4, 6}, {0, 1}, {-8, -12}]
    torch.testing.assert_close(codes.double().mean(0), x[0].double(), atol=0.05, rtol=0)
    again = mls_encode(x, fmt, torch.Generator().manual_seed(0)).codes
    assert torch.equal(codes, again)


@given(VALUES)
def test_encoding_again_changes_nothing(x):
    """With one group its largest magnitude is representable, so a second encoding finds the same codes."""
    fmt = MlsFormat(element=(2, 3), axes=())
    once = mls_encode(torch.from_numpy(x), fmt)
    assert torch.equal(mls_encode(once.values(), fmt).codes, once.codes)


def test_gradient_passes_straight_through():
    x = torch.randn(2, 3, 4, requires_grad=True)
    grad = torch.randn(2, 3, 4)
    quantize_mls(x, MlsFormat()).backward(grad)
    assert torch.equal(x.grad, grad)


@given(st.integers(0, 5), st.sampled_from([(1, 0), (1, 1), (2, 1)]))
def test_convolution_is_exact(seed, geometry):
    """Against rational arithmetic on the decoded values, element by element."""
    stride, padding = geometry
    rng = np.random.default_rng(seed)
    x = mls_encode(torch.from_numpy(rng.normal(size=(2, 3, 4, 4))), MlsFormat(group=(3, 1)))
    weight = mls_encode(torch.from_numpy(rng.normal(size=(2, 3, 3, 3))), MlsFormat(group=(3, 1)))
    result = mls_convolution(x, weight, stride=stride, padding=padding)

    def exact(tensor):
        scales = np.broadcast_to(tensor.group_scale.numpy(), tensor.codes.shape)
        return np.vectorize(lambda code, scale: int(code) * Fraction(scale), otypes=[object])(
            tensor.codes.numpy(), scales)

    padded = np.pad(exact(x), ((0, 0), (0, 0), (padding, padding), (padding, padding)), constant_values=Fraction(0))
    kernel = exact(weight)
    size = (4 + 2 * padding - 3) // stride + 1
    common = x.tensor_scale * weight.tensor_scale / (x.top * weight.top)
    assert result.shape == (2, 2, size, size)
    for n, o, i, j in np.ndindex(result.shape):
        window = padded[n, :, i * stride:i * stride + 3, j * stride:j * stride + 3]
        assert result[n, o, i, j] == float((window * kernel[o]).sum()) * common
    other = mls_encode(torch.zeros(2, 3, 4, 4), MlsFormat(axes=(0,)))
    with pytest.raises(ValueError, match="groups along axes"):
        mls_convolution(other, weight)


def test_layer_computes_the_golden_convolution():
    torch.manual_seed(0)
    layer = MlsConv2d(3, 4, 3, padding=1, weight_bits=32)
    x = torch.rand(2, 3, 5, 5)
    weight = mls_encode(layer.weight, layer.weight_format)
    golden = mls_convolution(mls_encode(x, layer.input_format), weight, padding=1)
    torch.testing.assert_close(layer(x).double(), torch.from_numpy(golden), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer, shape", [(MlsConv2d(2, 3, 3, weight_bits=32), (4, 2, 5, 5)),
                                          (MlsLinear(6, 3, 32), (4, 6))])
def test_errors_are_quantized(layer, shape):
    x = torch.rand(shape, requires_grad=True)
    layer.generator = torch.Generator().manual_seed(1)
    y = layer(x)
    grad = torch.randn(y.shape)
    y.backward(grad)
    error = mls_values(grad, layer.error_format, torch.Generator().manual_seed(1))
    weight = layer.quantized_weight()
    expected = torch.nn.functional.conv_transpose2d(error, weight) if x.dim() == 4 else error @ weight
    torch.testing.assert_close(x.grad, expected)


@pytest.mark.parametrize("call, message", [
    (lambda: MlsFormat(element=(0, 0)), "needs exponent or mantissa bits"),
    (lambda: MlsFormat(group=(9, 1)), "group of MLS must be <exponent bits 0 to 8"),
    (lambda: mls_encode(torch.zeros(3), MlsFormat()), "need more dimensions than 1"),
    (lambda: mls_encode(torch.full((2, 2), float("nan")), MlsFormat()), "NaN or infinity")])
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
