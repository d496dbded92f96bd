"""QONNX files: read back, checked and executed by onnx's evaluator, with its two nodes after their specification."""

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from torch import nn

from dorefabric.sw.capture import LoweringError
from dorefabric.sw.cli import main
from dorefabric.sw.conventions import Conventions
from dorefabric.sw.layers import QuantActivation, QuantConv2d, QuantInput, QuantLinear
from dorefabric.sw.methods import DOREFA, Method
from dorefabric.sw.model_file import save_model
from dorefabric.sw.models import build_model
from dorefabric.sw.qonnx import DOMAIN, export_qonnx, qonnx_model


class Quant(OpRun):
    op_domain = DOMAIN

    def _run(self, x, scale, zero_point, bitwidth, narrow=None, rounding_mode=None, signed=None):
        n = 2 ** int(bitwidth)
        low, high = (-n // 2 + narrow, n // 2 - 1) if signed else (0, n - 1 - narrow)
        integer = np.clip(x / scale + zero_point, low, high)
        if rounding_mode == "HALF_UP":
            integer = np.sign(integer) * np.floor(np.abs(integer) + 0.5)
        else:
            assert rounding_mode == "ROUND"
            integer = np.rint(integer)
        return ((integer - zero_point) * scale,)


class BipolarQuant(OpRun):
    op_domain = DOMAIN

    def _run(self, x, scale):
        return (np.where(x >= 0, 1, -1).astype(np.float32) * scale,)


METHODS = {
    "float": (DOREFA, (32, 32)), "DoReFa 1-2": (DOREFA, (1, 2)), "DoReFa 3-4": (DOREFA, (3, 4)),
    "conventions": (Method(conventions=Conventions(weight_scale="channel", rounding="up"), last_bits=1), (1, 2)),
    "abs": (Method(conventions=Conventions(activation="abs")), (2, 2)),
    "learned clip": (Method(learned_clip=True), (2, 3)), "AQE 1-1": (Method(name="aqe"), (1, 1)),
    "AQE 3-2": (Method(name="aqe"), (3, 2)), "+-1": (Method(name="plus-minus"), (2, 2)),
    "A2Q": (Method(name="a2q", accumulator_bits=14), (4, 3)),
}  # fmt: skip


def network(method, bits, name="digits"):
    """Fresh weights and the statistics of a few random images."""
    torch.manual_seed(1)
    model = method.apply(build_model(name, *bits))
    for _ in range(10):
        model(torch.rand(32, 1, 8, 8))
    return model.eval()


def agree(model, proto, images):
    """Outputs are equal but where float rounding flips a code, which one image in 50 may show."""
    with torch.no_grad():
        expected = model(images).numpy()
    actual, = ReferenceEvaluator(proto, new_ops=[Quant, BipolarQuant]).run(None, {"global_in": images.numpy()})
    assert actual.shape == expected.shape and actual.dtype == np.float32
    same = np.isclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()).all(axis=1)
    assert same.mean() >= 0.98
    assert np.unique(expected.round(3)).size > 20


@pytest.mark.parametrize("method, bits", METHODS.values(), ids=METHODS)
def test_executes_as_the_model(method, bits, tmp_path):
    model = network(method, bits)
    export_qonnx(model, tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(proto)
    agree(model, proto, torch.randint(0, 256, (50, 1, 8, 8)) / 255)


def test_residual_network_with_averages():
    agree(network(DOREFA, (1, 2), "resnet-digits"), qonnx_model(network(DOREFA, (1, 2), "resnet-digits")),
          torch.randint(0, 256, (50, 1, 8, 8)) / 255)
    torch.manual_seed(0)
    # Averages of codes fall on ties of the next quantizer, which float rounding decides, unless they are scaled.
    model = nn.Sequential(
        QuantInput(4), QuantConv2d(2, 8, 3, 2, 1, weight_bits=2, bias=True, groups=2), QuantActivation(3),
        nn.AvgPool2d(2), nn.BatchNorm2d(8), QuantActivation(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.BatchNorm1d(8, affine=False), QuantActivation(4), QuantLinear(8, 5, 3, bias=True))
    for _ in range(20):
        model(torch.rand(20, 2, 9, 7))
    agree(model.eval(), qonnx_model(model, (2, 9, 7)), torch.rand(50, 2, 9, 7))


def test_weights_are_the_integers():
    """What a reader of the file takes from a Quant node is `weight_codes`."""
    model = network(DOREFA, (2, 2))
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in qonnx_model(model).graph.initializer}
    codes, _ = model.conv2.conv.weight_codes()
    stored, scale, zero = (constants[f"conv2.conv.weight{end}"] for end in ("", "_quant.scale", "_quant.zero_point"))
    assert np.array_equal(2 * np.rint(stored / scale + zero) - 3, codes.numpy())


def doubled(x):
    same = x
    same += x           # traced as a sum that leaves x as it is
    return same + x


class Odd(nn.Module):
    """Codes, changed in a way that the file has no form for, through a convolution."""

    def __init__(self, change):
        super().__init__()
        self.image, self.change, self.last = QuantInput(8), change, QuantConv2d(1, 2, 3)

    def forward(self, x):
        return self.last(self.change(self.image(x)))


@pytest.mark.parametrize("make, message", [
    (lambda: Odd(lambda x: torch.add(x, x, alpha=2)), r"^function add in the model's forward has no QONNX form here$"),
    (lambda: Odd(doubled), r"^the model yields something else when traced; it must not change tensors in place"),
    (lambda: network(Method(name="aqe"), (3, 3)),
     r"^layer conv1\.act \(AsymptoticActivation\): activations of AQE with 3-bit levels are not evenly spaced"),
    (lambda: network(Method(name="mls"), (32, 32)), r"weights that are no multiples of integers$"),
    (lambda: nn.Sequential(QuantInput(8), QuantConv2d(1, 2, 3), nn.Softmax(1)), r"^layer 2 \(Softmax\) has no QONNX"),
    (lambda: build_model("digits", 1, 2), "is in training mode")])
def test_refusals(make, message):
    with pytest.raises(LoweringError, match=message):
        qonnx_model(make(), (1, 8, 8))


def test_command(tmp_path, capsys):
    save_model(network(DOREFA, (1, 2)), tmp_path / "model.pt", name="digits", bits=(1, 2, 32), history=[], seed=0)
    assert main(["export", str(tmp_path / "model.pt"), "-o", str(tmp_path / "model.onnx")]) == 0
    assert "3 BatchNormalization, 3 BipolarQuant, 3 Conv" in " ".join(capsys.readouterr().out.split())
    onnx.checker.check_model(str(tmp_path / "model.onnx"))
    assert main(["export", str(tmp_path / "model.pt"), "-o", str(tmp_path / "none" / "model.onnx")]) == 2
    assert "cannot write" in capsys.readouterr().err
