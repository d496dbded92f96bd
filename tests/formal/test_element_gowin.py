"""The Gowin element's cells against the behavioural forms that simulation runs."""

import subprocess
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assert, Const, Cover, Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out

from dorefabric.boards.tools import find_tool
from dorefabric.hw.element_gowin import GowinAccumulator, GowinMismatches
from dorefabric.hw.popcount import Popcount
from dorefabric.sim.formal import cover, prove
from dorefabric.sim.properties import free

_SCRIPT = (
    "read_rtlil gold.il; prep -flatten -top gold; design -stash gold;"
    "read_rtlil gate.il; prep -flatten -top gate; design -copy-from gold gold;"
    "equiv_make gold gate both; hierarchy -top both; opt_clean; equiv_simple; equiv_status -assert"
)


class Counted(Component):
    """Mismatches of ``width`` lanes: behaviour, or cells with the unit's name and so the names of its signals."""

    def __init__(self, width: int, cells: bool, wrong: bool = False) -> None:
        self._width, self._cells, self._wrong = width, cells, wrong
        super().__init__(
            {
                "activations": In(width),
                "weights": In(width),
                "count": Out(width.bit_length() - 1),
                "carry": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        weights = self.weights ^ (1 if self._wrong else 0)
        if self._cells:
            m.submodules.unit = unit = GowinMismatches(self._width)
            m.d.comb += [unit.activations.eq(self.activations), unit.weights.eq(weights)]
        else:
            m.submodules.unit = unit = Popcount(self._width, "gowin")
            m.d.comb += unit.lanes.eq(self.activations ^ weights)
        m.d.comb += [self.count.eq(unit.count), self.carry.eq(unit.carry)]
        return m


def _equivalent(folder: Path, width: int, wrong: bool = False) -> bool:
    """Whether yosys proves both forms equal, register by register, level by level."""
    (folder / "gold.il").write_text(rtlil.convert(Counted(width, False), name="gold", emit_src=False))
    (folder / "gate.il").write_text(rtlil.convert(Counted(width, True, wrong), name="gate", emit_src=False))
    command = [*find_tool("yosys").command, "-p", _SCRIPT]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    proved = "Equivalence successfully proven!" in done.stdout
    assert proved == (done.returncode == 0), done.stdout[-1000:] + done.stderr
    return proved


@pytest.mark.parametrize("width", [8, 32, 64])
def test_population_counts_are_equal(tmp_path, width: int) -> None:
    assert _equivalent(tmp_path, width)


def test_another_function_is_not_equal(tmp_path) -> None:
    assert not _equivalent(tmp_path, 8, wrong=True)


class AccumulatorHarness(Component):
    """The next value, for every value, count and control."""

    def __init__(self, count_bits: int, bits: int) -> None:
        self._widths = count_bits, bits
        super().__init__({})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.dut = dut = GowinAccumulator(*self._widths)
        for value in (dut.count, dut.carry, dut.enable, dut.clear, dut.double):
            free(m, value)
        expected = Signal.like(dut.accumulator)
        known = Signal()
        addend = Mux(dut.clear, Const(0), Mux(dut.double, dut.accumulator << 1, dut.accumulator))
        with m.If(dut.enable):
            m.d.sync += [expected.eq(addend + dut.count + dut.carry), known.eq(known | dut.clear)]
        m.d.comb += [Assert(~known | (expected == dut.accumulator)), Cover(known & dut.accumulator.all())]
        return m


@pytest.mark.parametrize(("count_bits", "bits"), [(5, 20), (6, 20), (6, 16), (6, 6), (3, 8)])
def test_accumulators_are_equal(count_bits: int, bits: int) -> None:
    prove(AccumulatorHarness(count_bits, bits), 3)


def test_an_accumulator_fills() -> None:
    cover(AccumulatorHarness(6, 8), 12)
