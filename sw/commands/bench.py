"""Measure a figure: random layers, networks, CNV, MNIST, CIFAR-10, the link, the netlist, methods of training."""

import argparse
from typing import Any

from dorefabric.sw.cli import CheckFailed

from .common import console, parse_bits, progress_bar, table, target_config

EXAMPLE = "dorefabric bench layers --count 2000"

__all__ = ["EXAMPLE", "add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    figures = parser.add_subparsers(dest="figure", required=True, metavar="FIGURE", parser_class=type(parser))
    layers = figures.add_parser("layers", help="random layers at every (W, A) on one generated design: values, cycles")
    layers.add_argument("--count", type=int, default=2000)
    networks = figures.add_parser("networks", help="cycles, useful share and FPS of CNV, SVHN, AlexNet and ResNet-18")
    networks.add_argument("--board", metavar="NAME", help="a board's configuration instead of 16,384 lanes")
    networks.add_argument("--config", metavar="FILE.toml", help="a configuration file instead")
    networks.add_argument("--simulate", action="store_true", help="also compare every layer in Verilator")
    cnv = figures.add_parser("cnv", help="CNV, one image: every layer, cycles, simulation speed")
    cnv.add_argument("--bits", default="1,1", metavar="W,A")
    cnv.add_argument("--board", default="ulx3s_85f", metavar="NAME")
    mnist = figures.add_parser("mnist", help="train, interpret 10,000 test images, simulate a part of them")
    mnist.add_argument("--model", default="lenet", metavar="NAME")
    mnist.add_argument("--bits", default="1,2", metavar="W,A")
    mnist.add_argument("--data-dir", required=True, metavar="DIR")
    mnist.add_argument("--board", default="ulx3s_85f", metavar="NAME")
    mnist.add_argument("--simulate", type=int, default=500, metavar="N", help="images through Verilator")
    mnist.add_argument("-o", "--output", required=True, metavar="FILE.pt", help="checkpoint; trained if absent")
    link = figures.add_parser("link", help="the simulated board with errors on the line")
    link.add_argument("--board", default="icebreaker", metavar="NAME")
    link.add_argument("--error-rate", type=float, default=0.001, metavar="P")
    link.add_argument("--images", type=int, default=10)
    cifar = figures.add_parser("cifar", help="a trained CIFAR-10 network: accuracy, cycles and time of an image")
    cifar.add_argument("checkpoint", metavar="FILE.pt", help="of `dorefabric train cifar10`")
    cifar.add_argument("--data-dir", required=True, metavar="DIR")
    cifar.add_argument("--board", default="icebreaker", metavar="NAME")
    cifar.add_argument("--simulate", type=int, default=10, metavar="N", help="images through Verilator")
    gates = figures.add_parser("gates", help="the synthesised netlist on one digits image")
    gates.add_argument("--board", default="icebreaker", metavar="NAME")
    methods = figures.add_parser("methods", help="methods of training on one network, and each on the circuit")
    methods.add_argument("--model", default="lenet", metavar="NAME")
    methods.add_argument("--data-dir", metavar="DIR")
    methods.add_argument("--epochs", type=int, help="default: the model's own")
    methods.add_argument("--precision", metavar="NAME", help="of training; default: the model's own")
    methods.add_argument("--first-bits", type=int, metavar="W", help="weight bits of every network's first layer")
    methods.add_argument("--last-bits", type=int, metavar="W", help="and of the last; the float network has neither")
    methods.add_argument("--from-float", action="store_true", help="start networks from the float row's weights")
    methods.add_argument("--seeds", type=int, default=3, metavar="N")
    methods.add_argument("--rows", metavar="NAME;...", help='some rows of the table, as "float; AQE 2-2"')
    methods.add_argument("--simulate", type=int, default=100, metavar="N", help="images through Verilator")
    methods.add_argument("-o", "--output", required=True, metavar="DIR", help="checkpoints; what is there is kept")
    methods.add_argument("--report-only", action="store_true", help="train nothing, leave out what is not complete")
    overhead = figures.add_parser("overhead", help="time of a training step against the float network's")
    overhead.add_argument("--model", default="lenet", metavar="NAME")
    overhead.add_argument("--repeats", type=int, default=20, metavar="N")
    training = figures.add_parser("training", help="training with all products on the array, against a software twin")
    training.add_argument("--model", default="digits", metavar="NAME")
    training.add_argument("--method", default="dorefa", metavar="NAME", help="dorefa or mls")
    training.add_argument("--bits", nargs="+", default=["1,2,4", "1,2,6"], metavar="W,A,G")
    training.add_argument("--steps", type=int, default=10, metavar="N")
    training.add_argument("--batch", type=int, default=32, metavar="N", help="images a step")
    training.add_argument("--engine", default="verilator", metavar="NAME", help="interpret, verilator or pysim")
    training.add_argument("--board", metavar="NAME", help="a board's configuration instead of 1,024 lanes")
    training.add_argument("--config", metavar="FILE.toml", help="a configuration file instead")
    training.add_argument("--float-ends", action="store_true",
                          help="float gradients of the first and the last layer, as in the paper")  # fmt: skip
    training.add_argument("--learning-rate", type=float, default=3e-3)
    training.add_argument("--data-dir", metavar="DIR")
    for figure in (layers, networks, cnv, mnist, link, cifar, gates, methods, overhead, training):
        figure.add_argument("--update", metavar="README.md", help="put the tables between the figure's marks there")
        figure.add_argument("--seed", type=int, default=0)
        figure.add_argument("--json", metavar="FILE", default=argparse.SUPPRESS, help="write a machine-readable report")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from dorefabric.sim import benchmarks, method_benchmarks, training_benchmark
    from dorefabric.sim.networks import networks
    from dorefabric.sim.tables import markdown, provenance, update

    modules = {"methods": method_benchmarks, "overhead": method_benchmarks, "training": training_benchmark}
    module = modules.get(args.figure, benchmarks)
    figure = networks if args.figure == "networks" else getattr(module, args.figure)
    names = ("count", "model", "data_dir", "simulate", "output", "error_rate", "images", "seed", "checkpoint", "epochs",
             "seeds", "rows", "repeats", "precision", "report_only", "steps", "batch", "engine", "method", "float_ends",
             "learning_rate", "first_bits", "last_bits", "from_float")  # fmt: skip
    options = {name: getattr(args, name) for name in names if hasattr(args, name)}
    if args.figure == "networks":
        chosen = args.board is not None or args.config is not None
        options |= {"chosen": target_config(args) if chosen else None, "simulate": args.simulate}
    elif args.figure == "training":
        chosen = args.board is not None or args.config is not None
        options["config"] = target_config(args) if chosen else training_benchmark.TRAINING_CONFIG
        options["bits"] = [parse_bits(text) for text in args.bits]
    elif "board" in args:
        from dorefabric.boards import get_board

        board = get_board(args.board)
        options["config"] = board.config
        if args.figure == "gates":
            options["device"] = board.device
    if isinstance(getattr(args, "bits", None), str):
        options["bits"] = parse_bits(args.bits)[:2]
    report: dict[str, Any] = figure(progress_bar=progress_bar, **options)
    tables = report.pop("tables", [])
    mark = report.pop("mark", args.figure)
    if args.update is not None and tables:
        shown = ("count", "model", "method", "board", "config", "bits", "epochs", "precision", "first_bits",
                 "last_bits", "from_float", "seeds", "rows", "simulate", "repeats", "steps", "batch",
                 "engine")  # fmt: skip
        given = {name: getattr(args, name, None) for name in shown}
        if given["rows"] is not None:
            given["rows"] = f'"{given["rows"]}"'
        words = [f"--{name.replace('_', '-')} {' '.join(value) if isinstance(value, list) else value}"
                 for name, value in given.items() if value is not None and value is not False]  # fmt: skip
        words = [word.removesuffix(" True") for word in words]
        words += [f"{option} DIR" for name, option in (("data_dir", "--data-dir"), ("output", "-o")) if
                  getattr(args, name, None) is not None]  # fmt: skip
        command = " ".join(["dorefabric bench", args.figure, *words])
        update(args.update, mark, markdown(tables, provenance(command, args.seed)))
    for name, columns, rows in report.pop("details", []) + tables:
        console.print(table(name, columns, rows))
    console.print(report["summary"])
    if report["differences"]:
        raise CheckFailed(f"{report['differences']} differences", report)
    return report
