"""Reference networks, each at any bits from the same description; 32, 32, 32 gives the float twin.

All take images in [0, 1] of shape (N, C, H, W) and return logits (N, 10), or (N, 1000) for ImageNet's classes
(`imagenet`), which are integers times one positive scale. The first layer sees 8-bit pixels, the last has 8-bit
weights, and both keep float gradients as in the paper's networks (arXiv 1606.06160); every other layer has the bits
asked for.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from dorefabric.sw.layers import QuantActivation, QuantAdd, QuantConv2d, QuantInput, QuantLinear
from dorefabric.sw.quantize import FLOAT_BITS, check_bits

__all__ = ["MODELS", "Bits", "ModelSpec", "build_model"]

CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class Bits:
    """Weight, activation and gradient bits of a network: each 1 to 8, or 32 for float."""

    weight: int
    activation: int
    gradient: int = FLOAT_BITS

    def __post_init__(self) -> None:
        for kind in ("weight", "activation", "gradient"):
            check_bits(kind, getattr(self, kind))

    @property
    def last_weight(self) -> int:
        """The last layer has 8-bit weights, but the float twin is float throughout."""
        return FLOAT_BITS if self.weight == FLOAT_BITS else 8


@dataclass(frozen=True)
class ModelSpec:
    """A reference network: its data set, its input shape (C, H, W) and the function that builds it."""

    dataset: str
    input_shape: tuple[int, int, int]
    builder: Callable[[Bits], nn.Module]


def _norm(features: type[nn.BatchNorm1d] | type[nn.BatchNorm2d], channels: int) -> nn.Module:
    # The authors' momentum of 0.9 keeps 0.9 of the old statistics: 0.1 in torch's terms.
    return features(channels, eps=1e-4, momentum=0.1)


def _network(**layers: nn.Module) -> nn.Sequential:
    """Layers in order, under names that reports and comparisons show."""
    return nn.Sequential(OrderedDict(layers))


def _conv(bits: Bits, cin: int, cout: int, kernel: int, padding: int = 0, *, stride: int = 1, pool: bool = False,
          first: bool = False) -> nn.Module:
    """Convolution, batch norm, 2x2 max pool if asked for, activation."""
    gradient = FLOAT_BITS if first else bits.gradient
    conv = QuantConv2d(cin, cout, kernel, stride, padding, weight_bits=bits.weight, gradient_bits=gradient)
    return _network(
        conv=conv, norm=_norm(nn.BatchNorm2d, cout), **({"pool": nn.MaxPool2d(2)} if pool else {}),
        act=QuantActivation(bits.activation),
    )  # fmt: skip


def _full(bits: Bits, cin: int, cout: int, *, first: bool = False) -> nn.Module:
    """Fully connected layer, batch norm, activation."""
    gradient = FLOAT_BITS if first else bits.gradient
    return _network(
        linear=QuantLinear(cin, cout, bits.weight, gradient), norm=_norm(nn.BatchNorm1d, cout),
        act=QuantActivation(bits.activation),
    )  # fmt: skip


def _digits(bits: Bits) -> nn.Module:
    """8x8 digits. Its packed weights fit 256 words of 128 bits at W = 1."""
    return _network(
        image=QuantInput(8),
        conv1=_conv(bits, 1, 16, 3, 1, first=True),       # 16 x 8 x 8
        conv2=_conv(bits, 16, 32, 3, 1, pool=True),       # 32 x 4 x 4
        conv3=_conv(bits, 32, 32, 3, 1, pool=True),       # 32 x 2 x 2
        flatten=nn.Flatten(),
        output=QuantLinear(32 * 2 * 2, CLASSES, bits.last_weight),
    )


class ResidualDigits(nn.Module):
    """8x8 digits with one residual block: (N, 1, 8, 8) -> (N, 10).

    Both operands of the addition are activation codes; batch norm brings the sum back into [0, 1].
    """

    def __init__(self, bits: Bits) -> None:
        super().__init__()
        self.stem = _network(image=QuantInput(8), conv=_conv(bits, 1, 16, 3, 1, first=True))   # 16 x 8 x 8
        self.branch = _network(conv1=_conv(bits, 16, 16, 3, 1), conv2=_conv(bits, 16, 16, 3, 1))
        self.add = QuantAdd()
        self.join = _network(norm=_norm(nn.BatchNorm2d, 16), act=QuantActivation(bits.activation))
        self.head = _network(
            conv1=_conv(bits, 16, 32, 3, 1, pool=True),   # 32 x 4 x 4
            conv2=_conv(bits, 32, 32, 3, 1, pool=True),   # 32 x 2 x 2
            flatten=nn.Flatten(),
            output=QuantLinear(32 * 2 * 2, CLASSES, bits.last_weight),
        )

    def forward(self, x: Tensor) -> Tensor:
        skip = self.stem(x)
        y: Tensor = self.head(self.join(self.add(self.branch(skip), skip)))
        return y


def _mlp(bits: Bits) -> nn.Module:
    """MNIST, fully connected."""
    return _network(
        image=QuantInput(8),
        flatten=nn.Flatten(),
        full1=_full(bits, 28 * 28, 512, first=True),
        full2=_full(bits, 512, 512),
        full3=_full(bits, 512, 512),
        output=QuantLinear(512, CLASSES, bits.last_weight),
    )


def _lenet(bits: Bits) -> nn.Module:
    """MNIST, a LeNet-class network."""
    return _network(
        image=QuantInput(8),
        conv1=_conv(bits, 1, 32, 5, pool=True, first=True),   # 32 x 12 x 12
        conv2=_conv(bits, 32, 64, 5, pool=True),              # 64 x 4 x 4
        flatten=nn.Flatten(),
        full1=_full(bits, 64 * 4 * 4, 256),
        output=QuantLinear(256, CLASSES, bits.last_weight),
    )


def _cnv(bits: Bits) -> nn.Module:
    """CIFAR-10, the CNV topology of FINN (arXiv 1612.07119)."""
    return _network(
        image=QuantInput(8),
        conv1=_conv(bits, 3, 64, 3, first=True),              # 64 x 30 x 30
        conv2=_conv(bits, 64, 64, 3, pool=True),              # 64 x 14 x 14
        conv3=_conv(bits, 64, 128, 3),                        # 128 x 12 x 12
        conv4=_conv(bits, 128, 128, 3, pool=True),            # 128 x 5 x 5
        conv5=_conv(bits, 128, 256, 3),                       # 256 x 3 x 3
        conv6=_conv(bits, 256, 256, 3),                       # 256 x 1 x 1
        flatten=nn.Flatten(),
        full1=_full(bits, 256, 512),
        full2=_full(bits, 512, 512),
        output=QuantLinear(512, CLASSES, bits.last_weight),
    )


def _svhn(bits: Bits, divisor: int = 1) -> nn.Module:
    """SVHN model A of DoReFa-Net, after the authors' code; B, C and D divide its channels by 2, 4 and 8.

    Two departures make it an integer graph throughout: the first convolution has a batch norm instead of a
    bias, and the output of the last convolution is quantized.
    """
    c48, c64, c128, c512 = (channels // divisor for channels in (48, 64, 128, 512))
    return _network(
        image=QuantInput(8),
        conv1=_conv(bits, 3, c48, 5, pool=True, first=True),    # 48 x 18 x 18
        conv2=_conv(bits, c48, c64, 3, 1),                      # 64 x 18 x 18
        conv3=_conv(bits, c64, c64, 3, 1, pool=True),           # 64 x 9 x 9
        conv4=_conv(bits, c64, c128, 3),                        # 128 x 7 x 7
        conv5=_conv(bits, c128, c128, 3, 1),                    # 128 x 7 x 7
        conv6=_conv(bits, c128, c128, 3),                       # 128 x 5 x 5
        dropout=nn.Dropout(0.5),
        conv7=_conv(bits, c128, c512, 5),                       # 512 x 1 x 1
        flatten=nn.Flatten(),
        output=QuantLinear(c512, CLASSES, bits.last_weight),
    )


def _alexnet(bits: Bits) -> nn.Module:
    from .imagenet import alexnet

    return alexnet(bits)


def _resnet18(bits: Bits) -> nn.Module:
    from .imagenet import ResNet18

    return ResNet18(bits)


def _resnet20(bits: Bits) -> nn.Module:
    from .resnet20 import ResNet20

    return ResNet20(bits)


def _cifar_small(bits: Bits) -> nn.Module:
    """CIFAR-10 in a memory of 1 Mbit for weights and feature maps together: 806 kbit of weights at W = 1.

    The last layer has the bits of the others, because 8-bit weights alone would take 240 kbit more.
    """
    return _network(
        image=QuantInput(8),
        conv1=_conv(bits, 3, 64, 3, 1, pool=True, first=True),   # 64 x 16 x 16
        conv2=_conv(bits, 64, 128, 3, 1, pool=True),             # 128 x 8 x 8
        conv3=_conv(bits, 128, 128, 3, 1),                       # 128 x 8 x 8
        conv4=_conv(bits, 128, 192, 3, 1, pool=True),            # 192 x 4 x 4
        conv5=_conv(bits, 192, 192, 3, 1),                       # 192 x 4 x 4
        flatten=nn.Flatten(),
        output=QuantLinear(192 * 4 * 4, CLASSES, bits.weight),
    )


def _cifar_mini(bits: Bits) -> nn.Module:
    """CIFAR-10 in minutes on one processor core, for comparing methods: 14.8 million products an image.

    Channels double while maps shrink, so that the network has the capacity of 400,000 weights at any bits.
    """
    return _network(
        image=QuantInput(8),
        conv1=_conv(bits, 3, 32, 5, 2, stride=2, first=True),    # 32 x 16 x 16
        conv2=_conv(bits, 32, 64, 3, 1, pool=True),              # 64 x 8 x 8
        conv3=_conv(bits, 64, 128, 3, 1, pool=True),             # 128 x 4 x 4
        conv4=_conv(bits, 128, 256, 3, 1, pool=True),            # 256 x 2 x 2
        flatten=nn.Flatten(),
        output=QuantLinear(256 * 2 * 2, CLASSES, bits.last_weight),
    )


MODELS: dict[str, ModelSpec] = {
    "digits": ModelSpec("digits", (1, 8, 8), _digits),
    "resnet-digits": ModelSpec("digits", (1, 8, 8), ResidualDigits),
    "mlp": ModelSpec("mnist", (1, 28, 28), _mlp),
    "lenet": ModelSpec("mnist", (1, 28, 28), _lenet),
    "cifar-small": ModelSpec("cifar10", (3, 32, 32), _cifar_small),
    "cifar-mini": ModelSpec("cifar10", (3, 32, 32), _cifar_mini),
    "resnet20": ModelSpec("cifar10", (3, 32, 32), _resnet20),
    "cnv": ModelSpec("cifar10", (3, 32, 32), _cnv),
    "svhn": ModelSpec("svhn", (3, 40, 40), _svhn),
    **{f"svhn-{letter}": ModelSpec("svhn", (3, 40, 40), partial(_svhn, divisor=divisor))
       for letter, divisor in (("b", 2), ("c", 4), ("d", 8))},
    "alexnet": ModelSpec("imagenet", (3, 224, 224), _alexnet),
    "resnet18": ModelSpec("imagenet", (3, 224, 224), _resnet18),
}


def build_model(name: str, weight_bits: int, activation_bits: int, gradient_bits: int = 32) -> nn.Module:
    """A reference network with freshly initialised weights, in training mode; `input_shape` is an attribute of it.

    Raises
    ------
    ValueError
        For an unknown name or bits out of range.
    """
    if name not in MODELS:
        raise ValueError(f"unknown network {name!r}: choose one of {', '.join(MODELS)}")
    spec = MODELS[name]
    model = spec.builder(Bits(weight=weight_bits, activation=activation_bits, gradient=gradient_bits))
    model.input_shape = spec.input_shape  # type: ignore[assignment]
    return model
