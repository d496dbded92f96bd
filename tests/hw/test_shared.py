"""Shared modules: one for each set of parameters, the same function as without sharing."""

import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest
from amaranth.back import verilog
from amaranth.hdl import Cat, Module
from amaranth.lib.wiring import Component, In, Out

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.generate import verilog_text
from dorefabric.hw.shared import convert, place


class Stage(Component):
    """Adds its parameter, one cycle later."""

    def __init__(self, value: int) -> None:
        self.value = value
        super().__init__({"i": In(8), "o": Out(8)})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.d.sync += self.o.eq(self.i + self.value)
        return m


class Row(Component):
    def __init__(self) -> None:
        super().__init__({"i": In(8), "o": Out(8), "sum": Out(16)})

    def elaborate(self, platform) -> Module:
        m = Module()
        value = self.i
        stages = {"one": partial(Stage, 1), "two": partial(Stage, 2), "three": partial(Stage, 3)}
        for index, kind in enumerate(["one", "two", "one", "three", "one"]):
            stage = place(m, platform, f"stage_{index}", kind, stages[kind])
            m.d.comb += stage.i.eq(value)
            value = stage.o
        m.d.comb += [self.o.eq(value), self.sum.eq(Cat(value, value))]
        return m


def test_equal_components_become_one_module() -> None:
    text = convert(Row(), name="row")
    assert re.findall(r"^module (\w+)", text, re.MULTILINE) == ["row", "row_one", "row_two", "row_three"]
    assert [text.count(f"  {name} ") for name in ("row_one", "row_two", "row_three")] == [3, 1, 1]
    assert convert(Row(), name="row") == text
    assert verilog.convert(Row(), name="row").count("\nmodule ") == 6


def test_sharing_changes_no_behaviour(tmp_path: Path) -> None:
    if shutil.which("iverilog") is None:
        pytest.skip("iverilog is not installed")
    bench = """
module bench;
  reg clk = 0, rst = 0; reg [7:0] i = 0; wire [7:0] a, b; integer k;
  shared_row s(.clk(clk), .rst(rst), .i(i), .o(a));
  plain_row p(.clk(clk), .rst(rst), .i(i), .o(b));
  initial begin
    for (k = 0; k < 300; k = k + 1) begin
      i = $random; rst = k % 50 == 30; #1 clk = 1; #1 clk = 0; #1
      if (a !== b) $display("FAIL %0d %h %h", k, a, b);
    end
    $display("last %h", a);
  end
endmodule
"""
    text = convert(Row(), name="shared_row") + verilog.convert(Row(), name="plain_row") + bench
    (tmp_path / "all.v").write_text(text)
    subprocess.run(["iverilog", "-g2005", "-o", "bench", "-s", "bench", "all.v"], cwd=tmp_path, check=True)
    out = subprocess.run(["vvp", "bench"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert "FAIL" not in out
    assert re.search(r"last [0-9a-f]{2}$", out, re.MULTILINE)


def test_an_array_is_small_text() -> None:
    small = verilog_text(FabricConfig(rows=2, columns=8, lanes=32, tile_columns=2))
    large = verilog_text(FabricConfig(rows=2, columns=32, lanes=32, tile_columns=2))
    assert len(re.findall(r"^module dorefabric_element\(", large, re.MULTILINE)) == 1
    assert len(large) < 1.5 * len(small)
