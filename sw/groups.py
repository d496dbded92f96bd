"""How a grouped convolution is cut into slices, and in how many aligned parts the tensors around it are stored.

A slice reads whole chunks of ``lanes`` channels and stores whole tiles of ``columns``. A group of 48 channels fills a
chunk of 64 lanes by three quarters, and its neighbour must begin in the next one: bipolar weights have no zero for the
channels of another group. So the channels of a tensor may be stored in *parts*, each beginning with a chunk of its own.
Where that is impossible or wasteful (depthwise layers), neighbouring groups are merged into one dense filter with zeros
between them, whose weights take one or two planes more.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from dorefabric.hw.config import FabricConfig

from .graph import Add, Convolution, Flatten, Graph, Input, MaxPool, Threshold
from .weight_planes import WeightPlanes

__all__ = ["Grouping", "choose_parts", "merged_weights", "stored_channels", "stored_positions"]


def stored_channels(channels: int, parts: int, lanes: int) -> int:
    """Channels of a tensor with those between the parts, which are 0."""
    return channels if parts == 1 else parts * -(-channels // (parts * lanes)) * lanes


def stored_positions(channels: int, parts: int, lanes: int) -> np.ndarray:
    """Where each of the channels is stored: int64 (channels,)."""
    number = np.arange(channels)
    size = channels // parts
    return number // size * (stored_channels(channels, parts, lanes) // parts) + number % size


@dataclass(frozen=True)
class Grouping:
    """parts : by edge of codes, parts that its tensor is stored in; slices : by convolution, slices that it is cut
    into, each of groups / slices merged groups"""

    parts: dict[str, int] = field(default_factory=dict)
    slices: dict[str, int] = field(default_factory=dict)


def merged_weights(node: Convolution, slices: int) -> np.ndarray:
    """Dense weights (slices, outputs, inputs, kernel height, kernel width) with zeros between merged groups."""
    merged = node.groups // slices
    outputs, inputs = len(node.weights) // node.groups, node.weights.shape[1]
    given = node.weights.reshape(slices, merged, outputs, *node.weights.shape[1:])
    dense = np.zeros((slices, merged, outputs, merged, inputs, *node.weights.shape[2:]), np.int64)
    for group in range(merged):
        dense[:, group, :, group] = given[:, group]
    return dense.reshape(slices, merged * outputs, merged * inputs, *node.weights.shape[2:])


def choose_parts(graph: Graph, config: FabricConfig) -> Grouping:
    """The cheapest cut of every grouped convolution that agrees with what was chosen for those before it."""
    same = _edges_of_one_storage(graph)
    settled: dict[str, int] = {same[graph.input.name]: 1}
    slices: dict[str, int] = {}
    ends = {node.name: _ends(graph, node, same) for node in graph.nodes if isinstance(node, Convolution)}
    for node in graph.nodes:
        if not isinstance(node, Convolution) or node.groups == 1:
            continue
        own = ends[node.name]
        touched = [other for other in graph.nodes
                   if isinstance(other, Convolution) and set(ends[other.name]) & set(own)]  # fmt: skip
        options = []
        for count, parts in _cuts(graph, node, own, settled, config):
            trial = settled | dict(zip(own, parts, strict=True))
            cuts = slices | {node.name: count}
            steps = sum(
                _steps(graph, other, cuts.get(other.name, other.groups), trial.get(ends[other.name][0], 1),
                       trial.get(ends[other.name][1], 1), config)
                for other in touched
            )  # fmt: skip
            options.append((steps, count, trial))
        _, slices[node.name], settled = min(options, key=lambda option: option[:2])
    # Accumulators that are the network's output are stored as well.
    return Grouping(settled | {edge: settled.get(name, 1) for edge, name in same.items()}, slices)


def _ends(graph: Graph, node: Convolution, same: dict[str, str]) -> tuple[str, str]:
    """The kinds of storage that a convolution reads and writes."""
    target = next((other.name for other in graph.consumers(node.name) if isinstance(other, Threshold)), node.name)
    return same[_stored_edge(graph, node.inputs[0])], same.get(target, target)


def _cuts(graph: Graph, node: Convolution, ends: tuple[str, str], settled: dict[str, int],
          config: FabricConfig) -> Iterator[tuple[int, tuple[int, int]]]:  # fmt: skip
    """(slices, parts of input and output) of every cut; one dense slice is always among them."""
    channels, outputs = graph[_stored_edge(graph, node.inputs[0])].edge.shape[0], len(node.weights)
    for count in (n for n in range(1, node.groups + 1) if node.groups % n == 0 and channels % n == 0):
        for parts_in in {settled.get(ends[0], 1), settled.get(ends[0], count)}:
            for parts_out in {settled.get(ends[1], 1), settled.get(ends[1], count)}:
                first_in = stored_positions(channels, parts_in, config.lanes)[:: channels // count]
                first_out = stored_positions(outputs, parts_out, config.lanes)[:: outputs // count]
                aligned = not (first_in % config.lanes).any() and not (first_out % config.columns).any()
                if (count == 1 or aligned) and (ends[0] != ends[1] or parts_in == parts_out):
                    yield count, (parts_in, parts_out)


def _steps(graph: Graph, node: Convolution, count: int, parts_in: int, parts_out: int, config: FabricConfig) -> int:
    """Array steps of a convolution cut into ``count`` slices, times the rows of the array."""
    source = graph[_stored_edge(graph, node.inputs[0])].edge
    inputs = source.shape[0] // count if count > 1 else stored_channels(source.shape[0], parts_in, config.lanes)
    outputs = len(node.weights) // count if count > 1 else stored_channels(len(node.weights), parts_out, config.lanes)
    planes = node.weight_bits + (0 if node.bipolar else 1)
    if count != node.groups:  # weights with zeros
        planes = len(WeightPlanes.general(np.append(node.weights.reshape(-1), 0)[None, :, None]).significance)
    taps = node.weights.shape[2] * node.weights.shape[3]
    if node.inputs[0] != _stored_edge(graph, node.inputs[0]):  # a flattened map
        taps *= source.shape[1] * source.shape[2]
    passes = count * -(-inputs // config.lanes) * -(-outputs // config.columns) * taps
    return passes * planes * (source.bits or 1) * node.edge.shape[1] * node.edge.shape[2]


def _stored_edge(graph: Graph, name: str) -> str:
    """The edge whose tensor is read where ``name`` may be a flattened view of it."""
    while isinstance(node := graph[name], Flatten):
        name = node.inputs[0]
    return name


def _edges_of_one_storage(graph: Graph) -> dict[str, str]:
    """Edges of codes that must be stored alike, each with the first of its kind: pools and additions keep channels
    in their places."""
    root: dict[str, str] = {}

    def join(a: str, b: str) -> None:
        keep, drop = root[a], root[b]
        root.update({edge: keep for edge, name in root.items() if name == drop})

    for node in graph.nodes:
        if isinstance(node, Input | Threshold | MaxPool):
            root[node.name] = node.name
        if isinstance(node, MaxPool):
            join(_stored_edge(graph, node.inputs[0]), node.name)
        if isinstance(node, Add):
            for name in node.inputs[1:]:
                join(_stored_edge(graph, node.inputs[0]), _stored_edge(graph, name))
        if isinstance(node, Threshold) and isinstance(add := graph[node.inputs[0]], Add):
            join(_stored_edge(graph, add.inputs[0]), node.name)
    return root
