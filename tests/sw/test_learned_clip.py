"""Activations with a learned clipping level, against an oracle and finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dorefabric.sw.learned_clip import LearnedClipActivation, quantize_learned_clip


@given(hnp.arrays(np.float64, 7, elements=st.floats(-3, 6)), st.floats(0.1, 5), st.integers(1, 8))
def test_values_and_codes(x, clip, bits):
    n = 2**bits - 1
    layer = LearnedClipActivation(bits, clip).double()
    clip = layer.clip.item()
    scaled = np.clip(x, 0, clip) / clip * n
    codes = layer.codes(torch.from_numpy(x)).numpy()
    sure = np.abs(scaled % 1 - 0.5) > 1e-9
    assert np.array_equal(codes[sure], np.rint(scaled)[sure])
    np.testing.assert_allclose(layer(torch.from_numpy(x)).detach().numpy(), codes * layer.unit, rtol=1e-12)


def test_gradients_are_finite_differences():
    """Of the clip without rounding, to the input and to the clipping level."""
    x = torch.tensor([-1.0, 0.4, 1.9, 2.1, 5.0], dtype=torch.float64, requires_grad=True)
    clip = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, clip: quantize_learned_clip(x, clip, 32), (x, clip))
    quantize_learned_clip(x, clip, 3).backward(torch.arange(1.0, 6.0, dtype=torch.float64))
    assert x.grad.tolist() == [0, 2, 3, 0, 0] and clip.grad.item() == 9


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan")])
def test_the_level_must_stay_positive(clip):
    layer = LearnedClipActivation(2)
    torch.nn.init.constant_(layer.clip, clip)
    with pytest.raises(ValueError, match="a learned clipping level became"):
        layer(torch.ones(3))
    with pytest.raises(ValueError, match="contain NaN"):
        LearnedClipActivation(2).codes(torch.tensor([float("nan")]))
