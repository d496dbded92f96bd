"""The cycle model: what the circuit's counters will say, from a descriptor alone."""

from dataclasses import dataclass

from dorefabric.hw.config import FabricConfig

__all__ = ["Cycles", "descriptor_cycles"]

# Provisional: descriptor fetch, feeder, array and writer latency.
_LATENCY = 40


@dataclass(frozen=True)
class Cycles:
    """Counters of one descriptor, in clock cycles; `steps` of them keep the array busy."""

    cycles: int
    steps: int
    stalls: int


def descriptor_cycles(config: FabricConfig, descriptor: dict[str, int]) -> Cycles:
    """Counters that the circuit writes for a descriptor, given as its fields.

    A tile of results takes the larger of its steps and the drain of the tile before it; the last tile's drain
    and a constant of the configuration are added.
    """
    d = descriptor
    tiles = d["channel_tiles"] * d["y_count"] * d["x_tiles"] * d["pool_taps"]
    steps = d["pairs"] * d["taps"] * d["chunks"]
    drain = d["planes"] * config.drain_slots
    stalls = (tiles - 1) * max(0, drain - steps)
    return Cycles(cycles=tiles * steps + stalls + drain + config.tiles + _LATENCY, steps=tiles * steps, stalls=stalls)
