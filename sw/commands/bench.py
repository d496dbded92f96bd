"""Measure a figure: random layers, networks, CNV, MNIST, CIFAR-10, the link, the netlist, methods of training."""

import argparse
import os
from typing import Any

from dorefabric.hw.errors import DorefabricError
from dorefabric.sw.cli import CheckFailed

from .common import console, table
from .figures import FIGURES

EXAMPLE = "dorefabric bench layers --count 2000"

__all__ = ["EXAMPLE", "add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="figure", required=True, metavar="FIGURE", parser_class=type(parser))
    for figure in FIGURES:
        sub = verbs.add_parser(figure.name, help=figure.help)
        for argument in figure.arguments:
            sub.add_argument(*argument.names, **argument.options)
        sub.add_argument("--update", metavar="README.md", help="put the tables between the figure's marks there")
        sub.add_argument("--seed", type=int, default=0)
        sub.add_argument("--json", metavar="FILE", default=argparse.SUPPRESS, help="write a machine-readable report")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from dorefabric.sim.tables import markdown, provenance, update

    figure = next(figure for figure in FIGURES if figure.name == args.figure)
    if args.update is not None and not os.access(args.update, os.W_OK):     # not after hours of measuring
        raise DorefabricError(f"--update: {args.update} is no file that can be written")
    report = figure.measure(args)
    tables = report.pop("tables", [])
    mark = report.pop("mark", figure.name)
    if args.update is not None and tables:
        update(args.update, mark, markdown(tables, provenance(figure.command(args), args.seed)))
    for name, columns, rows in report.pop("details", []) + tables:
        console.print(table(name, columns, rows))
    console.print(report["summary"])
    if report["differences"]:
        raise CheckFailed(f"{report['differences']} differences", report)
    return report
