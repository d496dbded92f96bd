"""The whole core: single layers on the bare bus, and networks through the ordinary driver.

What is expected was computed by the golden model when the bench was prepared (`vectors.write_vectors`).
"""

from typing import Any

import cocotb
import numpy as np
from cocotb.task import bridge

from dorefabric.sw.driver import Accelerator
from dorefabric.sw.program import Program

from .bench import parameters
from .bench_bus import BusMaster, CocotbLink


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def every_layer_equals_the_golden_model(dut):
    values = parameters()
    master = BusMaster(dut, stalls=values["stalls"], seed=values["seed"])
    await master.reset()
    link = CocotbLink(master)
    for case in values["cases"]:
        await bridge(_check_case)(link, case, dut._log)


def _check_case(link: CocotbLink, case: dict[str, Any], log: Any) -> None:
    program = Program.load(case["path"] + ".dfp")
    arrays = np.load(case["path"] + ".npz")
    accelerator = Accelerator(link).load(program)
    result, tensors = accelerator.trace(arrays["images"])
    for name, actual in tensors.items():
        expected = arrays[f"tensor{case['names'].index(name)}"]
        assert np.array_equal(actual, expected), f"layer {name} of {case['path']} differs"
    assert np.array_equal(result, arrays["output"]), f"result of {case['path']} differs"
    # The same without stopping between the layers, and the cycle model on every layer.
    assert np.array_equal(accelerator.run(arrays["images"]), arrays["output"])
    for layer, counters in zip(program.layers, accelerator.layer_counters(), strict=True):
        assert counters["cycles"] == layer.cycles, f"cycles of layer {counters['name']}"
        log.info("%s: %d cycles, equal", counters["name"], counters["cycles"])
