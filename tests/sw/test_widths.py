"""Widths of sums: exact for the layers, and just wide enough for the circuit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dorefabric.hw.config import FabricConfig
from dorefabric.sw.cli import main
from dorefabric.sw.compile import CompileError, compile_graph
from dorefabric.sw.interpret import interpret
from dorefabric.sw.lower import lower
from dorefabric.sw.methods import Method
from dorefabric.sw.model_file import save_model
from dorefabric.sw.models import build_model
from dorefabric.sw.random_graphs import random_images, random_network
from dorefabric.sw.reference import evaluate
from dorefabric.sw.widths import check_widths, layer_widths, required_widths

CONFIG = FabricConfig(name="c", rows=2, columns=8, lanes=32, weight_depth=8192, feature_depth=4096,
                      threshold_depth=1024)  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_least_widths_are_enough_and_one_bit_less_is_not(seed):
    rng = np.random.default_rng(seed)
    graph = random_network(rng)
    widths = layer_widths(graph, CONFIG)
    accumulator, threshold = required_widths(widths)
    tight = replace(CONFIG, accumulator_bits=accumulator, threshold_bits=threshold)
    check_widths(widths, tight)
    images = random_images(rng, graph, 2)
    actual, _ = interpret(compile_graph(graph, tight), images)
    values = evaluate(graph, images)
    np.testing.assert_array_equal(actual, values[graph.output.name])
    for width in widths:                       # the exact range of what the random images reach fits
        if width.sum_bits is not None and width.raw:
            assert (np.abs(values[width.name] * 2 + 1) < 1 << width.sum_bits).all()
    for name, given in (("accumulator_bits", accumulator), ("threshold_bits", threshold)):
        if given == 8 or (name == "accumulator_bits" and accumulator == threshold):
            continue
        narrow = replace(tight, **{name: given - 1})
        needs = f"the network needs accumulator_bits = {accumulator} and threshold_bits = {threshold}"
        with pytest.raises(CompileError, match=f"do not fit {name} = {given - 1} of configuration 'c'; {needs}"):
            check_widths(widths, narrow)
        with pytest.raises(CompileError, match=name):
            compile_graph(graph, narrow)


def fresh(method, bits):
    torch.manual_seed(0)
    model = method.apply(build_model("digits", *bits))
    model(torch.rand(32, 1, 8, 8))
    return model.eval()


@pytest.mark.parametrize("name, bits", [("a2q", 12), ("a2q", 16), ("a2q+", 10), ("a2q+", 14)])
def test_guaranteed_bounds_are_what_the_compiler_finds(name, bits):
    """Every layer but the last keeps its promise; some layer makes use of it."""
    graph = lower(fresh(Method(name=name, accumulator_bits=bits), (4, 2)))
    sums = [width.sum_bits for width in layer_widths(graph, CONFIG) if width.sum_bits is not None]
    assert len(sums) == 4 and max(sums[:-1]) <= bits
    assert max(sums[:-1]) == bits or bits >= 14


def test_commands(tmp_path, capsys):
    path = tmp_path / "model.pt"
    save_model(fresh(Method(), (1, 2)), path, name="digits", bits=(1, 2, 32))
    output = tmp_path / "core"
    assert main(["generate", "--rows", "2", "--columns", "8", "--lanes", "32", "--network", str(path), "-o",
                 str(output)]) == 0  # fmt: skip
    config = FabricConfig.from_toml(output / "config.toml")
    assert (config.weight_bits, config.activation_bits) == (8, 8)
    accumulator, threshold = config.accumulator_bits, config.threshold_bits
    assert f"accumulator_bits {accumulator}, threshold_bits {threshold}" in capsys.readouterr().out
    assert 8 <= threshold <= accumulator < 24
    program = ["compile", str(path), "--config", str(output / "config.toml"), "-o", str(tmp_path / "model.dfp")]
    assert main(program) == 0
    shown = capsys.readouterr().out.replace("\n", " ")
    assert f"counts need accumulator_bits {accumulator} of {accumulator}, threshold_bits {threshold}" in shown
    text = (output / "config.toml").read_text()
    (output / "config.toml").write_text(text.replace(f"accumulator_bits = {accumulator}",
                                                     f"accumulator_bits = {accumulator - 1}"))  # fmt: skip
    (tmp_path / "model.dfp").unlink()
    assert main(program) == 2
    assert f"the network needs accumulator_bits = {accumulator}" in capsys.readouterr().err
    assert not (tmp_path / "model.dfp").exists()
