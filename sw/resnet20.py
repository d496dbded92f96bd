"""ResNet-20 for CIFAR-10 (arXiv 1512.03385) at any bits, of the blocks of `imagenet`."""

from torch import Tensor, nn

from .imagenet import POOL_BITS, BasicBlock
from .layers import QuantActivation, QuantInput, QuantLinear
from .models import Bits, _conv, _network
from .quantize import FLOAT_BITS

__all__ = ["ResNet20"]


class ResNet20(nn.Module):
    """(N, 3, 32, 32) -> (N, 10): three stages of three basic blocks of ``width``, 2 and 4 times as many channels.

    Where the shape changes the input goes through a 1 x 1 convolution (option B of the paper).
    """

    def __init__(self, bits: Bits, classes: int = 10, width: int = 16) -> None:
        super().__init__()
        self.stem = _network(image=QuantInput(8), conv=_conv(bits, 3, width, 3, 1, first=True))   # 16 x 32 x 32
        blocks: list[nn.Module] = []
        for stage in range(3):
            cin, cout, stride = width << max(0, stage - 1), width << stage, 1 if stage == 0 else 2
            blocks += [BasicBlock(bits, cin, cout, stride), *(BasicBlock(bits, cout, cout, 1) for _ in range(2))]
        self.blocks = nn.Sequential(*blocks)                                                      # 64 x 8 x 8
        pool_bits = FLOAT_BITS if bits.activation == FLOAT_BITS else POOL_BITS
        self.head = _network(pool=nn.AdaptiveAvgPool2d(1), act=QuantActivation(pool_bits), flatten=nn.Flatten(),
                             output=QuantLinear(4 * width, classes, bits.last_weight))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.blocks(self.stem(x)))
        return y
