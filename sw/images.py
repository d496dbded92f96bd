"""What counts as a batch of images: the golden model, the interpreter and the driver ask the same."""

import numpy as np

from dorefabric.hw.errors import DorefabricError

__all__ = ["InputError", "check_images"]


class InputError(DorefabricError, ValueError):
    """Images of the wrong shape, type or range; the message says what is expected."""


def check_images(images: np.ndarray, shape: tuple[int, int, int], top: int) -> None:
    """`InputError` unless ``images`` are integers (N, C, H, W) from 0 to ``top``; ``shape`` is (C, H, W)."""
    if images.ndim != 4 or images.shape[1:] != shape:
        raise InputError(f"input must have shape (N, {', '.join(map(str, shape))}), not {images.shape}")
    if images.dtype.kind not in "iu":
        raise InputError(f"input must be unsigned 8-bit integers, not {images.dtype}")
    if images.size and (images.min() < 0 or images.max() > top):
        raise InputError(f"input values must be from 0 to {top}, not {images.min()} to {images.max()}")
