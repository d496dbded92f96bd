"""Random descriptors on a circuit behind a link, compared with the device model and the cycle model."""

import numpy as np
from random_descriptors import random_case

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.isa import COUNTER_WORDS, DESCRIPTOR_WORDS
from dorefabric.hw.registers import REGISTERS, SPACES, address
from dorefabric.hw.timing import descriptor_cycles
from dorefabric.sw.interpret import DeviceModel
from dorefabric.sw.memories import Memories, bits_to_words

__all__ = ["REGISTER", "check_case", "load", "memory_words", "start"]

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


def load(link, memories: Memories) -> None:
    """Write every memory through the bus."""
    for space, words in memory_words(memories).items():
        link.write(address(space), words)


def start(link, descriptor: int = 0, single: bool = False) -> None:
    """Start at a descriptor and wait for the end."""
    link.write(REGISTER["descriptor"], np.array([descriptor]))
    link.write(REGISTER["control"], np.array([1 | single << 1]))
    link.wait_idle(60)


def check_case(link, config: FabricConfig, seed: int) -> dict[str, int]:
    """Run one random descriptor on ``link`` and on the model; everything that can be read must be equal."""
    memories, descriptor = random_case(config, np.random.default_rng([seed, config.lanes, config.rows]))
    model = DeviceModel(config)
    load(link, memories)
    load(model, memories)
    start(model)
    start(link)
    for space in ("features", "program"):
        size = memory_words(memories)[space].size
        expected, got = model.read(address(space), size), link.read(address(space), size)
        if space == "program":
            expected[[COUNTER_WORDS[n] for n in ("cycles", "steps", "stalls")]] = [
                getattr(descriptor_cycles(config, descriptor), n) for n in ("cycles", "steps", "stalls")
            ]
        np.testing.assert_array_equal(got, expected, err_msg=f"{space}, seed {seed}, {descriptor}")
    assert link.read(REGISTER["descriptor"], 1)[0] == DESCRIPTOR_WORDS
    assert set(SPACES) == {"registers", *memory_words(memories)}
    return descriptor
