"""Every method of training: its layers, its options, and trained networks down to the compiled program."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dorefabric.hw.config import FabricConfig
from dorefabric.sw.a2q import accumulator_width
from dorefabric.sw.aqe_layers import AsymptoticActivation, AsymptoticConv2d
from dorefabric.sw.compare import compare
from dorefabric.sw.compile import compile_graph
from dorefabric.sw.conventions import Conventions
from dorefabric.sw.datasets import load_dataset
from dorefabric.sw.graph import Convolution
from dorefabric.sw.interpret import interpret
from dorefabric.sw.layers import QuantActivation, QuantConv2d, QuantInput, QuantLinear, QuantWeight
from dorefabric.sw.lower import LoweringError, lower
from dorefabric.sw.methods import DOREFA, Method
from dorefabric.sw.model_file import load_model
from dorefabric.sw.models import build_model
from dorefabric.sw.reference import evaluate
from dorefabric.sw.train import TrainConfig, TrainError, train
from dorefabric.sw.train import evaluate as evaluate_accuracy

torch.set_num_threads(1)    # many small operations: threads only wait for each other

AQE, PLUS_MINUS, MLS = Method(name="aqe"), Method(name="plus-minus"), Method(name="mls")
BOUNDED = Method(name="a2q", accumulator_bits=12)
CENTRED = Method(name="a2q+", accumulator_bits=11)
LEARNED = Method(learned_clip=True)
AQE_ENDS = Method(name="aqe", first_bits=8, last_bits=8)
CHANNEL = Method(conventions=Conventions(weight_scale="channel"), last_bits=2)

CONFIG = FabricConfig(rows=2, columns=8, lanes=32, accumulator_bits=24, threshold_bits=24, weight_depth=8192,
                      feature_depth=2048, threshold_depth=1024)  # fmt: skip


@pytest.mark.parametrize("method, bits", [
    (AQE, (1, 1)), (AQE, (2, 2)), (AQE, (3, 3)), (AQE_ENDS, (1, 1)), (PLUS_MINUS, (2, 2)), (PLUS_MINUS, (1, 1)),
    (LEARNED, (1, 2)), (CHANNEL, (1, 2)), (BOUNDED, (4, 2)), (CENTRED, (4, 2))], ids=str)
def test_trained_network_runs_bit_for_bit(method, bits, tmp_path):
    """One epoch on the digits, then PyTorch, golden model and compiled program on 100 test images."""
    config = TrainConfig(dataset="digits", model="digits", weight_bits=bits[0], activation_bits=bits[1], epochs=1,
                         method=method, output=tmp_path / "model.pt", progress=False)  # fmt: skip
    result = train(config)
    model = load_model(config.output)
    images, labels = load_dataset("digits", None, "test")
    assert result.test_accuracy > 0.2
    assert evaluate_accuracy(model, images, labels) == result.test_accuracy
    graph = lower(model)
    if method in (BOUNDED, CENTRED):
        sums = [node.edge for node in graph.nodes if isinstance(node, Convolution)][:-1]
        assert max(accumulator_width(edge.low, edge.high) for edge in sums) <= method.accumulator_bits
    found = compare(model, graph, images[:100])
    assert found.first is None and found.same_class >= 98      # equal integers may round apart in PyTorch
    # At half-integer zeros the outputs lack a constant that all classes share.
    assert found.output_error < 1e-3 or method.name == "plus-minus"
    expected = evaluate(graph, images[:100])
    assert all(len(np.unique(tensor)) > 1 for tensor in expected.values())
    actual, tensors = interpret(compile_graph(graph, CONFIG), images[:100], trace=True)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, expected[name], err_msg=name)
    np.testing.assert_array_equal(actual, expected[graph.output.name])


def test_mls_learns_but_has_no_graph(tmp_path):
    config = TrainConfig(dataset="digits", model="digits", weight_bits=32, activation_bits=32, epochs=1, method=MLS,
                         progress=False)  # fmt: skip
    result = train(config)
    assert result.test_accuracy > 0.5
    with pytest.raises(LoweringError, match="float"):
        lower(result.model)


@pytest.mark.parametrize("method", [AQE, PLUS_MINUS, LEARNED], ids=str)
def test_padding_holds_code_zero(method):
    model = method.apply(build_model("digits", 2, 2))
    layers = [m for m in model.modules() if isinstance(m, QuantWeight)]
    activation = next(m for m in model.modules() if isinstance(m, QuantActivation))
    assert layers[0].padding_value == 0
    assert {m.padding_value for m in layers[1:]} == {-activation.zero * activation.unit}
    layers[1].padding_value = 0.25
    with pytest.raises(LoweringError, match=r"pads with 0\.25, but the code 0 of its input stands for"):
        lower(model.eval())


def test_padding_value_is_what_the_window_sees():
    layer = QuantConv2d(1, 1, 3, padding=1, weight_bits=1)
    torch.nn.init.ones_(layer.weight)
    layer.padding_value = -1.0
    assert layer(torch.zeros(1, 1, 1, 1)).item() == -8


def test_first_and_last_layers():
    bits = [m.weight_bits for m in Method(first_bits=32, last_bits=1).apply(build_model("digits", 2, 2)).modules()
            if isinstance(m, QuantWeight)]  # fmt: skip
    assert bits == [32, 2, 2, 1]
    bits = [m.weight_bits for m in AQE.apply(build_model("digits", 2, 2)).modules() if isinstance(m, QuantWeight)]
    assert bits == [2] * 4


def test_outer_layers_with_more_bits_than_aqe_has_are_those_of_dorefa():
    layers = [m for m in AQE_ENDS.apply(build_model("digits", 1, 1)).modules() if isinstance(m, QuantWeight)]
    assert [type(m) for m in layers] == [QuantConv2d, AsymptoticConv2d, AsymptoticConv2d, QuantLinear]
    assert [m.padding_value for m in layers[:3]] == [0, -1, -1]
    levels = [len(torch.unique(m.weight_codes()[0])) for m in layers]
    assert levels[0] > 20 and levels[1:3] == [2, 2] and levels[3] > 100


def test_signs_behind_a_max_pool_are_in_the_middle():
    """Fresh batch norms in front of a pool start where half of the largest of 4 normal values are positive."""
    model = AQE.apply(build_model("digits", 1, 1))
    AQE.initialise(model)
    assert not model.conv1.norm.bias.any()
    bias = model.conv2.norm.bias.detach()
    assert bias.unique().numel() == 1 and bias[0] < -0.9
    values = torch.randn(4, 100_000, generator=torch.Generator().manual_seed(0)).amax(0) + bias[0]
    assert abs((values > 0).double().mean() - 0.5) < 0.01
    plain = DOREFA.apply(build_model("digits", 1, 1))
    DOREFA.initialise(plain)
    assert not plain.conv2.norm.bias.any()


def test_alpha_follows_the_schedule():
    model = AQE.apply(build_model("digits", 2, 2))
    AQE.advance(model, 0.35)
    alphas = {m.alpha for m in model.modules() if hasattr(m, "alpha")}
    assert alphas == {0.75}
    AQE.advance(model, 0.9)
    assert {m.alpha for m in model.modules() if hasattr(m, "alpha")} == {1.0}


def test_dictionary_round_trip():
    for method in (DOREFA, AQE, CHANNEL, Method(name="mls", element=(2, 4))):
        assert Method.from_dict(method.to_dict()) == method


BASE = {"dataset": "digits", "model": "digits", "progress": False}


@pytest.mark.parametrize("make, message", [
    (lambda: Method(name="xnor"), "unknown method 'xnor': choose one of dorefa, aqe, plus-minus, a2q, a2q+, mls"),
    (lambda: Method(first_bits=9), "first layer bits must be 1 to 8, or 32 for float, not 9"),
    (lambda: Method(name="aqe", alpha_reach=1.5),
     "alpha must reach 1 during training: after the part 0 to 1 of all steps, not 1.5"),
    (lambda: Method(name="aqe", learned_clip=True), "a learned clip belongs to method 'dorefa', not 'aqe'"),
    (lambda: Method(name="mls", element=(9, 1)),
     "element of MLS must be <exponent bits 0 to 3, mantissa bits 0 to 7>, not (9, 1)"),
    (lambda: TrainConfig(**BASE, weight_bits=5, method=AQE), "weight bits of AQE must be 1 to 4, not 5"),
    (lambda: TrainConfig(**BASE, weight_bits=3, method=Method(name="aqe", delta=0.3)),
     "delta must be at least 0 and below the least level 0.25, not 0.3"),
    (lambda: TrainConfig(**BASE, precision="float8"),
     "precision must be 'float32', 'bfloat16' or 'float16', not 'float8'"),
    (lambda: TrainConfig(**BASE, device="tpu"), "device must be 'cpu', 'cuda' or 'auto', not 'tpu'"),
    (lambda: TrainConfig(**BASE, weight_bits=32, activation_bits=32, precision="bfloat16", method=MLS),
     "method 'mls' rounds values itself: precision must be 'float32', not 'bfloat16'"),
    (lambda: TrainConfig(**BASE, method=BOUNDED),
     "method 'a2q' needs weight bits 2 to 8 and activation bits 1 to 8, not 1,2"),
    (lambda: TrainConfig(**BASE, weight_bits=4, method=Method(name="a2q", accumulator_bits=9)),
     "9-bit accumulators hold no weight at all with 8-bit inputs: accumulator bits must be at least 10"),
    (lambda: TrainConfig(**BASE, method=MLS),
     "method 'mls' has a format of its own: bits must be 32,32,32, not 1,2,32"),
    (lambda: TrainConfig(**BASE, activation_bits=32, method=PLUS_MINUS),
     "method 'plus-minus' needs activation bits 1 to 8, not 32"),
    (lambda: TrainConfig(**BASE, activation_bits=32, gradient_bits=4),
     "4-bit gradients need quantized activations, of 1 to 8 bits, not 32")])
def test_refusals_before_training(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value) == message


def test_residual_networks_need_unsigned_codes():
    for method, what in ((AQE, "signed activations"), (LEARNED, "learned clipping levels")):
        with pytest.raises(ValueError, match=f"and the method has {what}; choose a network without QuantAdd"):
            method.apply(build_model("resnet-digits", 2, 2))


def test_signed_codes_have_no_average():
    model = torch.nn.Sequential(
        QuantInput(), QuantConv2d(1, 2, 3, weight_bits=1), AsymptoticActivation(2), torch.nn.AvgPool2d(3),
        QuantActivation(2))  # fmt: skip
    with pytest.raises(LoweringError, match="takes signed codes"):
        lower(model.eval(), (1, 5, 5))


def test_resume_needs_the_same_method(tmp_path):
    config = TrainConfig(**BASE, epochs=1, output=tmp_path / "model.pt")
    train(config)
    with pytest.raises(TrainError, match="was trained with method"):
        train(replace(config, epochs=2, resume=True, method=LEARNED))
