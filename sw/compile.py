"""The compiler: an integer graph to a program for one configuration, in seven passes.

    fuse             graph nodes            -> stages (what the array does in one go)
    arrange_inputs   how the host packs the image for each stage that reads it
    choose_strides   banks of every tensor; copies where consumers disagree
    choose_pitches   whether tiles of pixels run over the ends of image rows
    place_features   addresses in the feature memory, by liveness; bands of input rows where it is too small
    place_weights    resident, parked or streamed weights and thresholds, in pieces
    schedule, link   descriptors, steps, program words

Each pass is a module; this one joins them and describes the result.
"""

import math
from dataclasses import replace

import numpy as np

from dorefabric.hw.config import MINIMUM_FEATURE_DEPTH, FabricConfig

from .cycles import Cycles, descriptor_cycles
from .emit import Run
from .fuse import fuse
from .graph import Graph
from .layouts import Form, arrange_inputs, choose_pitches, choose_strides
from .placement import Placement, place_features
from .program import InputForm, LayerInfo, Program, Stored
from .residency import Residency, place_weights
from .schedule import link_program, resident_writes, schedule
from .stages import CompileError, Stage, Tensor

__all__ = ["CompileError", "compile_graph"]

Arrangement = tuple[list[Stage], list[Form], Placement]


def compile_graph(graph: Graph, config: FabricConfig) -> Program:
    """Compile ``graph`` for circuits of ``config``.

    Raises `CompileError`, naming the layer, where a layer asks for more than the configuration can do. Weights that
    do not fit are no error: they are streamed for every image.
    """
    try:
        fastest = _compile(graph, config, always_pool=False)
    except CompileError:
        return _compile(graph, config, always_pool=True)
    if fastest.streamed:
        smallest = _compile(graph, config, always_pool=True)
        if smallest.report()["streamed_words"] < fastest.report()["streamed_words"]:
            return smallest
    return fastest


def _compile(graph: Graph, config: FabricConfig, always_pool: bool) -> Program:
    fused = fuse(graph, config, always_pool)
    source = Tensor(graph.input.name, graph.input.edge.shape, graph.input.edge.bits or 0, graph.input.name)
    result = fused_output(graph, fused)
    (stages, forms, placement), residency = _park(fused, source, result, config)
    chains = schedule(stages, [form.tensor.name for form in forms], residency, placement, config)
    runs = [run for chain in chains for run in chain.runs]
    program_writes, steps, where = link_program(chains, [stage.name for stage in stages], config)
    layers = tuple(
        _layer(graph, index, stage, placement, [run for number, run in runs if number == index], where, config)
        for index, stage in enumerate(stages)
    )
    output = next(layer.stored for layer in layers if layer.edge == result)
    channels = graph.output.edge.shape[0]
    return Program(
        name=graph.name, config=config, input_shape=source.shape, input_bits=source.bits,
        forms=tuple(InputForm(form.unfold, placement.layouts[form.tensor.name]) for form in forms),
        resident=(*resident_writes(residency, config), *program_writes), steps=tuple(steps), layers=layers,
        output=replace(output, shape=graph.output.edge.shape),
        scale=np.broadcast_to(np.asarray(graph.output.edge.scale, np.float64), (channels,)).copy(),
    )  # fmt: skip


def fused_output(graph: Graph, stages: list[Stage]) -> str:
    """The graph edge whose stored tensor is the result: the output, or what it is a flattened view of."""
    stored = {stage.output.edge for stage in stages}
    name = graph.output.name
    while name not in stored:
        node = graph[name]
        if not node.inputs:
            raise CompileError(f"{graph.output.name}: the output is the input, which leaves nothing to compute")
        name = node.inputs[0]
    return name


def _park(stages: list[Stage], source: Tensor, result: str, config: FabricConfig) -> tuple[Arrangement, Residency]:
    """Features and weights: where weights do not fit their memory, as many are parked as the features leave room for.

    The more is parked, the less of the image can be loaded at once, so the greatest parking is found by bisection.
    Nothing is parked where then the host has no less to stream.
    """

    def settle(parking: int) -> tuple[Arrangement, Residency]:
        left = replace(config, feature_depth=config.feature_depth - parking)
        arrangement = _arrange_either(stages, source, result, left)
        return arrangement, place_weights(arrangement[0], config, parking)

    best = settle(0)
    if not best[1].streamed_words:
        return best
    wanted = place_weights(best[0][0], config, config.feature_depth).parked
    # The greatest that works is at least low and below high.
    low, high = 0, min(wanted, config.feature_depth - MINIMUM_FEATURE_DEPTH) + 1
    parking = high - 1
    while parking > low:
        try:
            arrangement, residency = settle(parking)
        except CompileError:
            high = parking
        else:
            low = parking
            if residency.streamed_words < best[1].streamed_words:
                best = arrangement, residency
        parking = (low + high) // 2
    return best


def _arrange_either(stages: list[Stage], source: Tensor, result: str, config: FabricConfig) -> Arrangement:
    try:
        return _arrange(stages, source, result, config, always_unfold=False)
    except CompileError as error:
        try:  # unfolded windows can be loaded in bands of rows, a whole image cannot
            return _arrange(stages, source, result, config, always_unfold=True)
        except CompileError:
            raise error from None


def _arrange(
    stages: list[Stage], source: Tensor, result: str, config: FabricConfig, always_unfold: bool
) -> Arrangement:
    stages, forms = arrange_inputs(stages, source, config, always_unfold)
    stages = choose_pitches(choose_strides(stages, config), config)
    # Forms got their strides and pitches together with the tensors that stages read.
    settled = {tensor.name: tensor for stage in stages for tensor in stage.inputs}
    forms = [Form(settled[form.tensor.name], form.unfold) for form in forms]
    return stages, forms, place_features(stages, forms, result, config)


def _layer(graph: Graph, index: int, stage: Stage, placement: Placement, runs: list[Run],
           where: list[tuple[int, int, int]], config: FabricConfig) -> LayerInfo:  # fmt: skip
    edge = stage.output.edge
    counters: list[Cycles] = [descriptor_cycles(config, run.fields) for run in runs]
    shape = graph[edge].edge.shape if edge is not None else stage.output.shape
    assert math.prod(shape) == math.prod(stage.output.shape)
    return LayerInfo(
        name=stage.name, edge=edge,
        stored=Stored(placement.layouts[stage.output.name], shape, stage.constants, stage.divisor, stage.output.parts),
        descriptors=tuple((step, position) for number, step, position in where if number == index),
        useful=stage.useful, steps=sum(c.steps for c in counters), stalls=sum(c.stalls for c in counters),
        cycles=sum(c.cycles for c in counters),
    )  # fmt: skip
