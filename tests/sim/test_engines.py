"""The same compiled network on every engine: equal results, equal tensors, equal cycle counts."""

import numpy as np
import pytest

from dorefabric.sim import engines
from dorefabric.sim.engines import ENGINES, open_engine
from dorefabric.sim.tools import ToolError, find_compiler, find_verilator
from dorefabric.sw.compile import compile_graph
from dorefabric.sw.driver import Accelerator
from dorefabric.sw.random_graphs import random_images, random_layer, random_network
from dorefabric.sw.reference import evaluate


@pytest.fixture(params=ENGINES)
def engine(request):
    if request.param == "verilator":
        try:
            find_verilator()
            find_compiler()
        except ToolError as error:
            pytest.skip(str(error))
    return request.param


def check(link, graph, images, config):
    """Results and every layer's tensor equal the golden model; cycles equal the cycle model."""
    expected = evaluate(graph, images)
    program = compile_graph(graph, config)
    accelerator = Accelerator(link).load(program)
    result, tensors = accelerator.trace(images)
    assert np.array_equal(result, expected[graph.output.name])
    assert tensors
    for name, tensor in tensors.items():
        assert np.array_equal(tensor, expected[name]), name
    assert np.array_equal(accelerator.run(images), result)
    for layer, counters in zip(program.layers, accelerator.layer_counters(), strict=True):
        assert counters["cycles"] == layer.cycles


def test_engines_equal_the_golden_model(engine, small):
    rng = np.random.default_rng(21)
    network = random_network(rng, weight_bits=1, activation_bits=2, input_bits=4, blocks=2, size=5, channels=5)
    link = open_engine(engine, small)
    try:
        check(link, network, random_images(rng, network, 1), small)
    finally:
        link.close()


def test_layers_of_many_precisions_in_one_circuit(small, verilator_link):
    rng = np.random.default_rng(22)
    for index in range(16):
        layer = random_layer(rng, 1 + index % 8, 1 + index * 3 % 8, 1 + index * 5 % 8)
        check(verilator_link, layer, random_images(rng, layer, 2), small)


def test_unknown_engine(small):
    with pytest.raises(ToolError, match=r"^engine must be one of interpret, verilator, pysim, not 'spice'$"):
        open_engine("spice", small)


def test_waveforms_need_signals(small):
    with pytest.raises(
        ToolError, match=r"^the interpreter has no signals to record: use the engine verilator or pysim$"
    ):
        open_engine("interpret", small, wave="x.vcd")


def test_without_a_compiler_the_other_engine_is_named(small, monkeypatch):
    def missing():
        raise ToolError("no C++ compiler found: install one")

    monkeypatch.setattr(engines, "find_compiler", missing)
    with pytest.raises(
        ToolError,
        match=r"^no C\+\+ compiler found: install one; or use the engine pysim, which needs neither but is slow$",
    ):
        open_engine("verilator", small)
