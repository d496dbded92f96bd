"""Training with every product on the array, against a twin in PyTorch: `dorefabric bench training`."""

import copy
import itertools
import time
from typing import Any

import numpy as np

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.errors import DorefabricError
from dorefabric.sim.benchmarks import Progress
from dorefabric.sim.engines import open_engine
from dorefabric.sw.matrix_unit import MatrixUnit
from dorefabric.sw.meter import Meter, Work

__all__ = ["TRAINING_CONFIG", "training"]

TRAINING_CONFIG = FabricConfig(
    name="training", rows=4, columns=8, lanes=32, tile_columns=4, accumulator_bits=20, threshold_bits=20,
    weight_depth=2048, feature_depth=4096, program_depth=2048, front="bus",
)  # fmt: skip
"""1,024 lanes, quick to simulate; 20 bits hold a sum of 64 products of 8 by 6 bits."""

KINDS = ("forward", "input gradient", "weight gradient")


def training(
    model: str, method: str, bits: list[tuple[int, int, int]], steps: int, batch: int, engine: str,
    config: FabricConfig, float_ends: bool, learning_rate: float, data_dir: str | None, seed: int,
    progress_bar: Progress,
) -> dict[str, Any]:  # fmt: skip
    """Train a reference network ``steps`` steps on ``engine`` and compare every step with the same step in software.

    Compared bit for bit: the loss, every gradient, and after the step every parameter, statistic and state of the
    optimizer (Adam); also the circuit's cycle counters with the cycle model. Method ``dorefa``: at every one of
    ``bits``; the gradients of all layers have G bits, or with ``float_ends`` those of the first and the last layer are
    float, as in the paper's networks. Method ``mls``: in the arithmetic of <2, 1>, whatever the bits.
    """
    import torch

    from dorefabric.sw.datasets import load_dataset
    from dorefabric.sw.models import MODELS

    if model not in MODELS:
        raise DorefabricError(f"unknown model {model!r}; known: {', '.join(MODELS)}")
    if method not in ("dorefa", "mls"):
        raise DorefabricError(f"--method must be dorefa or mls to train on the array, not {method!r}")
    for name, value in (("--steps", steps), ("--batch", batch)):
        if value < 1:
            raise DorefabricError(f"{name} must be at least 1, not {value}")
    images, labels = load_dataset(MODELS[model].dataset, data_dir, "train")
    if steps * batch > len(images):
        raise DorefabricError(f"{steps} steps of {batch} images need {steps * batch} images; {MODELS[model].dataset} "
                              f"has {len(images)}")  # fmt: skip
    with progress_bar(f"preparing {engine}", 1) as done:
        link = open_engine(engine, config)
        done(1)
    runs: list[_Run] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for one in bits if method == "dorefa" else [(32, 32, 32)]:
            pair = _networks(model, method, one, link, config, float_ends, seed)
            runs.append(_Run(_name(method, one), *pair, config, learning_rate, seed))
            with progress_bar(f"steps {runs[-1].name}", steps) as done:
                order = np.random.default_rng(seed).permutation(len(images))
                for step in range(steps):
                    chosen = order[step * batch : (step + 1) * batch]
                    runs[-1].step(images[chosen], labels[chosen])
                    done(step + 1)
    finally:
        torch.set_num_threads(threads)
        link.close()
    differences = sum(run.differences for run in runs)
    losses = "; ".join(f"{run.name} {run.losses[0]:.3f} to {run.losses[-1]:.3f}" for run in runs)
    return {
        "summary": f"{model}, {steps} steps of {batch} images on {engine}, {config.name} ({config.total_lanes:,} "
        f"lanes): {differences} differences from the software twin; loss {losses}; "
        f"{min(run.share for run in runs):.1%} of all multiply-accumulates on the array",
        "details": [run.details() for run in runs],
        "tables": [_summary(runs, config, steps, batch)],
        "differences": differences, "model": model, "method": method, "engine": engine, "steps": steps,
        "batch": batch, "seed": seed, "float_ends": float_ends, "learning_rate": learning_rate,
        "runs": [run.report() for run in runs], "config": config.to_dict(),
    }  # fmt: skip


def _name(method: str, bits: tuple[int, int, int]) -> str:
    return "MLS <2,1>" if method == "mls" else "W{}A{}G{}".format(*bits)


def _networks(model: str, method: str, bits: tuple[int, int, int], link: Any, config: FabricConfig, float_ends: bool,
              seed: int) -> tuple[list[Any], list[Meter]]:  # fmt: skip
    """A network on the array and its twin in software, with their meters."""
    import torch

    from dorefabric.sw.array_layers import train_on_array
    from dorefabric.sw.layers import QuantWeight
    from dorefabric.sw.methods import Method
    from dorefabric.sw.mls_arithmetic import ArrayMultiply, mls_arithmetic
    from dorefabric.sw.models import build_model
    from dorefabric.sw.training_products import ArrayProducts, SoftwareProducts

    chosen = Method(name=method)
    try:
        chosen.check(*bits)
    except ValueError as error:
        raise DorefabricError(str(error)) from None
    torch.manual_seed(seed)
    network = chosen.apply(build_model(model, *bits))
    networks = [network, copy.deepcopy(network)]
    unit = MatrixUnit(link, config)
    if method == "mls":
        return networks, [mls_arithmetic(networks[0], ArrayMultiply(unit)), mls_arithmetic(networks[1])]
    for twin in networks:
        layers = [module for module in twin.modules() if isinstance(module, QuantWeight)]
        for layer in layers[1:-1] if float_ends else layers:
            layer.gradient_bits = bits[2]
    meters = [train_on_array(networks[0], ArrayProducts(unit)), train_on_array(networks[1], SoftwareProducts())]
    return networks, meters


class _Run:
    """A network on the array and its twin, in step."""

    def __init__(self, name: str, networks: list[Any], meters: list[Meter], config: FabricConfig,
                 learning_rate: float, seed: int) -> None:  # fmt: skip
        import torch

        from dorefabric.sw.train import logit_scale

        self.name, self.networks, self.meters, self.config, self.seed = name, networks, meters, config, seed
        self.scale = logit_scale(networks[0])
        self.optimizers = [torch.optim.Adam(net.parameters(), lr=learning_rate) for net in networks]
        self.losses: list[float] = []
        self.works: list[list[Work]] = []
        self.differences = 0
        self.seconds = [0.0, 0.0]

    def step(self, images: np.ndarray, labels: np.ndarray) -> None:
        import torch
        from torch.nn import functional

        batch, wanted = torch.from_numpy(images).float() / 255, torch.from_numpy(labels)
        states = []
        for index, (network, optimizer) in enumerate(zip(self.networks, self.optimizers, strict=True)):
            started = time.perf_counter()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed + 1 + len(self.works))  # the noise of the gradients
                loss = functional.cross_entropy(network(batch) * self.scale, wanted)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
            optimizer.step()
            self.seconds[index] += time.perf_counter() - started
            states.append(_state(loss, network, optimizer))
            if index == 0:
                self.losses.append(loss.item())
        self.works.append(self.meters[0].take())
        self.meters[1].take()
        self.differences += sum(_different(*pair) for pair in zip(*states, strict=True))
        self.differences += sum(work.usage.cycles != work.usage.predicted for work in self.works[-1])

    @property
    def share(self) -> float:
        """The part of all multiply-accumulates that ran on the array."""
        works = list(itertools.chain(*self.works))
        return sum(w.multiply_accumulates for w in works if w.on_array) / sum(w.multiply_accumulates for w in works)

    def totals(self, kinds: tuple[str, ...]) -> dict[str, float]:
        """Means of a step over the works of these kinds."""
        works = [work for work in itertools.chain(*self.works) if work.kind in kinds]
        count = len(self.works)
        total = {
            "multiply_accumulates": sum(work.multiply_accumulates for work in works) / count,
            "on_array": sum(work.multiply_accumulates for work in works if work.on_array) / count,
            "pair_operations": sum(work.pair_operations for work in works) / count,
            "cycles": sum(work.usage.cycles for work in works) / count,
            "words": sum(work.usage.written + work.usage.read for work in works) / count,
        }  # fmt: skip
        total["useful"] = total["pair_operations"] / max(1, total["cycles"] * self.config.total_lanes)
        return total

    def details(self) -> tuple[str, list[str], list[list[str]]]:
        """Every sum of products of the last step."""
        rows = []
        for work in self.works[-1]:
            useful = work.pair_operations / max(1, work.usage.cycles * self.config.total_lanes)
            rows.append([
                f"{work.layer}, {work.kind}", f"{work.multiply_accumulates:,}", f"{work.pair_operations:,}",
                f"{work.usage.runs:,}", f"{work.usage.cycles:,}", f"{100 * useful:.1f} %",
                f"{work.usage.written + work.usage.read:,}",
            ])  # fmt: skip
        columns = ["product", "MACs", "pair operations", "descriptors", "cycles", "useful", "bus words"]
        return f"{self.name}, the last step", columns, rows

    def report(self) -> dict[str, Any]:
        return {
            "name": self.name, "losses": self.losses, "differences": self.differences, "share": self.share,
            "seconds": {"array": self.seconds[0], "twin": self.seconds[1]},
            "step": {kind: self.totals((kind,)) for kind in KINDS} | {"all": self.totals(KINDS)},
            "layers": [
                {"layer": work.layer, "kind": work.kind, "multiply_accumulates": work.multiply_accumulates,
                 "pair_operations": work.pair_operations, "on_array": work.on_array, **vars(work.usage)}
                for work in self.works[-1]
            ],
        }  # fmt: skip


def _state(loss: Any, network: Any, optimizer: Any) -> list[np.ndarray]:
    """The loss, gradients, parameters and statistics, and the optimizer's state of every parameter."""
    tensors = [loss, *(parameter.grad for parameter in network.parameters()), *network.state_dict().values()]
    for state in optimizer.state.values():
        tensors += state.values()
    return [tensor.detach().numpy().copy() for tensor in tensors]


def _different(a: np.ndarray, b: np.ndarray) -> int:
    """Elements whose bits differ, so that a NaN equals itself and zeros of different sign do not."""
    bits = [np.atleast_1d(x).view(f"u{x.dtype.itemsize}") for x in (a, b)]
    return int(np.count_nonzero(bits[0] != bits[1]))


def _summary(runs: list[_Run], config: FabricConfig, steps: int, batch: int) -> tuple[str, list[str], list[list[str]]]:
    rows = []
    for run in runs:
        for name, kinds in (*((kind, (kind,)) for kind in KINDS), ("step", KINDS)):
            t = run.totals(kinds)
            whole = [f"{run.losses[0]:.3f} to {run.losses[-1]:.3f}", f"{run.differences:,}"]
            rows.append([
                f"{run.name}, {name}", f"{t['multiply_accumulates'] / 1e6:.2f}",
                f"{100 * t['on_array'] / t['multiply_accumulates']:.1f} %", f"{t['pair_operations'] / 1e6:.1f}",
                f"{t['cycles']:,.0f}", f"{100 * t['useful']:.1f} %", f"{t['words']:,.0f}",
                *(whole if name == "step" else ("", "")),
            ])  # fmt: skip
    columns = ["a step's products", "million MACs", "on array", "million pair operations", "cycles", "useful",
               "bus words", "loss", "different"]  # fmt: skip
    title = f"{steps} steps of {batch} images on {config.name}, {config.total_lanes:,} lanes; MAC: multiply-accumulate"
    return title, columns, rows
