"""The synthesised netlist of the small bus component behaves as its source, on both fabrics' cell models."""

import numpy as np
import pytest

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.registers import address
from dorefabric.sim.gates import FABRICS, GateLevelLink
from dorefabric.sim.tools import ToolError


@pytest.mark.parametrize("fabric", FABRICS)
def test_netlist_of_the_bus_component(bus_memory, fabric):
    words = np.random.default_rng(2).integers(0, 1 << 32, 16, dtype=np.uint32)
    with GateLevelLink(FabricConfig(), technology=fabric, verilog=bus_memory.small_verilog) as link:
        link.write(address("features", 0), words)
        assert np.array_equal(link.read(address("features", 0), 16), words)
        link.write(address("registers", 4), np.array([1]))
        assert link.read(address("registers", 5), 1)[0] == 1
        link.wait_idle(60)


def test_fabric_without_models():
    with pytest.raises(ToolError, match=r"^gate-level simulation needs the technology ice40 or ecp5, not 'gowin'$"):
        GateLevelLink(FabricConfig(technology="gowin"))
