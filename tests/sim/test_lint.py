"""Generated Verilog is clean apart from the listed warnings, and the list does not hide a mistake."""

import dataclasses

import pytest

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.generate import verilog_text
from dorefabric.sim.lint import WAIVED, lint
from dorefabric.sim.tools import ToolError, find_verilator

SINGLE = FabricConfig(rows=1, columns=1, lanes=8, tile_columns=1, front="bus")


@pytest.fixture(autouse=True)
def verilator():
    try:
        find_verilator()
    except ToolError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("front", ["uart", "axi", "bus", "single"])
def test_generated_designs(small, front, tmp_path):
    config = SINGLE if front == "single" else dataclasses.replace(small, front=front)
    path = tmp_path / "dorefabric.v"
    path.write_text(verilog_text(config))
    assert lint([path], "dorefabric") == []


def test_mistakes_are_found(tmp_path):
    path = tmp_path / "top.v"
    path.write_text("module top(input a, input b, output reg q); always @* if (a) q = b; endmodule\n")
    assert any("LATCH" in line for line in lint([path]))
    path.write_text("module top(output q); assign q = ; endmodule\n")
    assert "syntax error" in lint([path])[0]


def test_every_waiver_has_a_reason():
    assert all(len(reason) > 10 for reason in WAIVED.values())
