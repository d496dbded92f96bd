"""Layers and networks of a few channels, for tests of captures and graphs."""

import torch
from torch import nn

from dorefabric.sw.layers import QuantConv2d, QuantInput


def conv(cin: int = 2, cout: int = 3, kernel: int = 3, bits: int = 2, **options: object) -> QuantConv2d:
    return QuantConv2d(cin, cout, kernel, weight_bits=bits, **options)  # type: ignore[arg-type]


def norm(channels: int = 3, gains: tuple[float, ...] | None = None) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(channels)
    nn.init.uniform_(layer.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
    nn.init.uniform_(layer.running_var, 0.1, 1.0)    # type: ignore[arg-type]
    nn.init.uniform_(layer.bias, 0.0, 1.0)
    layer.weight.data = torch.tensor(gains) if gains else torch.rand(channels) + 0.2
    return layer


def model(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(QuantInput(2), *layers).eval()
