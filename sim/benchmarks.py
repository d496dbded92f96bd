"""Figures that take longer than a test: `dorefabric bench FIGURE`.

Every function returns a report: ``summary`` (one line), ``differences`` (0 when all values agree), ``tables`` (title,
columns, rows) for the terminal, and the measured values.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

import numpy as np

from dorefabric.hw.config import FabricConfig
from dorefabric.sim.verilator import VerilatorLink
from dorefabric.sw.compile import compile_graph
from dorefabric.sw.driver import Accelerator
from dorefabric.sw.graph import Graph
from dorefabric.sw.program import Program
from dorefabric.sw.random_graphs import random_images, random_layer
from dorefabric.sw.reference import evaluate

__all__ = ["ECP5_NETLIST", "LAYERS_CONFIG", "Progress", "cnv", "compare_layers", "gates", "layers", "link",
           "random_layers", "random_model"]  # fmt: skip

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]

LAYERS_CONFIG = FabricConfig(
    name="random-layers", rows=4, columns=8, lanes=32, tile_columns=4, accumulator_bits=32, threshold_bits=32,
    weight_depth=8192, feature_depth=4096, threshold_depth=4096, program_depth=1024, tap_depth=1024, front="bus",
)  # fmt: skip
"""One design for every precision: wide accumulators and memories, so that no layer has to be streamed."""

ECP5_NETLIST = FabricConfig(
    name="ecp5-netlist", rows=2, columns=8, lanes=64, tile_columns=4, threshold_columns=4, accumulator_bits=20,
    threshold_bits=19, weight_depth=64, feature_depth=128, threshold_depth=16, program_depth=256, tap_depth=64,
    technology="ecp5", front="bus",
)  # fmt: skip
"""What is synthesised in place of an ECP5 board: its elements, drain and control around memories that are small enough
for LUT RAM, as Yosys has no model of this fabric's block RAM."""


def compare_layers(
    link: Any, program: Program, graph: Graph, images: np.ndarray, done: Callable[[int], None] | None = None
) -> tuple[int, list[list[str]], list[dict[str, Any]]]:
    """Run ``images`` layer by layer on a link; differences from the golden model, table rows, cycle counters."""
    expected = evaluate(graph, images)
    accelerator = Accelerator(link)
    accelerator.load(program)
    _, tensors = accelerator.trace(images, progress=done)
    differences = 0
    rows = []
    for counters in accelerator.layer_counters():
        name = counters["name"]
        count = int(np.count_nonzero(tensors[name] != expected[name])) if name in tensors else 0
        differences += count
        rows.append([
            name, f"{counters['steps']:,}", f"{counters['stalls']:,}", f"{counters['cycles']:,}",
            f"{100 * counters['useful']:.1f} %", f"{count:,}",
        ])  # fmt: skip
    return differences, rows, accelerator.layer_counters()


def random_layers(count: int, seed: int, link: Any, config: FabricConfig, done: Callable[[int], None]) -> list[str]:
    """Compare ``count`` random layers with the golden model, and the circuit's counters with the cycle model; a line
    for each that differs.

    Precisions take turns over all 64 pairs (W, A) in 1..8 × 1..8.
    """
    rng = np.random.default_rng(seed)
    accelerator = Accelerator(link)
    failures = []
    for index in range(count):
        weight_bits, activation_bits = index % 8 + 1, index // 8 % 8 + 1
        graph = random_layer(rng, weight_bits, activation_bits, int(rng.integers(1, 9)))
        images = random_images(rng, graph, 1)
        program = compile_graph(graph, config)
        accelerator.load(program)
        actual = accelerator.run(images)
        expected = evaluate(graph, images)[graph.output.name]
        if not np.array_equal(actual, expected):
            failures.append(f"layer {index} (W{weight_bits}A{activation_bits}, seed {seed}) differs: {graph}")
        counted, report = (accelerator.layer_counters(), accelerator.busy_cycles()), program.report()
        if counted != (told := (report["layers"], report["cycles"])):
            failures.append(f"layer {index} (W{weight_bits}A{activation_bits}, seed {seed}): the circuit counts "
                            f"{counted}, the cycle model {told}")  # fmt: skip
        done(index + 1)
    return failures


def layers(count: int, seed: int, progress_bar: Progress) -> dict[str, Any]:
    """Random layers of every precision on one generated design, in Verilator."""
    started = time.perf_counter()
    link = VerilatorLink(LAYERS_CONFIG)
    try:
        with progress_bar("random layers", count) as done:
            failures = random_layers(count, seed, link, LAYERS_CONFIG, done)
    finally:
        link.close()
    seconds = time.perf_counter() - started
    return {
        "summary": f"{count} random layers, values and cycles: {len(failures)} differ, {seconds:.0f} s (seed {seed})",
        "tables": [("Random layers at all 64 pairs of weight and activation bits, in Verilator",
                    ["layers", "values or counters that differ", "seconds"],
                    [[f"{count:,}", str(len(failures)), f"{seconds:.0f}"]])],
        "count": count, "seed": seed, "seconds": seconds, "differences": len(failures), "failures": failures,
        "config": LAYERS_CONFIG.to_dict(),
    }  # fmt: skip


def random_model(name: str, bits: tuple[int, int], seed: int) -> tuple[Any, np.ndarray]:
    """A reference network with random weights, its batch norms calibrated on random images; and one image."""
    import torch

    from dorefabric.sw.models import MODELS, build_model

    torch.manual_seed(seed)
    model = build_model(name, *bits)
    shape = MODELS[name].input_shape
    images = torch.randint(0, 256, (16 if shape[1] < 64 else 2, *shape), dtype=torch.uint8)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the statistics become those of the images
            torch.nn.init.uniform_(module.weight, -0.5, 1.0)
            torch.nn.init.uniform_(module.bias, 0.0, 0.6)
    with torch.no_grad():
        model(images / 255)
    return model.eval(), images[:1].numpy()


def cnv(bits: tuple[int, int], config: FabricConfig, seed: int, progress_bar: Progress) -> dict[str, Any]:
    """CNV with random weights on a board's configuration: every layer compared, cycles, simulation speed."""
    from dorefabric.sw.lower import lower

    weight_bits, activation_bits = bits
    model, image = random_model("cnv", (weight_bits, activation_bits), seed)
    graph = lower(model, name="cnv")
    program = compile_graph(graph, config)
    started = time.perf_counter()
    with progress_bar("compiling the simulation", 1) as done:
        link = VerilatorLink(config)
        done(1)
    built = time.perf_counter() - started
    try:
        started = time.perf_counter()
        accelerator = Accelerator(link)
        accelerator.load(program)
        accelerator.run(image)
        seconds, cycles = time.perf_counter() - started, accelerator.busy_cycles()
        differences, rows, counters = compare_layers(link, program, graph, image)
    finally:
        link.close()
    frequency = config.clock_frequency
    return {
        "summary": f"CNV W{weight_bits}A{activation_bits} on {config.name}: {differences} differences; "
        f"{cycles:,} cycles = {frequency / cycles:,.0f} images/s at {frequency / 1e6:g} MHz; "
        f"load and one image simulated in {seconds:.1f} s (harness {built:.1f} s)",
        "tables": [(f"CNV W{weight_bits}A{activation_bits}, {config.total_lanes:,} lanes",
                    ["layer", "steps", "stalls", "cycles", "useful", "different"], rows)],
        "differences": differences, "cycles": cycles, "layers": counters, "seconds": seconds, "harness": built,
        "images_per_second": frequency / cycles, "seed": seed, "config": config.to_dict(),
    }  # fmt: skip


def _digits_program(config: FabricConfig, seed: int) -> tuple[Graph, Program, np.ndarray]:
    from dorefabric.sw.datasets import load_dataset
    from dorefabric.sw.lower import lower

    model, _ = random_model("digits", (1, 2), seed)
    images, _ = load_dataset("digits", None, "test")
    graph = lower(model, name="digits")
    return graph, compile_graph(graph, config), images


def link(config: FabricConfig, error_rate: float, images: int, seed: int, progress_bar: Progress) -> dict[str, Any]:
    """The simulated board behind its serial port, with and without errors on the line."""
    from dorefabric.sim.board import SimulatedBoard
    from dorefabric.sw.serial_link import SerialLink

    graph, program, inputs = _digits_program(config, seed)
    expected = evaluate(graph, inputs[:images])[graph.output.name]
    shown_statistics = ("requests", "resent", "recoveries", "overhead")
    rows = []
    measured = []
    differences = 0
    for rate in (0.0, error_rate):
        with SimulatedBoard(config, error_rate=rate, seed=seed) as simulated:
            serial = SerialLink(simulated.port, config.baud_rate)
            try:
                accelerator = Accelerator(serial)
                started = time.perf_counter()
                accelerator.load(program)
                with progress_bar(f"images, {100 * rate:g} % errors", images) as done:
                    actual = accelerator.run(inputs[:images], progress=done)
                seconds = time.perf_counter() - started
                statistics = {**asdict(serial.statistics), "overhead": round(serial.statistics.overhead, 3)}
            finally:
                serial.close()
        count = int(np.count_nonzero(actual != expected))
        differences += count
        measured.append({"error_rate": rate, "seconds": seconds, "differences": count, **statistics})
        shown = [str(statistics[name]) for name in shown_statistics]
        efficiency = 1 / (1 + serial.statistics.overhead)  # data in the bytes on the line
        measured[-1]["efficiency"] = efficiency
        rows.append([f"{100 * rate:g} %", f"{100 * efficiency:.1f} %", f"{seconds:.1f}", str(count), *shown])
    overhead = measured[1]["seconds"] / measured[0]["seconds"] - 1
    columns = ["byte errors", "efficiency", "seconds", "values that differ", *shown_statistics]
    return {
        "summary": f"{images} images at {100 * error_rate:g} % byte errors: {differences} differences, "
        f"{100 * overhead:.0f} % more time than without errors",
        "tables": [(f"Serial link of {config.name}, {images} images; efficiency: data in the bytes on the line, both "
                    f"directions", columns, rows)],
        "differences": differences, "overhead": overhead, "runs": measured, "seed": seed,
    }  # fmt: skip


def gates(config: FabricConfig, device: str, seed: int, progress_bar: Progress) -> dict[str, Any]:
    """The synthesised netlist of a board's core (`ECP5_NETLIST` for those of ECP5), on one digits image."""
    from dorefabric.sim.gates import GateLevelLink

    if config.technology == "ecp5":
        config = ECP5_NETLIST
    graph, program, inputs = _digits_program(config, seed)
    started = time.perf_counter()
    with progress_bar("synthesis and simulation model", 1) as done:
        netlist = GateLevelLink(config, device=device)
        done(1)
    try:
        differences, rows, counters = compare_layers(netlist, program, graph, inputs[:1])
    finally:
        netlist.close()
    seconds = time.perf_counter() - started
    return {
        "summary": f"netlist of {config.name}, {config.rows} × {config.columns} × {config.lanes}: {differences} "
        f"differences on every layer of one digits image, {seconds:.0f} s",
        "tables": [(f"Netlist of {config.name}, {config.total_lanes:,} lanes, on one digits image",
                    ["layer", "steps", "stalls", "cycles", "useful", "different"], rows)],
        "differences": differences, "layers": counters, "seconds": seconds, "seed": seed,
    }  # fmt: skip
