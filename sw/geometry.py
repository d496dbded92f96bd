"""Stride, padding and kernel of PyTorch's window layers, for those that the integer graph can hold."""

from typing import Any

from torch import nn

from .capture import LoweringError
from .layers import QuantConv2d

__all__ = ["average_geometry", "convolution_geometry", "pool_geometry"]

Pair = tuple[int, int]


def _pair(value: Any) -> Pair:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def convolution_geometry(where: str, layer: QuantConv2d) -> tuple[Pair, Pair]:
    """Stride and padding of a convolution; `LoweringError` beginning with ``where`` for what the graph lacks."""
    kernel = _pair(layer.kernel_size)
    for option, only in (("dilation", (1, 1)), ("padding_mode", "zeros")):
        given = getattr(layer, option)
        if given != only:
            shown = given[0] if isinstance(given, tuple) and given[0] == given[1] else given
            raise LoweringError(f"{where} has {option}={shown}; supported: "
                                f"{option}={1 if isinstance(only, tuple) else only}")
    if layer.padding == "same":
        if kernel[0] % 2 == 0 or kernel[1] % 2 == 0:
            raise LoweringError(f"{where} has padding='same' with an even kernel, which pads one side more; "
                                f"supported: the same padding on both sides")
        return _pair(layer.stride), (kernel[0] // 2, kernel[1] // 2)
    return _pair(layer.stride), (0, 0) if layer.padding == "valid" else _pair(layer.padding)


def average_geometry(
    where: str, layer: nn.AvgPool2d | nn.AdaptiveAvgPool2d, size: tuple[int, int]
) -> tuple[Pair, Pair, Pair]:
    """Kernel, stride and padding of an average pool of a map of ``size`` = (H, W); `LoweringError` likewise."""
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        given = layer.output_size if isinstance(layer.output_size, tuple) else (layer.output_size,) * 2
        wanted = tuple(whole if out is None else out for out, whole in zip(given, size, strict=True))
        if any(whole % out for out, whole in zip(wanted, size, strict=True)):
            raise LoweringError(f"{where} turns {size[0]}x{size[1]} into {wanted[0]}x{wanted[1]} with windows of "
                                f"different sizes; supported: a divisor of the map's size")
        kernel = (size[0] // wanted[0], size[1] // wanted[1])
        return kernel, kernel, (0, 0)
    padding = _pair(layer.padding)
    for option, only in (("ceil_mode", False), ("divisor_override", None)):
        if getattr(layer, option) != only:
            raise LoweringError(f"{where} has {option}={getattr(layer, option)}; supported: {option}={only}")
    if padding != (0, 0) and not layer.count_include_pad:
        raise LoweringError(f"{where} has count_include_pad=False with padding; supported: count_include_pad=True")
    return _pair(layer.kernel_size), _pair(layer.stride), padding


def pool_geometry(where: str, layer: nn.MaxPool2d) -> tuple[Pair, Pair, Pair]:
    """Kernel, stride and padding of a max pool; `LoweringError` beginning with ``where`` for what the graph lacks."""
    for option, only in (("dilation", 1), ("ceil_mode", False), ("return_indices", False)):
        given = getattr(layer, option)
        if given not in (only, (only, only)):
            raise LoweringError(f"{where} has {option}={given}; supported: {option}={only}")
    return _pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding)
