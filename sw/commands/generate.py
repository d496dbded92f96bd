"""Write the accelerator as Verilog, with register map, configuration and a self-checking bench."""

import argparse
import time
from pathlib import Path
from typing import Any

from dorefabric.hw.config import FRONTS, TECHNOLOGIES, FabricConfig
from dorefabric.hw.errors import DorefabricError

from .common import console

EXAMPLE = (
    "dorefabric generate --rows 4 --columns 16 --lanes 64 --weight-bits 1 --act-bits 2 "
    "--target ecp5 --front axi -o build/core"
)

__all__ = ["EXAMPLE", "add_arguments", "run"]

_SHAPE = ("rows", "columns", "lanes", "weight_bits", "act_bits", "target")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--board", metavar="NAME", help="a supported board")
    parser.add_argument("--config", metavar="FILE.toml", help="a configuration file")
    parser.add_argument("--rows", type=int, metavar="R", help="output pixels at a time")
    parser.add_argument("--columns", type=int, metavar="C", help="output channels at a time")
    parser.add_argument("--lanes", type=int, metavar="L", help="bits reduced by a processing element a cycle")
    parser.add_argument("--weight-bits", type=int, metavar="W", help="largest weight precision")
    parser.add_argument("--act-bits", type=int, metavar="A", help="largest activation precision")
    parser.add_argument("--network", metavar="MODEL.pt", help="take the widths that this trained network needs")
    parser.add_argument("--target", choices=TECHNOLOGIES, help="fabric")
    parser.add_argument("--front", choices=FRONTS, help="front end")
    parser.add_argument("-o", "--output", required=True, metavar="DIR")


def run(args: argparse.Namespace) -> dict[str, Any]:
    config = _config(args)
    if args.network:
        config = _for_network(args.network, config, args)
    from dorefabric.hw.generate import generate_verilog
    from dorefabric.sim.selftest import write_selftest

    started = time.perf_counter()
    files = generate_verilog(config, Path(args.output))
    files += write_selftest(config, Path(args.output))
    seconds = time.perf_counter() - started
    for path in files:
        console.print(str(path))
    console.print(f"{config.total_lanes:,} lanes, configuration {config.fingerprint:08x}, {seconds:.1f} s")
    return {"files": [str(path) for path in files], "config": config.to_dict(), "seconds": seconds}


def _config(args: argparse.Namespace) -> FabricConfig:
    given = [name for name in _SHAPE if getattr(args, name) is not None]
    sources = [bool(args.board), bool(args.config), bool(given)]
    if sum(sources) != 1:
        raise DorefabricError("name one of --board, --config, or a shape (--rows, --columns, --lanes, ...)")
    front = {} if args.front is None else {"front": args.front}
    if args.board:
        from dorefabric.boards import get_board

        return FabricConfig.from_dict({**get_board(args.board).config.to_dict(), **front})
    if args.config:
        return FabricConfig.from_dict({**FabricConfig.from_toml(args.config).to_dict(), **front})
    names = {"act_bits": "activation_bits", "target": "technology"}
    values = {names.get(name, name): getattr(args, name) for name in given}
    if "tile_columns" not in values and isinstance(values.get("columns"), int):
        values["tile_columns"] = max(1, min(4, values["columns"]))
    return FabricConfig.from_dict({**values, **front})


def _for_network(path: str, config: FabricConfig, args: argparse.Namespace) -> FabricConfig:
    """The configuration with the network's bits, unless --weight-bits or --act-bits say otherwise, and its widths."""
    from dataclasses import replace

    from dorefabric.sw.commands.compile import width_table
    from dorefabric.sw.graph import Convolution
    from dorefabric.sw.lower import lower
    from dorefabric.sw.model_file import load_model
    from dorefabric.sw.widths import layer_widths, required_widths

    graph = lower(load_model(path), name=path)
    if args.weight_bits is None:
        config = replace(config, weight_bits=max(n.weight_bits for n in graph.nodes if isinstance(n, Convolution)))
    if args.act_bits is None:
        config = replace(config, activation_bits=max(node.edge.bits or 1 for node in graph.nodes))
    widths = layer_widths(graph, config)
    accumulator, threshold = required_widths(widths)
    console.print(width_table(widths))
    console.print(f"accumulator_bits {accumulator}, threshold_bits {threshold}")
    return replace(config, accumulator_bits=accumulator, threshold_bits=threshold)
