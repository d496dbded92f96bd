"""A trained network of every method on the circuit, for `dorefabric bench methods`."""

from pathlib import Path
from typing import Any

import numpy as np

from dorefabric.hw.config import FabricConfig
from dorefabric.sim.benchmarks import LAYERS_CONFIG, Progress

__all__ = ["FURTHER_ROWS", "circuit_differences", "method_of", "mls_differences"]

FURTHER_ROWS: dict[str, tuple[str, tuple[int, int, int]]] = {
    "A2Q 4-4": ("a2q", (4, 4, 32)),
    "learned clip 2-2": ("learned-clip", (2, 2, 32)),
}
"""Method and bits of rows that are trained where they are named."""


def method_of(name: str, first_bits: int | None = None, last_bits: int | None = None) -> Any:
    """The `Method` of a row, with a policy for the outer layers."""
    from dorefabric.sw.methods import Method

    learned_clip = name == "learned-clip"
    return Method(name="dorefa" if learned_clip else name, learned_clip=learned_clip, first_bits=first_bits,
                  last_bits=last_bits)


def circuit_differences(path: Path, images: np.ndarray, progress_bar: Progress) -> int:
    """Values of a checkpoint's network that differ between the golden model and the circuit in Verilator."""
    from dorefabric.sim.verilator import VerilatorLink
    from dorefabric.sw.compile import compile_graph
    from dorefabric.sw.driver import Accelerator
    from dorefabric.sw.lower import lower
    from dorefabric.sw.mls_layers import MlsConv2d
    from dorefabric.sw.model_file import load_model
    from dorefabric.sw.reference import evaluate_output

    model = load_model(path)
    link = VerilatorLink(LAYERS_CONFIG)
    try:
        if any(isinstance(module, MlsConv2d) for module in model.modules()):
            return mls_differences(model, images, link, LAYERS_CONFIG, progress_bar)
        graph = lower(model, name=path.stem)
        accelerator = Accelerator(link)
        accelerator.load(compile_graph(graph, LAYERS_CONFIG))
        with progress_bar("Verilator", len(images)) as done:
            actual = accelerator.run(images, progress=done)
    finally:
        link.close()
    return int(np.count_nonzero(actual != evaluate_output(graph, images)))


def mls_differences(model: Any, images: np.ndarray, link: Any, config: FabricConfig, progress_bar: Progress) -> int:
    """Values of every layer's output that differ between the golden model and a circuit; all images are one batch,
    which shares the scales of tensors."""
    import copy

    import torch

    from dorefabric.sw.matrix_unit import MatrixUnit
    from dorefabric.sw.mls import multiply_codes
    from dorefabric.sw.mls_arithmetic import ArrayMultiply, MlsArithmetic, mls_arithmetic

    batch = torch.from_numpy(images).float() / 255
    outputs: list[list[torch.Tensor]] = []
    for name, multiply in (("golden model", multiply_codes), ("circuit", ArrayMultiply(MatrixUnit(link, config)))):
        network = copy.deepcopy(model)
        mls_arithmetic(network, multiply)
        kept: list[torch.Tensor] = []
        for layer in network.modules():
            if isinstance(layer, MlsArithmetic):
                layer.register_forward_hook(lambda module, inputs, output, kept=kept: kept.append(output))
        with progress_bar(name, 1) as done, torch.no_grad():
            kept.append(network(batch))
            done(1)
        outputs.append(kept)
    return sum(int((a != b).sum()) for a, b in zip(*outputs, strict=True))
