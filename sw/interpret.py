"""Run programs without a circuit, bit for bit as the circuit does.

`DeviceModel` is a whole circuit at the level of its bus, for one image at a time; `interpret` runs a program file on
many images at once. Both execute descriptors with `run_descriptor`, and know nothing but memories and programs.
"""

from collections.abc import Callable

import numpy as np

from dorefabric.hw.isa import DESCRIPTOR_WORDS
from dorefabric.hw.registers import address

from .device_model import DeviceModel
from .execute import read_descriptor, run_descriptor
from .memories import InterpreterError, Memories
from .program import Program, Stored

__all__ = ["DeviceModel", "InterpreterError", "Memories", "interpret", "run_descriptor"]

_BATCH_BYTES = 1 << 27
"""Most bytes of feature memory (one per bit) that a batch may take."""


def interpret(
    program: Program, images: np.ndarray, batch_size: int | None = None, progress: Callable[[int], None] | None = None,
    trace: bool = False,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:  # fmt: skip
    """Results of a program, and with ``trace`` every layer's tensor.

    Parameters
    ----------
    images : unsigned integers (N, C, H, W), as `Program.check_input` wants them
    batch_size : images that are run at once; by default as many as fit a fixed amount of memory
    progress : called with the number of images done

    Returns
    -------
    int64 (N, C, H, W) of accumulators or codes, and a dictionary from graph edge to int64 (N, C, H, W); the
    dictionary is empty without ``trace``
    """
    program.check_input(images)
    config = program.config
    if batch_size is None:
        per_image = config.feature_depth * config.bank_pitch * config.lanes
        batch_size = max(1, min(256, _BATCH_BYTES // per_image))
    codes = images.astype(np.uint8)
    results: list[np.ndarray] = [np.zeros((0, *program.output.shape), np.int64)]
    tensors: dict[str, list[np.ndarray]] = {}
    memories = Memories(config, 0)
    for first in range(0, len(codes), batch_size):
        batch = codes[first : first + batch_size]
        if memories.batch != len(batch):
            memories = Memories(config, len(batch))
            for write in program.resident:
                memories.write(write.address, write.words)
        collected = _run_image(program, memories, batch, trace)
        for edge, values in collected.items():
            tensors.setdefault(edge, []).append(values)
        results.append(_read(memories, program.output))
        if progress is not None:
            progress(first + len(batch))
    return np.concatenate(results), {edge: np.concatenate(parts) for edge, parts in tensors.items()}


def _run_image(program: Program, memories: Memories, batch: np.ndarray, trace: bool) -> dict[str, np.ndarray]:
    """All steps on a batch; the tensors of graph edges, each taken when its last descriptor is done."""
    ends = {layer.descriptors[-1]: layer for layer in program.layers}
    tensors = {}
    for number, step in enumerate(program.steps):
        for write in step.writes:
            memories.write(write.address, write.words)
        if step.load is not None:
            form = program.forms[step.load.form]
            words = form.pack(batch, step.load.first_row, step.load.rows)
            offset = form.layout.base * form.layout.bank_pitch * memories.config.bus_words
            memories.write(address("features", offset), words)
        for position in range(step.count):
            run_descriptor(memories, read_descriptor(memories, step.descriptor + position * DESCRIPTOR_WORDS))
            layer = ends.get((number, position))
            if trace and layer is not None and layer.edge is not None:
                tensors[layer.edge] = _read(memories, layer.stored)
    return tensors


def _read(memories: Memories, stored: Stored) -> np.ndarray:
    """Decode a tensor from the feature memories: int64 (batch, C, H, W)."""
    per_address = stored.layout.bank_pitch * memories.config.bus_words
    start, count = stored.layout.base * per_address, stored.layout.size * per_address
    return stored.decode(memories.read(address("features", start), count))
