"""What the lowering hands on: the graph with its places in the model, and the values of a walk through the model."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor, fx, nn

from .capture import Captured
from .expression import Expression
from .graph import Graph, Node

__all__ = ["Activation", "Codes", "Lowered", "Pending", "Raw", "Value"]


@dataclass(frozen=True, eq=False)
class Activation:
    """Where a QuantActivation of the model is in the graph.

    Members
    -------
    path : str
        Of the QuantActivation in the model.
    call : fx.Node
        Its call.
    node, threshold : str
        The graph's nodes that hold its codes (after pooling and flattening) and the Threshold itself.
    expression : Expression
    length : int
        Terms of the sum behind one accumulator.
    low, high : int64 (C,)
        Range of the accumulators of each channel.
    """

    path: str
    call: fx.Node
    node: str
    threshold: str
    expression: Expression
    length: int
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, eq=False)
class Lowered:
    """A graph together with the captured model and the places of its activations, for `compare`."""

    graph: Graph
    captured: Captured
    activations: tuple[Activation, ...]


# Values of calls during the walk ---------------------------------------------------------------------

@dataclass(frozen=True)
class Raw:
    """The model's input, before a QuantInput."""


@dataclass(frozen=True)
class Codes:
    """Codes p of the real value ``(p - zero) * node.edge.scale``; zero is a whole number or a half."""

    node: Node
    zero: float = 0.0


@dataclass(frozen=True, eq=False)
class Pending:
    """Accumulators and the float operations applied to them since.

    ``unit`` is the real value of an accumulator of 1, ``offset`` what the zero of the input's codes adds to it.
    ``after`` builds the nodes between the Threshold and the codes; ``pool`` names the first max pool among them.
    """

    node: Node
    origin: str
    last: str
    length: int
    unit: float | np.ndarray
    low: np.ndarray
    high: np.ndarray
    bias: Tensor | None = None
    offset: np.ndarray | None = None
    modules: tuple[nn.Module, ...] = ()
    after: tuple[Callable[[Node], Node], ...] = ()
    pool: str | None = None
    normed_after_pool: str | None = None


Value = Raw | Codes | Pending
