"""Compiled programs on the interpreter against the golden model: every layer's tensor, on many configurations."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.timing import fetch_cycles
from dorefabric.sw.compile import CompileError, compile_graph
from dorefabric.sw.graph import Graph, Node
from dorefabric.sw.interpret import interpret
from dorefabric.sw.nodes import (
    make_add,
    make_average_pool,
    make_convolution,
    make_flatten,
    make_input,
    make_max_pool,
    make_threshold,
)
from dorefabric.sw.program import Program
from dorefabric.sw.random_graphs import random_images, random_layer, random_network, random_weights
from dorefabric.sw.reference import evaluate

ROOMY = {"feature_depth": 16384, "weight_depth": 32768, "threshold_depth": 16384, "program_depth": 4096,
         "tap_depth": 2048}  # fmt: skip
CONFIGS = {
    "1x8x8": FabricConfig(rows=1, columns=8, lanes=8, tile_columns=8, **ROOMY),
    "2x4x16": FabricConfig(rows=2, columns=4, lanes=16, tile_columns=2, **ROOMY),
    "4x8x32": FabricConfig(rows=4, columns=8, lanes=32, **ROOMY),
    "8x64x64": FabricConfig(rows=8, columns=64, lanes=64, **ROOMY),
    "7x4x8": FabricConfig(rows=7, columns=4, lanes=8, row_wrap=False, **ROOMY),
    "5x8x16": FabricConfig(rows=5, columns=8, lanes=16, **ROOMY),
    "2x1x8": FabricConfig(rows=2, columns=1, lanes=8, tile_columns=1, **ROOMY),
}
config_cases = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def check(graph: Graph, config: FabricConfig, count: int = 2, seed: int = 0) -> Program:
    """Compile, run, and compare every tensor that the program stores with the golden model's."""
    images = random_images(np.random.default_rng(seed), graph, count)
    expected = evaluate(graph, images)
    program = compile_graph(graph, config)
    result, tensors = interpret(program, images, trace=True)
    assert result.dtype == np.int64
    np.testing.assert_array_equal(result, expected[graph.output.name])
    assert tensors
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, expected[name], err_msg=name)
    return program


def threshold(rng: np.random.Generator, name: str, source: Node, bits: int) -> Node:
    channels, count = source.edge.shape[0], (1 << bits) - 1
    values = np.sort(rng.integers(source.edge.low // 2, source.edge.high // 2 + 1, (channels, count)), axis=1)
    falling = rng.random(channels) < 0.5
    return make_threshold(name, source, np.where(falling[:, None], values[:, ::-1], values), falling)


def convolution(rng: np.random.Generator, name: str, source: Node, channels: int, kernel: int = 1, bits: int = 1,
                bipolar: bool = True, stride: tuple[int, int] = (1, 1), padding: int = 0) -> Node:  # fmt: skip
    shape = (channels, source.edge.shape[0], kernel, kernel)
    return make_convolution(name, source, random_weights(rng, shape, bits, bipolar), weight_bits=bits, bipolar=bipolar,
                            stride=stride, padding=(padding, padding))  # fmt: skip


def layer(rng: np.random.Generator, nodes: list[Node], name: str, source: Node, channels: int, bits: int = 2,
          **options: object) -> Node:  # fmt: skip
    nodes.append(convolution(rng, f"{name}.conv", source, channels, **options))  # type: ignore[arg-type]
    nodes.append(threshold(rng, name, nodes[-1], bits))
    return nodes[-1]


@pytest.mark.parametrize("weight_bits", range(1, 9))
@pytest.mark.parametrize("activation_bits", range(1, 9))
def test_random_layers_of_all_precisions(weight_bits: int, activation_bits: int) -> None:
    seed = 8 * weight_bits + activation_bits
    rng = np.random.default_rng(seed)
    configs = list(CONFIGS.values())
    for index, bits_out in enumerate((activation_bits, None)):
        graph = random_layer(rng, weight_bits, activation_bits, bits_out, bipolar=bool(seed % 3))
        check(graph, configs[(seed + index) % len(configs)])


@config_cases
@pytest.mark.parametrize("seed", range(4))
def test_random_networks(config: FabricConfig, seed: int) -> None:
    rng = np.random.default_rng([seed, config.lanes])
    program = check(random_network(rng), config)
    assert not program.streamed


@pytest.mark.parametrize("seed", range(6))
def test_networks_larger_than_the_circuit(seed: int) -> None:
    """Weights, thresholds, taps and program words that do not fit are streamed; input rows come in bands."""
    rng = np.random.default_rng(seed)
    graph = random_network(rng, blocks=3, weight_bits=2, activation_bits=2)
    config = FabricConfig(rows=2, columns=4, lanes=16, tile_columns=2, weight_depth=400, threshold_depth=24,
                          tap_depth=64, program_depth=96, feature_depth=2048)  # fmt: skip
    program = check(graph, config)
    assert program.streamed


@pytest.mark.parametrize("seed", range(6))
def test_weights_parked_in_the_feature_memory(seed: int) -> None:
    """What the weight and threshold memories cannot hold waits in the feature memory: the host streams nothing."""
    rng = np.random.default_rng(seed)
    graph = random_network(rng, blocks=3, weight_bits=2, activation_bits=2)
    rows = 1 + seed % 2
    config = FabricConfig(rows=rows, columns=4, lanes=32, tile_columns=2, weight_depth=256, threshold_depth=16,
                          program_depth=4096, feature_depth=32768)  # fmt: skip
    program = check(graph, config)
    assert not program.streamed
    assert len(program.steps) == 1
    # The same with room for ever less of it, until the features alone do not fit.
    words = []
    for depth in (4096, 2048, 1536, 1024, 768, 512, 384, 256, 128):
        try:
            words.append(check(graph, dataclasses.replace(config, feature_depth=depth)).report()["streamed_words"])
        except CompileError:
            break
    assert words == sorted(words)
    assert words[-1] > 0


def test_thresholds_wider_than_a_feature_word_are_not_parked() -> None:
    rng = np.random.default_rng(0)
    graph = random_network(rng, blocks=3, weight_bits=2, activation_bits=2)
    config = FabricConfig(rows=2, columns=4, lanes=16, tile_columns=2, weight_depth=256, threshold_depth=24,
                          program_depth=4096, feature_depth=32768)  # fmt: skip
    assert check(graph, config).streamed
    assert not check(graph, dataclasses.replace(config, threshold_bits=16)).streamed


def test_bands_of_input_rows() -> None:
    rng = np.random.default_rng(1)
    nodes: list[Node] = [make_input("input", (3, 20, 20), 8)]
    layer(rng, nodes, "first", nodes[-1], 9, kernel=3, padding=1)
    nodes.append(make_max_pool("pool", nodes[-1], (2, 2)))
    layer(rng, nodes, "second", nodes[-1], 5, kernel=3, stride=(2, 2))
    graph = Graph("bands", tuple(nodes))
    roomy = FabricConfig(rows=4, columns=8, lanes=32, feature_depth=4096)
    small = dataclasses.replace(roomy, feature_depth=256)
    assert len(check(graph, roomy).steps) == 1
    program = check(graph, small)
    assert len(program.steps) > 2
    assert all(step.load is not None for step in program.steps[:-1])


@config_cases
def test_residual_additions(config: FabricConfig) -> None:
    """Different bits and strides on the two branches, an input read twice, negative factors, three inputs."""
    rng = np.random.default_rng(2)
    nodes: list[Node] = [make_input("input", (3, 7, 9), 3)]
    a = layer(rng, nodes, "a", nodes[0], 70, bits=2, kernel=3, padding=1)
    b = layer(rng, nodes, "b", a, 70, bits=3, kernel=3, padding=1)
    nodes.append(make_add("sum", (a, b)))
    c = threshold(rng, "c", nodes[-1], 2)
    nodes.append(c)
    nodes.append(make_add("three", (c, a, c), (3, -2, 1)))
    d = threshold(rng, "d", nodes[-1], 2)
    nodes.append(d)
    e = layer(rng, nodes, "e", d, 20, kernel=3, stride=(2, 2))
    f = layer(rng, nodes, "f", d, 20, kernel=1, stride=(3, 3))
    layer(rng, nodes, "g", d, 20, kernel=1, stride=(1, 2))
    nodes.append(make_flatten("flat", e))
    nodes.append(convolution(rng, "unread", f, 4))
    nodes.append(threshold(rng, "unread.act", nodes[-1], 1))
    nodes.append(convolution(rng, "out", nodes[-3], 11, bits=4))
    program = check(Graph("residual", tuple(nodes)), config)
    assert [info.name for info in program.layers if info.edge is None] != [] or config.rows == 1


@config_cases
@pytest.mark.parametrize(("channels", "outputs", "groups"),
                         [(12, 6, 2), (9, 9, 9), (48, 64, 2), (40, 24, 4), (64, 128, 2), (6, 30, 3)])  # fmt: skip
def test_grouped_convolutions(config: FabricConfig, channels: int, outputs: int, groups: int) -> None:
    """Groups that fill chunks of lanes and ones that do not, between convolutions, pools, additions and a flatten."""
    rng = np.random.default_rng([channels, groups])
    nodes: list[Node] = [make_input("input", (3, 9, 7), 2)]

    def grouped(name: str, source: Node, outputs: int, groups: int, bipolar: bool, kernel: int = 3) -> Node:
        shape = (outputs, source.edge.shape[0] // groups, kernel, kernel)
        nodes.append(make_convolution(f"{name}.conv", source, random_weights(rng, shape, 2, bipolar), weight_bits=2,
                                      bipolar=bipolar, groups=groups, padding=(kernel // 2, kernel // 2)))  # fmt: skip
        return nodes[-1]

    def codes(name: str, bits: int) -> Node:
        nodes.append(threshold(rng, name, nodes[-1], bits))
        return nodes[-1]

    first = layer(rng, nodes, "first", nodes[0], channels, kernel=3, padding=1)
    nodes.append(make_max_pool("pool", first, (3, 3), (2, 2), (1, 1)))
    grouped("a", nodes[-1], outputs, groups, bipolar=True)
    a = codes("a", 2)
    b = layer(rng, nodes, "b", a, outputs, bits=1)
    nodes.append(make_add("sum", (a, b)))
    c = codes("c", 1)
    grouped("d", c, 2 * groups, groups, bipolar=False)
    d = codes("d", 2)
    nodes.append(make_flatten("flat", d))
    grouped("full", nodes[-1], 2 * groups, groups, bipolar=True, kernel=1)
    codes("full", 2)
    nodes.append(make_convolution("out", nodes[-1], random_weights(rng, (groups, 2, 1, 1), 3), weight_bits=3,
                                  groups=groups))  # fmt: skip
    check(Graph("grouped", tuple(nodes)), config)


def test_groups_cost_no_more_than_their_share() -> None:
    """Two groups of 48 channels lie in a chunk of 64 lanes each; a depthwise layer is one dense slice a chunk."""
    rng = np.random.default_rng(0)
    config = FabricConfig(rows=4, columns=64, lanes=64, tile_columns=8, **ROOMY)
    nodes: list[Node] = [make_input("input", (3, 8, 8), 8)]
    source = layer(rng, nodes, "first", nodes[0], 96, kernel=3, padding=1)
    weights = random_weights(rng, (256, 48, 5, 5), 1)
    nodes.append(make_convolution("a.conv", source, weights, weight_bits=1, padding=(2, 2), groups=2))
    nodes.append(threshold(rng, "a", nodes[-1], 1))
    weights = random_weights(rng, (256, 1, 3, 3), 1)
    nodes.append(make_convolution("b.conv", nodes[-1], weights, weight_bits=1, padding=(1, 1), groups=256))
    nodes.append(threshold(rng, "b", nodes[-1], 2))
    steps = {info.name: info.steps for info in check(Graph("groups", tuple(nodes)), config).layers}
    # slices × channel tiles × pixel tiles × taps × plane pairs; three planes for weights −1, 0 and 1
    assert steps["a"] == 2 * 2 * 16 * 25 * 2
    assert steps["b"] == 4 * 1 * 16 * 9 * 2


def test_average_pooling() -> None:
    rng = np.random.default_rng(4)
    nodes: list[Node] = [make_input("input", (70, 6, 8), 2)]
    nodes.append(make_average_pool("mean", nodes[0], (3, 2), (3, 2)))
    nodes.append(threshold(rng, "a", nodes[-1], 3))
    nodes.append(make_average_pool("all", nodes[-1], (2, 4), (2, 4)))
    check(Graph("means", tuple(nodes)), CONFIGS["4x8x32"])
    check(Graph("means", tuple(nodes)), CONFIGS["8x64x64"])


def test_addition_as_output_and_of_the_input() -> None:
    rng = np.random.default_rng(3)
    nodes: list[Node] = [make_input("input", (5, 4, 4), 2)]
    a = layer(rng, nodes, "a", nodes[0], 5, bits=3)
    nodes.append(make_add("sum", (nodes[0], a), (2, -3)))
    check(Graph("sum", tuple(nodes)), CONFIGS["4x8x32"])


@config_cases
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (3, 1, 0), (2, 2, 0), (3, 3, 1), (2, 3, 0)])
def test_max_pools(config: FabricConfig, kernel: int, stride: int, padding: int) -> None:
    rng = np.random.default_rng([kernel, stride, padding])
    nodes: list[Node] = [make_input("input", (4, 9, 11), 2)]
    layer(rng, nodes, "a", nodes[-1], 13, kernel=3, padding=1)
    nodes.append(make_max_pool("pool", nodes[-1], (kernel, kernel), (stride, stride), (padding, padding)))
    layer(rng, nodes, "b", nodes[-1], 6, kernel=3, padding=1, bits=3)
    check(Graph("pools", tuple(nodes)), config)


def test_pool_of_the_input_and_codes_as_output() -> None:
    rng = np.random.default_rng(4)
    nodes: list[Node] = [make_input("input", (3, 8, 8), 4)]
    nodes.append(make_max_pool("pool", nodes[-1], (2, 2)))
    layer(rng, nodes, "a", nodes[-1], 6, kernel=3)
    nodes.append(make_flatten("flat", nodes[-1]))
    program = check(Graph("codes", tuple(nodes)), CONFIGS["4x8x32"])
    assert program.output.constants is None
    assert program.output.shape == (6 * 2 * 2, 1, 1)


def test_fused_pool_only_where_it_pays() -> None:
    """On 8 rows, a pooled width of 4 leaves half of the array idle: a pass of its own is cheaper."""
    rng = np.random.default_rng(5)
    nodes: list[Node] = [make_input("input", (64, 8, 8), 1)]
    layer(rng, nodes, "a", nodes[-1], 64, kernel=5, padding=2, bits=1)
    nodes.append(make_max_pool("pool", nodes[-1], (2, 2)))
    graph = Graph("pool", tuple(nodes))
    assert [info.name for info in check(graph, CONFIGS["8x64x64"]).layers] == ["a", "pool"]
    assert [info.name for info in check(graph, CONFIGS["4x8x32"]).layers] == ["pool"]


def test_kernel_larger_than_a_displacement() -> None:
    rng = np.random.default_rng(6)
    nodes: list[Node] = [make_input("input", (2, 36, 40), 1)]
    a = layer(rng, nodes, "a", nodes[-1], 3, bits=1)
    weights = random_weights(rng, (5, 3, 36, 38), 1)
    nodes.append(make_convolution("out", a, weights, weight_bits=1))
    check(Graph("large", tuple(nodes)), CONFIGS["4x8x32"])
    padded = make_convolution("out", a, weights, weight_bits=1, padding=(0, 1))
    with pytest.raises(CompileError, match=r"^out: a padded kernel or pool window reaches 36 pixels, beyond -32 to 31: "
                       r"split the layer in the model$"):  # fmt: skip
        compile_graph(Graph("large", (*nodes[:-1], padded)), CONFIGS["4x8x32"])


def test_extreme_thresholds() -> None:
    """Thresholds that are always or never reached, and as far away as int64 goes."""
    rng = np.random.default_rng(7)
    nodes: list[Node] = [make_input("input", (4, 5, 5), 2), ]
    nodes.append(convolution(rng, "conv", nodes[-1], 4))
    far = 1 << 62
    rising = [[-far, -far, -far], [-far, 0, far], [far, far, far], [-3, 0, 3]]
    values = np.array(rising, np.int64)
    nodes.append(make_threshold("act", nodes[-1], values, np.zeros(4, bool)))
    check(Graph("far", tuple(nodes)), CONFIGS["4x8x32"])
    nodes[-1] = make_threshold("act", nodes[-2], values[:, ::-1], np.ones(4, bool))
    check(Graph("far", tuple(nodes)), CONFIGS["4x8x32"])


def test_thin_input_fills_the_lanes() -> None:
    rng = np.random.default_rng(8)
    nodes: list[Node] = [make_input("input", (3, 32, 32), 8)]
    nodes.append(convolution(rng, "conv", nodes[-1], 64, kernel=3))
    nodes.append(threshold(rng, "a", nodes[-1], 1))
    report = check(Graph("thin", tuple(nodes)), CONFIGS["8x64x64"], count=1).report()
    assert report["layers"][0]["useful"] > 0.35
    assert report["cycles"] == report["layers"][0]["cycles"] + fetch_cycles("generic") + 1


def error_cases() -> Sequence[tuple[dict[str, int], dict[str, int], str]]:
    """Layer options, configuration options, message."""
    return [
        ({"bits": 2}, {"weight_bits": 1},
         "a.conv: 2-bit weights exceed weight_bits = 1 of configuration 'custom'"),
        ({}, {"activation_bits": 2},
         "input: 8-bit activations exceed activation_bits = 2 of configuration 'custom'"),
        ({"bits": 8}, {"threshold_bits": 18, "accumulator_bits": 20},
         "a.conv: counts up to 9363600 need threshold_bits of at least 24, not 18: generate a configuration with "
         "wider counts or use fewer bits"),
        ({}, {"feature_depth": 64},
         "a: a feature map needs 128 words of each bank, but 64 of 64 are free: generate a configuration with a "
         "larger feature_depth, or use fewer channels, pixels or bits"),
        ({}, {"image_size": 15},
         "a: in_width is 16, but image_size is 15: generate a configuration with image_size of at least 16"),
        ({"bits": 8}, {"weight_depth": 16},
         "a: one channel tile needs 40 words, but weight_depth is 16: generate a configuration with weight_depth of "
         "at least 40"),
        ({"bits": 8}, {"program_depth": 64},
         "a: one descriptor needs 86 words, but program_depth is 64: generate a configuration with program_depth of "
         "at least 86"),
    ]  # fmt: skip


@pytest.mark.parametrize(("options", "fields", "message"), error_cases())
def test_what_does_not_fit_is_named(options: dict[str, int], fields: dict[str, int], message: str) -> None:
    rng = np.random.default_rng(9)
    nodes: list[Node] = [make_input("input", (16, 16, 16), 8)]
    nodes.append(make_convolution(
        "a.conv", nodes[-1], np.full((16, 16, 3, 3), (1 << options.get("bits", 1)) - 1),
        weight_bits=options.get("bits", 1), padding=(1, 1)))  # fmt: skip
    nodes.append(threshold(rng, "a", nodes[-1], 2))
    config = dataclasses.replace(FabricConfig(feature_depth=4096), **fields)
    with pytest.raises(CompileError) as caught:
        compile_graph(Graph("misfit", tuple(nodes)), config)
    assert str(caught.value) == message


def test_graphs_that_the_array_cannot_compute() -> None:
    rng = np.random.default_rng(10)
    source = make_input("input", (2, 4, 4), 2)
    first = convolution(rng, "a", source, 3)
    with pytest.raises(CompileError, match=r"^input: the output is the input, which leaves nothing to compute$"):
        compile_graph(Graph("empty", (source,)), CONFIGS["4x8x32"])
    codes = threshold(rng, "b", first, 1)
    flat = make_flatten("flat", codes)
    with pytest.raises(CompileError, match=r"^sum: flat is flattened, which only a fully "
                       r"connected layer can read$"):  # fmt: skip
        compile_graph(Graph("flat", (source, first, codes, flat, make_add("sum", (flat, flat)))), CONFIGS["4x8x32"])
    with pytest.raises(CompileError, match=r"^a: accumulators must go to thresholds or be the output$"):
        compile_graph(Graph("two", (source, first, convolution(rng, "c", source, 3))), CONFIGS["4x8x32"])
