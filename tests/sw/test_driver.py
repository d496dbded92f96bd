"""The driver on a circuit model, and what it says when circuit, program or input are wrong."""

import dataclasses

import numpy as np
import pytest

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.errors import DorefabricError
from dorefabric.hw.isa import DESCRIPTOR_WORDS
from dorefabric.hw.registers import MAGIC, REGISTERS, address
from dorefabric.sw.compile import compile_graph
from dorefabric.sw.driver import Accelerator
from dorefabric.sw.graph import Graph
from dorefabric.sw.images import InputError
from dorefabric.sw.interpret import DeviceModel, InterpreterError, interpret
from dorefabric.sw.link import LinkError
from dorefabric.sw.program import Program, ProgramError
from dorefabric.sw.random_graphs import random_images, random_layer, random_network
from dorefabric.sw.reference import evaluate

ROOMY = FabricConfig(name="roomy", rows=4, columns=8, lanes=64, weight_depth=4096, feature_depth=4096,
                     threshold_depth=2048, program_depth=2048)  # fmt: skip
TINY = FabricConfig(name="tiny", rows=2, columns=4, lanes=16, tile_columns=2, weight_depth=96, threshold_depth=24,
                    tap_depth=48, program_depth=96, feature_depth=1024)  # fmt: skip


def network(config: FabricConfig, seed: int = 0) -> tuple[Graph, Program, np.ndarray]:
    graph = random_network(np.random.default_rng(seed), blocks=2, weight_bits=1, activation_bits=2, size=8)
    return graph, compile_graph(graph, config), random_images(np.random.default_rng(1), graph, 18)


def test_bands_with_streamed_weights() -> None:
    """The input does not fit and the weights of its only reader do not either: both change from step to step."""
    graph = random_layer(np.random.default_rng(1), 3, 8, 4, kernel=5, stride=1, padding=0, pool=False, channels_in=4,
                         channels_out=20, size=(16, 16))  # fmt: skip
    config = dataclasses.replace(TINY, weight_depth=100, accumulator_bits=26, threshold_bits=26)
    program = compile_graph(graph, config)
    assert len({step.load for step in program.steps}) > 2
    assert sum(bool(step.writes) for step in program.steps) > 2
    images = random_images(np.random.default_rng(2), graph, 2)
    accelerator = Accelerator(DeviceModel(config)).load(program)
    np.testing.assert_array_equal(accelerator.run(images), evaluate(graph, images)[graph.output.name])


class Recorder(DeviceModel):
    """Remembers which words were written, by space."""

    def __init__(self, config: FabricConfig) -> None:
        super().__init__(config)
        self.written: list[tuple[int, int]] = []

    def write(self, address: int, words: np.ndarray) -> None:
        self.written.append((address, words.size))
        super().write(address, words)


@pytest.mark.parametrize("config", [ROOMY, TINY], ids=lambda config: config.name)
def test_driver_equals_interpreter_and_golden_model(config: FabricConfig) -> None:
    graph, program, images = network(config)
    assert program.streamed == (config is TINY)
    accelerator = Accelerator(DeviceModel(config)).load(program)
    seen: list[int] = []
    result = accelerator.run(images, progress=seen.append)
    assert seen == list(range(1, 19))
    np.testing.assert_array_equal(result, interpret(program, images)[0])
    expected = evaluate(graph, images[:2])
    traced, tensors = accelerator.trace(images[:2])
    np.testing.assert_array_equal(traced, expected[graph.output.name])
    assert set(tensors) == {layer.edge for layer in program.layers if layer.edge}
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, expected[name], err_msg=name)


@pytest.mark.parametrize("config", [ROOMY, TINY], ids=lambda config: config.name)
def test_counters_of_layers(config: FabricConfig) -> None:
    _, program, images = network(config)
    accelerator = Accelerator(DeviceModel(config)).load(program)
    with pytest.raises(DorefabricError, match=r"^no image has been run yet, so there are no counters$"):
        accelerator.layer_counters()
    accelerator.run(images[:1])
    assert accelerator.layer_counters() == program.report()["layers"]
    accelerator.trace(images[:1])
    assert accelerator.layer_counters() == program.report()["layers"]
    assert all(0 < row["useful"] <= 1 for row in accelerator.layer_counters() if not row["name"].startswith("copy"))


def test_resident_memories_are_written_once() -> None:
    _, program, images = network(ROOMY)
    device = Recorder(ROOMY)
    accelerator = Accelerator(device).load(program)
    loaded = len(device.written)
    assert loaded == len(program.resident)
    accelerator.run(images[:2])
    per_image = device.written[loaded:]
    # The input, the descriptor address, and the start: nothing else.
    assert len(per_image) == 2 * 3
    assert per_image[1::3] == [(address("registers", 6), 1)] * 2
    assert per_image[2::3] == [(address("registers", 4), 1)] * 2


def test_throughput_test_splits_the_time() -> None:
    _, program, _ = network(ROOMY)
    report = Accelerator(DeviceModel(ROOMY)).load(program).throughput_test(3)
    phases = [report[name] for name in ("pack", "link", "compute", "unpack")]
    assert all(seconds > 0 for seconds in phases)
    assert sum(phases) <= report["seconds"]
    assert report["images"] == 3
    assert report["images_per_second"] == pytest.approx(3 / report["seconds"])
    assert report["cycles"] == program.report()["cycles"]
    with pytest.raises(DorefabricError, match=r"^count must be at least 1, not 0$"):
        Accelerator(DeviceModel(ROOMY)).load(program).throughput_test(0)


class Impostor(DeviceModel):
    """Answers with a changed identity."""

    def __init__(self, **registers: int) -> None:
        super().__init__(ROOMY)
        self._registers |= registers


def test_wrong_circuits_are_named() -> None:
    with pytest.raises(LinkError) as caught:
        Accelerator(Impostor(magic=0x12345678))
    assert str(caught.value) == (
        f"what answers is no dorefabric circuit: its magic word is 0x12345678, not 0x{MAGIC:08x}"
    )
    with pytest.raises(LinkError) as caught:
        Accelerator(Impostor(version=7))
    assert str(caught.value) == (
        "the circuit has instruction set version 7, this software has 2: "
        "build the circuit and install dorefabric from the same release"
    )
    other = dataclasses.replace(ROOMY, name="other", rows=2)
    _, program, images = network(ROOMY)
    with pytest.raises(ProgramError) as caught_program:
        Accelerator(DeviceModel(other)).load(program)
    assert str(caught_program.value) == (
        f"program 'network' is for configuration 'roomy' (0x{ROOMY.fingerprint:08x}), but the circuit (2 × 8 × 64) "
        f"is configuration 0x{other.fingerprint:08x}: compile it for that configuration"
    )
    with pytest.raises(DorefabricError, match=r"^no program is loaded: call load\(program\) first$"):
        Accelerator(DeviceModel(ROOMY)).run(images)
    with pytest.raises(InputError, match=r"^input must be unsigned 8-bit integers, not float64$"):
        Accelerator(DeviceModel(ROOMY)).load(program).run(images / 1.0)


def test_device_model_registers_and_memories() -> None:
    device = DeviceModel(ROOMY)
    device.write(address("registers", 9), np.array([0xDEADBEEF], np.uint32))
    names = [register.name for register in REGISTERS]
    values = dict(zip(names, device.read(address("registers"), len(names)).tolist(), strict=True))
    assert (values["scratch"], values["shape"]) == (0xEF, 4 | 8 << 8 | 64 << 16)
    assert device.read(address("registers", 10), 2).tolist() == [0, 0]
    words = np.arange(7, dtype=np.uint32) * np.uint32(0x01234567)
    for space, readable in (("program", True), ("features", True), ("weights", False), ("taps", False)):
        device.write(address(space, 3), words)
        assert device.read(address(space, 3), 7).tolist() == (words.tolist() if readable else [0] * 7)
    narrow = DeviceModel(TINY)
    narrow.write(address("features", 1), np.array([0x12345678], np.uint32))
    assert narrow.read(address("features", 0), 3).tolist() == [0, 0x5678, 0]
    with pytest.raises(InterpreterError) as caught:
        device.write(address("program", 2047), words)
    assert str(caught.value) == "7 words at offset 2047 exceed the program space, which has 2048 words"
    with pytest.raises(InterpreterError, match=r"^bus address 0x7000000 is in no memory$"):
        device.read(0x7000000, 1)


def test_single_steps_advance_the_descriptor() -> None:
    _, program, images = network(ROOMY)
    device = DeviceModel(ROOMY)
    accelerator = Accelerator(device).load(program)
    accelerator.run(images[:1])
    runs = int(device.read(address("registers", 5), 1)[0]) >> 8
    assert runs == 1
    count = sum(step.count for step in program.steps)
    assert int(device.read(address("registers", 6), 1)[0]) == DESCRIPTOR_WORDS * count
    assert int(device.read(address("registers", 7), 1)[0]) == program.report()["cycles"] == accelerator.busy_cycles()
    accelerator.trace(images[:1])
    assert accelerator.busy_cycles() == program.report()["cycles"]
    assert int(device.read(address("registers", 5), 1)[0]) >> 8 == 1 + program.steps[0].count
