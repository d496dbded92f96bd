"""Run a program on a board, or on the simulated board, through a serial port."""

import argparse
from dataclasses import asdict
from typing import Any

from .common import console, load_array, progress_bar, save_array

EXAMPLE = "dorefabric run net.dfp --port /dev/ttyUSB0 --input x.npy --output y.npy"

__all__ = ["EXAMPLE", "add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("program", metavar="NET.dfp")
    parser.add_argument("--port", required=True, help="serial port, such as /dev/ttyUSB0")
    parser.add_argument("--input", required=True, metavar="X.npy", help="unsigned 8-bit images (N, C, H, W)")
    parser.add_argument("--output", required=True, metavar="Y.npy", help="where the results go")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from dorefabric.sw.driver import Accelerator
    from dorefabric.sw.program import Program
    from dorefabric.sw.serial_link import SerialLink

    program = Program.load(args.program)
    images = load_array(args.input)
    program.check_input(images)
    link = SerialLink(args.port, program.config.baud_rate)
    try:
        accelerator = Accelerator(link)
        accelerator.load(program)
        with progress_bar("images", len(images)) as advance:
            result = accelerator.run(images, progress=advance)
        statistics = asdict(link.statistics)
    finally:
        link.close()
    save_array(args.output, result)
    console.print(f"{args.output}: {len(images)} results")
    return {"output": args.output, "images": len(images), "link": statistics}
