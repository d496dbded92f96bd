"""What to train, on what, and where to keep it."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dorefabric.hw.errors import DorefabricError

from .methods import DOREFA, Method
from .models import MODELS
from .quantize import FLOAT_BITS, check_bits
from .recipes import RECIPES, Recipe

__all__ = ["DEFAULTS", "TrainConfig", "TrainError", "identity"]


class TrainError(DorefabricError, RuntimeError):
    """Training cannot start or go on; the message says why and what is left on disk."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What to train, on what, and where to keep it.

    Members
    -------
    dataset, model : str
        Names in `datasets.DATASETS` and `models.MODELS`; they must belong together.
    weight_bits, activation_bits, gradient_bits : int
        1 to 8, or 32 for float.
    epochs, batch_size, learning_rate, optimizer, shift, precision
        ``None`` takes the network's recipe; the optimizer is ``adam`` or ``sgd`` (momentum 0.9). The
        learning rate falls to zero along a cosine over all epochs.
    method : Method
        How networks are quantized; by default as DoReFa-Net does.
    initial : path or None
        A model file of the same network, at any bits and by any method, whose weights and batch-norm statistics this
        training starts from; as a rule that of the float twin.
    seed : int
        Seeds initial weights, order, augmentation, dropout and gradient noise.
    data_dir : path or None
        The folder given to `datasets.load_dataset`.
    device : str
        ``cpu``, ``cuda``, or ``auto``: the GPU if there is one.
    output : path or None
        The checkpoint, replaced after each epoch; ``None`` keeps nothing.
    log : path or None
        A CSV file with the figures of every epoch, replaced after each.
    resume : bool
        Continue from ``output``. The rest of the configuration must be the same; ``epochs`` may be larger.
    threads : int or None
        Threads of torch during training; ``None`` leaves torch's setting. Other than 1 may be faster, but
        runs are then no longer equal bit for bit.
    progress : bool
        Print a progress bar and a line for each epoch.

    Raises
    ------
    ValueError
        For a value out of range.
    """

    dataset: str
    model: str
    weight_bits: int = 1
    activation_bits: int = 2
    gradient_bits: int = FLOAT_BITS
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    optimizer: str | None = None
    shift: float | None = None
    precision: str | None = None
    method: Method = DOREFA
    initial: str | Path | None = None
    seed: int = 0
    data_dir: str | Path | None = None
    device: str = "cpu"
    output: str | Path | None = None
    log: str | Path | None = None
    resume: bool = False
    threads: int | None = 1
    progress: bool = True

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"unknown network {self.model!r}: choose one of {', '.join(MODELS)}")
        wanted = MODELS[self.model].dataset
        if self.dataset != wanted:
            raise ValueError(f"network {self.model!r} takes data set {wanted!r}, not {self.dataset!r}")
        if self.model not in RECIPES:
            raise ValueError(f"network {self.model!r} has no recipe: its data set {wanted!r} cannot be read; train it "
                             f"with a loop of your own")
        for kind in ("weight", "activation", "gradient"):
            check_bits(kind, getattr(self, f"{kind}_bits"))
        self.method.check(*self.bits)
        recipe = self.recipe
        if recipe.epochs < 1:
            raise ValueError(f"epochs must be at least 1, not {recipe.epochs!r}")
        if recipe.batch_size < 2:
            raise ValueError(f"batch size must be at least 2, not {recipe.batch_size!r}")
        if not (recipe.learning_rate > 0 and math.isfinite(recipe.learning_rate)):
            raise ValueError(f"learning rate must be a positive number, not {recipe.learning_rate!r}")
        if recipe.optimizer not in ("adam", "sgd"):
            raise ValueError(f"optimizer must be 'adam' or 'sgd', not {recipe.optimizer!r}")
        if not 0 <= recipe.shift < math.inf:
            raise ValueError(f"shift must be at least 0 pixels, not {recipe.shift!r}")
        if self.device not in ("cpu", "cuda", "auto"):
            raise ValueError(f"device must be 'cpu', 'cuda' or 'auto', not {self.device!r}")
        if recipe.precision not in ("float32", "bfloat16", "float16"):
            raise ValueError(f"precision must be 'float32', 'bfloat16' or 'float16', not {recipe.precision!r}")
        if self.method.name == "mls" and recipe.precision != "float32":
            raise ValueError("method 'mls' rounds values itself: precision must be 'float32', not "
                             f"{recipe.precision!r}")
        if not 0 <= self.seed < 1 << 63:
            raise ValueError(f"seed must be 0 to 2**63 - 1, not {self.seed!r}")
        if self.resume and self.output is None:
            raise ValueError("resume needs an output: the checkpoint to continue from")

    @property
    def recipe(self) -> Recipe:
        """The network's recipe with this configuration's own values put in."""
        base = asdict(RECIPES[self.model])
        own = {key: getattr(self, key) for key in base if getattr(self, key, None) is not None}
        return Recipe(**(base | own))

    @property
    def bits(self) -> tuple[int, int, int]:
        """(W, A, G)."""
        return self.weight_bits, self.activation_bits, self.gradient_bits


DEFAULTS = {"method": DOREFA.to_dict(), "crop": 0, "warmup": 0.0, "precision": "float32", "processes": 1,
            "initial": None}
"""What checkpoints have that were written before these were options."""


def identity(config: TrainConfig, processes: int = 1) -> dict[str, Any]:
    """Whatever must be equal for a checkpoint to be continued by this configuration in this many processes."""
    recipe = {key: value for key, value in asdict(config.recipe).items() if key != "epochs"}
    return {"model": config.model, "bits": list(config.bits), "seed": config.seed,
            "method": config.method.to_dict(), "processes": processes,
            "initial": None if config.initial is None else Path(config.initial).name, **recipe}
