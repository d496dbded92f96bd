"""Random descriptors on a circuit behind a link, compared with the device model, memory by memory."""

import numpy as np
from random_descriptors import random_case

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.isa import DESCRIPTOR_WORDS
from dorefabric.hw.registers import REGISTERS, address
from dorefabric.hw.timing import run_cycles
from dorefabric.sw.interpret import DeviceModel
from dorefabric.sw.link import Link
from dorefabric.sw.memories import Memories, bits_to_words

__all__ = ["REGISTER", "check", "check_case", "load", "memory_words", "start"]

REGISTER = {register.name: address("registers", register.index) for register in REGISTERS}


def memory_words(memories: Memories) -> dict[str, np.ndarray]:
    """The bus words of every memory space."""
    features = memories.features[0, :-1].reshape(-1, memories.config.lanes // memories.config.bus_words)
    return {
        "program": memories.program,
        "taps": memories.taps,
        "thresholds": memories.thresholds.reshape(-1),
        "weights": memories.weights.reshape(-1),
        "features": bits_to_words(features).reshape(-1),
    }


def load(link: Link, memories: Memories) -> None:
    """Write every memory through the bus."""
    for space, words in memory_words(memories).items():
        link.write(address(space), words)


def start(link: Link, descriptor: int = 0, *, single: bool = False) -> None:
    """Start at a descriptor and wait for the end."""
    link.write(REGISTER["descriptor"], np.array([descriptor]))
    link.write(REGISTER["control"], np.array([1 | single << 1]))
    link.wait_idle(60)


def check(link: Link, model: DeviceModel, message: str) -> None:
    """Everything that can be read must be equal, but for the cycles since the run."""
    sizes = {space: words.size for space, words in memory_words(model.memories).items()}
    for space in ("features", "program"):
        got, expected = (device.read(address(space), sizes[space]) for device in (link, model))
        np.testing.assert_array_equal(got, expected, err_msg=f"{space}: {message}")
    for name in ("magic", "version", "fingerprint", "shape", "status", "descriptor", "cycles"):
        assert link.read(REGISTER[name], 1) == model.read(REGISTER[name], 1), f"{name}: {message}"


def check_case(link: Link, config: FabricConfig, seed: int) -> dict[str, int]:
    """Run one random descriptor on ``link``, fresh from reset, and on the model; returns the descriptor."""
    memories, descriptor = random_case(config, np.random.default_rng([seed, config.lanes, config.rows]))
    model = DeviceModel(config)
    # The status register counts runs since reset.
    runs = int(link.read(REGISTER["status"], 1)[0]) >> 8
    load(link, memories)
    for _ in range(runs + 1):
        load(model, memories)
        start(model)
    start(link)
    check(link, model, f"seed {seed}, {descriptor}")
    assert link.read(REGISTER["cycles"], 1)[0] == run_cycles(config, [descriptor])
    assert link.read(REGISTER["descriptor"], 1)[0] == DESCRIPTOR_WORDS
    return descriptor
