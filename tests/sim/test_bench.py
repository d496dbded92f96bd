"""The cocotb benches on both simulators, and what a failing bench reports."""

import numpy as np
import pytest
from amaranth.back import verilog

from dorefabric.hw.array import SystolicArray
from dorefabric.sim.bench import SIMULATORS, BenchError, run_bench
from dorefabric.sim.design import board_verilog, core_verilog
from dorefabric.sim.tools import ToolError, missing_for_cocotb
from dorefabric.sim.vectors import write_vectors
from dorefabric.sw.random_graphs import random_images, random_layer, random_network


@pytest.fixture(params=SIMULATORS)
def simulator(request):
    reason = missing_for_cocotb(request.param)
    if reason:
        pytest.skip(reason)
    return request.param


def test_array(simulator, small, tmp_path):
    text = verilog.convert(SystolicArray(small), name="top")
    values = {"config": small.to_dict(), "seed": 3, "count": 4}
    results = run_bench("dorefabric.sim.bench_array", text, tmp_path, simulator=simulator, values=values)
    assert {result.name for result in results} == {"products_drained_raw", "products_drained_through_thresholds"}


def test_core(simulator, small, tmp_path):
    rng = np.random.default_rng(11)
    layer = random_layer(rng, 3, 2, 2, channels_in=5, channels_out=6, size=(4, 5))
    network = random_network(rng, weight_bits=1, activation_bits=2, input_bits=2, blocks=1, size=4, channels=4)
    images = [random_images(rng, graph, 1) for graph in (layer, network)]
    values = write_vectors([layer, network], images, small, tmp_path / "vectors") | {"stalls": 0.2, "seed": 5}
    results = run_bench(
        "dorefabric.sim.bench_core", core_verilog(small), tmp_path, simulator=simulator, values=values
    )
    assert [result.name for result in results] == ["every_layer_equals_the_golden_model"]


def test_link(simulator, small, tmp_path):
    values = {"config": small.to_dict(), "seed": 6, "count": 3}
    results = run_bench(
        "dorefabric.sim.bench_link", board_verilog(small), tmp_path, simulator=simulator, values=values
    )
    assert len(results) == 2


@pytest.fixture
def quickest():
    """The simulator that compiles faster, of those that are here."""
    for name in reversed(SIMULATORS):
        if not missing_for_cocotb(name):
            return name
    pytest.skip(missing_for_cocotb("verilator"))


def test_bus_under_stalls(quickest, bus_memory, tmp_path):
    values = {"stalls": 0.3, "seed": 7, "count": 100, "words": 1024}
    results = run_bench("dorefabric.sim.bench_memory", bus_memory.verilog, tmp_path, simulator=quickest, values=values)
    assert [result.name for result in results] == ["words_written_are_read_back"]
    assert results[0].simulated_ns > 200 * 10


def test_a_failing_bench_names_the_test(quickest, bus_memory, tmp_path):
    values = {"stalls": 0.0, "seed": 7, "count": 100, "words": 1 << 24}  # addresses wrap at 1,024
    message = r"^dorefabric\.sim\.bench_memory\.words_written_are_read_back failed: .*; log: .*log\.txt$"
    with pytest.raises(BenchError, match=message):
        run_bench("dorefabric.sim.bench_memory", bus_memory.verilog, tmp_path, simulator=quickest, values=values)


def test_a_design_that_does_not_compile(simulator, tmp_path):
    with pytest.raises(ToolError, match=rf"^{simulator} cannot compile the design: .*rror"):
        run_bench("dorefabric.sim.bench_memory", "module top(; endmodule", tmp_path, simulator=simulator)
