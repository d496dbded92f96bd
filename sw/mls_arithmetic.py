"""A trained network of MLS layers in the format's own arithmetic: integer sums inside groups, scaled sums of groups.

Training computes the layers of `mls_layers` on decoded values in float32, which is fast. Here every layer encodes its
input and weight and computes the golden model (`mls.mls_convolution`, `mls.mls_linear`), whose integer sums are either
NumPy's or the array's: signed codes become unsigned ones with a zero point, 5 planes for elements <2, 1>, and a group
closes when the array stores its raw sums; scaling and adding groups is the host's. Batch norm, pooling and activations
between the layers stay in floats, as in the abstract, which speaks of convolutions alone; what else is assumed is in
`mls`. As S_tensor is one number for all samples of a batch, results depend on the batch.
"""

import torch
from torch import Tensor, nn

from .matrix_unit import Codes, MatrixUnit
from .mls import Multiply, mls_convolution, mls_encode, mls_linear, multiply_codes
from .mls_layers import MlsConv2d, MlsLinear

__all__ = ["MlsArithmetic", "array_multiply", "mls_arithmetic"]


def array_multiply(unit: MatrixUnit) -> Multiply:
    """Products of signed codes on a circuit, which raises `MatrixError` where they do not fit."""
    return lambda pixels, filters: unit.multiply(Codes.integers(pixels), Codes.integers(filters))


class MlsArithmetic(nn.Module):
    """An MLS layer computed by the golden model, in the dtype of its input; for inference, without gradients."""

    def __init__(self, layer: MlsConv2d | MlsLinear, multiply: Multiply) -> None:
        super().__init__()
        self.layer, self.multiply = layer, multiply

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        layer = self.layer
        inputs, weight = mls_encode(x, layer.input_format), mls_encode(layer.weight, layer.weight_format)
        if isinstance(layer, MlsLinear):
            result = mls_linear(inputs, weight, self.multiply)
        else:
            stride, padding = layer.stride, layer.padding
            assert not isinstance(padding, str)
            result = mls_convolution(inputs, weight, stride=(stride[0], stride[1]), padding=(padding[0], padding[1]),
                                     multiply=self.multiply)  # fmt: skip
        y = torch.from_numpy(result).to(x.dtype)
        return y if layer.bias is None else y + layer.bias.reshape(-1, *[1] * (y.dim() - 2))


def mls_arithmetic(model: nn.Module, multiply: Multiply = multiply_codes) -> list[MlsArithmetic]:
    """Swap the MLS layers of a network in place; returns the new ones in order.

    Raises
    ------
    ValueError
        For a convolution with groups, dilation or padding that is no number of zeros, or a network without MLS layers.
    """
    swapped: list[MlsArithmetic] = []
    for name, child in model.named_modules():
        if isinstance(child, MlsConv2d):
            plain = child.groups == 1 and child.dilation == (1, 1) and not child.padding_value
            if not plain or isinstance(child.padding, str):
                raise ValueError(f"{name}: the arithmetic of MLS has no groups of channels, dilation or padding but "
                                 f"with zeros, given as numbers")  # fmt: skip
        if isinstance(child, MlsConv2d | MlsLinear):
            swapped.append(MlsArithmetic(child, multiply))
    if not swapped:
        raise ValueError("the network has no MLS layer: train it with the method 'mls'")
    twins = {id(twin.layer): twin for twin in swapped}
    for parent in list(model.modules()):
        if isinstance(parent, MlsArithmetic):
            continue
        for name, child in list(parent.named_children()):
            if id(child) in twins:
                setattr(parent, name, twins[id(child)])
    return swapped
