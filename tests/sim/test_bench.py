"""The cocotb benches on both simulators, and what a failing bench reports."""

import pytest

from dorefabric.sim.bench import SIMULATORS, BenchError, run_bench
from dorefabric.sim.tools import ToolError, missing_for_cocotb


@pytest.fixture(params=SIMULATORS)
def simulator(request):
    reason = missing_for_cocotb(request.param)
    if reason:
        pytest.skip(reason)
    return request.param


def test_bus_under_stalls(simulator, bus_memory, tmp_path):
    values = {"stalls": 0.3, "seed": 7, "count": 100, "words": 1024}
    results = run_bench("dorefabric.sim.bench_memory", bus_memory.verilog, tmp_path, simulator=simulator, values=values)
    assert [result.name for result in results] == ["words_written_are_read_back"]
    assert results[0].simulated_ns > 200 * 10


def test_a_failing_bench_names_the_test(bus_memory, tmp_path):
    simulator = next((name for name in reversed(SIMULATORS) if not missing_for_cocotb(name)), None)
    if simulator is None:
        pytest.skip(missing_for_cocotb("icarus"))
    values = {"stalls": 0.0, "seed": 7, "count": 100, "words": 1 << 24}  # addresses wrap at 1,024
    message = r"^dorefabric\.sim\.bench_memory\.words_written_are_read_back failed: .*; log: .*log\.txt$"
    with pytest.raises(BenchError, match=message):
        run_bench("dorefabric.sim.bench_memory", bus_memory.verilog, tmp_path, simulator=simulator, values=values)


def test_a_design_that_does_not_compile(simulator, tmp_path):
    with pytest.raises(ToolError, match=rf"^{simulator} cannot compile the design: .*rror"):
        run_bench("dorefabric.sim.bench_memory", "module top(; endmodule", tmp_path, simulator=simulator)
