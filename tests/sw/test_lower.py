"""Lowering: the structure of graphs, exactness against the modules' own arithmetic, every refusal word for word."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dorefabric.sw.graph import Add, Convolution, Flatten, MaxPool, Threshold
from dorefabric.sw.layers import QuantActivation, QuantAdd, QuantConv2d, QuantInput, QuantLinear, prepare
from dorefabric.sw.lower import LoweringError, lower, lower_traced
from dorefabric.sw.reference import evaluate


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors: threads of torch cost more than they compute when the tests run side by side."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


def kinds(graph: object) -> list[str]:
    return [type(node).__name__ for node in graph.nodes]  # type: ignore[attr-defined]


# Structure -------------------------------------------------------------------------------------------

def test_sequential_network() -> None:
    network = nn.Sequential(
        QuantInput(8), conv(stride=2, padding=1), norm(), nn.Identity(), QuantActivation(2), nn.Dropout(),
        nn.MaxPool2d(3, 2, 1), conv(3, 4, 1, 8), norm(4), nn.MaxPool2d(2), QuantActivation(3), nn.Flatten(),
        QuantLinear(16, 5, 4), nn.BatchNorm1d(5), QuantActivation(1), QuantLinear(5, 10, 8)).eval()
    graph = lower(network, (2, 16, 16), name="net")
    assert graph.name == "net"
    assert [(node.name, type(node).__name__, node.inputs, node.edge.shape, node.edge.bits) for node in graph.nodes] == [
        ("0", "Input", (), (2, 16, 16), 8),
        ("1", "Convolution", ("0",), (3, 8, 8), None),
        ("4", "Threshold", ("1",), (3, 8, 8), 2),
        ("6", "MaxPool", ("4",), (3, 4, 4), 2),
        ("7", "Convolution", ("6",), (4, 4, 4), None),
        ("10", "Threshold", ("7",), (4, 4, 4), 3),
        ("9", "MaxPool", ("10",), (4, 2, 2), 3),
        ("11", "Flatten", ("9",), (16, 1, 1), 3),
        ("12", "Convolution", ("11",), (5, 1, 1), None),
        ("14", "Threshold", ("12",), (5, 1, 1), 1),
        ("15", "Convolution", ("14",), (10, 1, 1), None),
    ]
    first = graph["1"]
    assert isinstance(first, Convolution) and (first.stride, first.padding, first.bipolar) == ((2, 2), (1, 1), True)
    codes, scale = network[1].weight_codes()
    np.testing.assert_array_equal(first.weights, codes.numpy())
    assert first.edge.scale == pytest.approx(scale / 255)
    pool = graph["6"]
    assert isinstance(pool, MaxPool) and (pool.kernel, pool.stride, pool.padding) == ((3, 3), (2, 2), (1, 1))


class Block(nn.Module):
    """Residual block in functions and operators, whose activation is used three times."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = conv(3, 3, padding=1), norm(), QuantActivation(2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm(self.conv(x)))
        y += x
        y = self.act(y)
        y = functional.dropout(y, 0.5, self.training)
        return self.act(self.norm(torch.add(y, x)))


class Functions(nn.Module):
    def __init__(self, flatten: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.entry = nn.Sequential(QuantInput(2), conv(2, 3, 1), norm(), QuantActivation(2))
        self.block = Block()
        self.last = QuantLinear(3 * 4 * 4, 10, 8)
        self.flatten = flatten

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.flatten(self.block(self.entry(x)).contiguous()))


FLATTENS: list[Callable[[Tensor], Tensor]] = [
    lambda x: torch.flatten(x, 1), lambda x: x.flatten(1), lambda x: x.flatten(start_dim=1),
    lambda x: x.view(x.size(0), -1), lambda x: x.view(x.shape[0], -1), lambda x: x.reshape(-1, 48),
    lambda x: torch.reshape(x, (x.size(0), 48)), nn.Flatten()]


@pytest.mark.parametrize("flatten", FLATTENS, ids=range(len(FLATTENS)))
def test_functions_operators_and_layers_called_again(flatten: Callable[[Tensor], Tensor]) -> None:
    network = Functions(flatten).eval()
    graph = lower(network, (2, 4, 4))
    names = [node.name for node in graph.nodes]
    assert names[:8] == ["entry.0", "entry.1", "entry.3", "block.conv", "block.act", "block.add", "block.act#2",
                         "block.add_1"]
    assert names[8] == "block.act#3" and names[-1] == "last"
    assert isinstance(graph["block.add"], Add) and graph["block.add"].inputs == ("block.act", "entry.3")
    assert isinstance(graph.nodes[-2], Flatten)


def test_vectors_need_no_flatten_node() -> None:
    graph = lower(model(conv(2, 3, 4), nn.Flatten(), nn.BatchNorm1d(3), QuantActivation(2), nn.Flatten(),
                        QuantLinear(3, 10, 8)), (2, 4, 4))
    assert kinds(graph) == ["Input", "Convolution", "Threshold", "Convolution"]


def test_flatten_between_batch_norm_and_activation() -> None:
    graph = lower(model(conv(), norm(), nn.MaxPool2d(2), nn.Flatten(), QuantActivation(2), QuantLinear(12, 10, 8)),
                  (2, 6, 6))
    assert kinds(graph) == ["Input", "Convolution", "Threshold", "MaxPool", "Flatten", "Convolution"]


def test_padding_words() -> None:
    for padding, expected in (("same", (2, 1)), ("valid", (0, 0)), ((1, 2), (1, 2)), (1, (1, 1))):
        node = lower(model(QuantConv2d(2, 3, (5, 3), padding=padding)), (2, 8, 8)).output
        assert isinstance(node, Convolution) and node.padding == expected


def test_unused_calls_leave_no_node() -> None:
    class Wasteful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.entry, self.used, self.unused = QuantInput(2), conv(), conv()

        def forward(self, x: Tensor) -> Tensor:
            x = self.entry(x)
            self.unused(x)
            return self.used(x)

    assert [node.name for node in lower(Wasteful().eval(), (2, 4, 4)).nodes] == ["entry", "used"]


def test_activation_of_codes_of_the_same_bits_changes_nothing() -> None:
    graph = lower(model(conv(), norm(), QuantActivation(2), QuantActivation(2)), (2, 4, 4))
    assert kinds(graph) == ["Input", "Convolution", "Threshold"]


def test_input_shape_of_the_model() -> None:
    network = model(conv())
    network.input_shape = (2, 5, 6)  # type: ignore[assignment]
    assert lower(network).input.edge.shape == (2, 5, 6)


def test_prepared_model_and_float64() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), norm(4), nn.ReLU(), nn.Flatten(),
                            nn.Linear(16, 10, bias=False))
    for quantized in (prepare(network, 1, 2), prepare(network, 1, 2).double()):
        graph = lower(quantized.eval(), (1, 4, 4))
        assert kinds(graph) == ["Input", "Convolution", "Threshold", "Flatten", "Convolution"]


def test_the_model_is_not_changed() -> None:
    network = model(conv(), norm(), QuantActivation(2), conv(3, 2))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    lower(network, (2, 8, 8))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


# Exactness -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("bits", range(1, 9))
def test_thresholds_equal_the_modules_over_the_whole_range(bits: int) -> None:
    """Brute force: every accumulator of every channel, rising, falling, constant and with a bias."""
    torch.manual_seed(bits)
    gains = (0.7, -0.7, 0.0, 1e-3, -20.0, 3e4)
    network = model(conv(2, 6, 3, 1 + bits % 4, bias=True), norm(6, gains), QuantActivation(bits))
    nn.init.constant_(network[2].bias, 0.4)
    lowered = lower_traced(network, (2, 5, 5))
    node = lowered.graph["3"]
    item = lowered.activations[0]
    assert isinstance(node, Threshold)
    assert node.falling.tolist() == [False, True, False, False, True, False]
    y = np.arange(item.low.min(), item.high.max() + 1)
    codes = item.expression.codes(np.broadcast_to(y, (6, len(y))))
    for channel in range(6):
        inside = (y >= item.low[channel]) & (y <= item.high[channel])
        t = node.thresholds[channel][:, None]
        counted = ((y <= t) if node.falling[channel] else (y >= t)).sum(0)
        np.testing.assert_array_equal(counted[inside], codes[channel, inside])


@pytest.mark.parametrize("second", range(1, 9))
@pytest.mark.parametrize("first", [1, 2, 5, 8])
def test_addition_without_batch_norm_is_exact(first: int, second: int) -> None:
    """code = round half to even of n_out clip(p / n_a + q / n_b), over all pairs, but for float ties."""
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.entry = QuantInput(8)
            self.a, self.b = conv(1, 1, 1), conv(1, 1, 1)
            self.act_a, self.act_b, self.act = QuantActivation(first), QuantActivation(second), QuantActivation(4)
            self.add = QuantAdd()

        def forward(self, x: Tensor) -> Tensor:
            x = self.entry(x)
            return self.act(self.add(self.act_a(self.a(x)), self.act_b(self.b(x))))

    graph = lower(Sum().eval(), (1, 1, 1))
    add, act = graph["add"], graph["act"]
    assert isinstance(add, Add) and isinstance(act, Threshold)
    n_a, n_b = 2**first - 1, 2**second - 1
    p, q = np.meshgrid(np.arange(n_a + 1), np.arange(n_b + 1))
    y = add.factors[0] * p + add.factors[1] * q
    codes = (y[..., None] >= act.thresholds[0]).sum(-1)
    exact = 15 * np.minimum(n_b * p + n_a * q, n_a * n_b)  # times 1 / (n_a n_b)
    rounded, rest = np.divmod(2 * exact + n_a * n_b, 2 * n_a * n_b)
    tie = rest == 0
    np.testing.assert_array_equal(codes[~tie], rounded[~tie])
    assert (np.abs(codes - rounded)[tie] <= 1).all()


def test_pool_before_batch_norm_with_positive_gains() -> None:
    torch.manual_seed(1)
    network = model(conv(2, 3, 3), nn.MaxPool2d(2), norm(), QuantActivation(3))
    graph = lower(network, (2, 6, 6))
    assert kinds(graph) == ["Input", "Convolution", "Threshold", "MaxPool"]
    images = np.random.default_rng(0).integers(0, 4, (20, 2, 6, 6))
    with torch.no_grad():
        expected = torch.round(7 * network(torch.from_numpy(images).float() / 3))
    np.testing.assert_array_equal(evaluate(graph, images)[graph.output.name], expected.numpy())


# Refusals --------------------------------------------------------------------------------------------

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
