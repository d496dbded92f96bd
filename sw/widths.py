"""How many bits the sums of a network need: of each layer, and of the circuit that runs it.

A layer's exact accumulators lie between the bounds of its weights, which A2Q and A2Q+ guarantee during training. The
array counts mismatches instead of adding products, from 0 up (`weight_planes`), so that its counters also have to hold
what the accumulators' zero stands for: their width follows from the layer's inputs and bits more than from the size of
its weights.
"""

from dataclasses import dataclass, replace

from dorefabric.hw.config import FabricConfig

from .a2q import accumulator_width
from .fuse import fuse
from .graph import Graph
from .stages import CompileError, Stage

__all__ = ["LayerWidth", "check_widths", "layer_widths", "required_widths"]

LEAST, WIDEST = 8, 32
"""Range of the widths of a configuration."""


@dataclass(frozen=True)
class LayerWidth:
    """Widths of one pass of the array.

    Members
    -------
    name : str
        Of the graph edge it computes.
    sum_bits : int or None
        Two's complement bits of the layer's accumulators, whatever the input; None for a pass the compiler added.
    count_bits : int
        Bits of the array's mismatch counts.
    raw : bool
        Whether the layer returns accumulators, counted by ``accumulator_bits`` of the configuration, rather than
        codes, counted by ``threshold_bits``.
    """

    name: str
    sum_bits: int | None
    count_bits: int
    raw: bool


def layer_widths(graph: Graph, config: FabricConfig) -> list[LayerWidth]:
    """Widths of every layer on circuits of ``config``, whose own widths do not matter.

    Raises
    ------
    CompileError
        If a layer cannot run on any such circuit, or its counts exceed 32 bits.
    """
    wide = replace(config, accumulator_bits=WIDEST, threshold_bits=WIDEST)
    return [
        LayerWidth(stage.name, _sum_bits(graph, stage), (_largest_count(stage) + 1).bit_length(), stage.raw)
        for stage in fuse(graph, wide)
    ]


def _largest_count(stage: Stage) -> int:
    bits = max(tensor.bits for tensor in stage.inputs)
    return max(part.planes.largest_count(bits) for part in stage.slices)


def _sum_bits(graph: Graph, stage: Stage) -> int | None:
    """Of the accumulators behind a stage: through its max pool and thresholds."""
    edge = stage.output.edge
    if edge is None or (stage.channelwise and len(stage.inputs) == 1):
        return None
    while graph[edge].edge.bits is not None:
        edge = graph[edge].inputs[0]
    return accumulator_width(graph[edge].edge.low, graph[edge].edge.high)


def required_widths(widths: list[LayerWidth]) -> tuple[int, int]:
    """The least ``accumulator_bits`` and ``threshold_bits`` of a configuration for these layers."""
    threshold = max([LEAST, *(width.count_bits for width in widths if not width.raw)])
    return max([threshold, *(width.count_bits for width in widths)]), threshold


def check_widths(widths: list[LayerWidth], config: FabricConfig) -> None:
    """`CompileError` if counts overflow on circuits of ``config``, saying what it takes to hold all layers."""
    accumulator, threshold = required_widths(widths)
    short = {"accumulator_bits": (accumulator, config.accumulator_bits),
             "threshold_bits": (threshold, config.threshold_bits)}  # fmt: skip
    for name, (needed, given) in short.items():
        if needed > given:
            concerned = [width for width in widths if name == "accumulator_bits" or not width.raw]
            widest = max(concerned, key=lambda width: width.count_bits)
            raise CompileError(
                f"{widest.name}: counts of {widest.count_bits} bits do not fit {name} = {given} of configuration "
                f"{config.name!r}; the network needs accumulator_bits = {accumulator} and threshold_bits = {threshold} "
                f"(`dorefabric generate --network MODEL.pt` sets them)")
