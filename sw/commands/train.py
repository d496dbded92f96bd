"""Train a reference network with the DoReFa quantizers."""

import argparse
from typing import Any

from dorefabric.hw.errors import DorefabricError

from .common import console, parse_bits

EXAMPLE = "dorefabric train mnist --model lenet --bits 1,2 --data-dir data/mnist -o lenet.pt"

__all__ = ["EXAMPLE", "add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="DATASET", help="digits, mnist, cifar10 or svhn")
    parser.add_argument("--model", required=True, metavar="NAME", help="reference network")
    parser.add_argument("--bits", required=True, metavar="W,A[,G]", help="weight, activation, gradient bits; 32: float")
    parser.add_argument("--epochs", type=int, help="default: the model's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", metavar="DIR", help="folder that holds the data set")
    parser.add_argument("--resume", action="store_true", help="continue the run that -o holds")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="checkpoint to write")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from dorefabric.sw.datasets import DATASETS
    from dorefabric.sw.models import MODELS
    from dorefabric.sw.train import TrainConfig, train

    if args.dataset not in DATASETS:
        raise DorefabricError(f"unknown data set {args.dataset!r}; known: {', '.join(DATASETS)}")
    if args.model not in MODELS:
        raise DorefabricError(f"unknown model {args.model!r}; known: {', '.join(MODELS)}")
    if args.epochs is not None and args.epochs < 1:
        raise DorefabricError(f"--epochs must be at least 1, not {args.epochs}")
    weight_bits, activation_bits, gradient_bits = parse_bits(args.bits)
    config = TrainConfig(
        dataset=args.dataset, model=args.model, weight_bits=weight_bits, activation_bits=activation_bits,
        gradient_bits=gradient_bits, epochs=args.epochs, seed=args.seed, data_dir=args.data_dir,
        output=args.output, resume=args.resume,
    )  # fmt: skip
    result = train(config)
    console.print(f"{args.output}: test accuracy {100 * result.test_accuracy:.2f} %")
    return {"output": args.output, "test_accuracy": result.test_accuracy, "history": result.history}
