"""The cycle model: what the circuit's counters will say, from a descriptor alone (`dorefabric.hw.timing`)."""

from dorefabric.hw.timing import Cycles, descriptor_cycles

__all__ = ["Cycles", "descriptor_cycles"]
