"""Trained networks on whole data sets, and some of their images on the circuit: `dorefabric bench mnist`, `cifar`."""

from pathlib import Path
from typing import Any

import numpy as np

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.errors import DorefabricError
from dorefabric.sw.compile import compile_graph
from dorefabric.sw.driver import Accelerator
from dorefabric.sw.interpret import interpret
from dorefabric.sw.reference import evaluate, evaluate_output

from .benchmarks import Progress, compare_layers
from .verilator import VerilatorLink

__all__ = ["cifar", "mnist"]


def mnist(
    model: str, bits: tuple[int, int], data_dir: str, config: FabricConfig, simulate: int, output: str, seed: int,
    progress_bar: Progress,
) -> dict[str, Any]:
    """Train, interpret all test images, run ``simulate`` of them through Verilator.

    A training that ``output`` holds is continued, or taken as it is when complete.
    """
    from dorefabric.sw.datasets import load_dataset
    from dorefabric.sw.lower import lower
    from dorefabric.sw.model_file import load_model
    from dorefabric.sw.train import TrainConfig, train

    weight_bits, activation_bits = bits
    try:
        training = TrainConfig(dataset="mnist", model=model, weight_bits=weight_bits, activation_bits=activation_bits,
                               seed=seed, data_dir=data_dir, output=output, resume=Path(output).exists())  # fmt: skip
    except ValueError as error:
        raise DorefabricError(str(error)) from None
    train(training)
    images, labels = load_dataset("mnist", data_dir, "test")
    graph = lower(load_model(output), name=model)
    program = compile_graph(graph, config)
    with progress_bar("interpreter", len(images)) as done:
        result, _ = interpret(program, images, progress=done)
    accuracy = float(np.mean(result.reshape(len(images), -1).argmax(1) == labels))
    golden = int(np.count_nonzero(result != evaluate(graph, images, keep=[graph.output.name])[graph.output.name]))
    link = VerilatorLink(config)
    try:
        accelerator = Accelerator(link)
        accelerator.load(program)
        with progress_bar("Verilator", simulate) as done:
            actual = accelerator.run(images[:simulate], progress=done)
        counters, cycles = accelerator.layer_counters(), accelerator.busy_cycles()
    finally:
        link.close()
    circuit = int(np.count_nonzero(actual != result[:simulate]))
    return {
        "summary": f"{model} W{weight_bits}A{activation_bits}: {100 * accuracy:.2f} % of {len(images):,} test images; "
        f"{golden} differences between interpreter and golden model, {circuit} between Verilator and interpreter on "
        f"{simulate} images; {cycles:,} cycles an image",
        "differences": golden + circuit, "accuracy": accuracy, "images": len(images), "simulated": simulate,
        "layers": counters, "seed": seed, "config": config.to_dict(),
    }  # fmt: skip


def cifar(
    checkpoint: str, data_dir: str, config: FabricConfig, simulate: int, seed: int, progress_bar: Progress
) -> dict[str, Any]:
    """A trained CIFAR-10 network on a board's configuration.

    The golden model on all test images, ``simulate`` of them on the circuit layer by layer, cycles and time of an
    image, and the least time of its input and output on the serial line.
    """
    from dorefabric.sw.datasets import load_dataset
    from dorefabric.sw.lower import lower
    from dorefabric.sw.model_file import load_model

    images, labels = load_dataset("cifar10", data_dir, "test")
    graph = lower(load_model(checkpoint), name=Path(checkpoint).stem)
    program = compile_graph(graph, config)
    with progress_bar("golden model", len(images)) as done:
        result = evaluate_output(graph, images, progress=done)
    accuracy = float(np.mean(result.reshape(len(images), -1).argmax(1) == labels))
    chosen = np.sort(np.random.default_rng(seed).choice(len(images), simulate, replace=False))
    with progress_bar("compiling the simulation", 1) as done:
        link = VerilatorLink(config)
        done(1)
    try:
        with progress_bar("Verilator", simulate) as done:
            differences, rows, counters = compare_layers(link, program, graph, images[chosen], done)
    finally:
        link.close()
    predicted = program.report()["cycles"]
    cycles = predicted + sum(item["cycles"] for item in counters) - sum(layer.cycles for layer in program.layers)
    frequency = config.clock_frequency
    # Every word is four characters of ten bits; frames and answers come on top.
    words = [
        sum(program.forms[step.load.form].pack(images[:1], step.load.first_row, step.load.rows).size
            for step in program.steps if step.load is not None),
        sum(write.words.size for step in program.steps for write in step.writes),
        program.output.layout.size * program.output.layout.bank_pitch * config.bus_words,
    ]  # fmt: skip
    line = sum(words) * 40 / config.baud_rate
    return {
        "summary": f"{graph.name} on {config.name}: {100 * accuracy:.2f} % of {len(images):,} test images; "
        f"{cycles:,} cycles = {1000 * cycles / frequency:.1f} ms an image at {frequency / 1e6:g} MHz "
        f"({cycles - predicted:+d} from the prediction), weights streamed by the host: {words[1]:,} words; input and "
        f"output take at least {1000 * line:.0f} ms of the serial line; {differences} differences on every layer of "
        f"{simulate} images in Verilator",
        "tables": [(f"{graph.name}, {config.total_lanes:,} lanes",
                    ["layer", "steps", "stalls", "cycles", "useful", "different"], rows)],
        "differences": differences + abs(cycles - predicted), "accuracy": accuracy, "images": len(images),
        "simulated": simulate, "cycles": cycles, "predicted_cycles": predicted,
        "milliseconds": 1000 * cycles / frequency,
        "input_words": words[0], "streamed_words": words[1], "output_words": words[2], "line_milliseconds": 1000 * line,
        "layers": counters, "seed": seed, "config": config.to_dict(),
    }  # fmt: skip
