"""Stride, padding and kernel of PyTorch's window layers, for those that the integer graph can hold."""

from typing import Any

from torch import nn

from .capture import LoweringError
from .layers import QuantConv2d

__all__ = ["convolution_geometry", "pool_geometry"]

Pair = tuple[int, int]


def _pair(value: Any) -> Pair:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def convolution_geometry(where: str, layer: QuantConv2d) -> tuple[Pair, Pair]:
    """Stride and padding of a convolution; `LoweringError` beginning with ``where`` for what the graph lacks."""
    kernel = _pair(layer.kernel_size)
    for option, only in (("groups", 1), ("dilation", (1, 1)), ("padding_mode", "zeros")):
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


def pool_geometry(where: str, layer: nn.MaxPool2d) -> tuple[Pair, Pair, Pair]:
    """Kernel, stride and padding of a max pool; `LoweringError` beginning with ``where`` for what the graph lacks."""
    for option, only in (("dilation", 1), ("ceil_mode", False), ("return_indices", False)):
        given = getattr(layer, option)
        if given not in (only, (only, only)):
            raise LoweringError(f"{where} has {option}={given}; supported: {option}={only}")
    return _pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding)
