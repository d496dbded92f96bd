"""Model files: the weights of a reference network, how it was trained, and what resuming needs.

A model file is ``torch.save`` of one plain dictionary, loadable with ``torch.load(weights_only=True)``::

    format       "dorefabric-model"
    version      1
    model        name in models.MODELS
    bits         [W, A, G]
    input_shape  [C, H, W]
    dataset      name in datasets.DATASETS
    seed         int or None
    method       methods.Method.to_dict(); absent in older files, which are DoReFa-Net's
    history      one dictionary for each epoch (EpochMetrics)
    state_dict   parameters and statistics of the network
    training     None, or what resuming needs: config, optimizer, rng
"""

import pickle
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dorefabric.hw.errors import DorefabricError

from .methods import DOREFA, Method
from .models import MODELS, build_model
from .whole_file import whole_file

__all__ = ["EpochMetrics", "ModelFileError", "load_model", "load_parameters", "read_model_file", "save_model"]

FORMAT = "dorefabric-model"
VERSION = 1


class ModelFileError(DorefabricError, ValueError):
    """A model file is missing, damaged, foreign, too new, holds another network or cannot be written."""


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """Figures of one epoch: mean loss, accuracies in [0, 1] and wall time in seconds.

    The training accuracy is that of the augmented batches while the network was learning from them.
    """

    epoch: int
    loss: float
    train_accuracy: float
    test_accuracy: float
    seconds: float


def save_model(model: nn.Module, path: str | Path, *, name: str, bits: Sequence[int],
               history: Sequence[EpochMetrics] = (), seed: int | None = None,
               method: Method | None = None, training: dict[str, Any] | None = None) -> None:
    """Write a model file, whole or not at all: it replaces ``path`` only once it is complete on disk.

    Parameters
    ----------
    name, bits
        What `models.build_model` was called with: the name and (W, A, G).
    method : Method or None
        What was applied to it; ``None`` is DoReFa-Net's defaults.
    training : dict or None
        State that resuming needs; tensors, numbers, strings, lists and dictionaries only.

    Raises
    ------
    ModelFileError
        If the file cannot be written.
    """
    spec = MODELS[name]
    content = {
        "format": FORMAT,
        "version": VERSION,
        "model": name,
        "bits": list(bits),
        "input_shape": list(spec.input_shape),
        "dataset": spec.dataset,
        "seed": seed,
        "method": (method or DOREFA).to_dict(),
        "history": [asdict(metrics) for metrics in history],
        "state_dict": dict(model.state_dict()),
        "training": training,
    }
    with whole_file(path, "model file", ModelFileError) as scratch, scratch.open("wb") as file:
        torch.save(content, file)


def read_model_file(path: str | Path) -> dict[str, Any]:
    """The checked dictionary of a model file (see the head of this module).

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, foreign or of a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(f"model file {path} does not exist")
    foreign = f"{path} is not a dorefabric model file"
    with path.open("rb") as file:
        if file.read(2) != b"PK":  # every torch.save file is a zip archive
            raise ModelFileError(foreign)
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise ModelFileError(f"{path} is damaged: {broken} fails its checksum")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except zipfile.BadZipFile as error:
        raise ModelFileError(f"{path} is damaged or incomplete") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(foreign) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ModelFileError(foreign)
    version = content.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise ModelFileError(
            f"{path} has model file version {version!r}; this dorefabric reads up to {VERSION}: update it")
    missing = [key for key in ("model", "bits", "history", "state_dict", "training") if key not in content]
    if missing:
        raise ModelFileError(f"{path} is damaged: it lacks {', '.join(missing)}")
    if content["model"] not in MODELS:
        raise ModelFileError(f"{path} holds the unknown network {content['model']!r}")
    return content


def load_model(path: str | Path, name: str | None = None) -> nn.Module:
    """The network of a model file, in eval mode on the CPU.

    Parameters
    ----------
    name : str or None
        The network it must be; ``None`` takes any.

    Raises
    ------
    ModelFileError
        If the file cannot be read, holds another network, or its contents do not fit the network.
    """
    content = _of_network(path, name)
    try:
        method = Method.from_dict(content["method"]) if content.get("method") else DOREFA
        model = method.apply(build_model(content["model"], *content["bits"]))
        model.load_state_dict(content["state_dict"])
    except (RuntimeError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{path} does not fit the network {content['model']!r} at bits {content['bits']}") from error
    return model.eval()


def load_parameters(model: nn.Module, path: str | Path, name: str) -> None:
    """Overwrite parameters and statistics of ``model``, as `models.build_model` yields the network ``name``, with those
    of a model file of any bits and method; what that method added to the network is left out.

    Raises
    ------
    ModelFileError
        If the file cannot be read, holds another network, or its contents do not fit the network.
    """
    state = _of_network(path, name)["state_dict"]
    try:
        model.load_state_dict({key: value for key, value in state.items() if key in model.state_dict()})
    except RuntimeError as error:
        raise ModelFileError(f"{path} does not fit the network {name!r}") from error


def _of_network(path: str | Path, name: str | None) -> dict[str, Any]:
    content = read_model_file(path)
    if name is not None and content["model"] != name:
        raise ModelFileError(f"{path} holds the network {content['model']!r}, not {name!r}")
    return content
