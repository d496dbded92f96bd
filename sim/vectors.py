"""Test vectors: compiled programs, images, and every tensor that the golden model computes from them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dorefabric.hw.config import FabricConfig
from dorefabric.sw.compile import compile_graph
from dorefabric.sw.graph import Graph
from dorefabric.sw.reference import evaluate

__all__ = ["write_vectors"]


def write_vectors(
    graphs: Sequence[Graph], images: Sequence[np.ndarray], config: FabricConfig, folder: Path
) -> dict[str, Any]:
    """Compile ``graphs`` and write programs, images and the golden model's tensors; the bench's parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    for index, (graph, batch) in enumerate(zip(graphs, images, strict=True)):
        path = folder / f"case-{index}"
        compile_graph(graph, config).save(str(path.with_suffix(".dfp")))
        # Names of edges may hold characters that are not for file names, so they are numbered.
        tensors = evaluate(graph, batch)
        names = list(tensors)
        arrays = {f"tensor{number}": tensors[name] for number, name in enumerate(names)}
        output = tensors[graph.output.name]
        np.savez(path.with_suffix(".npz"), allow_pickle=False, images=batch, output=output, **arrays)
        cases.append({"path": str(path), "names": names})
    return {"cases": cases}
