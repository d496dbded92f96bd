"""Models that have no integer graph: every refusal of lowering, word for word."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_models import conv, model, norm
from torch import Tensor, nn
from torch.nn import functional

from dorefabric.sw.layers import QuantActivation, QuantAdd, QuantConv2d, QuantInput, QuantLinear
from dorefabric.sw.lower import LoweringError, lower

pytestmark = pytest.mark.usefixtures("one_thread")


class Wrapped(nn.Module):
    """``function`` applied to codes of shape (N, 3, 4, 4), called ``inner``, inside ``head``."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body = nn.Sequential(QuantInput(2), conv(2, 3, 1), norm(), QuantActivation(2))
        self.head = Head(function)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Head(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def wrapped(function: Callable[[Tensor], Tensor]) -> nn.Module:
    return Wrapped(function).eval()


def nan_norm() -> nn.BatchNorm2d:
    layer = norm()
    layer.running_mean[1] = float("nan")  # type: ignore[index]
    return layer


def nan_conv() -> QuantConv2d:
    layer = conv()
    layer.weight.data[0, 0, 0, 0] = float("inf")
    return layer


def stateless() -> nn.BatchNorm2d:
    return nn.BatchNorm2d(3, track_running_stats=False)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = conv()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.conv(x) + self.conv(y)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(QuantInput(2), conv())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(x)
        return x, x


class Broadcast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(conv(2, 3, 1), QuantActivation(2))
        self.b = nn.Sequential(conv(2, 1, 1), QuantActivation(2))
        self.entry, self.add = QuantInput(2), QuantAdd()

    def forward(self, x: Tensor) -> Tensor:
        x = self.entry(x)
        return self.add(self.a(x), self.b(x))


class Free(nn.Module):
    """Layers put together by a function of (self, x)."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.a, self.b, self.conv = QuantInput(2), QuantInput(2), conv()
        self.table = nn.Parameter(torch.zeros(2, 2, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def in_place(model: Any, x: Tensor) -> Tensor:
    codes = model.a(x)
    same = codes
    same += codes
    return model.conv(codes)  # of the sum


class Branch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(QuantInput(2), conv())

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) if x.sum() > 0 else x


SUPPORTED = ("supported: QuantInput, QuantConv2d, QuantLinear, QuantActivation, QuantAdd (or +), BatchNorm1d, "
             "BatchNorm2d, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, Flatten (or flatten, view, reshape), Dropout, "
             "Identity")
ACT = QuantActivation(2)

MODELS: dict[str, Callable[[], nn.Module]] = {
    f"layer 3 (Softmax) is not supported; {SUPPORTED}":
        lambda: model(conv(), QuantActivation(2), nn.Softmax(1)),
    f"layer 1.1 (LPPool2d) is not supported; {SUPPORTED}": lambda: model(nn.Sequential(conv(), nn.LPPool2d(2, 2))),
    "layer 1.1 (AvgPool2d) follows layer 1.0 (QuantConv2d) without a QuantActivation between them":
        lambda: model(nn.Sequential(conv(), nn.AvgPool2d(2))),
    "layer 1 (AvgPool2d) has count_include_pad=False with padding; supported: count_include_pad=True":
        lambda: model(nn.AvgPool2d(2, padding=1, count_include_pad=False)),
    "layer 1 (AvgPool2d) has ceil_mode=True; supported: ceil_mode=False":
        lambda: model(nn.AvgPool2d(2, ceil_mode=True)),
    "layer 1 (AdaptiveAvgPool2d) turns 8x8 into 3x3 with windows of different sizes; supported: a divisor of the "
    "map's size": lambda: model(nn.AdaptiveAvgPool2d(3)),
    f"layer 1 (ReLU) is not supported; {SUPPORTED}": lambda: model(nn.ReLU()),
    f"function relu in head (Head) is not supported; {SUPPORTED}": lambda: wrapped(torch.relu),
    f"function mul in head (Head) is not supported; {SUPPORTED}": lambda: wrapped(lambda x: 2 * x),
    f"method mean in head (Head) is not supported; {SUPPORTED}": lambda: wrapped(lambda x: x.mean((2, 3))),
    "layer 1 (Conv2d) has float weights; replace it with QuantConv2d, or the model's layers with layers.prepare":
        lambda: model(nn.Conv2d(2, 3, 1)),
    "layer 2 (Linear) has float weights; replace it with QuantLinear, or the model's layers with layers.prepare":
        lambda: model(nn.Flatten(), nn.Linear(128, 3)),
    "layer 1 (QuantConv2d) has float weights (weight_bits=32); choose 1 to 8": lambda: model(conv(bits=32)),
    "layer 2 (QuantActivation) has float outputs (bits=32); choose 1 to 8":
        lambda: model(conv(), QuantActivation(32)),
    "layer 0 (QuantInput) has float outputs (bits=32); choose 1 to 8":
        lambda: nn.Sequential(QuantInput(32), conv()).eval(),
    "layer 1 (QuantInput) must take the model's input": lambda: model(QuantInput(2)),
    "layer 0 (QuantConv2d) takes the model's input, which has no codes; put a QuantInput before it":
        lambda: nn.Sequential(conv()).eval(),
    "layer 0 (Flatten) takes the model's input, which has no codes; put a QuantInput before it":
        lambda: nn.Sequential(nn.Flatten(), QuantInput(2)).eval(),
    "layer 1 (QuantConv2d) has dilation=2; supported: dilation=1": lambda: model(conv(dilation=2)),
    "layer 1 (QuantConv2d) has dilation=(1, 2); supported: dilation=1": lambda: model(conv(dilation=(1, 2))),
    "layer 1 (QuantConv2d) has padding='same' with an even kernel, which pads one side more; supported: the same "
    "padding on both sides": lambda: model(conv(kernel=2, padding="same")),
    "layer 3 (QuantConv2d) follows layer 1 (QuantConv2d) without a QuantActivation between them":
        lambda: model(conv(), norm(), conv(3)),
    "layer 3 (QuantLinear) follows layer 1 (QuantConv2d) without a QuantActivation between them":
        lambda: model(conv(), nn.Flatten(), QuantLinear(108, 3)),
    "layer 1 (QuantLinear) takes a map of shape (2, 8, 8); put a Flatten before it":
        lambda: model(QuantLinear(8, 3)),
    "layer 1 (BatchNorm2d) takes codes; supported after QuantConv2d, QuantLinear and QuantAdd":
        lambda: model(norm(2)),
    "layer 0 (BatchNorm2d) takes the model's input; supported after QuantConv2d, QuantLinear and QuantAdd":
        lambda: nn.Sequential(norm(2), QuantInput(2)).eval(),
    "layer 1 (QuantActivation) takes codes; supported after QuantConv2d, QuantLinear and QuantAdd":
        lambda: model(QuantActivation(1)),
    "layer 2 (BatchNorm2d) is in training mode; call model.eval() first":
        lambda: nn.Sequential(QuantInput(2), conv(), norm(), ACT),
    "layer 1 (Dropout) is in training mode; call model.eval() first":
        lambda: nn.Sequential(QuantInput(2), nn.Dropout(), conv()),
    "function dropout in head (Head) is in training mode; pass training=self.training":
        lambda: wrapped(functional.dropout),
    "layer 2 (BatchNorm2d) has no running statistics; set track_running_stats=True":
        lambda: model(conv(), stateless(), ACT),
    "layer 3 (BatchNorm1d) follows a flattened map; put it before the Flatten":
        lambda: model(conv(), nn.Flatten(), nn.BatchNorm1d(108), ACT),
    "layer 3 (BatchNorm2d) follows layer 2 (MaxPool2d) and has a negative gain in channel 1; put the max pooling "
    "after the batch norm": lambda: model(conv(), nn.MaxPool2d(2), norm(3, (1.0, -1.0, -1.0)), ACT),
    "layer 1 (MaxPool2d) has dilation=2; supported: dilation=1": lambda: model(nn.MaxPool2d(2, dilation=2), conv()),
    "layer 1 (MaxPool2d) has ceil_mode=True; supported: ceil_mode=False":
        lambda: model(nn.MaxPool2d(2, ceil_mode=True), conv()),
    "layer 1 (Flatten) turns shape (N, 2, 8, 8) into (N, 2, 64); supported: (N, C·H·W)":
        lambda: model(nn.Flatten(2)),
    "method view in head (Head) turns shape (N, 3, 8, 8) into (N, 64, 3); supported: (N, C·H·W)":
        lambda: wrapped(lambda x: x.view(-1, 64, 3)),
    "function add in head (Head) must add the outputs of two QuantActivations": lambda: wrapped(lambda x: x + 1),
    "function add in head (Head) has the option alpha; supported: a + b":
        lambda: wrapped(lambda x: torch.add(x, x, alpha=2)),
    "layer add (QuantAdd) adds maps of different shapes, (3, 8, 8) and (1, 8, 8)": lambda: Broadcast().eval(),
    "layer 2 (BatchNorm2d) yields NaN or infinity before layer 3 (QuantActivation); train the model again":
        lambda: model(conv(), nan_norm(), ACT),
    "layer 1 (QuantConv2d): weights contain NaN or infinity: they have no codes": lambda: model(nan_conv()),
    "layer 1 (QuantConv2d) returns accumulators and has a bias, which they cannot hold exactly; set bias=False":
        lambda: model(conv(bias=True)),
    "the model returns the float output of layer 2 (BatchNorm2d); end it with QuantConv2d, QuantLinear or "
    "QuantActivation": lambda: model(conv(), norm()),
    "the model returns the float output of layer 2 (MaxPool2d); end it with QuantConv2d, QuantLinear or "
    "QuantActivation": lambda: model(conv(), nn.MaxPool2d(2)),
    "the model must return one tensor, the output of a layer": lambda: Pair().eval(),
    "layer b (QuantInput) is a second QuantInput; supported: 1":
        lambda: Free(lambda m, x: m.a(x) + m.b(x)).eval(),
    "layer conv (QuantConv2d) does not take the output of a layer":
        lambda: Free(lambda m, x: m.conv(m.table) + x[:, :1, :6, :6]).eval(),
    "the model returns its input": lambda: Free(lambda m, x: x).eval(),
    "the model yields something else when traced; it must not change tensors in place that are used again":
        lambda: Free(in_place).eval(),
    f"method add_ in the model's forward is not supported; {SUPPORTED}":
        lambda: Free(lambda m, x: m.conv(m.a(x)).add_(1)).eval(),
    "TwoInputs takes 2 inputs; supported: 1": lambda: TwoInputs().eval(),
    "Branch cannot be traced: symbolically traced variables cannot be used as inputs to control flow; its forward "
    "must not depend on values of tensors": lambda: Branch().eval(),
    "parameters must all be float32, or all float64, not torch.bfloat16": lambda: model(conv()).bfloat16(),
    "parameters must all be float32, or all float64, not torch.float32, torch.float64":
        lambda: model(conv(), conv().double()),
}


@pytest.mark.parametrize("message", MODELS)
def test_refusals(message: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(LoweringError) as error:
        lower(MODELS[message](), (2, 8, 8))
    assert str(error.value) == message


def test_padding_mode() -> None:
    layer = conv()
    layer.padding_mode = "reflect"
    with pytest.raises(LoweringError) as error:
        lower(model(layer), (2, 8, 8))
    assert str(error.value) == "layer 1 (QuantConv2d) has padding_mode=reflect; supported: padding_mode=zeros"


def test_an_input_that_does_not_fit() -> None:
    with pytest.raises(LoweringError, match=r"^Sequential fails on an input of shape \(N, 3, 8, 8\): .*channels"):
        lower(model(conv()), (3, 8, 8))


def test_input_shape_is_needed_and_checked() -> None:
    with pytest.raises(LoweringError) as error:
        lower(model(conv()))
    assert str(error.value) == "the input shape of Sequential is not known; pass input_shape=(C, H, W)"
    with pytest.raises(LoweringError) as error:
        lower(model(conv()), (8, 8))  # type: ignore[arg-type]
    assert str(error.value) == "input_shape must be three positive integers (C, H, W), not (8, 8)"
