"""The three sums of products of a training step on the circuit model against PyTorch's own gradients."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from dorefabric.hw.config import FabricConfig
from dorefabric.sw.device_model import DeviceModel
from dorefabric.sw.matrix_unit import MatrixUnit
from dorefabric.sw.training_products import ArrayProducts, SoftwareProducts, Window

CONFIG = FabricConfig(name="unit", rows=4, columns=8, lanes=32, weight_depth=256, feature_depth=512)
PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def layers(draw):
    """Codes of one layer with a window that fits its input."""
    kernel, stride = draw(PAIRS), draw(PAIRS)
    padding = draw(st.tuples(st.integers(0, kernel[0]), st.integers(0, kernel[1])))
    height, width = draw(st.integers(3, 7)), draw(st.integers(3, 7))
    bits = [draw(st.integers(1, 8)) for _ in range(3)]
    window = Window(kernel, stride, padding)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    samples, inputs, outputs = (draw(st.integers(1, 3)) for _ in range(3))
    activations = rng.integers(0, 1 << bits[0], (samples, inputs, height, width))
    weights, gradients = (
        2 * rng.integers(0, 1 << b, shape) - (1 << b) + 1
        for b, shape in ((bits[1], (outputs, inputs, *kernel)),
                         (bits[2], (samples, outputs, *window.outputs((height, width)))))
    )  # fmt: skip
    return activations, weights, gradients, bits, window


@settings(max_examples=40)
@given(layers())
def test_products_equal_the_gradients_of_a_convolution(layer):
    activations, weights, gradients, (a, w, g), window = layer
    # The golden sums: integers in float64 through PyTorch's convolution and its own derivative, a sample at a time.
    x = torch.from_numpy(activations).double().requires_grad_()
    filters = torch.from_numpy(weights).double()[None].repeat(len(x), 1, 1, 1, 1).requires_grad_()
    outputs = torch.cat([functional.conv2d(x[n : n + 1], filters[n], None, window.stride, window.padding)
                         for n in range(len(x))])  # fmt: skip
    outputs.backward(torch.from_numpy(gradients).double())
    for products in (ArrayProducts(MatrixUnit(DeviceModel(CONFIG), CONFIG)), SoftwareProducts()):
        assert np.array_equal(products.forward(activations, a, weights, w, window), outputs.detach())
        found = products.input_gradient(gradients, g, weights, w, window, activations.shape[2:])
        assert np.array_equal(found, x.grad)
        assert np.array_equal(products.weight_gradient(gradients, g, activations, a, window), filters.grad)
