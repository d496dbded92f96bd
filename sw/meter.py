"""What the sums of products of a training step cost, layer by layer."""

from dataclasses import dataclass, field

from .matrix_unit import Usage

__all__ = ["Meter", "Work"]


@dataclass(frozen=True)
class Work:
    """One sum of products of one layer.

    kind : ``forward``, ``input gradient`` or ``weight gradient``; multiply_accumulates : of the layer's definition;
    pair_operations : these times the bits of both operands, 0 on the host; usage : what it cost on the array;
    on_array : whether it was given to the array, or to what stands for it in a software twin
    """

    layer: str
    kind: str
    multiply_accumulates: int
    pair_operations: int
    usage: Usage
    on_array: bool


@dataclass
class Meter:
    """Collects the work of layers while they run."""

    works: list[Work] = field(default_factory=list)

    def host(self, layer: str, kind: str, multiply_accumulates: int) -> None:
        """Note a sum of products that the host computes."""
        self.works.append(Work(layer, kind, multiply_accumulates, 0, Usage(), False))

    def take(self) -> list[Work]:
        """What has been collected since the last call."""
        works, self.works = self.works, []
        return works
