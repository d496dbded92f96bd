"""Train a reference network, with a checkpoint after every epoch.

The same seed gives the same network bit for bit on one thread, resumed or not.
"""

import csv
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn import functional

from dorefabric.hw.errors import DorefabricError
from dorefabric.sw.augment import augmented
from dorefabric.sw.datasets import load_dataset
from dorefabric.sw.layers import QuantLinear
from dorefabric.sw.methods import DOREFA, Method
from dorefabric.sw.model_file import EpochMetrics, read_model_file, save_model
from dorefabric.sw.models import MODELS, build_model
from dorefabric.sw.quantize import FLOAT_BITS, check_bits
from dorefabric.sw.recipes import RECIPES, Recipe, schedule

__all__ = [
    "TrainConfig",
    "TrainError",
    "TrainResult",
    "evaluate",
    "train",
]


class TrainError(DorefabricError, RuntimeError):
    """Training cannot start or go on; the message says why and what is left on disk."""


# Configuration ---------------------------------------------------------------------------------------

@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What to train, on what, and where to keep it.

    Members
    -------
    dataset, model : str
        Names in `datasets.DATASETS` and `models.MODELS`; they must belong together.
    weight_bits, activation_bits, gradient_bits : int
        1 to 8, or 32 for float.
    epochs, batch_size, learning_rate, optimizer, shift, precision
        ``None`` takes the network's recipe; the optimizer is ``adam`` or ``sgd`` (momentum 0.9). The
        learning rate falls to zero along a cosine over all epochs.
    method : Method
        How networks are quantized; by default as DoReFa-Net does.
    seed : int
        Seeds initial weights, order, augmentation, dropout and gradient noise.
    data_dir : path or None
        The folder given to `datasets.load_dataset`.
    output : path or None
        The checkpoint, replaced after each epoch; ``None`` keeps nothing.
    log : path or None
        A CSV file with the figures of every epoch, replaced after each.
    resume : bool
        Continue from ``output``. The rest of the configuration must be the same; ``epochs`` may be larger.
    threads : int or None
        Threads of torch during training; ``None`` leaves torch's setting. Other than 1 may be faster, but
        runs are then no longer equal bit for bit.
    progress : bool
        Print a progress bar and a line for each epoch.

    Raises
    ------
    ValueError
        For a value out of range.
    """

    dataset: str
    model: str
    weight_bits: int = 1
    activation_bits: int = 2
    gradient_bits: int = FLOAT_BITS
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    optimizer: str | None = None
    shift: float | None = None
    precision: str | None = None
    method: Method = DOREFA
    seed: int = 0
    data_dir: str | Path | None = None
    output: str | Path | None = None
    log: str | Path | None = None
    resume: bool = False
    threads: int | None = 1
    progress: bool = True

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"unknown network {self.model!r}: choose one of {', '.join(MODELS)}")
        wanted = MODELS[self.model].dataset
        if self.dataset != wanted:
            raise ValueError(f"network {self.model!r} takes data set {wanted!r}, not {self.dataset!r}")
        if self.model not in RECIPES:
            raise ValueError(f"network {self.model!r} has no recipe: its data set {wanted!r} cannot be read; train it "
                             f"with a loop of your own")
        for kind in ("weight", "activation", "gradient"):
            check_bits(kind, getattr(self, f"{kind}_bits"))
        self.method.check(*self.bits)
        recipe = self.recipe
        if recipe.epochs < 1:
            raise ValueError(f"epochs must be at least 1, not {recipe.epochs!r}")
        if recipe.batch_size < 2:
            raise ValueError(f"batch size must be at least 2, not {recipe.batch_size!r}")
        if not (recipe.learning_rate > 0 and math.isfinite(recipe.learning_rate)):
            raise ValueError(f"learning rate must be a positive number, not {recipe.learning_rate!r}")
        if recipe.optimizer not in ("adam", "sgd"):
            raise ValueError(f"optimizer must be 'adam' or 'sgd', not {recipe.optimizer!r}")
        if not 0 <= recipe.shift < math.inf:
            raise ValueError(f"shift must be at least 0 pixels, not {recipe.shift!r}")
        if recipe.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be 'float32' or 'bfloat16', not {recipe.precision!r}")
        if self.method.name == "mls" and recipe.precision != "float32":
            raise ValueError("method 'mls' rounds values itself: precision must be 'float32', not "
                             f"{recipe.precision!r}")
        if not 0 <= self.seed < 1 << 63:
            raise ValueError(f"seed must be 0 to 2**63 - 1, not {self.seed!r}")
        if self.resume and self.output is None:
            raise ValueError("resume needs an output: the checkpoint to continue from")

    @property
    def recipe(self) -> Recipe:
        """The network's recipe with this configuration's own values put in."""
        base = asdict(RECIPES[self.model])
        own = {key: getattr(self, key) for key in base if getattr(self, key, None) is not None}
        return Recipe(**(base | own))

    @property
    def bits(self) -> tuple[int, int, int]:
        """(W, A, G)."""
        return self.weight_bits, self.activation_bits, self.gradient_bits


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The trained network in eval mode, its history, and the checkpoint's path if there is one."""

    model: nn.Module
    history: list[EpochMetrics] = field(repr=False)
    output: Path | None

    @property
    def test_accuracy(self) -> float:
        """Accuracy on the test split after the last epoch, in [0, 1]."""
        return self.history[-1].test_accuracy


# Evaluation ------------------------------------------------------------------------------------------

@torch.no_grad()
def evaluate(model: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64],
             batch_size: int = 500) -> float:
    """Accuracy in [0, 1] of a network, in eval mode, on uint8 images (N, C, H, W) and labels (N,)."""
    if len(images) != len(labels) or len(images) == 0:
        raise ValueError(f"images and labels must be equally many, not {len(images)} and {len(labels)}")
    was_training = model.training
    model.eval()
    correct = 0
    for start in range(0, len(images), batch_size):
        batch = torch.from_numpy(np.ascontiguousarray(images[start:start + batch_size])).float() / 255
        predicted = model(batch).argmax(dim=1).numpy()
        correct += int((predicted == labels[start:start + batch_size]).sum())
    model.train(was_training)
    return correct / len(images)


# Training --------------------------------------------------------------------------------------------

def _logit_scale(model: nn.Module) -> float:
    """Factor on the logits inside the loss; it changes neither the network nor its decisions.

    Weights of k > 1 bits always reach +-1, so the logits of a fresh network are sqrt(inputs) times larger
    than those of its float twin, and cannot shrink or grow: without the factor the loss starts saturated,
    with a smaller one it never gets small (digits: 3 is half a point better than 1).
    """
    last = [m for m in model.modules() if isinstance(m, QuantLinear)][-1]
    return 1.0 if last.weight_bits == FLOAT_BITS else 3.0 * last.in_features ** -0.5


def _check_writable(path: Path) -> None:
    """Say before training what would otherwise be said after the first epoch."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainError(f"cannot make the folder {path.parent}: {error.strerror}") from None
    if path.is_dir():
        raise TrainError(f"{path} is a folder: name a file in it")
    if not os.access(path.parent, os.W_OK):
        raise TrainError(f"cannot write {path}: its folder is read-only")


def _write_log(path: Path, history: list[EpochMetrics]) -> None:
    """The whole history as CSV, replaced at once, so that it is complete whenever it is read."""
    part = path.with_name(path.name + ".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, [item.name for item in fields(EpochMetrics)])
        writer.writeheader()
        writer.writerows(asdict(metrics) for metrics in history)
    part.replace(path)


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    return torch.optim.SGD(model.parameters(), lr=recipe.learning_rate, momentum=0.9)


DEFAULTS = {"method": DOREFA.to_dict(), "crop": 0, "warmup": 0.0, "precision": "float32"}
"""What checkpoints have that were written before these were options."""


def _identity(config: TrainConfig) -> dict[str, Any]:
    """Whatever must be equal for a checkpoint to be continued by this configuration."""
    recipe = {key: value for key, value in asdict(config.recipe).items() if key != "epochs"}
    return {"model": config.model, "bits": list(config.bits), "seed": config.seed,
            "method": config.method.to_dict(), **recipe}


def _resume(config: TrainConfig, model: nn.Module, optimizer: torch.optim.Optimizer) -> list[EpochMetrics]:
    """Load network, optimizer and random state from the checkpoint; return its history."""
    assert config.output is not None
    content = read_model_file(config.output)
    training = content["training"]
    if training is None:
        raise TrainError(f"cannot resume: {config.output} holds no training state")
    for key, value in _identity(config).items():
        if training["config"].get(key, DEFAULTS.get(key)) != value:
            raise TrainError(f"cannot resume: {config.output} was trained with {key} "
                             f"{training['config'].get(key)!r}, not {value!r}")
    model.load_state_dict(content["state_dict"])
    optimizer.load_state_dict(training["optimizer"])
    torch.set_rng_state(training["rng"])
    return [EpochMetrics(**metrics) for metrics in content["history"]]


def _train_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, data: tuple[Tensor, Tensor], *,
                 config: TrainConfig, epoch: int, advance: Callable[[], None]) -> tuple[float, float]:
    """One pass over the data, epochs counting from 1; returns mean loss and accuracy."""
    images, labels = data
    recipe = config.recipe
    size = min(recipe.batch_size, len(images))
    steps = len(images) // size           # the few images left over are others in each epoch
    scale = _logit_scale(model)
    order = torch.randperm(len(images))
    total_loss, correct = 0.0, 0
    model.train()
    for step in range(steps):
        done = (epoch - 1 + step / steps) / recipe.epochs
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * schedule(done, recipe.warmup)
        config.method.advance(model, done)
        chosen = order[step * size:(step + 1) * size]
        batch = augmented(images[chosen], recipe)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            logits = model(batch.contiguous(memory_format=torch.channels_last)).float()
        loss = functional.cross_entropy(logits * scale, labels[chosen])
        penalty = config.method.penalty(model)
        if penalty is not None:
            loss = loss + penalty
        value = loss.item()
        if not math.isfinite(value):
            left = f"{config.output} keeps epoch {epoch - 1}" if config.output and epoch > 1 else \
                "no epoch was completed" if epoch == 1 else "nothing was kept"
            raise TrainError(f"the loss became {value} in epoch {epoch}, step {step + 1}: lower the learning "
                             f"rate ({recipe.learning_rate}); {left}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total_loss += value
        correct += int((logits.argmax(dim=1) == labels[chosen]).sum())
        advance()
    return total_loss / steps, correct / (steps * size)


def train(config: TrainConfig, *, on_epoch: Callable[[EpochMetrics], None] | None = None,
          console: Console | None = None) -> TrainResult:
    """Train a reference network.

    Parameters
    ----------
    on_epoch : callable or None
        Called with the figures of each epoch after its checkpoint is written.
    console : rich Console or None
        Where progress is shown.

    Raises
    ------
    DatasetError, ModelFileError
        If the data or the checkpoint to resume from cannot be read.
    TrainError
        If the loss becomes NaN or infinite, or the checkpoint is of another training.
    KeyboardInterrupt
        On Ctrl-C. The checkpoint of the last whole epoch stays as it is.
    """
    train_images, train_labels = load_dataset(config.dataset, config.data_dir, "train")
    test_images, test_labels = load_dataset(config.dataset, config.data_dir, "test")
    images, labels = torch.from_numpy(train_images), torch.from_numpy(train_labels)
    output = None if config.output is None else Path(config.output)
    for path in (output, config.log):
        if path is not None:
            _check_writable(Path(path))

    console = console or Console(quiet=not config.progress)
    threads = torch.get_num_threads()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        # The caller's random state is left as it was.
        with torch.random.fork_rng(devices=[]), Progress(
                *columns, console=console, transient=True, disable=not config.progress) as bar:
            if config.threads is not None:
                torch.set_num_threads(config.threads)
            torch.manual_seed(config.seed)
            recipe = config.recipe
            # Channels last is about twice as fast on a CPU, mostly in pooling; values do not depend on it.
            model = config.method.apply(build_model(config.model, *config.bits))
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            optimizer = _optimizer(model, recipe)
            history = _resume(config, model, optimizer) if config.resume else []
            steps = len(images) // min(recipe.batch_size, len(images))
            for epoch in range(len(history) + 1, recipe.epochs + 1):
                started = time.perf_counter()
                task = bar.add_task(f"epoch {epoch}/{recipe.epochs}", total=steps)
                loss, accuracy = _train_epoch(
                    model, optimizer, (images, labels), config=config, epoch=epoch,
                    advance=partial(bar.advance, task))
                bar.remove_task(task)
                metrics = EpochMetrics(
                    epoch=epoch, loss=loss, train_accuracy=accuracy,
                    test_accuracy=evaluate(model, test_images, test_labels),
                    seconds=time.perf_counter() - started)
                history.append(metrics)
                if output is not None:
                    save_model(model, output, name=config.model, bits=config.bits, history=history,
                               seed=config.seed, method=config.method, training={
                                   "config": _identity(config), "optimizer": optimizer.state_dict(),
                                   "rng": torch.get_rng_state()})
                if config.log is not None:
                    _write_log(Path(config.log), history)
                console.print(
                    f"epoch {epoch:3}/{recipe.epochs}  loss {loss:.4f}  train {accuracy:7.2%}  "
                    f"test {metrics.test_accuracy:7.2%}  {metrics.seconds:.1f} s", highlight=False)
                if on_epoch is not None:
                    on_epoch(metrics)
    finally:
        torch.set_num_threads(threads)
    model = model.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return TrainResult(model=model, history=history, output=output)
