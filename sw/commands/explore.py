"""Search a board's configurations for a network: the Pareto front of speed and area, and a recommendation."""

import argparse
from pathlib import Path
from typing import Any

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.errors import DorefabricError
from dorefabric.sw.graph import Graph

from .common import console, parse_bits, progress_bar, table

EXAMPLE = "dorefabric explore --board ulx3s_85f --model cnv --bits 1,1 -o build/explore"

__all__ = ["EXAMPLE", "add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--board", required=True, metavar="NAME", help="a supported board (see `dorefabric boards`)")
    parser.add_argument("--model", default="cnv", metavar="NET", help="a reference network, or a checkpoint file")
    parser.add_argument("--bits", default="1,1", metavar="W,A", help="of a reference network")
    parser.add_argument("--limit", type=int, default=48, metavar="N", help="arrays to compile the network for")
    parser.add_argument("-o", "--output", required=True, metavar="DIR",
                        help="folder for config.toml (the recommendation) and explore.svg")  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any]:
    from dorefabric.boards import get_board
    from dorefabric.boards.explore import explore, pareto, svg

    if args.limit < 1:
        raise DorefabricError(f"--limit must be at least 1, not {args.limit}")
    board = get_board(args.board)
    graph = _graph(args)
    with progress_bar("configurations", args.limit) as done:
        points = explore(board, lambda config: _evaluate(graph, config), limit=args.limit,
                         progress=lambda count, _: done(count))  # fmt: skip
    if not points:
        raise DorefabricError(f"no configuration of {board.name} can run {graph.name}: choose a larger board or a "
                              f"smaller network")  # fmt: skip
    front = pareto(points)
    best = front[0]
    rows = [[
        f"{point.config.rows} × {point.config.columns} × {point.config.lanes}", f"{point.config.total_lanes:,}",
        f"{point.usage.lut:,} ({point.usage.lut / board.resources.lut:.0%})",
        f"{point.usage.block_ram:g} ({point.usage.block_ram / board.resources.block_ram:.0%})",
        f"{point.config.clock_frequency / 1e6:g}", f"{point.cycles:,}", f"{point.streamed_words:,}",
        f"{point.images_per_second:,.1f}",
    ] for point in front]  # fmt: skip
    title = f"{graph.name} on {board.title}: Pareto front of {len(points)} configurations"
    console.print(table(title, ["array", "lanes", "LUT", "block RAM", "MHz", "cycles", "words streamed", "images/s"],
                        rows))  # fmt: skip
    folder = Path(args.output)
    files = {"config.toml": best.config.to_toml(), "explore.svg": svg(points, front, title)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
    except OSError as error:
        raise DorefabricError(f"cannot write to {folder}: {error.strerror}") from None
    console.print(f"recommended: {best.config.name}; dorefabric generate --config {folder / 'config.toml'} -o DIR")
    return {
        "board": board.name, "network": graph.name, "recommended": best.to_dict(),
        "front": [point.to_dict() for point in front], "points": [point.to_dict() for point in points],
    }  # fmt: skip


def _graph(args: argparse.Namespace) -> Graph:
    from dorefabric.sw.lower import lower
    from dorefabric.sw.models import MODELS

    if args.model in MODELS:
        from dorefabric.sim.benchmarks import random_model

        model, _ = random_model(args.model, parse_bits(args.bits)[:2], 0)
        return lower(model, name=args.model)
    from dorefabric.sw.model_file import load_model

    return lower(load_model(args.model), name=Path(args.model).stem)


def _evaluate(graph: Graph, config: FabricConfig) -> tuple[int, int] | None:
    from dorefabric.sw.compile import CompileError, compile_graph

    try:
        report = compile_graph(graph, config).report()
    except CompileError:
        return None
    return report["cycles"], report["streamed_words"]
