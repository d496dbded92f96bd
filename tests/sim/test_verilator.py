"""The compiled harness as a link, on a small component with the core's bus."""

import numpy as np
import pytest

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.registers import address
from dorefabric.sim.verilator import VerilatorLink
from dorefabric.sw.link import LinkError

CONFIG = FabricConfig()


@pytest.mark.parametrize("stalls", [0.0, 0.4])
def test_words_written_are_read_back(bus_memory, stalls):
    words = np.random.default_rng(1).integers(0, 1 << 32, 500, dtype=np.uint32)
    with VerilatorLink(CONFIG, verilog=bus_memory.verilog, stalls=stalls, seed=3) as link:
        link.write(address("features", 100), words)
        assert np.array_equal(link.read(address("features", 100), 500), words)
        link.write(address("features", 150), words[:3])
        assert np.array_equal(link.read(address("features", 149), 5), [words[49], *words[:3], words[53]])


def test_one_word_a_cycle(bus_memory):
    with VerilatorLink(CONFIG, verilog=bus_memory.verilog) as link:
        before = link.cycles
        link.write(address("features", 0), np.arange(1000, dtype=np.uint32))
        assert link.cycles - before == 1000
