"""The three sums of products of a training step, in integers: forward, input gradient, weight gradient.

All are of codes: activations p in 0 … 2^A - 1, odd weights 2 q - n_W, odd gradients 2 r - n_G. `ArrayProducts` computes
them as matrix products on the array, with windows that the host unfolds; `SoftwareProducts` as PyTorch's convolutions
of integers in float64, which are exact. Fully connected layers are convolutions of one pixel.

=================  =======================================  =====================  ====================================
sum                pixels                                   filters                reduced over
=================  =======================================  =====================  ====================================
forward            windows of activations, all samples      weights                input channels and taps
input gradient     windows of gradients, all samples        weights, transposed    output channels and taps
weight gradient    output channels of one sample            windows of one sample  output positions of one sample
=================  =======================================  =====================  ====================================

The weight gradient stays apart by sample, because each sample's gradients have a scale of their own. A gradient has no
code for 0, which the windows of the input gradient need at the borders: r is 0 there, and instead of n_G Σ w over the
whole window, n_G Σ w over its valid taps is subtracted, a product of its own with the few patterns of validity. With a
stride s, input pixels of every residue modulo s see only the taps of one residue: each is a product of its own, without
inserted zeros.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional
from torch.nn.grad import conv2d_input, conv2d_weight

from .matrix_unit import Codes, MatrixUnit, Usage
from .packing import unfold

__all__ = ["ArrayProducts", "Products", "SoftwareProducts", "Window"]

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """How a convolution slides: kernel, stride and padding, each vertical and horizontal."""

    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)

    def outputs(self, size: Pair) -> Pair:
        """Height and width of the output of an input of that height and width."""
        a, b = ((size[i] + 2 * self.padding[i] - self.kernel[i]) // self.stride[i] + 1 for i in (0, 1))
        return a, b


class Products(Protocol):
    """What computes the sums. All arrays are int64; ``activations`` (N, C, H, W), ``weights`` (O, C, kh, kw) odd,
    ``gradients`` (N, O, H', W') odd; bits are those of the codes."""

    @property
    def usage(self) -> Usage:
        """What all products so far have cost."""
        ...

    def forward(self, activations: np.ndarray, activation_bits: int, weights: np.ndarray, weight_bits: int,
                window: Window) -> np.ndarray:  # fmt: skip
        """(N, O, H', W')."""
        ...

    def input_gradient(self, gradients: np.ndarray, gradient_bits: int, weights: np.ndarray, weight_bits: int,
                       window: Window, size: Pair) -> np.ndarray:  # fmt: skip
        """(N, C, H, W) for an input of height and width ``size``."""
        ...

    def weight_gradient(self, gradients: np.ndarray, gradient_bits: int, activations: np.ndarray,
                        activation_bits: int, window: Window) -> np.ndarray:  # fmt: skip
        """(N, O, C, kh, kw), one for each sample."""
        ...


class ArrayProducts:
    """The sums on the circuit of a `MatrixUnit`; `MatrixError` for operands beyond their bits or that do not fit."""

    def __init__(self, unit: MatrixUnit) -> None:
        self.unit = unit

    @property
    def usage(self) -> Usage:
        return self.unit.usage

    def forward(self, activations: np.ndarray, activation_bits: int, weights: np.ndarray, weight_bits: int,
                window: Window) -> np.ndarray:  # fmt: skip
        pixels = unfold(_unsigned_codes(activations, activation_bits), window.kernel, window.stride,
                        window.padding)  # fmt: skip
        samples, length, *size = pixels.shape
        left = pixels.transpose(0, 2, 3, 1).reshape(-1, length)
        result = self.unit.multiply(Codes(left, activation_bits),
                                    Codes.odd(weights.reshape(len(weights), -1), weight_bits))  # fmt: skip
        return result.reshape(samples, *size, -1).transpose(0, 3, 1, 2)

    def input_gradient(self, gradients: np.ndarray, gradient_bits: int, weights: np.ndarray, weight_bits: int,
                       window: Window, size: Pair) -> np.ndarray:  # fmt: skip
        result = np.zeros((len(gradients), weights.shape[1], *size), np.int64)
        top = (1 << gradient_bits) - 1
        # One more row and column of code 0, which every position outside takes.
        codes = np.pad(_odd_codes(gradients, gradient_bits), ((0, 0), (0, 0), (0, 1), (0, 1)))
        for down in range(window.stride[0]):
            y, u = _reached(down, 0, size[0], gradients.shape[2], window)
            for right in range(window.stride[1]):
                x, v = _reached(right, 1, size[1], gradients.shape[3], window)
                if not (y.size and x.size and u.size and v.size):
                    continue  # no pixel of this residue, or no tap that reaches it
                taps = weights[:, :, down :: window.stride[0], right :: window.stride[1]]
                filters = Codes.odd(taps.transpose(1, 0, 2, 3).reshape(taps.shape[1], -1), weight_bits)
                # (sample, output channel, y, tap, x, tap) to (sample, y, x, output channel, tap, tap)
                pixels = codes[:, :, u[:, :, None, None], v[None, None]].transpose(0, 2, 4, 1, 3, 5)
                sums = self.unit.multiply(Codes(pixels.reshape(-1, filters.codes.shape[1]), gradient_bits, 2), filters)
                valid = (u < gradients.shape[2])[:, None, :, None] & (v < gradients.shape[3])[None, :, None, :]
                patterns, which = np.unique(valid.reshape(len(y) * len(x), -1), axis=0, return_inverse=True)
                repeated = np.tile(patterns.astype(np.uint8), gradients.shape[1])
                offsets = top * self.unit.multiply(Codes(repeated, 1), filters)[which.reshape(-1)]
                part = (sums.reshape(len(gradients), len(offsets), -1) - offsets).transpose(0, 2, 1)
                result[:, :, y[:, None], x] = part.reshape(*result.shape[:2], len(y), len(x))
        return result

    def weight_gradient(self, gradients: np.ndarray, gradient_bits: int, activations: np.ndarray,
                        activation_bits: int, window: Window) -> np.ndarray:  # fmt: skip
        samples, outputs = gradients.shape[:2]
        pixels = unfold(_unsigned_codes(activations, activation_bits), window.kernel, window.stride,
                        window.padding)  # fmt: skip
        results = [
            self.unit.multiply(Codes.odd(gradients[n].reshape(outputs, -1), gradient_bits),
                               Codes(pixels[n].reshape(pixels.shape[1], -1), activation_bits))
            for n in range(samples)
        ]  # fmt: skip
        return np.stack(results).reshape(samples, outputs, activations.shape[1], *window.kernel)


def _odd_codes(values: np.ndarray, bits: int) -> np.ndarray:
    return Codes.odd(values.reshape(len(values), -1), bits).codes.reshape(values.shape)


def _unsigned_codes(values: np.ndarray, bits: int) -> np.ndarray:
    return Codes.unsigned(values.reshape(len(values), -1), bits).codes.reshape(values.shape)


def _reached(residue: int, axis: int, size: int, outputs: int, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Input positions that the taps residue, residue + stride, … reach, and the output position of each such tap there:
    int64 (positions,) and (positions, taps), ``outputs`` where there is none."""
    stride, padding = window.stride[axis], window.padding[axis]
    taps = np.arange(len(range(residue, window.kernel[axis], stride)))
    positions = np.arange((residue - padding) % stride, size, stride)
    outer = (positions[:, None] + padding - residue) // stride - taps
    return positions, np.where((outer >= 0) & (outer < outputs), outer, outputs)


class SoftwareProducts:
    """The sums by PyTorch; they cost nothing that is counted."""

    usage = Usage()

    def forward(self, activations: np.ndarray, activation_bits: int, weights: np.ndarray, weight_bits: int,
                window: Window) -> np.ndarray:  # fmt: skip
        return _integers(functional.conv2d(_float(activations), _float(weights), None, window.stride, window.padding))

    def input_gradient(self, gradients: np.ndarray, gradient_bits: int, weights: np.ndarray, weight_bits: int,
                       window: Window, size: Pair) -> np.ndarray:  # fmt: skip
        shape = (len(gradients), weights.shape[1], *size)
        return _integers(conv2d_input(shape, _float(weights), _float(gradients), window.stride, window.padding))

    def weight_gradient(self, gradients: np.ndarray, gradient_bits: int, activations: np.ndarray,
                        activation_bits: int, window: Window) -> np.ndarray:  # fmt: skip
        shape = (gradients.shape[1], activations.shape[1], *window.kernel)
        parts = [conv2d_weight(_float(a[None]), shape, _float(g[None]), window.stride, window.padding)
                 for g, a in zip(gradients, activations, strict=True)]  # fmt: skip
        return _integers(torch.stack(parts))


def _float(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).double()


def _integers(values: torch.Tensor) -> np.ndarray:
    """Every sum of every order is an integer below 2^53, so float64 holds it exactly."""
    return values.numpy().astype(np.int64)
