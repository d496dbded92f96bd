"""Runs a cocotb bench on Verilator or Icarus and reports its tests one by one.

A bench is a module of `dorefabric.sim` named ``bench_*`` with ``@cocotb.test`` functions, which runs inside the
simulator's process. It receives its parameters as JSON (`parameters`), and, being Python, imports the reference
functions that it compares the circuit with.
"""

import contextlib
import json
import os
import xml.etree.ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dorefabric.hw.errors import DorefabricError

from .tools import ToolError, cocotb_environment, missing_for_cocotb

__all__ = ["SIMULATORS", "BenchError", "BenchResult", "parameters", "run_bench"]

SIMULATORS = ("verilator", "icarus")

_PARAMETERS = "DOREFABRIC_BENCH"


class BenchError(DorefabricError, RuntimeError):
    """A bench that failed; the message names the first test that did and the log file."""


@dataclass(frozen=True)
class BenchResult:
    """One test of a bench that passed: its name, simulated nanoseconds and seconds of wall time."""

    name: str
    simulated_ns: float
    seconds: float


def parameters() -> dict[str, Any]:
    """Inside a bench: the parameters that `run_bench` was given."""
    return json.loads(os.environ[_PARAMETERS])


def run_bench(
    bench: str,
    verilog: str,
    directory: Path,
    *,
    simulator: str = "verilator",
    values: Mapping[str, Any] | None = None,
    seed: int = 1,
    wave: bool = False,
) -> list[BenchResult]:
    """Run bench module ``bench`` on ``verilog``, whose top module is ``top``, in the empty folder ``directory``.

    ``values`` are the bench's `parameters`. Returns the tests that ran, at least one. Raises `ToolError` when the
    simulator cannot be had or the design does not compile, `BenchError` when a test fails.
    """
    reason = missing_for_cocotb(simulator)
    if reason:
        raise ToolError(reason)
    from cocotb_tools.runner import get_runner

    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    source, results, log = directory / "top.v", directory / "results.xml", directory / "log.txt"
    source.write_text(verilog)
    arguments = {
        "verilator": ["-Wno-fatal", "-Wno-lint", "-Wno-style", "-O3", "--x-initial", "fast"],
        # In SystemVerilog a variable's initial value is no event, so that combinational blocks as Yosys writes them
        # would not run at time 0; in Verilog it is. The later of two -g options counts.
        "icarus": ["-g2005"],
    }[simulator]
    environment = {
        **(cocotb_environment() if simulator == "verilator" else {}),
        _PARAMETERS: json.dumps(values or {}),
        "COCOTB_ANSI_OUTPUT": "0",
    }
    with _environment(environment):
        runner = get_runner(simulator)
        try:
            runner.build(
                sources=[source], hdl_toplevel="top", build_dir=directory / "build", timescale=("1ns", "1ps"),
                build_args=arguments, waves=wave, log_file=directory / "build.txt",
            )  # fmt: skip
        except RuntimeError:
            raise ToolError(f"{simulator} cannot compile the design: {_last_line(directory / 'build.txt')}") from None
        with contextlib.suppress(SystemExit, RuntimeError):  # what the results file says counts
            runner.test(
                test_module=bench, hdl_toplevel="top", build_dir=directory / "build", test_dir=directory,
                results_xml=str(results), seed=seed, waves=wave, log_file=log, timescale=("1ns", "1ps"),
            )  # fmt: skip
    return _read_results(bench, results, log)


def _read_results(bench: str, results: Path, log: Path) -> list[BenchResult]:
    if not results.exists():
        raise BenchError(f"{bench}: the simulator stopped before the first result: {_last_line(log)}; log: {log}")
    passed = []
    for case in xml.etree.ElementTree.parse(results).iter("testcase"):
        name = case.get("name", "")
        failure = case.find("failure")
        if failure is None:
            failure = case.find("error")
        if failure is not None:
            message = failure.get("message") or failure.get("error_msg") or (failure.text or "").strip()
            reason = next(iter(message.splitlines()), "no reason given")
            raise BenchError(f"{bench}.{name} failed: {reason}; log: {log}")
        properties = {item.get("name"): item.get("value") for item in case.iter("property")}
        passed.append(BenchResult(name, float(properties["sim_time_duration"] or 0), float(case.get("time", 0))))
    if not passed:
        raise BenchError(f"{bench} has no tests")
    return passed


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return next((line for line in reversed(lines) if "rror" in line), lines[-1] if lines else "no output")


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables for cocotb's runner, which reads and passes on those of this process."""
    saved = dict(os.environ)
    os.environ.update(values)
    os.environ.pop("PYTEST_CURRENT_TEST", None)  # else the runner names its files by it
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)
