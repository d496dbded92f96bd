"""Write a trained network as QONNX, for other tools."""

import argparse
from typing import Any

from .common import console

EXAMPLE = "dorefabric export lenet.pt -o lenet.onnx"

__all__ = ["EXAMPLE", "add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL.pt", help="checkpoint written by `dorefabric train`")
    parser.add_argument("-o", "--output", required=True, metavar="FILE.onnx")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from pathlib import Path

    from dorefabric.sw.model_file import load_model
    from dorefabric.sw.qonnx import export_qonnx

    model = export_qonnx(load_model(args.model), args.output, name=Path(args.model).stem)
    kinds = [node.op_type for node in model.graph.node]
    counts = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    console.print(f"{args.output}: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))
    return {"output": args.output, "nodes": counts}
