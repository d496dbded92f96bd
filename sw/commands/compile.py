"""Compile a trained model to a program file for one configuration."""

import argparse
from dataclasses import asdict
from typing import Any

from .common import add_target_arguments, console, table, target_config

EXAMPLE = "dorefabric compile lenet.pt --board ulx3s_85f -o lenet.dfp"

__all__ = ["EXAMPLE", "add_arguments", "layer_table", "run", "width_table"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL.pt", help="checkpoint written by `dorefabric train`")
    add_target_arguments(parser)
    parser.add_argument("-o", "--output", required=True, metavar="FILE.dfp", help="program file to write")


def run(args: argparse.Namespace) -> dict[str, Any]:
    config = target_config(args)
    from dorefabric.sw.compile import compile_graph
    from dorefabric.sw.lower import lower
    from dorefabric.sw.model_file import load_model
    from dorefabric.sw.widths import check_widths, layer_widths, required_widths

    graph = lower(load_model(args.model), name=args.model)
    widths = layer_widths(graph, config)
    check_widths(widths, config)
    program = compile_graph(graph, config)
    program.save(args.output)
    report = program.report()
    console.print(layer_table(f"{args.output} for {config.name}", report["layers"]))
    where = "streamed" if report["streamed"] else "resident"
    console.print(f"weights {where}; {report['cycles']:,} cycles an image, {100 * report['useful']:.1f} % useful")
    console.print(width_table(widths))
    accumulator, threshold = required_widths(widths)
    console.print(f"counts need accumulator_bits {accumulator} of {config.accumulator_bits}, "
                  f"threshold_bits {threshold} of {config.threshold_bits}")
    return {"output": args.output, "widths": [asdict(width) for width in widths],
            "required": {"accumulator_bits": accumulator, "threshold_bits": threshold}, **report}


def width_table(widths: list[Any]) -> Any:
    """Bits of the accumulators and of the array's counts, a row per layer."""
    rows = [[width.name, "–" if width.sum_bits is None else str(width.sum_bits), str(width.count_bits),
             "accumulators" if width.raw else "codes"] for width in widths]  # fmt: skip
    return table("bits of sums", ["layer", "accumulators", "counts", "returns"], rows)


def layer_table(title: str, layers: list[dict[str, Any]]) -> Any:
    """Cycles and useful share of the peak, a row per layer."""
    columns = ["layer", "steps", "stalls", "cycles", "useful"]
    rows = []
    for item in layers:
        counts = [f"{item[key]:,}" for key in ("steps", "stalls", "cycles")]
        rows.append([item["name"], *counts, f"{100 * item['useful']:.1f} %"])
    return table(title, columns, rows)
