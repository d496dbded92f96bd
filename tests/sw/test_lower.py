"""Lowering: the structure of graphs, and exactness against the modules' own arithmetic."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from small_models import conv, model, norm
from torch import Tensor, nn
from torch.nn import functional

from dorefabric.sw.graph import Add, Convolution, Flatten, MaxPool, Threshold
from dorefabric.sw.layers import QuantActivation, QuantAdd, QuantConv2d, QuantInput, QuantLinear, prepare
from dorefabric.sw.lower import lower, lower_traced
from dorefabric.sw.reference import evaluate

pytestmark = pytest.mark.usefixtures("one_thread")


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
