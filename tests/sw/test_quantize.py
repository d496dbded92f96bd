"""Quantizers against independent NumPy oracles written from the paper's formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dorefabric.sw import quantize

torch.set_num_threads(1)    # many small operations: threads only wait for each other


BITS = st.integers(1, 8)
MODERATE = st.floats(-4, 4, width=32)
WIDE = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)


def arrays(elements, least_dims=1, most_dims=4):
    return hnp.arrays(np.float32, hnp.array_shapes(min_dims=least_dims, max_dims=most_dims, max_side=5),
                      elements=elements)


def near_tie(scaled):
    """Whether float32 rounding may take another side than float64 does."""
    return np.abs(scaled - np.floor(scaled) - 0.5) < 1e-4


# Bits ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8, 32, np.int64(3)])
def test_good_bits(bits):
    assert quantize.check_bits("weight", bits) == bits
    assert type(quantize.check_bits("weight", bits)) is int


@pytest.mark.parametrize("bits", [0, 9, -1, 16, 31, 33, True, False, 2.0, "2", None, np.float32(2)])
@pytest.mark.parametrize("kind, function", [
    ("weight", quantize.quantize_weight), ("activation", quantize.quantize_activation),
    ("gradient", quantize.quantize_gradient), ("gradient", quantize.gradient_quantizer)])
def test_bad_bits(kind, function, bits):
    with pytest.raises(ValueError) as error:
        function(torch.zeros(2, 2), bits)
    assert str(error.value) == f"{kind} bits must be 1 to 8, or 32 for float, not {bits!r}"


def test_message():
    with pytest.raises(ValueError, match=r"^weight bits must be 1 to 8, or 32 for float, not 9$"):
        quantize.check_bits("weight", 9)


@pytest.mark.parametrize("kind, function", [
    ("weight", quantize.weight_codes), ("activation", quantize.activation_codes),
    ("gradient", quantize.gradient_codes)])
def test_float_has_no_codes(kind, function):
    with pytest.raises(ValueError) as error:
        function(torch.zeros(2, 2), 32)
    assert str(error.value) == f"float {kind}s have no codes: {kind} bits must be 1 to 8, not 32"


@pytest.mark.parametrize("function", [
    quantize.weight_codes, quantize.activation_codes, quantize.gradient_codes])
def test_nan_has_no_codes(function):
    with pytest.raises(ValueError, match="they have no codes"):
        function(torch.tensor([[0.0, float("nan")]]), 2)


# Weights ---------------------------------------------------------------------------------------------

def weight_oracle(weight, bits):
    """Codes and the scaled value before rounding, in float64."""
    weight = weight.astype(np.float64)
    if bits == 1:
        return np.where(weight >= 0, 1, -1), np.zeros_like(weight)
    n = 2**bits - 1
    squashed = np.tanh(weight)
    peak = np.abs(squashed).max()
    scaled = n * (squashed / (2 * peak) + 0.5 if peak > 0 else np.full_like(weight, 0.5))
    return 2 * np.rint(scaled).astype(np.int64) - n, scaled


@given(arrays(MODERATE), BITS)
def test_weight_codes(weight, bits):
    expected, scaled = weight_oracle(weight, bits)
    codes, scale = quantize.weight_codes(torch.from_numpy(weight), bits)
    n = 2**bits - 1
    assert codes.dtype == torch.int64 and codes.shape == weight.shape and isinstance(scale, float)
    assert (np.abs(codes.numpy()) <= n).all() and (codes.numpy() % 2 == 1).all()
    sure = ~near_tie(scaled) | (weight == 0)
    assert np.array_equal(codes.numpy()[sure], expected[sure])
    if bits == 1:
        assert scale == np.float32(np.abs(weight.astype(np.float64)).mean())
    else:
        assert scale == 1 / n


@given(arrays(MODERATE), BITS)
def test_weight_equals_its_codes(weight, bits):
    codes, scale = quantize.weight_codes(torch.from_numpy(weight), bits)
    value = quantize.quantize_weight(torch.from_numpy(weight), bits)
    assert value.dtype == torch.float32
    assert torch.equal(value, codes.to(torch.float32) * scale)
    assert np.array_equal(value.numpy(), codes.numpy().astype(np.float32) * np.float32(scale))


@pytest.mark.parametrize("bits", range(1, 9))
def test_zero_weight_is_plus(bits):
    for weight in (torch.zeros(3), torch.tensor([-0.0, 0.0, 1.0]), torch.tensor([0.0, -2.0])):
        codes, _ = quantize.weight_codes(weight, bits)
        assert codes[weight == 0].eq(1).all()


@pytest.mark.parametrize("bits", range(2, 9))
def test_all_weight_levels_are_reached(bits):
    codes, _ = quantize.weight_codes(torch.atanh(torch.linspace(-0.9, 0.9, 4096)), bits)
    n = 2**bits - 1
    assert codes.unique().tolist() == list(range(-n, n + 1, 2))


def test_binary_weight_gradient_passes_through():
    weight = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    grad = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    quantize.quantize_weight(weight, 1).backward(grad)
    assert torch.equal(weight.grad, grad)


@given(hnp.arrays(np.float64, 6, elements=st.floats(-2, 2)), st.integers(2, 8))
def test_weight_gradient_is_that_of_tanh(weight, bits):
    """d/dw of sum_i g_i tanh(w_i) / max |tanh w|, by hand, the largest weight being unique."""
    weight[0] = 2.5
    grad = np.linspace(-1, 1, 6)
    tensor = torch.from_numpy(weight).requires_grad_()
    quantize.quantize_weight(tensor, bits).backward(torch.from_numpy(grad))
    squashed, slope = np.tanh(weight), 1 - np.tanh(weight) ** 2
    expected = grad * slope / squashed[0]
    expected[0] -= slope[0] * (grad * squashed).sum() / squashed[0] ** 2
    np.testing.assert_allclose(tensor.grad.numpy(), expected, atol=1e-12)


def test_float_weight_is_untouched():
    weight = torch.randn(3, 3)
    assert quantize.quantize_weight(weight, 32) is weight


# Activations -----------------------------------------------------------------------------------------

@given(arrays(MODERATE), BITS)
def test_activation_codes(x, bits):
    n = 2**bits - 1
    scaled = n * np.clip(x.astype(np.float64), 0, 1)
    codes = quantize.activation_codes(torch.from_numpy(x), bits)
    assert codes.dtype == torch.int64
    assert codes.min() >= 0 and codes.max() <= n
    sure = ~near_tie(scaled)
    assert np.array_equal(codes.numpy()[sure], np.rint(scaled)[sure].astype(np.int64))
    value = quantize.quantize_activation(torch.from_numpy(x), bits)
    assert torch.equal(value, codes.to(torch.float32) / n)


@pytest.mark.parametrize("bits, x, code", [
    (1, 0.5, 0), (1, np.nextafter(np.float32(0.5), np.float32(1)), 1), (2, 0.5, 2), (3, 0.5, 4),
    (1, -3.0, 0), (1, 7.0, 1), (8, 1.0, 255), (8, -0.0, 0)])
def test_activation_ties_go_to_even(bits, x, code):
    assert quantize.activation_codes(torch.tensor([float(x)]), bits).item() == code


def test_pixels_survive_eight_bits():
    pixels = torch.arange(256)
    assert torch.equal(quantize.activation_codes(pixels.float() / 255, 8), pixels)
    assert torch.equal(quantize.quantize_activation(pixels.float() / 255, 8), pixels.float() / 255)


@pytest.mark.parametrize("bits", [1, 2, 8, 32])
def test_activation_gradient_is_that_of_the_clip(bits):
    x = torch.tensor([-0.5, 0.0, 0.3, 1.0, 1.5], requires_grad=True)
    quantize.quantize_activation(x, bits).backward(torch.arange(1.0, 6.0))
    assert x.grad.tolist() == [0, 2, 3, 4, 0]


@given(arrays(st.floats(0, 1, width=32)), BITS)
def test_quantize_unit(r, bits):
    tensor = torch.from_numpy(r).requires_grad_()
    value = quantize.quantize_unit(tensor, bits)
    assert torch.equal(value, quantize.quantize_activation(torch.from_numpy(r), bits))
    value.sum().backward()
    assert tensor.grad.eq(1).all()


# Gradients -------------------------------------------------------------------------------------------

def noise_of(seed, shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).numpy().astype(np.float64) - 0.5


@given(arrays(WIDE), BITS, st.integers(0, 9))
def test_gradient_codes(grad, bits, seed):
    n = 2**bits - 1
    wide = grad.astype(np.float64)
    peak = np.abs(wide).reshape(len(grad), -1).max(axis=1).reshape(-1, *[1] * (grad.ndim - 1))
    unit = wide / (2 * np.where(peak > 0, peak, 1)) + 0.5
    scaled = n * np.clip(unit + noise_of(seed, grad.shape) / n, 0, 1)
    expected = 2 * np.rint(scaled).astype(np.int64) - n

    tensor = torch.from_numpy(grad)
    codes, scale = quantize.gradient_codes(tensor, bits, torch.Generator().manual_seed(seed))
    sure = ~near_tie(scaled)
    assert np.array_equal(codes.numpy()[sure], expected[sure])
    np.testing.assert_allclose(scale.numpy(), peak / n, rtol=1e-6, atol=1e-44)     # subnormal scales round
    assert (np.abs(codes.numpy()) <= n).all() and (codes.numpy() % 2 == 1).all()

    value = quantize.quantize_gradient(tensor, bits, torch.Generator().manual_seed(seed))
    assert torch.equal(value, codes.to(torch.float32) * scale)


@given(arrays(WIDE, least_dims=2), BITS, st.data())
def test_all_zero_sample_stays_zero(grad, bits, data):
    sample = data.draw(st.integers(0, len(grad) - 1))
    grad[sample] = 0
    value = quantize.quantize_gradient(torch.from_numpy(grad), bits)
    assert value[sample].eq(0).all()
    assert torch.isfinite(value).all()


def test_gradient_is_unbiased_inside_the_range():
    """The noise makes the expected value the gradient itself, away from the clipped ends."""
    grad = torch.tensor([[1.0, 0.3, -0.45, 0.1]]).repeat(20000, 1)
    mean = quantize.quantize_gradient(grad, 2, torch.Generator().manual_seed(0)).mean(dim=0)
    torch.testing.assert_close(mean[1:], grad[0, 1:], atol=0.01, rtol=0)


def test_gradient_noise_comes_from_the_generator():
    grad = torch.randn(8, 5)
    before = torch.get_rng_state()
    runs = [quantize.quantize_gradient(grad, 3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    assert torch.equal(before, torch.get_rng_state())


def test_gradient_quantizer_acts_on_the_way_back_only():
    x = torch.randn(4, 3, 2, 2, requires_grad=True)
    grad = torch.randn(4, 3, 2, 2)
    y = quantize.gradient_quantizer(x, 2, torch.Generator().manual_seed(5))
    assert torch.equal(y, x)
    y.backward(grad)
    assert torch.equal(x.grad, quantize.quantize_gradient(grad, 2, torch.Generator().manual_seed(5)))


def test_float_gradient_is_untouched():
    grad = torch.randn(3, 3)
    before = torch.get_rng_state()
    assert quantize.quantize_gradient(grad, 32) is grad
    assert quantize.gradient_quantizer(grad, 32) is grad
    assert torch.equal(before, torch.get_rng_state())
