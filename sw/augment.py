"""Random shifts, crops and reflections of training images, vectorised over a batch."""

import torch
from torch import Tensor
from torch.nn import functional

from .recipes import Recipe

__all__ = ["augmented"]


def augmented(images: Tensor, recipe: Recipe) -> Tensor:
    """Pixels (N, C, H, W), uint8, as float in [0, 1], each image shifted and mirrored at random."""
    count, channels, height, width = images.shape
    if recipe.crop:
        # Each image from the padded one, as one gather: rows and columns start at a random offset.
        padded = functional.pad(images, [recipe.crop] * 4)
        top, left = torch.randint(0, 2 * recipe.crop + 1, (2, count))
        rows = (top[:, None] + torch.arange(height))[:, None, :, None]
        columns = (left[:, None] + torch.arange(width))[:, None, None, :]
        images = padded[torch.arange(count)[:, None, None, None], torch.arange(channels)[:, None, None],
                        rows, columns]
    pixels = images.float() / 255
    if recipe.shift:
        # Coordinates run from -1 to 1: a pixel is 2 / size. Zeros move in, fractions interpolate.
        move = torch.eye(2, 3).repeat(count, 1, 1)
        move[:, :, 2] = (torch.rand(count, 2) - 0.5) * 2 * recipe.shift * 2 / torch.tensor([width, height])
        grid = functional.affine_grid(move, list(images.shape), align_corners=False)
        pixels = functional.grid_sample(pixels, grid, align_corners=False)
    if recipe.flip:
        mirror = torch.rand(count) < 0.5
        pixels = torch.where(mirror[:, None, None, None], pixels.flip(3), pixels)
    return pixels
