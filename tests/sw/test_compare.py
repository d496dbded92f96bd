"""PyTorch against the golden model: no difference but float ties, and every real difference found."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from dorefabric.sw.compare import Comparison, compare, first_difference
from dorefabric.sw.graph import Convolution, Graph, GraphError, Threshold
from dorefabric.sw.images import InputError
from dorefabric.sw.layers import QuantActivation, QuantAdd, QuantConv2d, QuantInput, QuantLinear
from dorefabric.sw.lower import lower
from dorefabric.sw.models import MODELS, build_model
from dorefabric.sw.reference import evaluate_output

pytestmark = pytest.mark.usefixtures("one_thread")


# First difference ------------------------------------------------------------------------------------

def test_first_difference_in_words() -> None:
    expected = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    assert first_difference("conv1", expected, expected.copy()) is None
    actual = expected.copy()
    actual[1, 2, 3, 4] = 7
    actual[1, 0, 2, 1] = -1
    assert first_difference("conv1", expected, actual) == (
        "layer conv1: image 1, channel 0, pixel (2, 1): expected 71, got -1; 2 of 120 differ")
    assert first_difference("conv1", expected[1], actual[1]) == (
        "layer conv1: channel 0, pixel (2, 1): expected 71, got -1; 2 of 60 differ")
    assert first_difference("conv1", expected, actual[:1]) == (
        "layer conv1: expected shape (2, 3, 4, 5), got (1, 3, 4, 5)")


# End to end ------------------------------------------------------------------------------------------

class Residual(nn.Module):
    """Every kind of layer: strided and padded convolutions, pools on both sides, residual additions, full layers."""

    def __init__(self, weight_bits: int, bits: int) -> None:
        super().__init__()
        def conv(cin: int, cout: int, kernel: int, **options: object) -> QuantConv2d:
            return QuantConv2d(cin, cout, kernel, weight_bits=weight_bits, **options)  # type: ignore[arg-type]

        self.stem = nn.Sequential(QuantInput(8), conv(2, 6, 5, padding=2), nn.BatchNorm2d(6), nn.MaxPool2d(3, 2, 1),
                                  QuantActivation(bits))
        self.branch = nn.Sequential(conv(6, 6, 3, padding=1, bias=True), nn.BatchNorm2d(6), QuantActivation(bits))
        self.add = QuantAdd()
        self.join = nn.Sequential(nn.BatchNorm2d(6), QuantActivation(bits))
        self.head = nn.Sequential(
            conv(6, 9, 3, stride=2, padding=1), nn.BatchNorm2d(9), QuantActivation(bits), nn.MaxPool2d(2),
            nn.Flatten(), QuantLinear(9, 7, weight_bits), nn.BatchNorm1d(7), nn.Dropout(), QuantActivation(bits),
            QuantLinear(7, 10, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(self.join(self.add(self.branch(x), x)))


def random_norms(model: nn.Module, images: np.ndarray) -> nn.Module:
    """Batch norms with the statistics of the images and random parameters, negative and zero gains among them."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.momentum = 1.0
            nn.init.normal_(layer.weight)
            nn.init.uniform_(layer.bias, 0.0, 1.0)
            layer.weight.data[0] = 0.0
            layer.weight.data[1] = -layer.weight.data[1].abs()
    with torch.no_grad():
        model.train()(torch.from_numpy(images).float() / 255)
    return model.eval()


def images_for(shape: tuple[int, int, int], count: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(np.uint8)


@pytest.mark.parametrize("weight_bits", range(1, 9))
@pytest.mark.parametrize("bits", range(1, 9))
def test_codes_equal_pytorch(weight_bits: int, bits: int) -> None:
    torch.manual_seed(8 * weight_bits + bits)
    images = images_for((2, 9, 8))
    model = random_norms(Residual(weight_bits, bits), images)
    graph = lower(model, (2, 9, 8))
    falling = sum(int(node.falling.sum()) for node in graph.nodes if isinstance(node, Threshold))
    assert falling >= 5  # one a batch norm at least
    result = compare(model, graph, images)
    assert [layer.path for layer in result.layers] == ["stem.4", "branch.2", "join.1", "head.2", "head.8"]
    assert result.first is None
    assert result.differences == result.ties <= 3
    assert result.values == 16 * (3 * 6 * 5 * 4 + 9 * 3 * 2 + 7)
    if not result.ties:
        assert result.same_class == result.images == 16
        assert result.output_error < 1e-4


@pytest.mark.parametrize("name", ["digits", "resnet-digits", "lenet", "mlp"])
def test_reference_networks(name: str) -> None:
    torch.manual_seed(1)
    shape = MODELS[name].input_shape
    images = images_for(shape, 70)  # more than one batch
    model = random_norms(build_model(name, 1, 2), images)
    result = compare(model, lower(model, shape), images)
    assert result.images == 70
    assert result.first is None and result.differences == result.ties <= 2


def test_float64_models() -> None:
    torch.manual_seed(2)
    images = images_for((2, 9, 8))
    model = random_norms(Residual(8, 8), images).double()
    result = compare(model, lower(model, (2, 9, 8)), images)
    assert result.differences == 0 and result.output_error < 1e-12


# Differences are found -------------------------------------------------------------------------------

class Noisy(QuantConv2d):
    """A convolution whose float result is off by a relative error, as if rounded otherwise."""

    error = 0.0

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + self.error)


def half(error: float) -> nn.Module:
    """Sums of 0.5 exactly, on the boundary between codes 0 and 1, times 1 + error in PyTorch."""
    layer = Noisy(1, 2, 1, weight_bits=1)
    nn.init.constant_(layer.weight, 0.5)
    layer.error = error
    return nn.Sequential(QuantInput(1), layer, QuantActivation(1), nn.MaxPool2d(2), nn.Flatten(),
                         QuantLinear(2, 3, 8)).eval()


def test_float_ties_are_counted_and_forgiven() -> None:
    model = half(2.0**-22)
    images = np.zeros((3, 1, 2, 2), np.uint8)
    images[:, 0, 1, 1] = 1
    graph = lower(model, (1, 2, 2))
    assert evaluate_output(graph, images).max() == 0  # 0.5 rounds to the even code
    result = compare(model, graph, images)
    assert (result.differences, result.ties, result.first) == (6, 6, None)
    assert 0 < result.layers[0].deviation < 1e-6


def test_larger_deviations_are_no_ties() -> None:
    images = np.zeros((3, 1, 2, 2), np.uint8)
    images[1:, 0, 1, 0] = 1
    model = half(1e-3)
    result = compare(model, lower(model, (1, 2, 2)), images)
    assert (result.differences, result.ties) == (4, 0)
    assert result.first == "image 1, layer 2: channel 0, pixel (1, 0): expected 1, got 0; 2 of 8 differ"


def changed(graph: Graph, name: str, **fields: object) -> Graph:
    nodes = tuple(dataclasses.replace(node, **fields) if node.name == name else node  # type: ignore[arg-type]
                  for node in graph.nodes)
    return dataclasses.replace(graph, nodes=nodes)


def residual() -> tuple[nn.Module, Graph, np.ndarray]:
    torch.manual_seed(3)
    images = images_for((2, 9, 8))
    model = random_norms(Residual(2, 3), images)
    return model, lower(model, (2, 9, 8)), images


def test_one_wrong_weight_is_found_in_its_layer_alone() -> None:
    model, graph, images = residual()
    node = graph["branch.0"]
    assert isinstance(node, Convolution)
    weights = node.weights.copy()
    weights[3, 2, 1, 1] = -weights[3, 2, 1, 1]
    edge = dataclasses.replace(node.edge, low=-10000, high=10000)
    result = compare(model, changed(graph, "branch.0", weights=weights, edge=edge), images)
    assert [layer.path for layer in result.layers if layer.different] == ["branch.2"]
    assert result.ties == 0
    assert result.first is not None and ", layer branch.2: channel 3, pixel (" in result.first


@pytest.mark.parametrize("shift", [1, -1])
def test_thresholds_off_by_one_are_found(shift: int) -> None:
    model, graph, images = residual()
    node = graph["join.1"]
    assert isinstance(node, Threshold)
    result = compare(model, changed(graph, "join.1", thresholds=node.thresholds + shift), images)
    assert [layer.path for layer in result.layers if layer.different] == ["join.1"]
    assert result.ties == 0 and result.first is not None


def test_a_difference_inside_a_pool_and_behind_a_flatten() -> None:
    """The exact values that decide about ties go through the nodes between threshold and codes as well."""
    torch.manual_seed(4)
    layer = Noisy(2, 3, 3, weight_bits=2)
    model = nn.Sequential(QuantInput(8), layer, nn.BatchNorm2d(3), nn.MaxPool2d(2), nn.Flatten(), QuantActivation(3),
                          QuantLinear(27, 10, 8))
    images = images_for((2, 8, 8))
    random_norms(model, images)
    graph = lower(model, (2, 8, 8))
    assert compare(model, graph, images).differences == 0
    layer.error = 1e-2
    result = compare(model, graph, images)
    assert result.differences > result.ties == 0
    assert result.first is not None and ", layer 5: channel " in result.first


# Report ----------------------------------------------------------------------------------------------

def test_report() -> None:
    model, graph, images = residual()
    done: list[int] = []
    result = compare(model, graph, images, progress=done.append)
    assert done == [16]
    report = result.to_dict()
    assert list(report) == ["images", "values", "differences", "ties", "same_class", "output_error", "first", "layers"]
    assert report["layers"][0] == {"path": "stem.4", "node": "stem.3", "shape": [6, 5, 4], "values": 1920,
                                   "different": 0, "ties": 0, "deviation": 0.0, "first": None}
    text = io.StringIO()
    Console(file=text, width=100).print(result.table())
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.getvalue().splitlines()]
    assert ["stem.4", "6×5×4", "1,920", "0", "0"] in rows
    assert ["output", "", "16 images", "0 classes", ""] in rows
    assert Comparison([]).first is None


def test_graph_of_another_model_and_bad_images() -> None:
    model, graph, images = residual()
    renamed = [dataclasses.replace(node, name="other" if node.name == "join.1" else node.name,
                                   inputs=tuple("other" if name == "join.1" else name for name in node.inputs))
               for node in graph.nodes]
    with pytest.raises(GraphError) as error:
        compare(model, Graph("net", tuple(renamed)), images)
    assert str(error.value) == "net: no node join.1 for the model's layer join.1"
    with pytest.raises(InputError):
        compare(model, graph, images[:, :1])
