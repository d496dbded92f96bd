"""AlexNet and ResNet-18, narrow and small: they lower, and their programs are the golden model on every layer."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from dorefabric.hw.config import FabricConfig
from dorefabric.sw.compare import compare
from dorefabric.sw.compile import compile_graph
from dorefabric.sw.imagenet import ResNet18, alexnet
from dorefabric.sw.interpret import interpret
from dorefabric.sw.layers import QuantActivation, QuantAdd, QuantConv2d, QuantInput
from dorefabric.sw.lower import lower
from dorefabric.sw.models import MODELS, Bits, build_model
from dorefabric.sw.reference import evaluate

torch.set_num_threads(1)

CONFIG = FabricConfig(rows=4, columns=16, lanes=32, weight_depth=32768, feature_depth=16384, threshold_depth=8192,
                      program_depth=8192, tap_depth=8192)  # fmt: skip
SMALL = {
    "alexnet": (lambda bits: alexnet(bits, 63, 10, width=18, hidden=40), 63),
    "resnet18": (lambda bits: ResNet18(bits, 10, width=12), 64),
}


def calibrated(model: nn.Module, images: torch.Tensor) -> nn.Module:
    """Batch norms with the statistics of ``images``, gains of either sign."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None  # type: ignore[assignment]
            nn.init.uniform_(module.weight, -0.5, 1.0)
            nn.init.uniform_(module.bias, 0.0, 0.6)
    with torch.no_grad():
        model.train()(images / 255)
    return model.eval()


@pytest.mark.parametrize("name", SMALL)
def test_program_is_the_golden_model(name: str) -> None:
    build, size = SMALL[name]
    torch.manual_seed(1)
    images = torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8)
    model = calibrated(build(Bits(weight=1, activation=2)), images)
    graph = lower(model, (3, size, size), name=name)
    compared = compare(model, graph, images[:2].numpy())
    assert compared.first is None
    program = compile_graph(graph, CONFIG)
    expected = evaluate(graph, images[:2].numpy())
    result, tensors = interpret(program, images[:2].numpy(), trace=True)
    np.testing.assert_array_equal(result, expected[graph.output.name])
    for edge, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, expected[edge], err_msg=edge)
        assert len(np.unique(tensor)) > 1, f"{edge} is constant, so the comparison shows nothing"
    with pytest.raises(ValueError, match="feature_depth"):
        compile_graph(graph, dataclasses.replace(CONFIG, feature_depth=64))


def test_sizes_of_the_published_networks() -> None:
    """Weights of all layers and multiply-accumulates of all convolutions, as counted by hand from the papers."""
    with torch.device("meta"):
        networks = {name: build_model(name, 1, 2) for name in ("alexnet", "resnet18")}
    weights, operations = {}, {}
    for name, network in networks.items():
        weights[name] = sum(m.weight.numel() for m in network.modules() if isinstance(m, QuantConv2d | nn.Linear))
        total = 0

        def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
            nonlocal total
            total += layer.weight.numel() * output.shape[2] * output.shape[3]

        for module in network.modules():
            if isinstance(module, QuantConv2d):
                module.register_forward_hook(count)
        network.eval()(torch.rand(1, *MODELS[name].input_shape, device="meta"))
        operations[name] = total
    alexnet_weights = 96 * 432 + 256 * 1200 + 384 * 2304 + (384 + 256) * 1728 + 9216 * 4096 + 4096 * 5096
    assert weights == {"alexnet": alexnet_weights, "resnet18": 11_678_912}
    assert operations["resnet18"] == 1_813_561_344
    assert operations["alexnet"] == 54 * 54 * 96 * 432 + 54 * 54 * 256 * 1200 + 27 * 27 * 384 * 2304 + 14 * 14 * (
        384 + 256) * 1728  # fmt: skip


@pytest.mark.parametrize("scales", [(1.0, 0.5), (0.75, -0.4), (3.0, 2.0)])
def test_additions_of_unequal_scales(scales: tuple[float, float]) -> None:
    """Codes of different bits and scales, added exactly: the model's own codes but for float ties."""

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.skip = (
                nn.Sequential(QuantConv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), QuantActivation(bits))
                for bits in (3, 2)
            )
            self.add, self.join = QuantAdd(scales), nn.Sequential(nn.BatchNorm2d(6), QuantActivation(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.join(self.add(self.body(x), self.skip(x)))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    images = torch.randint(0, 256, (8, 2, 6, 6), dtype=torch.uint8)
    model = calibrated(nn.Sequential(QuantInput(8), Residual()), images)
    graph = lower(model, (2, 6, 6))
    assert compare(model, graph, images.numpy()).first is None
    program = compile_graph(graph, CONFIG)
    result, _ = interpret(program, images.numpy())
    np.testing.assert_array_equal(result, evaluate(graph, images.numpy())[graph.output.name])
    assert len(np.unique(result)) > 2
