"""Train a reference network, with a checkpoint after every epoch.

The same seed gives the same network bit for bit on one thread, resumed or not. Started by `torchrun` the processes
share every batch (`parallel`).
"""

import csv
import math
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn import functional

from .aqe_layers import AsymptoticLinear
from .augment import augmented
from .datasets import load_dataset
from .layers import QuantLinear
from .model_file import EpochMetrics, load_parameters, read_model_file, save_model
from .models import build_model
from .parallel import Processes, processes
from .quantize import FLOAT_BITS
from .recipes import Recipe, schedule
from .train_config import DEFAULTS, TrainConfig, TrainError, identity
from .whole_file import whole_file

__all__ = ["TrainConfig", "TrainError", "TrainResult", "evaluate", "logit_scale", "train"]


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

def evaluate(model: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64],
             batch_size: int = 500) -> float:
    """Accuracy in [0, 1] of a network, in eval mode, on uint8 images (N, C, H, W) and labels (N,)."""
    if len(images) != len(labels) or len(images) == 0:
        raise ValueError(f"images and labels must be equally many, not {len(images)} and {len(labels)}")
    return _correct(model, images, labels, batch_size) / len(images)


@torch.no_grad()
def _correct(model: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64], batch_size: int = 500) -> int:
    was_training = model.training
    device = next(model.parameters()).device
    model.eval()
    correct = 0
    for start in range(0, len(images), batch_size):
        batch = torch.from_numpy(np.ascontiguousarray(images[start:start + batch_size])).to(device).float() / 255
        predicted = model(batch).argmax(dim=1).cpu().numpy()
        correct += int((predicted == labels[start:start + batch_size]).sum())
    model.train(was_training)
    return correct


# Training --------------------------------------------------------------------------------------------

def logit_scale(model: nn.Module) -> float:
    """Factor on the logits inside the loss; it changes neither the network nor its decisions.

    Weights of k > 1 bits always reach +-1, so the logits of a fresh network are sqrt(inputs) times larger
    than those of its float twin, and cannot shrink or grow: without the factor the loss starts saturated,
    with a smaller one it never gets small (digits: 3 is half a point better than 1). Where weights and inputs all are
    +-1, as with one bit of AQE, no product is small and the factor is a third: logits of inputs that a network is
    unsure of cannot shrink, and would cost more than those that it knows gain.
    """
    last = [m for m in model.modules() if isinstance(m, QuantLinear)][-1]
    if last.weight_bits == FLOAT_BITS:
        return 1.0
    return (1.0 if isinstance(last, AsymptoticLinear) and last.weight_bits == 1 else 3.0) * last.in_features ** -0.5


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
    with whole_file(path, error=TrainError) as scratch, scratch.open("w", newline="") as file:
        writer = csv.DictWriter(file, [item.name for item in fields(EpochMetrics)])
        writer.writeheader()
        writer.writerows(asdict(metrics) for metrics in history)


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    return torch.optim.SGD(model.parameters(), lr=recipe.learning_rate, momentum=0.9)


def _resume(config: TrainConfig, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler,
            group: Processes) -> list[EpochMetrics]:
    """Load network, optimizer and random state from the checkpoint; return its history."""
    assert config.output is not None
    content = read_model_file(config.output)
    training = content["training"]
    if training is None:
        raise TrainError(f"cannot resume: {config.output} holds no training state")
    for key, value in identity(config, group.size).items():
        if training["config"].get(key, DEFAULTS.get(key)) != value:
            raise TrainError(f"cannot resume: {config.output} was trained with {key} "
                             f"{training['config'].get(key, DEFAULTS.get(key))!r}, not {value!r}")
    model.load_state_dict(content["state_dict"])
    optimizer.load_state_dict(training["optimizer"])
    scaler.load_state_dict(training.get("scaler") or scaler.state_dict())
    group.restore(training["rng"] if isinstance(training["rng"], list) else [training["rng"]])
    return [EpochMetrics(**metrics) for metrics in content["history"]]


def _train_epoch(model: nn.Module, forward: nn.Module, optimizer: torch.optim.Optimizer,
                 scaler: torch.amp.GradScaler, data: tuple[Tensor, Tensor], *, config: TrainConfig, group: Processes,
                 epoch: int, advance: Callable[[], None]) -> tuple[float, float]:
    """One pass over the data, epochs counting from 1; returns mean loss and accuracy. ``forward`` calls the model."""
    images, labels = data
    recipe, device = config.recipe, group.device
    size = min(recipe.batch_size, len(images))
    steps = len(images) // size           # the few images left over are others in each epoch
    scale = logit_scale(model)
    order = torch.randperm(len(images)).to(device)
    group.agree(order)
    order = order.cpu()
    dtype = getattr(torch, recipe.precision)
    total_loss, correct = 0.0, 0
    model.train()
    for step in range(steps):
        done = (epoch - 1 + step / steps) / recipe.epochs
        for parameters in optimizer.param_groups:
            parameters["lr"] = recipe.learning_rate * schedule(done, recipe.warmup)
        config.method.advance(model, done)
        chosen = order[step * size:(step + 1) * size][group.rank::group.size]
        batch = augmented(images[chosen], recipe).contiguous(memory_format=torch.channels_last).to(device)
        wanted = labels[chosen].to(device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits = forward(batch).float()
        loss = functional.cross_entropy(logits * scale, wanted)
        penalty = config.method.penalty(model)
        if penalty is not None:
            loss = loss + penalty
        value = group.total(loss.item())[0] / group.size
        if not math.isfinite(value):
            left = f"{config.output} keeps epoch {epoch - 1}" if config.output and epoch > 1 else \
                "no epoch was completed" if epoch == 1 else "nothing was kept"
            raise TrainError(f"the loss became {value} in epoch {epoch}, step {step + 1}: lower the learning "
                             f"rate ({recipe.learning_rate}); {left}")
        optimizer.zero_grad()
        torch.autograd.backward(scaler.scale(loss))
        scaler.step(optimizer)
        scaler.update()
        total_loss += value
        correct += int((logits.argmax(dim=1) == wanted).sum())
        advance()
    group.agree(*model.buffers())
    return total_loss / steps, group.total(correct)[0] / (steps * size)


def train(config: TrainConfig, *, on_epoch: Callable[[EpochMetrics], None] | None = None,
          console: Console | None = None, prepare: Callable[[nn.Module], None] | None = None) -> TrainResult:
    """Train a reference network.

    Parameters
    ----------
    on_epoch : callable or None
        Called with the figures of each epoch after its checkpoint is written.
    console : rich Console or None
        Where progress is shown.
    prepare : callable or None
        Called with the network before it is trained. It may swap layers for others with the same parameters, such as
        `array_layers.train_on_array` does.

    Raises
    ------
    DatasetError, ModelFileError
        If the data or the checkpoint to start or to resume from cannot be read, or is of another network.
    TrainError
        If the loss becomes NaN or infinite, the checkpoint is of another training, or the machine has not the device.
    KeyboardInterrupt
        On Ctrl-C. The checkpoint of the last whole epoch stays as it is.
    """
    train_images, train_labels = load_dataset(config.dataset, config.data_dir, "train")
    test_images, test_labels = load_dataset(config.dataset, config.data_dir, "test")
    data = torch.from_numpy(train_images), torch.from_numpy(train_labels)
    output = None if config.output is None else Path(config.output)
    for path in (output, config.log):
        if path is not None:
            _check_writable(Path(path))

    recipe = config.recipe
    size = min(recipe.batch_size, len(train_images))
    steps = len(train_images) // size
    threads = torch.get_num_threads()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with ExitStack() as stack:
        group = stack.enter_context(processes(config.device, size))
        first, on_gpu = group.rank == 0, group.device.type == "cuda"
        if recipe.precision == "float16" and not on_gpu:
            raise TrainError("precision 'float16' needs a GPU (device 'cuda'); on a CPU take 'bfloat16' or 'float32'")
        console = console or Console(quiet=not (config.progress and first))
        # The caller's random state is left as it was.
        stack.enter_context(torch.random.fork_rng(devices=[group.device.index] if on_gpu else []))
        bar = stack.enter_context(Progress(*columns, console=console, transient=True,
                                           disable=not (config.progress and first)))
        if config.threads is not None:
            stack.callback(torch.set_num_threads, threads)
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        # Channels last is about twice as fast on a CPU, mostly in pooling; values do not depend on it.
        model = build_model(config.model, *config.bits)
        if config.initial is not None and not config.resume:
            load_parameters(model, config.initial, config.model)
        model = config.method.apply(model)                  # which may derive parameters from the weights
        if config.initial is None:
            config.method.initialise(model)
        model = model.to(group.device)
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if prepare is not None:
            prepare(model)
        optimizer = _optimizer(model, recipe)
        scaler = torch.amp.GradScaler("cuda", enabled=recipe.precision == "float16")
        if group.rank:
            torch.manual_seed((config.seed + (group.rank << 32)) % (1 << 63))
        history = _resume(config, model, optimizer, scaler, group) if config.resume else []
        forward = group.wrap(model)
        for epoch in range(len(history) + 1, recipe.epochs + 1):
            started = time.perf_counter()
            task = bar.add_task(f"epoch {epoch}/{recipe.epochs}", total=steps)
            loss, accuracy = _train_epoch(
                model, forward, optimizer, scaler, data, config=config, group=group, epoch=epoch,
                advance=partial(bar.advance, task))
            bar.remove_task(task)
            share = slice(group.rank, None, group.size)
            correct, = group.total(_correct(model, test_images[share], test_labels[share]))
            metrics = EpochMetrics(
                epoch=epoch, loss=loss, train_accuracy=accuracy, test_accuracy=correct / len(test_images),
                seconds=time.perf_counter() - started)
            history.append(metrics)
            states = group.random_states()
            if not first:
                continue
            if output is not None:
                save_model(model, output, name=config.model, bits=config.bits, history=history,
                           seed=config.seed, method=config.method, training={
                               "config": identity(config, group.size), "optimizer": optimizer.state_dict(),
                               "scaler": scaler.state_dict(), "rng": states})
            if config.log is not None:
                _write_log(Path(config.log), history)
            console.print(
                f"epoch {epoch:3}/{recipe.epochs}  loss {loss:.4f}  train {accuracy:7.2%}  "
                f"test {metrics.test_accuracy:7.2%}  {metrics.seconds:.1f} s", highlight=False)
            if on_epoch is not None:
                on_epoch(metrics)
    model = model.cpu().eval().to(memory_format=torch.contiguous_format)
    return TrainResult(model=model, history=history, output=output)
