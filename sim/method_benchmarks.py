"""The methods of training compared on MNIST: `dorefabric bench methods` and `dorefabric bench overhead`."""

import statistics
import time
from pathlib import Path
from typing import Any

from dorefabric.hw.errors import DorefabricError
from dorefabric.sim.benchmarks import Progress
from dorefabric.sim.method_circuits import FURTHER_ROWS, circuit_differences, method_of

__all__ = ["ROWS", "methods", "overhead"]

ROWS: dict[str, tuple[str, tuple[int, int, int]]] = {
    "float": ("dorefa", (32, 32, 32)),
    "DoReFa 1-1-32": ("dorefa", (1, 1, 32)),
    "DoReFa 1-2-32": ("dorefa", (1, 2, 32)),
    "DoReFa 1-2-6": ("dorefa", (1, 2, 6)),
    "DoReFa 1-2-4": ("dorefa", (1, 2, 4)),
    "DoReFa 1-1-4": ("dorefa", (1, 1, 4)),
    "DoReFa 2-2-6": ("dorefa", (2, 2, 6)),
    "AQE 1-1": ("aqe", (1, 1, 32)),
    "AQE 2-2": ("aqe", (2, 2, 32)),
    "AQE 3-3": ("aqe", (3, 3, 32)),
    "MLS <2,1>": ("mls", (32, 32, 32)),
    "+-1 2-2": ("plus-minus", (2, 2, 32)),
}
"""Method and bits of each row."""


def methods(
    model: str, data_dir: str | None, output: str, epochs: int | None, seeds: int, rows: str | None, simulate: int,
    seed: int, progress_bar: Progress, precision: str | None = None, report_only: bool = False,
    first_bits: int | None = None, last_bits: int | None = None, from_float: bool = False,
) -> dict[str, Any]:
    """Train a network by every method, and run those that have an integer graph through Verilator.

    Checkpoints in the folder ``output`` are continued, or taken as they are when complete, so that the command can be
    repeated until everything is there; with ``report_only`` what is not complete is left out. Seeds count up from
    ``seed``; ``simulate`` images run on the circuit, on the network of the first one. ``precision`` is that of the
    training, but MLS always has float32.

    ``first_bits`` and ``last_bits`` are the weight bits of the outer layers of all networks but float ones. With
    ``from_float`` the others start from the weights of the float row, which must be there or come first.
    """
    from dorefabric.sw.datasets import load_dataset
    from dorefabric.sw.models import MODELS
    from dorefabric.sw.train import TrainConfig, train

    if model not in MODELS:
        raise DorefabricError(f"unknown model {model!r}; known: {', '.join(MODELS)}")
    known = ROWS | FURTHER_ROWS
    chosen = list(ROWS) if rows is None else [name.strip() for name in rows.split(";")]
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise DorefabricError(f"unknown row {unknown[0]!r}; known: {'; '.join(known)}")
    dataset = MODELS[model].dataset
    policy = "".join(f"-{place}{bits}" for place, bits in (("first", first_bits), ("last", last_bits)) if bits)
    images, _ = load_dataset(dataset, data_dir, "test")
    measured: list[dict[str, Any]] = []
    with progress_bar("trainings", len(chosen) * seeds) as done:
        for name in chosen:
            method, bits = known[name]
            accuracies, seconds, history, differences = [], [], 0, None
            is_float = bits[0] == 32
            for number in range(seed, seed + seeds):
                twin = Path(output) / f"{model}-dorefa-32-32-32-{number}.pt"
                initial = twin if from_float and name != "float" else None
                options = policy * (not is_float) + "-from-float" * (initial is not None)
                path = Path(output) / f"{model}{options}-{method}-{'-'.join(map(str, bits))}-{number}.pt"
                try:
                    config = TrainConfig(
                        dataset=dataset, model=model, weight_bits=bits[0], activation_bits=bits[1],
                        gradient_bits=bits[2], epochs=epochs,
                        method=method_of(method, None if is_float else first_bits, None if is_float else last_bits),
                        precision="float32" if method == "mls" else precision, initial=initial, seed=number,
                        data_dir=data_dir, output=path, resume=path.exists(), progress=False)
                except ValueError as error:
                    raise DorefabricError(str(error)) from None
                if report_only and _epochs(path) < config.recipe.epochs:
                    continue
                result = train(config)
                history = len(result.history)
                accuracies.append(result.test_accuracy)
                seconds.append(sum(metrics.seconds for metrics in result.history))
                if number == seed and simulate and name != "float":
                    differences = circuit_differences(path, images[:simulate], progress_bar)
                done(len(measured) * seeds + number - seed + 1)
            measured.append({"name": name, "method": method, "bits": bits, "epochs": history,
                             "accuracies": accuracies, "seconds": seconds, "differences": differences})
    total = sum(row["differences"] or 0 for row in measured)
    table = [[
        row["name"], " ".join(f"{100 * accuracy:.2f}" for accuracy in row["accuracies"]) or "–",
        f"{100 * statistics.mean(row['accuracies']):.2f}" if row["accuracies"] else "–", str(row["epochs"]),
        f"{statistics.mean(row['seconds']):.0f}" if row["seconds"] else "–",
        "–" if row["differences"] is None else str(row["differences"]),
    ] for row in measured]  # fmt: skip
    return {
        "summary": f"{model} on {dataset}: {len(measured)} methods, {seeds} seeds; {_gap(measured)}"
        f"{total} differences on {simulate} images",
        "tables": [(f"{model} on {dataset}, test accuracy in %",
                    ["W-A-G", "seeds", "mean", "epochs", "seconds", "different"], table)],
        "differences": total, "rows": measured, "simulated": simulate, "mark": f"methods {model}",
    }  # fmt: skip


def _epochs(path: Path) -> int:
    """Epochs that a checkpoint has behind it, 0 where there is none."""
    from dorefabric.sw.model_file import read_model_file

    return len(read_model_file(path)["history"]) if path.exists() else 0


def _gap(measured: list[dict[str, Any]]) -> str:
    """How far DoReFa 1-2-6 is below the float network."""
    means = {row["name"]: 100 * statistics.mean(row["accuracies"]) for row in measured if row["accuracies"]}
    if not {"float", "DoReFa 1-2-6"} <= means.keys():
        return ""
    return f"DoReFa 1-2-6 is {means['float'] - means['DoReFa 1-2-6']:.2f} points below float; "


def overhead(model: str, repeats: int, seed: int, progress_bar: Progress) -> dict[str, Any]:
    """Processor time of a training step, forward and backward, against the float network; the least of
    3 ``repeats``."""
    import torch
    from torch.nn import functional

    from dorefabric.sw.methods import Method
    from dorefabric.sw.models import build_model

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    names = [name for name in ROWS if not name.startswith("MLS")]
    networks = []
    for name in names:
        method, bits = ROWS[name]
        torch.manual_seed(seed)
        network = Method(name=method).apply(build_model(model, *bits))
        networks.append(network.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    images = torch.rand(100, *networks[0].input_shape).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (100,))
    steps = [float("inf")] * len(names)
    try:
        with progress_bar("repeats", repeats) as done:
            for repeat in range(repeats):       # in turn, so that other work on the machine slows all alike
                for index, network in enumerate(networks):
                    for _ in range(3):              # a network finds its own values in the caches, as in training
                        started = time.process_time()
                        loss = functional.cross_entropy(network(images), labels)
                        network.zero_grad()
                        torch.autograd.backward(loss)
                        steps[index] = min(steps[index], time.process_time() - started)
                done(repeat + 1)
    finally:
        torch.set_num_threads(threads)
    table = [[name, f"{1e3 * step:.1f}", f"{step / steps[0]:.2f}"] for name, step in zip(names, steps, strict=True)]
    worst = max(range(len(names)), key=steps.__getitem__)
    return {
        "summary": f"{model}: at most {steps[worst] / steps[0]:.2f} times the float network ({names[worst]}), "
        f"one thread, 100 images a step",
        "tables": [(f"{model}, processor time of a step", ["W-A-G", "ms", "times float"], table)],
        "differences": 0, "mark": f"overhead {model}", "seconds": dict(zip(names, steps, strict=True)),
    }  # fmt: skip
