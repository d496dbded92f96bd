"""The reference expression: what PyTorch computes between an exact accumulator and an activation code."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from .layers import QuantActivation

__all__ = ["Expression"]


@dataclass(frozen=True, eq=False)
class Expression:
    """A per-channel chain of a model's own modules on ``dtype((y + offset) * unit)``; `thresholds` has the definition.

    Members
    -------
    unit : float or float64 (C,)
        Real value of an accumulator of 1.
    offset : float64 (C,) or None
        What the zero of the input's codes adds to an accumulator: whole numbers or halves.
    dtype : torch.dtype
        Of the model's parameters.
    bias : Tensor (C,) or None
        Of the convolution.
    modules : tuple of Module
        Batch norms in eval mode, in order.
    activation : QuantActivation
    """

    unit: float | np.ndarray
    offset: np.ndarray | None
    dtype: torch.dtype
    bias: Tensor | None
    modules: tuple[nn.Module, ...]
    activation: QuantActivation

    @torch.no_grad()
    def values(self, accumulators: np.ndarray) -> Tensor:
        """Input of the activation for accumulators (C, M), row c being channel c: dtype (C, M)."""
        exact = accumulators.astype(np.float64)
        if self.offset is not None:
            exact = exact + self.offset[:, None]
        unit = self.unit if isinstance(self.unit, float) else self.unit[:, None]
        x = torch.from_numpy(exact * unit).to(self.dtype)
        if self.bias is not None:
            x = x + self.bias[:, None]
        for module in self.modules:
            # In the layout that the module sees in the model, (N, C) or (N, C, H, W).
            if isinstance(module, nn.BatchNorm1d):
                x = module(x.T.contiguous()).T
            else:
                x = module(x[None, :, None, :].contiguous())[0, :, 0, :]
        return x

    @torch.no_grad()
    def codes_of(self, values: Tensor) -> np.ndarray:
        """Codes, int64, of inputs of the activation, any shape."""
        return self.activation.codes(values).numpy()

    def codes(self, accumulators: np.ndarray) -> np.ndarray:
        """Codes of accumulators, both int64 (C, M), row c being channel c."""
        return self.codes_of(self.values(accumulators))
