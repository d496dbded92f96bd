"""Compile a trained model to a program file for one configuration."""

import argparse
from typing import Any

from .common import add_target_arguments, console, table, target_config

EXAMPLE = "dorefabric compile lenet.pt --board ulx3s_85f -o lenet.dfp"

__all__ = ["EXAMPLE", "add_arguments", "layer_table", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL.pt", help="checkpoint written by `dorefabric train`")
    add_target_arguments(parser)
    parser.add_argument("-o", "--output", required=True, metavar="FILE.dfp", help="program file to write")


def run(args: argparse.Namespace) -> dict[str, Any]:
    config = target_config(args)
    from dorefabric.sw.compile import compile_graph
    from dorefabric.sw.lower import lower
    from dorefabric.sw.model_file import load_model

    graph = lower(load_model(args.model), name=args.model)
    program = compile_graph(graph, config)
    program.save(args.output)
    report = program.report()
    console.print(layer_table(f"{args.output} for {config.name}", report["layers"]))
    where = "streamed" if report["streamed"] else "resident"
    console.print(f"weights {where}; {report['cycles']:,} cycles an image, {100 * report['useful']:.1f} % useful")
    return {"output": args.output, **report}


def layer_table(title: str, layers: list[dict[str, Any]]) -> Any:
    """Cycles and useful share of the peak, a row per layer."""
    columns = ["layer", "steps", "stalls", "cycles", "useful"]
    rows = []
    for item in layers:
        counts = [f"{item[key]:,}" for key in ("steps", "stalls", "cycles")]
        rows.append([item["name"], *counts, f"{100 * item['useful']:.1f} %"])
    return table(title, columns, rows)
