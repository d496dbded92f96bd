"""Plot accuracy against bits from a report of `dorefabric bench methods`."""

import argparse
from typing import Any

from .common import console

EXAMPLE = "dorefabric plot methods.json -o accuracy.png"

__all__ = ["EXAMPLE", "add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("report", metavar="FILE.json", help="written by `dorefabric bench methods --json`")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help=".png, .svg or .pdf")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from dorefabric.sim.plots import plot_methods, read_methods

    plot_methods(read_methods(args.report), args.output)
    console.print(args.output)
    return {"output": args.output}
