"""What the quantizers' autograd functions share: a typed base, and gradients that stop where a value is clipped.

On a CPU a comparison that yields booleans, and arithmetic with them, costs many times an operation on floats alone;
the functions here stay with floats.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

__all__ = ["Function", "clip_gradient", "inside"]


class Function(torch.autograd.Function):
    """`torch.autograd.Function` of one result, whose static methods a type checker lets derived classes narrow.

    Derived classes define ``forward(ctx, ...)`` and ``backward(ctx, grad)`` as torch's documentation says.
    """

    if TYPE_CHECKING:
        forward: ClassVar[Callable[..., Any]]
        backward: ClassVar[Callable[..., Any]]

    @classmethod
    def call(cls, *args: Any) -> Tensor:
        """``apply``, with a type."""
        result: Tensor = cls.apply(*args)
        return result


def clip_gradient(grad: Tensor, x: Tensor, low: float) -> Tensor:
    """``grad`` where ``low <= x <= 1``, else 0, in a new tensor; ``low`` is 0 or -1. Floats of any width and shape."""
    info = torch.finfo(x.dtype)
    # torch's function excludes its limits, so these are the neighbours outside: tiny * eps is the least magnitude.
    below = -1.0 - info.eps if low else -info.tiny * info.eps
    result: Tensor = torch.ops.aten.hardtanh_backward(grad, x, below, 1.0 + info.eps)
    return result


def inside(x: Tensor, low: float, high: float) -> Tensor:
    """1 where ``low <= x <= high``, else 0, in the type of ``x``: a mask to multiply gradients with."""
    clipped = x.clamp(low, high)
    return torch.eq(clipped, x, out=torch.empty_like(x))
