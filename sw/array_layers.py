"""Layers that train on the array: DoReFa-Net's convolution and fully connected layer over `training_products`.

`train_on_array` swaps the layers of a network in place. An ordinary training loop then computes their sums of products
in integers, forward and backward, wherever the products run; what is left to the host is in floats and the same for all
of them:

* output: sums · (weight scale / n_A), rounded to the dtype of the network once;
* gradient of the output: quantized to G bits (`quantize.gradient_codes`), with a scale for each sample;
* input gradient: sums · (sample's scale · weight scale), rounded once;
* weight gradient: Σ over samples, in order, of sums · (sample's scale / n_A), in float64, rounded once; it then goes
  straight through the weight's quantizer.

So two networks of the same seed whose products are exact stay equal bit for bit. A layer of float gradients (32 bits)
computes forward on the array and backward in floats on the host; a layer of float weights stays on the host.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight

from dorefabric.hw.errors import DorefabricError

from .autograd import Function
from .layers import QuantActivation, QuantConv2d, QuantInput, QuantLinear, QuantWeight
from .meter import Meter, Work
from .quantize import FLOAT_BITS, gradient_codes, levels
from .training_products import Products, Window

__all__ = ["ArrayConv2d", "ArrayLayerError", "ArrayLinear", "train_on_array"]


class ArrayLayerError(DorefabricError, ValueError):
    """A layer whose products the array cannot compute, or an input that is no code; the message names the layer."""


class ArrayWeight(QuantWeight):
    """What both layers have in common; made by `train_on_array`.

    Members
    -------
    input_bits : int
        The input's values are p / (2**input_bits - 1).
    """

    products: Products
    meter: Meter
    label: str
    input_bits: int
    window: Window

    def _input_codes(self, x: Tensor) -> Tensor:
        n = levels(self.input_bits)
        codes = torch.round(x * n)
        if not bool(((codes / n == x) & (codes >= 0) & (codes <= n)).all()):
            raise ArrayLayerError(f"{self.label}: its input is not made of {self.input_bits}-bit codes: put a "
                                  f"QuantActivation in front of it")  # fmt: skip
        return codes.to(torch.int64)

    def _measured(self, kind: str, macs: int, bits: int, run: Callable[[], np.ndarray]) -> Tensor:
        before = self.products.usage
        result = torch.from_numpy(np.ascontiguousarray(run()))
        self.meter.works.append(Work(self.label, kind, macs, macs * bits, self.products.usage - before, True))
        return result


class _Products(Function):
    """Images (N, C, H, W) and the fake-quantized weight (O, C, kh, kw) to (N, O, H', W')."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, layer: ArrayWeight) -> Tensor:
        codes, (integers, scale) = layer._input_codes(x), layer.weight_codes()
        integers = integers.reshape(weight.shape)
        high, wide = layer.window.outputs((x.shape[2], x.shape[3]))
        ctx.layer, ctx.scale, ctx.macs = layer, float(scale), weight.numel() * len(x) * high * wide
        ctx.codes, ctx.integers = codes.numpy(), integers.numpy()
        ctx.save_for_backward(x, weight)
        sums = layer._measured(
            "forward", ctx.macs, layer.input_bits * layer.weight_bits,
            lambda: layer.products.forward(ctx.codes, layer.input_bits, ctx.integers, layer.weight_bits, layer.window),
        )  # fmt: skip
        return sums.double().mul_(ctx.scale / levels(layer.input_bits)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        layer: ArrayWeight = ctx.layer
        if layer.gradient_bits == FLOAT_BITS:
            return _float_gradients(ctx, grad)
        codes, scale = gradient_codes(grad, layer.gradient_bits, layer.generator, layer.conventions)
        gradients, bits = codes.numpy(), layer.gradient_bits
        samples = scale.double()
        x, weight = ctx.saved_tensors
        to_input = to_weight = None
        if ctx.needs_input_grad[0]:
            sums = layer._measured(
                "input gradient", ctx.macs, bits * layer.weight_bits,
                lambda: layer.products.input_gradient(gradients, bits, ctx.integers, layer.weight_bits, layer.window,
                                                      (x.shape[2], x.shape[3])),
            )  # fmt: skip
            to_input = sums.double().mul_(samples * ctx.scale).to(x.dtype)
        if ctx.needs_input_grad[1]:
            sums = layer._measured(
                "weight gradient", ctx.macs, bits * layer.input_bits,
                lambda: layer.products.weight_gradient(gradients, bits, ctx.codes, layer.input_bits, layer.window),
            )  # fmt: skip
            total = torch.zeros(weight.shape, dtype=torch.float64)
            for own, factor in zip(sums.double(), samples.flatten() / levels(layer.input_bits), strict=True):
                total += own * factor
            to_weight = total.to(weight.dtype)
        return to_input, to_weight, None


def _float_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    """Both gradients of a layer whose gradients are float, on the host."""
    layer: ArrayWeight = ctx.layer
    x, weight = ctx.saved_tensors
    window = layer.window
    to_input = to_weight = None
    if ctx.needs_input_grad[0]:
        layer.meter.host(layer.label, "input gradient", ctx.macs)
        to_input = conv2d_input(list(x.shape), weight, grad, window.stride, window.padding)
    if ctx.needs_input_grad[1]:
        layer.meter.host(layer.label, "weight gradient", ctx.macs)
        to_weight = conv2d_weight(x, list(weight.shape), grad, window.stride, window.padding)
    return to_input, to_weight, None


class ArrayConv2d(ArrayWeight, QuantConv2d):
    """`QuantConv2d` whose products the array computes."""

    def forward(self, x: Tensor) -> Tensor:
        return _Products.call(x, self.current_weight(), self)


class ArrayLinear(ArrayWeight, QuantLinear):
    """`QuantLinear` whose products the array computes."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.current_weight()[..., None, None]
        return _Products.call(x[..., None, None], weight, self)[..., 0, 0]


def train_on_array(model: nn.Module, products: Products) -> Meter:
    """Swap every layer of a DoReFa network that has quantized weights for its twin over ``products``, in place.

    Parameters, which the twins share, keep their names. Layers are taken in the order in which the model registers
    them, which tells whose activations each one reads. Returns the meter of all layers, those that stay on the host
    included.

    Raises
    ------
    ArrayLayerError
        For weights of another method, scales by channel, a bias, groups, dilation, padding that is no number of
        zeros, or an input that is not quantized. The model is then as it was.
    """
    meter = Meter()
    source: QuantInput | QuantActivation | None = None      # what makes the codes that the next layer reads
    swapped: dict[int, nn.Module] = {}
    hosted: list[tuple[str, nn.Conv2d | nn.Linear]] = []
    for name, module in model.named_modules():
        if isinstance(module, QuantInput | QuantActivation):
            source = module
        elif isinstance(module, nn.Conv2d | nn.Linear):
            if not isinstance(module, QuantWeight) or module.weight_bits == FLOAT_BITS:
                hosted.append((name, module))
                continue
            twin = _twin(_checked(name, module))
            twin.products, twin.meter, twin.label = products, meter, name
            twin.input_bits = _code_bits(name, twin, source)
            swapped[id(module)] = twin.train(module.training)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if id(child) in swapped:
                setattr(parent, name, swapped[id(child)])
    for name, module in hosted:
        module.register_forward_hook(_hosted(meter, name, module))
    return meter


def _checked(name: str, layer: nn.Module) -> QuantConv2d | QuantLinear:
    """The layer; `ArrayLayerError` where the array does not train it."""
    if not isinstance(layer, QuantConv2d | QuantLinear) or type(layer) not in (QuantConv2d, QuantLinear):
        raise ArrayLayerError(f"{name}: {type(layer).__name__} is not trained on the array; only the layers of "
                              f"DoReFa-Net are")  # fmt: skip
    if layer.bias is not None:
        raise ArrayLayerError(f"{name}: a layer on the array has no bias: leave it to the batch norm")
    if layer.conventions.weight_scale != "layer":
        raise ArrayLayerError(f"{name}: weights with a scale for each channel have no integer input gradient: use the "
                              f"convention weight_scale='layer'")  # fmt: skip
    if isinstance(layer, QuantConv2d):
        for option, value, wanted in (("groups", layer.groups, 1), ("dilation", layer.dilation, (1, 1)),
                                      ("padding_value", layer.padding_value, 0.0)):  # fmt: skip
            if value != wanted:
                raise ArrayLayerError(f"{name}: {option} must be {wanted} to train on the array, not {value!r}")
        if isinstance(layer.padding, str):
            raise ArrayLayerError(f"{name}: padding must be numbers to train on the array, not {layer.padding!r}")
    return layer


def _code_bits(name: str, layer: QuantWeight, source: QuantInput | QuantActivation | None) -> int:
    """Bits of the codes that ``source`` makes for a layer."""
    if source is not None and type(source) not in (QuantInput, QuantActivation):
        raise ArrayLayerError(f"{name}: its input comes from {type(source).__name__}, but the array trains on the "
                              f"codes of QuantActivation: train with the method 'dorefa'")  # fmt: skip
    bits = FLOAT_BITS if source is None else source.bits
    if bits == FLOAT_BITS:
        what = "" if layer.gradient_bits == FLOAT_BITS else f", its gradients {layer.gradient_bits} bits"
        raise ArrayLayerError(f"{name}: its input is float{what}: the array multiplies codes of 1 to 8 bits, so "
                              f"quantize the activations in front of it")  # fmt: skip
    return bits


def _twin(layer: QuantConv2d | QuantLinear) -> ArrayConv2d | ArrayLinear:
    twin: ArrayConv2d | ArrayLinear
    if isinstance(layer, QuantConv2d):
        kernel, stride, padding = layer.kernel_size, layer.stride, layer.padding
        assert not isinstance(padding, str)
        twin = ArrayConv2d(layer.in_channels, layer.out_channels, (kernel[0], kernel[1]), (stride[0], stride[1]),
                           (padding[0], padding[1]), weight_bits=layer.weight_bits,
                           gradient_bits=layer.gradient_bits)  # fmt: skip
        twin.window = Window((kernel[0], kernel[1]), (stride[0], stride[1]), (padding[0], padding[1]))
    else:
        twin = ArrayLinear(layer.in_features, layer.out_features, layer.weight_bits, layer.gradient_bits)
        twin.window = Window()
    twin.weight, twin.conventions, twin.generator = layer.weight, layer.conventions, layer.generator
    return twin


def _hosted(
    meter: Meter, name: str, layer: nn.Conv2d | nn.Linear
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    """A hook that counts a host layer's multiply-accumulates, backward as well where the model is training."""

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = layer.weight
        macs = output.numel() * weight[0].numel()
        kinds = ["forward"]
        if module.training and weight.requires_grad:
            kinds += ["weight gradient"] + ["input gradient"] * inputs[0].requires_grad
        for kind in kinds:
            meter.host(name, kind, macs)

    return count
