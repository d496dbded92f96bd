"""The figures that `dorefabric bench` measures: each one's arguments, and the call that measures it.

A figure is one function and one entry of `FIGURES`. The functions of `dorefabric.sim` return a report: ``summary`` (one
line), ``differences`` (0 when all values agree), ``tables`` and ``details`` (title, columns, rows), and the measured
values.
"""

import argparse
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dorefabric.hw.config import FabricConfig

from .common import chosen_config, natural, parse_bits, positive, progress_bar, share

__all__ = ["FIGURES", "Argument", "Figure"]

Report = dict[str, Any]


class Argument:
    """An argument as `ArgumentParser.add_argument` takes it; ``repeats=False`` where a figure does not depend on it."""

    def __init__(self, *names: str, repeats: bool = True, **options: Any) -> None:
        self.names, self.repeats, self.options = names, repeats, options

    def words(self, args: argparse.Namespace) -> list[str]:
        """The argument as given, for a command line that repeats the figure elsewhere: without folders."""
        value = getattr(args, self.names[-1].lstrip("-").replace("-", "_"))
        if value is None or value is False or not self.repeats:
            return []
        head = [self.names[0]] if self.names[0].startswith("-") else []
        if value is True:
            return head
        metavar = str(self.options.get("metavar", ""))
        if metavar == "DIR":
            return [*head, metavar]
        if metavar.startswith("FILE"):
            value = Path(value).name
        return head + [shlex.quote(str(item)) for item in (value if isinstance(value, list) else [value])]


@dataclass(frozen=True)
class Figure:
    """What `bench` knows of a figure."""

    name: str
    help: str
    measure: Callable[[argparse.Namespace], Report]
    arguments: tuple[Argument, ...]

    def command(self, args: argparse.Namespace) -> str:
        """The command line that measures the figure again, but for the seed."""
        words = [word for argument in self.arguments for word in argument.words(args)]
        return " ".join(["dorefabric bench", self.name, *words])


def _board_config(args: argparse.Namespace) -> FabricConfig:
    from dorefabric.boards import get_board

    return get_board(args.board).config


def _layers(args: argparse.Namespace) -> Report:
    from dorefabric.sim.benchmarks import layers

    return layers(args.count, args.seed, progress_bar)


def _networks(args: argparse.Namespace) -> Report:
    from dorefabric.sim.networks import networks

    return networks(chosen_config(args), args.simulate, args.seed, progress_bar)


def _cnv(args: argparse.Namespace) -> Report:
    from dorefabric.sim.benchmarks import cnv

    return cnv(parse_bits(args.bits)[:2], _board_config(args), args.seed, progress_bar)


def _mnist(args: argparse.Namespace) -> Report:
    from dorefabric.sim.dataset_benchmarks import mnist

    return mnist(args.model, parse_bits(args.bits)[:2], args.data_dir, _board_config(args), args.simulate, args.output,
                 args.seed, progress_bar)  # fmt: skip


def _link(args: argparse.Namespace) -> Report:
    from dorefabric.sim.benchmarks import link

    return link(_board_config(args), args.error_rate, args.images, args.seed, progress_bar)


def _cifar(args: argparse.Namespace) -> Report:
    from dorefabric.sim.dataset_benchmarks import cifar

    return cifar(args.checkpoint, args.data_dir, _board_config(args), args.simulate, args.seed, progress_bar)


def _gates(args: argparse.Namespace) -> Report:
    from dorefabric.boards import get_board
    from dorefabric.sim.benchmarks import gates

    board = get_board(args.board)
    return gates(board.config, board.device, args.seed, progress_bar)


def _methods(args: argparse.Namespace) -> Report:
    from dorefabric.sim.method_benchmarks import methods

    return methods(model=args.model, data_dir=args.data_dir, output=args.output, epochs=args.epochs, seeds=args.seeds,
                   rows=args.rows, simulate=args.simulate, seed=args.seed, progress_bar=progress_bar,
                   precision=args.precision, report_only=args.report_only, first_bits=args.first_bits,
                   last_bits=args.last_bits, from_float=args.from_float)  # fmt: skip


def _overhead(args: argparse.Namespace) -> Report:
    from dorefabric.sim.method_benchmarks import overhead

    return overhead(args.model, args.repeats, args.seed, progress_bar)


def _training(args: argparse.Namespace) -> Report:
    from dorefabric.sim.training_benchmark import TRAINING_CONFIG, training

    return training(
        model=args.model, method=args.method, bits=[parse_bits(text) for text in args.bits], steps=args.steps,
        batch=args.batch, engine=args.engine, config=chosen_config(args) or TRAINING_CONFIG,
        float_ends=args.float_ends, learning_rate=args.learning_rate, data_dir=args.data_dir, seed=args.seed,
        progress_bar=progress_bar,
    )  # fmt: skip


_BITS = "W,A"
_CONFIG = Argument("--config", metavar="FILE.toml", help="a configuration file instead")
_DATA = Argument("--data-dir", metavar="DIR", help="folder that holds the data set")

FIGURES = (
    Figure("layers", "random layers at every (W, A) on one generated design: values, cycles", _layers, (
        Argument("--count", type=positive, default=2000, metavar="N"),
    )),
    Figure("networks", "cycles, useful share and FPS of CNV, SVHN, AlexNet and ResNet-18", _networks, (
        Argument("--board", metavar="NAME", help="a board's configuration instead of 16,384 lanes"),
        _CONFIG,
        Argument("--simulate", action="store_true", help="also compare every layer in Verilator"),
    )),
    Figure("cnv", "CNV, one image: every layer, cycles, simulation speed", _cnv, (
        Argument("--bits", default="1,1", metavar=_BITS),
        Argument("--board", default="ulx3s_85f", metavar="NAME"),
    )),
    Figure("mnist", "train, interpret 10,000 test images, simulate a part of them", _mnist, (
        Argument("--model", default="lenet", metavar="NAME"),
        Argument("--bits", default="1,2", metavar=_BITS),
        Argument("--data-dir", required=True, metavar="DIR"),
        Argument("--board", default="ulx3s_85f", metavar="NAME"),
        Argument("--simulate", type=positive, default=500, metavar="N", help="images through Verilator"),
        Argument("-o", "--output", required=True, metavar="FILE.pt", help="checkpoint; continued until it is trained"),
    )),
    Figure("link", "the simulated board with errors on the line", _link, (
        Argument("--board", default="icebreaker", metavar="NAME"),
        Argument("--error-rate", type=share, default=0.001, metavar="P"),
        Argument("--images", type=positive, default=10, metavar="N"),
    )),
    Figure("cifar", "a trained CIFAR-10 network: accuracy, cycles and time of an image", _cifar, (
        Argument("checkpoint", metavar="FILE.pt", help="of `dorefabric train cifar10`"),
        Argument("--data-dir", required=True, metavar="DIR"),
        Argument("--board", default="icebreaker", metavar="NAME"),
        Argument("--simulate", type=positive, default=10, metavar="N", help="images through Verilator"),
    )),
    Figure("gates", "the synthesised netlist on one digits image", _gates, (
        Argument("--board", default="icebreaker", metavar="NAME"),
    )),
    Figure("methods", "methods of training on one network, and each on the circuit", _methods, (
        Argument("--model", default="lenet", metavar="NAME"),
        Argument("--epochs", type=positive, metavar="N", help="default: the model's own"),
        Argument("--precision", metavar="NAME", help="of training; default: the model's own"),
        Argument("--first-bits", type=positive, metavar="W", help="weight bits of the first layer, not of float ones"),
        Argument("--last-bits", type=positive, metavar="W", help="weight bits of the last layer"),
        Argument("--from-float", action="store_true", help="start networks from the float row's weights"),
        Argument("--seeds", type=positive, default=3, metavar="N"),
        Argument("--rows", metavar="NAME;...", help='some rows of the table, as "float; AQE 2-2"'),
        Argument("--simulate", type=natural, default=100, metavar="N", help="images through Verilator"),
        _DATA,
        Argument("-o", "--output", required=True, metavar="DIR", help="checkpoints; what is there is kept"),
        Argument("--report-only", action="store_true", repeats=False,
                 help="train nothing, leave out what is not complete"),
    )),
    Figure("overhead", "time of a training step against the float network's", _overhead, (
        Argument("--model", default="lenet", metavar="NAME"),
        Argument("--repeats", type=positive, default=20, metavar="N"),
    )),
    Figure("training", "training with all products on the array, against a software twin", _training, (
        Argument("--model", default="digits", metavar="NAME"),
        Argument("--method", default="dorefa", metavar="NAME", help="dorefa or mls"),
        Argument("--bits", nargs="+", default=["1,2,4", "1,2,6"], metavar="W,A,G"),
        Argument("--steps", type=positive, default=10, metavar="N"),
        Argument("--batch", type=positive, default=32, metavar="N", help="images a step"),
        Argument("--engine", default="verilator", metavar="NAME", help="interpret, verilator or pysim"),
        Argument("--board", metavar="NAME", help="a board's configuration instead of 1,024 lanes"),
        _CONFIG,
        Argument("--float-ends", action="store_true",
                 help="float gradients of the first and the last layer, as in the paper"),
        Argument("--learning-rate", type=float, default=3e-3, metavar="R"),
        _DATA,
    )),
)  # fmt: skip
