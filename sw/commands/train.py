"""Train a reference network: DoReFa-Net, AQE, +-1 planes, MLS, or float."""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from dorefabric.hw.errors import DorefabricError

from .common import chosen_config, console, parse_bits

if TYPE_CHECKING:
    from torch import nn

    from dorefabric.sw.link import Link
    from dorefabric.sw.matrix_unit import MatrixUnit
    from dorefabric.sw.train import TrainConfig

EXAMPLE = "dorefabric train mnist --model lenet --bits 1,2 --data-dir data/mnist -o lenet.pt"

__all__ = ["EXAMPLE", "add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", nargs="?", metavar="DATASET", help="digits, mnist, cifar10 or svhn; the model's own")
    parser.add_argument("--model", required=True, metavar="NAME", help="reference network")
    parser.add_argument("--bits", metavar="W,A[,G]", help="weight, activation, gradient bits; 32: float; default: 1,2")
    parser.add_argument("--method", default="dorefa", metavar="NAME", help="dorefa, aqe, plus-minus, a2q, a2q+ or mls")
    parser.add_argument("--accumulator-bits", type=int, default=16, metavar="P", help="that sums must fit (a2q, a2q+)")
    parser.add_argument("--learned-clip", action="store_true", help="learn the clipping level of activations (dorefa)")
    parser.add_argument("--convention", action="append", default=[], metavar="NAME=VALUE",
                        help="where papers differ, as sign_of_zero=0 or weight_scale=channel (see sw/conventions.py)")
    parser.add_argument("--alpha-start", type=float, default=0.5, metavar="A", help="alpha at the beginning (aqe)")
    parser.add_argument("--alpha-reach", type=float, default=0.7, metavar="PART", help="of training, to alpha 1 (aqe)")
    parser.add_argument("--delta", type=float, help="magnitude up to which levels are 0 (aqe)")
    parser.add_argument("--first-bits", type=int, metavar="W", help="weight bits of the first layer; 32: float")
    parser.add_argument("--last-bits", type=int, metavar="W", help="weight bits of the last layer; 32: float")
    parser.add_argument("--element", default="2,1", metavar="E,M", help="exponent and mantissa bits (mls)")
    parser.add_argument("--initial", metavar="FILE", help="start from a checkpoint of this network, of any bits")
    parser.add_argument("--epochs", type=int, help="default: the model's own")
    parser.add_argument("--batch-size", type=int, metavar="N", help="of all processes together; the model's own")
    parser.add_argument("--learning-rate", type=float, metavar="R", help="at its highest; the model's own")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda or auto; default: cpu")
    parser.add_argument("--precision", metavar="NAME", help="float32, bfloat16, or float16 on a GPU; the model's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", metavar="DIR", help="folder that holds the data set")
    parser.add_argument("--log", metavar="FILE.csv", help="a line for each epoch")
    parser.add_argument("--resume", action="store_true", help="continue the run that -o holds")
    parser.add_argument("--on-array", metavar="TARGET",
                        help="compute products on the array: interpret, verilator, pysim, or a board's serial port")
    parser.add_argument("--board", metavar="NAME", help="with --on-array: a board's configuration, not 1,024 lanes")
    parser.add_argument("--config", metavar="FILE.toml", help="with --on-array: a configuration file instead")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="checkpoint to write")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from dorefabric.sw.conventions import parse_conventions
    from dorefabric.sw.datasets import DATASETS
    from dorefabric.sw.methods import Method
    from dorefabric.sw.models import MODELS
    from dorefabric.sw.parallel import first_process
    from dorefabric.sw.train import TrainConfig, train

    if args.model not in MODELS:
        raise DorefabricError(f"unknown model {args.model!r}; known: {', '.join(MODELS)}")
    dataset = args.dataset or MODELS[args.model].dataset
    if dataset not in DATASETS:
        raise DorefabricError(f"unknown data set {dataset!r}; known: {', '.join(DATASETS)}")
    if args.epochs is not None and args.epochs < 1:
        raise DorefabricError(f"--epochs must be at least 1, not {args.epochs}")
    if args.on_array is None and (args.board is not None or args.config is not None):
        raise DorefabricError("--board and --config name the circuit of --on-array, which is not given")
    bits = args.bits or ("32,32" if args.method == "mls" else "1,2")
    weight_bits, activation_bits, gradient_bits = parse_bits(bits)
    try:
        element = args.element.split(",")
        if len(element) != 2 or not all(part.isdecimal() for part in element):
            raise ValueError(f"--element must be E,M, exponent and mantissa bits, not {args.element!r}")
        method = Method(name=args.method, learned_clip=args.learned_clip, first_bits=args.first_bits,
                        last_bits=args.last_bits, element=(int(element[0]), int(element[1])),
                        accumulator_bits=args.accumulator_bits, conventions=parse_conventions(args.convention),
                        alpha_start=args.alpha_start, alpha_reach=args.alpha_reach, delta=args.delta)  # fmt: skip
        config = TrainConfig(
            dataset=dataset, model=args.model, weight_bits=weight_bits, activation_bits=activation_bits,
            gradient_bits=gradient_bits, method=method, epochs=args.epochs,
            batch_size=args.batch_size, learning_rate=args.learning_rate, initial=args.initial, seed=args.seed,
            data_dir=args.data_dir, device=args.device, precision=args.precision, output=args.output,
            log=args.log, resume=args.resume,
        )  # fmt: skip
    except ValueError as error:
        raise DorefabricError(str(error)) from None
    try:
        with ExitStack() as stack:
            array = stack.enter_context(_array(args, config)) if args.on_array is not None else None
            result = train(config) if array is None else train(config, prepare=array.prepare, on_epoch=array.epoch)
    except DorefabricError:
        if first_process():
            raise
        raise SystemExit(2) from None       # one message is enough
    if not first_process():
        args.json = None
        return {}
    console.print(f"{args.output}: test accuracy {100 * result.test_accuracy:.2f} %")
    report = {"output": args.output, "test_accuracy": result.test_accuracy, "history": result.history}
    if array is not None:
        console.print(f"{array.share:.1%} of all multiply-accumulates on the array, {array.cycles:,} cycles, "
                      f"{array.words:,} bus words")
        report["array"] = {"multiply_accumulates": array.macs, "cycles": array.cycles, "words": array.words}
    return report


class _Array:
    """A network's products on a circuit, and what they cost, epoch by epoch, test images included."""

    def __init__(self, unit: "MatrixUnit") -> None:
        from dorefabric.sw.meter import Meter

        self.unit = unit
        self.meter = Meter()
        self.macs = {"array": 0, "host": 0}

    def prepare(self, model: "nn.Module") -> None:
        from dorefabric.sw.array_layers import train_on_array
        from dorefabric.sw.training_products import ArrayProducts

        self.meter = train_on_array(model, ArrayProducts(self.unit))

    def epoch(self, metrics: object) -> None:
        for work in self.meter.take():
            self.macs["array" if work.on_array else "host"] += work.multiply_accumulates

    @property
    def share(self) -> float:
        """The part of all multiply-accumulates that ran on the array; 0 where no epoch was left to train."""
        return self.macs["array"] / max(1, sum(self.macs.values()))

    @property
    def cycles(self) -> int:
        return self.unit.usage.cycles

    @property
    def words(self) -> int:
        return self.unit.usage.written + self.unit.usage.read


@contextmanager
def _array(args: argparse.Namespace, config: "TrainConfig") -> Iterator[_Array]:
    """The array that --on-array names."""
    import os

    from dorefabric.sim.engines import ENGINES, open_engine
    from dorefabric.sim.training_benchmark import TRAINING_CONFIG
    from dorefabric.sw.matrix_unit import MatrixUnit
    from dorefabric.sw.serial_link import SerialLink

    if config.recipe.precision != "float32" or config.device != "cpu":
        raise DorefabricError(f"--on-array needs --precision float32 and --device cpu, not {config.recipe.precision} "
                              f"and {config.device}")
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise DorefabricError("--on-array trains in one process: start it without torchrun")
    fabric = chosen_config(args) or TRAINING_CONFIG
    engine = args.on_array in ENGINES
    if not engine and not os.path.exists(args.on_array):
        raise DorefabricError(f"--on-array must be {', '.join(ENGINES)} or a serial port, not {args.on_array!r}")
    link: Link = open_engine(args.on_array, fabric) if engine else SerialLink(args.on_array, fabric.baud_rate)
    try:
        yield _Array(MatrixUnit(link, fabric))
    finally:
        link.close()
