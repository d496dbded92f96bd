"""A circuit without gateware: `DeviceModel` answers on the bus as the real one does, bit for bit."""

import numpy as np

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.isa import COUNTER_WORDS, DESCRIPTOR_WORDS
from dorefabric.hw.registers import OFFSET_BITS, REGISTERS, SCRATCH_BITS, SPACES, constants

from .cycles import descriptor_cycles, run_cycles
from .execute import read_descriptor, run_descriptor
from .memories import InterpreterError, Memories

__all__ = ["DeviceModel"]


class DeviceModel:
    """The `Link` of a circuit with configuration ``config``, executed by the interpreter.

    A write to the control register returns when the run is over: the model is never busy. Counters are the cycle
    model's. `InterpreterError` where the circuit's behaviour would be undefined.
    """

    def __init__(self, config: FabricConfig) -> None:
        self.config = config
        self.memories = Memories(config)
        self._registers = {register.name: 0 for register in REGISTERS} | constants(config)

    def write(self, address: int, words: np.ndarray) -> None:
        words = np.asarray(words, dtype=np.uint32).reshape(-1)
        if address >> OFFSET_BITS != SPACES["registers"]:
            self.memories.write(address, words)
            return
        for index, word in enumerate(words.tolist(), start=address):
            name = REGISTERS[index].name if index < len(REGISTERS) else ""
            if name == "control" and word & 1:
                self._run(single=bool(word & 2))
            elif name == "descriptor":
                self._registers[name] = word & 0xFFFF
            elif name == "scratch":
                self._registers[name] = word & (1 << SCRATCH_BITS) - 1

    def read(self, address: int, count: int) -> np.ndarray:
        if address >> OFFSET_BITS != SPACES["registers"]:
            return self.memories.read(address, count).reshape(-1)
        names = [register.name for register in REGISTERS]
        values = [self._registers[name] for name in names] + [0] * (address + count)
        return np.array(values[address : address + count], dtype=np.uint32)

    def wait_idle(self, timeout: float) -> None:
        """Never busy."""

    def close(self) -> None:
        """Nothing to release."""

    def _run(self, single: bool) -> None:
        """Execute the chain at the descriptor register, or one descriptor of it."""
        registers, program = self._registers, self.memories.program
        descriptors, visited = [], set()
        while True:
            address = registers["descriptor"]
            if address in visited:
                raise InterpreterError(f"the descriptor chain returns to address {address} and never ends")
            visited.add(address)
            descriptor = read_descriptor(self.memories, address)
            run_descriptor(self.memories, descriptor)
            counters = descriptor_cycles(self.config, descriptor)
            program[address + COUNTER_WORDS["cycles"]] = counters.cycles
            program[address + COUNTER_WORDS["steps"]] = counters.steps
            program[address + COUNTER_WORDS["stalls"]] = counters.stalls
            program[address + COUNTER_WORDS["completed"]] += np.uint32(1)
            descriptors.append(descriptor)
            registers["descriptor"] = address + DESCRIPTOR_WORDS
            if single or descriptor["last"]:
                break
        registers["cycles"] = run_cycles(self.config, descriptors) & 0xFFFFFFFF
        completed = (registers["status"] >> 8) + 1
        registers["status"] = completed << 8 & 0xFFFFFFFF
