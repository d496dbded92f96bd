"""Run a program file on the interpreter or on the simulated circuit, and check it against the trained model."""

import argparse
import time
from typing import Any

import numpy as np

from dorefabric.hw.errors import DorefabricError
from dorefabric.sw.cli import CheckFailed

from .common import console, load_array, progress_bar, save_array, table
from .compile import layer_table

EXAMPLE = "dorefabric simulate net.dfp --input x.npy --engine verilator --check model.pt"

ENGINES = ("interpret", "verilator", "pysim")

__all__ = ["ENGINES", "EXAMPLE", "add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("program", metavar="NET.dfp")
    parser.add_argument("--input", required=True, metavar="X.npy", help="unsigned 8-bit images (N, C, H, W)")
    parser.add_argument("--output", metavar="Y.npy", help="where the results go")
    parser.add_argument("--engine", choices=ENGINES, default="interpret")
    parser.add_argument("--wave", metavar="FILE", help="waveforms of the circuit, .vcd or .fst (verilator, pysim)")
    parser.add_argument("--check", metavar="MODEL.pt", help="compare every layer with the trained model")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from dorefabric.sw.program import Program

    program = Program.load(args.program)
    images = load_array(args.input)
    program.check_input(images)
    if args.wave and args.engine == "interpret":
        raise DorefabricError("--wave needs --engine verilator or pysim: the interpreter has no signals")
    golden = _golden(args.check, images) if args.check else None
    started = time.perf_counter()
    result, tensors, counters, cycles = _execute(args, program, images, trace=golden is not None)
    seconds = time.perf_counter() - started
    report: dict[str, Any] = {
        "engine": args.engine, "images": len(images), "seconds": seconds, "program": program.report(),
    }  # fmt: skip
    if args.output:
        save_array(args.output, result)
    if counters:
        report["layers"] = counters
        console.print(layer_table(f"cycles, measured ({args.engine})", counters))
        report["cycles"] = cycles
        console.print(f"{cycles:,} cycles an image = {1e6 * cycles / program.config.clock_frequency:,.1f} µs "
                      f"at {program.config.clock_frequency / 1e6:g} MHz")  # fmt: skip
    console.print(f"{len(images)} images in {seconds:.2f} s on {args.engine}")
    if golden is not None:
        _check(golden, tensors, report)
    return report


def _execute(
    args: argparse.Namespace, program: Any, images: np.ndarray, trace: bool
) -> tuple[np.ndarray, dict[str, np.ndarray], list[dict[str, Any]], int]:
    """Results, the tensor of every layer where ``trace``, the circuit's counters of the last image, and the cycles for
    which it was busy with that."""
    if args.engine == "interpret":
        from dorefabric.sw.interpret import interpret

        with progress_bar("images", len(images)) as advance:
            result, tensors = interpret(program, images, trace=trace, progress=advance)
        return result, tensors, [], 0
    from dorefabric.sim.engines import open_engine
    from dorefabric.sw.driver import Accelerator

    with console.status(f"preparing {args.engine} (compiled once, then cached)"):
        link = open_engine(args.engine, program.config, wave=args.wave)
    try:
        accelerator = Accelerator(link)
        accelerator.load(program)
        with progress_bar("images", len(images)) as advance:
            if trace:
                result, tensors = accelerator.trace(images, progress=advance)
            else:
                result, tensors = accelerator.run(images, progress=advance), {}
        return result, tensors, accelerator.layer_counters(), accelerator.busy_cycles()
    finally:
        link.close()


def _golden(path: str, images: np.ndarray) -> tuple[dict[str, np.ndarray], Any]:
    """Every tensor of the golden model, and the comparison of the golden model with PyTorch."""
    from dorefabric.sw.compare import compare
    from dorefabric.sw.lower import lower
    from dorefabric.sw.model_file import load_model
    from dorefabric.sw.reference import evaluate

    model = load_model(path)
    graph = lower(model, name=path)
    return evaluate(graph, images), compare(model, graph, images)


def _check(golden: tuple[dict[str, np.ndarray], Any], tensors: dict[str, np.ndarray], report: dict[str, Any]) -> None:
    from dorefabric.sw.compare import first_difference

    expected, comparison = golden
    rows = []
    first = None
    total = 0
    for name, actual in tensors.items():
        difference = first_difference(name, expected[name], actual)
        count = int(np.count_nonzero(expected[name] != actual))
        rows.append([name, "×".join(map(str, actual.shape[1:])), f"{actual.size:,}", f"{count:,}"])
        first = first or difference
        total += count
    report["check"] = {"differences": total, "pytorch": comparison.to_dict()}
    console.print(table("circuit against golden model", ["layer", "shape", "values", "different"], rows))
    console.print(comparison.table())
    if first is not None:
        raise CheckFailed(first, report)
    if comparison.differences > comparison.ties:
        raise CheckFailed(comparison.first, report)
