"""Cycles and useful share of the peak of five published networks: `dorefabric bench networks`.

The cycle model (`hw.timing`) is exact, which `bench layers` and the simulated part of this figure show; so networks
need not be simulated to know their cycles. Weights are random and batch norms calibrated: cycles do not depend on
what the numbers are.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dorefabric.hw.config import FabricConfig
from dorefabric.sw.compile import compile_graph
from dorefabric.sw.driver import Accelerator
from dorefabric.sw.graph import Convolution, Flatten, Graph, MaxPool, Threshold
from dorefabric.sw.program import LayerInfo, Program
from dorefabric.sw.random_graphs import random_images
from dorefabric.sw.reference import evaluate
from dorefabric.sw.stages import CompileError

from .benchmarks import Progress, random_model
from .tables import Table

__all__ = ["NETWORKS", "PEERS", "REFERENCE", "SIMULATED", "convolution", "is_wide", "networks", "share"]

NETWORKS = (
    ("cnv", (1, 1), "CNV W1A1"), ("cnv", (1, 2), "CNV W1A2"), ("svhn", (1, 2), "SVHN model A W1A2"),
    ("alexnet", (1, 2), "AlexNet W1A2"), ("resnet18", (1, 2), "ResNet-18 W1A2"),
)  # fmt: skip

REFERENCE = FabricConfig(
    name="reference", rows=4, columns=64, lanes=64, tile_columns=4, accumulator_bits=28, threshold_bits=24,
    weight_depth=1 << 15, feature_depth=1 << 16, threshold_depth=1 << 15, program_depth=1 << 14, tap_depth=1 << 14,
    technology="ecp5", front="bus", clock_frequency=100_000_000,
)  # fmt: skip
"""16,384 lanes, with memories in which all weights of the five networks are resident. Not routed: its clock is
assumed."""

SIMULATED = replace(REFERENCE, name="simulated", columns=8, technology="generic")
"""2,048 lanes, which Verilator compiles in minutes."""

WIDE = 64
"""Input channels from which on a convolution counts for the useful share."""

PEERS = (
    ("FINN, CNV W1A1, ZC706", "46,000 LUT6", "21,900 FPS", "as recalled from arXiv 1612.07119"),
    ("BNN-PYNQ, CNV W1A1 / W1A2, PYNQ-Z1", "53,200 LUT6 available", "9,150 / 9,150 FPS", "its notebooks"),
    ("BISMO 8 × 256 × 8, PYNQ-Z1, 200 MHz", "53,200 LUT6 available", "6.5 binary TOPS peak", "its repository"),
    ("BISMO v2, lanes with accumulators", "1.34 to 1.86 LUT6 a lane", "-", "its repository"),
    ("TinBiNN, CIFAR-10 W1A8, iCE40UP5K", "5,280 LUT4 available", "0.76 FPS", "its paper"),
)  # fmt: skip
"""System, size, speed, source. A LUT6 holds up to four LUT4."""


def convolution(graph: Graph, layer: LayerInfo) -> Convolution | None:
    """The convolution that a layer of the program performs; None for pools, additions, copies, full connections."""
    if layer.edge is None or not layer.useful:
        return None
    node = graph[layer.edge]
    while isinstance(node, MaxPool | Threshold):
        node = graph[node.inputs[0]]
    if not isinstance(node, Convolution) or node.groups == graph[node.inputs[0]].edge.shape[0]:
        return None  # an average pool
    source = graph[node.inputs[0]]
    return None if isinstance(source, Flatten) or source.edge.shape[1:] == (1, 1) else node


def is_wide(graph: Graph, layer: LayerInfo) -> bool:
    """Whether a layer is a convolution of at least `WIDE` input channels, those of all groups together."""
    node = convolution(graph, layer)
    return node is not None and node.weights.shape[1] * node.groups >= WIDE


def share(layers: list[LayerInfo], config: FabricConfig) -> tuple[int, int]:
    """Useful lane operations of layers, and lane operations of the array in the same cycles."""
    return sum(layer.useful for layer in layers), sum(layer.cycles for layer in layers) * config.total_lanes


def networks(chosen: FabricConfig | None, simulate: bool, seed: int, progress_bar: Progress) -> dict[str, Any]:
    """Cycles, useful share and images a second of the five networks on one configuration, those that it can run.

    Parameters
    ----------
    chosen : configuration; by default `REFERENCE`, and `SIMULATED` for the simulation
    simulate : also run every network in Verilator: each layer's tensor against the golden model, and its cycles
        against the model's
    """
    config = chosen or REFERENCE
    rows: list[list[str]] = []
    details = []
    measured: dict[str, dict[str, Any]] = {}
    total = [0, 0]
    refused: dict[str, CompileError] = {}
    with progress_bar("networks", len(NETWORKS)) as done:
        for number, (name, bits, title) in enumerate(NETWORKS):
            try:
                graph, program = _compiled(name, bits, config, seed)
            except CompileError as error:
                refused[title] = error
                rows.append([title, *["–"] * 4, str(error)])
                measured[title] = {"refused": str(error)}
                done(number + 1)
                continue
            report = program.report()
            wide = [layer for layer in program.layers if is_wide(graph, layer)]
            useful, offered = share(wide, config)
            total = [total[0] + useful, total[1] + offered]
            cycles = report["cycles"]
            rows.append([
                title, f"{cycles:,}", f"{config.clock_frequency / cycles:,.0f}",
                f"{100 * useful / offered:.1f} %", f"{100 * report['useful']:.1f} %",
                "streamed" if program.streamed else "resident",
            ])  # fmt: skip
            measured[title] = {
                "cycles": cycles, "useful": report["useful"], "useful_wide": useful / offered,
                "layers": report["layers"],
                "images_per_second": config.clock_frequency / cycles, "streamed": program.streamed,
            }  # fmt: skip
            details.append((title, ["layer", "steps", "stalls", "cycles", "useful"], [
                [row["name"], f"{row['steps']:,}", f"{row['stalls']:,}", f"{row['cycles']:,}",
                 f"{100 * row['useful']:.1f} %"] for row in report["layers"]]))  # fmt: skip
            done(number + 1)
    if len(refused) == len(NETWORKS):
        raise next(iter(refused.values()))
    rows.append(["**all**", "", "", f"**{100 * total[0] / total[1]:.1f} %**", "", ""])
    shape = f"{config.rows} × {config.columns} × {config.lanes}"
    clock = config.clock_frequency / 1e6
    tables = [(f"{config.name}: {shape} = {config.total_lanes:,} lanes, {clock:g} MHz, peak "
               f"{config.peak_operations(config.clock_frequency) / 1e9:,.0f} binary GOPS",
               ["network", "cycles", "FPS", f"useful, convolutions of {WIDE}+ channels", "useful, all layers",
                "weights"], rows)]  # fmt: skip
    if chosen is None:
        tables.append(("What others publish, on other devices", ["system", "size", "speed", "source"],
                       [list(peer) for peer in PEERS]))  # fmt: skip
    differences, summary = 0, ""
    if simulate:
        runnable = [network for network in NETWORKS if network[2] not in refused]
        table, differences, count, speed = _simulated(chosen or SIMULATED, runnable, seed, progress_bar)
        tables.append(table)
        measured["simulated"] = {"layers": count, "differences": differences, "cycles_per_second": speed}
        summary = f"; {count} layers simulated, {differences} differences"
    return {
        "summary": f"useful share of {100 * total[0] / total[1]:.1f} % on {config.total_lanes:,} lanes{summary}",
        "tables": tables, "details": details, "differences": differences, "useful": total[0] / total[1],
        "networks": measured, "seed": seed, "config": config.to_dict(),
    }  # fmt: skip


def _compiled(name: str, bits: tuple[int, int], config: FabricConfig, seed: int) -> tuple[Graph, Program]:
    from dorefabric.sw.lower import lower

    model, _ = random_model(name, bits, seed)
    graph = lower(model, name=name)
    return graph, compile_graph(graph, config)


def _simulated(
    config: FabricConfig, runnable: Sequence[tuple[str, tuple[int, int], str]], seed: int, progress_bar: Progress
) -> tuple[Table, int, int, float]:
    """Every layer of the networks in Verilator: a table, differences, layers, clock cycles a second."""
    from .verilator import VerilatorLink

    rows, differences, layers, cycles_run, seconds = [], 0, 0, 0, 0.0
    with progress_bar("compiling the simulation", 1) as done:
        link = VerilatorLink(replace(config, front="bus"))
        done(1)
    with link, progress_bar("simulating", len(runnable)) as done:
        for number, (name, bits, title) in enumerate(runnable):
            graph, program = _compiled(name, bits, replace(config, front="bus"), seed)
            image = random_images(np.random.default_rng(seed), graph, 1)
            started, before = time.perf_counter(), link.cycles
            accelerator = Accelerator(link).load(program)
            _, tensors = accelerator.trace(image)
            counters = accelerator.layer_counters()
            accelerator.run(image)
            busy = accelerator.busy_cycles()
            run, took = link.cycles - before, time.perf_counter() - started
            expected = evaluate(graph, image)
            values = sum(int(np.count_nonzero(tensor != expected[edge])) for edge, tensor in tensors.items())
            pairs = zip(counters, program.report()["layers"], strict=True)
            cycles = sum(counted[key] != told[key] for counted, told in pairs for key in ("cycles", "steps", "stalls"))
            cycles += busy != program.report()["cycles"]
            differences += values + cycles
            layers += len(counters)
            cycles_run, seconds = cycles_run + run, seconds + took
            rows.append([
                f"{title}, {'×'.join(map(str, program.input_shape))}", str(len(counters)),
                f"{busy:,}", str(cycles), str(values), f"{took:.0f}",
                f"{run / took:,.0f}",
            ])  # fmt: skip
            done(number + 1)
    columns = ["network", "layers", "cycles counted", "counters that differ from the model",
               "values that differ from the golden model", "seconds",
               "clock cycles a second, loading included"]  # fmt: skip
    title = f"Every layer simulated by Verilator, {config.total_lanes:,} lanes"
    return (title, columns, rows), differences, layers, cycles_run / seconds
