"""Both simulators as links, on a small component with the core's bus: the same body for each."""

import numpy as np
import pytest

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.registers import address
from dorefabric.sim.pysim import PysimLink
from dorefabric.sim.tools import ToolError
from dorefabric.sim.verilator import VerilatorLink
from dorefabric.sw.link import LinkError

CONFIG = FabricConfig()
START = address("registers", 4)
STATUS = address("registers", 5)


@pytest.fixture(params=["verilator", "verilator-stalls", "pysim"])
def link(request, bus_memory):
    if request.param == "pysim":
        link = PysimLink(CONFIG, component=bus_memory.component())
    else:
        stalls = 0.4 if "stalls" in request.param else 0.0
        link = VerilatorLink(CONFIG, verilog=bus_memory.verilog, stalls=stalls, seed=3)
    yield link
    link.close()


def test_words_written_are_read_back(link):
    words = np.random.default_rng(1).integers(0, 1 << 32, 200, dtype=np.uint32)
    link.write(address("features", 100), words)
    back = link.read(address("features", 100), 200)
    assert back.dtype == np.uint32
    assert np.array_equal(back, words)
    link.write(address("features", 150), words[:3])
    assert np.array_equal(link.read(address("features", 149), 5), [words[49], *words[:3], words[53]])


def test_wait_idle_runs_until_the_circuit_stops(link, bus_memory):
    link.wait_idle(10)
    before = link.cycles
    link.write(START, np.array([1]))
    assert link.read(STATUS, 1)[0] == 1
    link.wait_idle(60)
    assert link.read(STATUS, 1)[0] == 0
    assert bus_memory.busy_cycles < link.cycles - before < bus_memory.busy_cycles + 600


def test_wait_idle_gives_up(link):
    link.write(START, np.array([1]))
    with pytest.raises(LinkError, match=r"^the simulated circuit is still busy after 0 s$"):
        link.wait_idle(0)
    link.wait_idle(60)


def test_a_dead_bus_is_an_error(link):
    message = r"^the simulator stopped: read of bus address 0x2000003 not answered in 10+ cycles$"
    with pytest.raises(LinkError, match=message):
        link.read(address("taps", 3), 1)
    with pytest.raises(LinkError, match=r"^the link to the simulated circuit is closed$"):
        link.read(STATUS, 1)
    link.close()


def test_one_word_a_cycle(bus_memory):
    pysim = PysimLink(CONFIG, component=bus_memory.component())
    for link in (VerilatorLink(CONFIG, verilog=bus_memory.verilog), pysim):
        with link:
            before = link.cycles
            link.write(address("features", 0), np.arange(1000, dtype=np.uint32))
            assert link.cycles - before in (1000, 1001)  # the second simulator first ends the cycle it is in


def test_vcd_of_both_simulators(bus_memory, tmp_path):
    for name, link in (
        ("verilator", VerilatorLink(CONFIG, tmp_path / "verilator.vcd", verilog=bus_memory.verilog)),
        ("pysim", PysimLink(CONFIG, tmp_path / "pysim.vcd", component=bus_memory.component())),
    ):
        with link:
            link.write(address("features", 0), np.array([0x12345678]))
        text = (tmp_path / f"{name}.vcd").read_text()
        assert "bus__request__payload" in text
        assert bin(0x12345678)[2:] in text


def test_wrong_waveform_names(bus_memory, tmp_path):
    with pytest.raises(ToolError, match=r"^waveform file must end in \.vcd or \.fst, not 'x\.wave'$"):
        VerilatorLink(CONFIG, "x.wave", verilog=bus_memory.verilog)
    with pytest.raises(ToolError, match=r"^Amaranth's simulator writes \.vcd waveforms only, not 'x\.fst'$"):
        PysimLink(CONFIG, "x.fst")
    missing = tmp_path / "none" / "x.vcd"
    with pytest.raises(LinkError, match=rf"^the simulator stopped: cannot write waveform file {missing}$"):
        VerilatorLink(CONFIG, missing, verilog=bus_memory.verilog).read(STATUS, 1)
    component = bus_memory.component()
    with pytest.raises(ToolError, match=rf"^cannot write waveform file {missing}: No such file or directory$"):
        PysimLink(CONFIG, missing, component=component)
