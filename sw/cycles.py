"""The cycle model: what the circuit's counters will say, and how long it is busy (`dorefabric.hw.timing`)."""

from dorefabric.hw.timing import Cycles, descriptor_cycles, run_cycles

__all__ = ["Cycles", "descriptor_cycles", "run_cycles"]
