"""How each reference network is trained unless the user says otherwise."""

import math
from dataclasses import dataclass

__all__ = ["RECIPES", "Recipe", "schedule"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained unless the user says otherwise.

    ``shift`` is the largest random shift of a training image along each axis, in pixels and fractions of
    them, ``crop`` the same in whole pixels (a random crop of the padded image); ``flip`` mirrors half of the
    images. ``warmup`` is the part of all steps in which the learning rate rises linearly from zero, before it
    falls along a cosine. ``precision`` is that of the layers' arithmetic during training, ``float32`` or
    ``bfloat16`` (about twice as fast on a CPU that has it); accuracy is always that of float32.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str = "adam"
    shift: float = 0
    crop: int = 0
    flip: bool = False
    warmup: float = 0.0
    precision: str = "float32"


RECIPES = {
    "digits": Recipe(epochs=40, batch_size=32, learning_rate=5e-3, shift=0.5),
    "resnet-digits": Recipe(epochs=40, batch_size=32, learning_rate=5e-3, shift=0.5),
    "mlp": Recipe(epochs=20, batch_size=100, learning_rate=3e-3, shift=0.5),
    "lenet": Recipe(epochs=6, batch_size=100, learning_rate=3e-3, shift=1),
    "cifar-small": Recipe(epochs=24, batch_size=100, learning_rate=4e-3, crop=4, flip=True, warmup=0.05,
                          precision="bfloat16"),
    "cifar-mini": Recipe(epochs=10, batch_size=100, learning_rate=4e-3, flip=True, warmup=0.05, precision="bfloat16"),
    "resnet20": Recipe(epochs=100, batch_size=100, learning_rate=3e-3, crop=4, flip=True),
    "cnv": Recipe(epochs=100, batch_size=100, learning_rate=3e-3, shift=4, flip=True),
    **{name: Recipe(epochs=100, batch_size=128, learning_rate=1e-3, shift=2)
       for name in ("svhn", "svhn-b", "svhn-c", "svhn-d")},
}


def schedule(done: float, warmup: float) -> float:
    """Factor on the learning rate when the part ``done`` of all steps is behind: a rise, then a cosine to 0."""
    if done < warmup:
        return done / warmup
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))
