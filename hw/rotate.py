"""Rotation network: gives every row of the array the feature word of its pixel."""

from collections.abc import Sequence

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import FabricConfig
from .pipeline import delay
from .tile import activation_layout
from .timing import rotate_latency

__all__ = ["Rotate", "rotate"]


def rotate(words: Sequence[int], rotation: int, valid: Sequence[bool]) -> list[int]:
    """Row r gets word (r + rotation) mod rows, or 0 where it is not valid (zero padding)."""
    rows = len(words)
    return [words[(row + rotation) % rows] if valid[row] else 0 for row in range(rows)]


class Rotate(wiring.Component):
    """Row r gets the word of bank (r + rotation) mod rows, or zero.

    A logarithmic shifter over words, with a register after every two of its levels and the mask in the last one.
    Latency: `timing.rotate_latency`; throughput: one set of words a cycle.

    Members
    -------
    words : In, ``rows`` × ``lanes`` bits, by bank
    rotation : In
    valid : In, one bit per row
    activations : Out, ``rows`` × ``lanes`` bits, by row
    """

    def __init__(self, config: FabricConfig) -> None:
        self.config = config
        super().__init__(
            {
                "words": In(activation_layout(config)),
                "rotation": In(ceil_log2(config.rows)),
                "valid": In(config.rows),
                "activations": Out(activation_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows, latency = self.config.rows, rotate_latency(self.config.rows)
        words = [self.words[row] for row in range(rows)]
        rotation, valid = self.rotation, self.valid
        levels = list(range(len(self.rotation)))
        for stage in range(latency):
            for level in levels[2 * stage : 2 * stage + 2]:
                words = [Mux(rotation[level], words[(row + (1 << level)) % rows], words[row]) for row in range(rows)]
            last = stage == latency - 1
            registers = [Signal(self.config.lanes, name=f"stage_{stage}_{row}", reset_less=True) for row in range(rows)]
            for row in range(rows):
                m.d.sync += registers[row].eq(Mux(valid[row], words[row], 0) if last else words[row])
            words = registers
            if not last:
                rotation = delay(m, rotation, 1, name=f"rotation_{stage}")
                valid = delay(m, valid, 1, name=f"valid_{stage}")
        for row in range(rows):
            m.d.comb += self.activations[row].eq(words[row])
        return m
