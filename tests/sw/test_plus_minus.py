"""Decomposition into planes of -1 and +1."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dorefabric.sw.plus_minus import (
    PlusMinusActivation,
    compose_planes,
    decompose_planes,
    plane_product,
    quantize_plus_minus,
)


def odd(bits, shape):
    n = 2**bits - 1
    return hnp.arrays(np.int64, shape, elements=st.integers(0, n)).map(lambda q: 2 * q - n)


@given(st.integers(1, 8).flatmap(lambda bits: st.tuples(st.just(bits), odd(bits, 7))))
def test_planes_are_unique(drawn):
    bits, values = drawn
    planes = decompose_planes(values, bits)
    assert planes.shape == (bits, 7) and set(np.unique(planes)) <= {-1, 1}
    assert np.array_equal(compose_planes(planes), values)


def test_every_value_has_planes_of_its_own():
    values = np.arange(-15, 16, 2)
    assert len({tuple(column) for column in decompose_planes(values, 4).T}) == 16


@given(st.tuples(st.integers(1, 8), st.integers(1, 8)).flatmap(
    lambda bits: st.tuples(st.just(bits), odd(bits[0], (3, 9)), odd(bits[1], (3, 9)))))
def test_product_needs_no_cross_terms(drawn):
    (a, b), first, second = drawn
    product = plane_product(decompose_planes(first, a), decompose_planes(second, b))
    assert np.array_equal(product, (first * second).sum(-1))


@pytest.mark.parametrize("values", [[0], [2], [5], [-5]])
def test_other_integers_are_refused(values):
    with pytest.raises(ValueError, match="odd integers from -3 to 3 to have 2 planes"):
        decompose_planes(np.array(values), 2)


@given(hnp.arrays(np.float64, 6, elements=st.floats(-2, 2)), st.integers(1, 8))
def test_activation(x, bits):
    n = 2**bits - 1
    scaled = n * (np.clip(x, -1, 1) + 1) / 2
    tensor = torch.from_numpy(x).requires_grad_()
    layer = PlusMinusActivation(bits)
    y, codes = layer(tensor), layer.codes(tensor)
    sure = np.abs(scaled % 1 - 0.5) > 1e-9
    assert np.array_equal(codes.numpy()[sure], np.rint(scaled)[sure])
    np.testing.assert_allclose(y.detach().numpy(), (2 * codes.numpy() - n) / n, atol=1e-15)
    np.testing.assert_allclose(y.detach().numpy(), (codes.numpy() - layer.zero) * layer.unit, atol=1e-12)
    decompose_planes((2 * codes.numpy() - n), bits)
    y.sum().backward()
    assert np.array_equal(tensor.grad.numpy(), (np.abs(x) <= 1).astype(float))


def test_float_and_nan():
    assert quantize_plus_minus(torch.tensor([-3.0, 0.2]), 32).tolist() == pytest.approx([-1, 0.2])
    with pytest.raises(ValueError, match="activations contain NaN"):
        PlusMinusActivation(2).codes(torch.tensor([float("nan")]))
