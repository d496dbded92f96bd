"""The whole path on real data: train, compile, simulate, drive the simulated board, build the bitstream."""

import argparse
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from dorefabric.sw.cli import CheckFailed

from .common import console, progress_bar, table

EXAMPLE = "dorefabric demo --board icebreaker"

VERILATOR_IMAGES = 50
BOARD_IMAGES = 5

__all__ = ["EXAMPLE", "add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--board", default="icebreaker", metavar="NAME", help="default: icebreaker")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", metavar="DIR", help="keep model, program and bitstream here")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from dorefabric.boards import get_board

    board = get_board(args.board)
    with tempfile.TemporaryDirectory(prefix="dorefabric-") as scratch:
        folder = Path(args.output or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        return _demo(board, folder, args.seed)


def _demo(board: Any, folder: Path, seed: int) -> dict[str, Any]:
    started = time.perf_counter()
    bitstream = _Background(board, folder / board.name)
    try:
        report = _software(board, folder, seed)
        console.rule(f"6 · bitstream of {board.title}")
        with console.status("placing and routing"):
            build = bitstream.result()
    except BaseException:
        bitstream.cancel()
        raise
    report["build"] = build.to_dict()
    report["seconds"] = time.perf_counter() - started
    cycles = report["cycles"]
    frequency = board.config.clock_frequency
    rows = [
        ["accuracy, float", f"{100 * report['accuracy_float']:.2f} %"],
        ["accuracy, W1A2 in PyTorch", f"{100 * report['accuracy_quantized']:.2f} %"],
        ["accuracy, hardware", f"{100 * report['accuracy_hardware']:.2f} %"],
        ["differences, all engines", str(report["differences"])],
        ["cycles an image", f"{cycles:,}"],
        [f"time an image at {frequency / 1e6:g} MHz", f"{1e6 * cycles / frequency:,.1f} µs"],
        *build.table_rows(),
        ["whole demo", f"{report['seconds']:.0f} s"],
    ]
    console.print(table(f"dorefabric demo · {board.title}", ["", ""], rows))
    if report["differences"]:
        raise CheckFailed("the engines differ", report)
    return report


class _Background:
    """The bitstream build, in a thread beside the rest of the demo: its work is done in child processes."""

    def __init__(self, board: Any, directory: Path) -> None:
        from dorefabric.boards.build import build

        self._cancel = threading.Event()
        self._outcome: Any = None

        def work() -> None:
            try:
                self._outcome = build(board, directory, progress=self._check)
            except BaseException as error:
                self._outcome = error

        self._thread = threading.Thread(target=work, name="build")
        self._thread.start()

    def _check(self, step: Any) -> None:
        if self._cancel.is_set():
            raise KeyboardInterrupt

    def result(self) -> Any:
        self._thread.join()
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    def cancel(self) -> None:
        self._cancel.set()
        self._thread.join()


def _software(board: Any, folder: Path, seed: int) -> dict[str, Any]:
    from dorefabric.sw.compile import compile_graph
    from dorefabric.sw.datasets import load_dataset
    from dorefabric.sw.interpret import interpret
    from dorefabric.sw.lower import lower
    from dorefabric.sw.model_file import load_model
    from dorefabric.sw.reference import evaluate
    from dorefabric.sw.train import TrainConfig, train
    from dorefabric.sw.train import evaluate as evaluate_accuracy

    console.rule("1 · train on scikit-learn's handwritten digits: W1A2, and its float twin")
    accuracies = {}
    for name, bits in (("quantized", (1, 2)), ("float", (32, 32))):
        train(TrainConfig(dataset="digits", model="digits", weight_bits=bits[0], activation_bits=bits[1], seed=seed,
                          output=str(folder / f"digits-{name}.pt")))  # fmt: skip
        model = load_model(str(folder / f"digits-{name}.pt"))
        images, labels = load_dataset("digits", None, "test")
        accuracies[name] = evaluate_accuracy(model, images, labels)
    model = load_model(str(folder / "digits-quantized.pt"))

    console.rule(f"2 · compile for {board.title}")
    graph = lower(model, name="digits")
    program = compile_graph(graph, board.config)
    program.save(str(folder / "digits.dfp"))
    console.print(f"{folder / 'digits.dfp'}: {len(program.layers)} layers")

    console.rule(f"3 · interpreter, all {len(images)} test images")
    result, _ = interpret(program, images)
    differences = int(np.count_nonzero(result != evaluate(graph, images)[graph.output.name]))
    hardware = float(np.mean(result.reshape(len(images), -1).argmax(1) == labels))
    console.print(f"{differences} differences from the golden model")

    cycles, engine, count = _circuit(program, images[:VERILATOR_IMAGES], result)
    differences += count
    differences += _board(board, program, images[:BOARD_IMAGES], result)
    return {
        "accuracy_float": accuracies["float"], "accuracy_quantized": accuracies["quantized"],
        "accuracy_hardware": hardware, "differences": differences, "cycles": cycles, "engine": engine,
    }  # fmt: skip


def _circuit(program: Any, images: np.ndarray, expected: np.ndarray) -> tuple[int, str, int]:
    from dorefabric.sim.engines import open_engine
    from dorefabric.sim.tools import ToolError, find_verilator
    from dorefabric.sw.driver import Accelerator

    engine = "verilator"
    try:
        find_verilator()
    except ToolError as error:
        console.print(f"{error}; using Amaranth's own simulator on 1 image instead")
        engine, images = "pysim", images[:1]
    console.rule(f"4 · cycle-accurate circuit in {engine}, {len(images)} images")
    with console.status("compiling the simulation (once, then cached)"):
        link = open_engine(engine, program.config)
    try:
        accelerator = Accelerator(link)
        accelerator.load(program)
        with progress_bar("images", len(images)) as advance:
            actual = accelerator.run(images, progress=advance)
        cycles = accelerator.busy_cycles()
    finally:
        link.close()
    count = int(np.count_nonzero(actual != expected[: len(images)]))
    console.print(f"{count} differences from the interpreter; {cycles:,} cycles an image")
    return cycles, engine, count


def _board(board: Any, program: Any, images: np.ndarray, expected: np.ndarray) -> int:
    from dorefabric.sim.board import SimulatedBoard
    from dorefabric.sim.tools import ToolError, find_verilator
    from dorefabric.sw.driver import Accelerator
    from dorefabric.sw.serial_link import SerialLink

    console.rule("5 · simulated board, through its serial port")
    try:
        find_verilator()
    except ToolError as error:
        console.print(f"left out: {error}")
        return 0
    with console.status("compiling the simulated board (once, then cached)"):
        simulated = SimulatedBoard(board.config)
    with simulated:
        port = simulated.port
        link = SerialLink(simulated.port, board.config.baud_rate)
        try:
            accelerator = Accelerator(link)
            accelerator.load(program)
            with progress_bar("images", len(images)) as advance:
                actual = accelerator.run(images, progress=advance)
        finally:
            link.close()
    count = int(np.count_nonzero(actual != expected[: len(images)]))
    console.print(f"{len(images)} images through {port}: {count} differences")
    return count
