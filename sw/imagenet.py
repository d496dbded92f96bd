"""AlexNet and ResNet-18 at any bits, for images of any size; the blocks are those of `models`.

`models.build_model` builds both for 224 × 224 images of 1,000 classes.
"""

from torch import Tensor, nn

from .layers import QuantActivation, QuantAdd, QuantConv2d, QuantInput, QuantLinear
from .models import Bits, _full, _network, _norm

__all__ = ["ResNet18", "alexnet"]

POOL_BITS = 4
"""Bits of the averages before ResNet-18's last layer, where two would be too coarse for 49 pixels' mean."""


def _block(bits: Bits, cin: int, cout: int, kernel: int, padding: int = 0, *, stride: int = 1, groups: int = 1,
           pool: nn.Module | None = None, first: bool = False) -> nn.Module:  # fmt: skip
    """Convolution, batch norm, max pool if asked for, activation."""
    gradient = 32 if first else bits.gradient
    conv = QuantConv2d(cin, cout, kernel, stride, padding, weight_bits=bits.weight, gradient_bits=gradient,
                       groups=groups)  # fmt: skip
    return _network(conv=conv, norm=_norm(nn.BatchNorm2d, cout), **({} if pool is None else {"pool": pool}),
                   act=QuantActivation(bits.activation))  # fmt: skip


def alexnet(bits: Bits, size: int = 224, classes: int = 1000, width: int = 96, hidden: int = 4096) -> nn.Module:
    """AlexNet after the authors' code of DoReFa-Net: (N, 3, size, size) -> (N, classes).

    Departures: the first convolution has a batch norm instead of a bias, the two hidden layers keep none, and pooling
    windows are centred (padding 1) where TensorFlow pads the far side alone. ``width`` and ``hidden`` are the channels
    of the first convolution, an even number, and of the hidden layers.
    """
    def pool() -> nn.MaxPool2d:
        return nn.MaxPool2d(3, 2, 1)

    first, second, third = width, width * 8 // 3, width * 4
    side = (size - 12) // 4 + 1                                                              # 54
    for _ in range(2):
        side = (side - 1) // 2 + 1                                                           # 27, 14
    side = (side - 3) // 2 + 1                                                               # 6
    return _network(
        image=QuantInput(8),
        conv1=_block(bits, 3, first, 12, stride=4, first=True),                              # 96 x 54 x 54
        conv2=_block(bits, first, second, 5, 2, groups=2, pool=pool()),                      # 256 x 27 x 27
        conv3=_block(bits, second, third, 3, 1, pool=pool()),                                # 384 x 14 x 14
        conv4=_block(bits, third, third, 3, 1, groups=2),                                    # 384 x 14 x 14
        conv5=_block(bits, third, second, 3, 1, groups=2, pool=nn.MaxPool2d(3, 2)),          # 256 x 6 x 6
        flatten=nn.Flatten(),
        full1=_full(bits, second * side * side, hidden),
        full2=_full(bits, hidden, hidden),
        output=QuantLinear(hidden, classes, bits.last_weight),
    )


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions around which the input, or its 1 × 1 convolution where shapes differ, is added.

    Both operands of the addition are activation codes; a batch norm brings their sum back into [0, 1].
    """

    def __init__(self, bits: Bits, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _block(bits, cin, cout, 3, 1, stride=stride)
        self.conv2 = _block(bits, cout, cout, 3, 1)
        self.skip = nn.Identity() if cin == cout and stride == 1 else _block(bits, cin, cout, 1, stride=stride)
        self.add = QuantAdd()
        self.join = _network(norm=_norm(nn.BatchNorm2d, cout), act=QuantActivation(bits.activation))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.join(self.add(self.conv2(self.conv1(x)), self.skip(x)))
        return y


class ResNet18(nn.Module):
    """ResNet-18 (arXiv 1512.03385): (N, 3, size, size) -> (N, classes); ``width`` channels in the first stage."""

    def __init__(self, bits: Bits, classes: int = 1000, width: int = 64) -> None:
        super().__init__()
        self.stem = _network(image=QuantInput(8),
                            conv=_block(bits, 3, width, 7, 3, stride=2, pool=nn.MaxPool2d(3, 2, 1), first=True))
        stages = []
        for index in range(4):
            cin, cout, stride = width << max(0, index - 1), width << index, 1 if index == 0 else 2
            stages.append(nn.Sequential(BasicBlock(bits, cin, cout, stride), BasicBlock(bits, cout, cout, 1)))
        self.stages = nn.Sequential(*stages)                                                 # 512 x 7 x 7
        self.head = _network(pool=nn.AdaptiveAvgPool2d(1), act=QuantActivation(POOL_BITS), flatten=nn.Flatten(),
                            output=QuantLinear(width * 8, classes, bits.last_weight))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.stages(self.stem(x)))
        return y
