"""The processes of a data-parallel training as `torchrun` starts them; without it, a group of one.

Every process holds the whole network and takes its share of each batch; torch's DistributedDataParallel averages the
gradients, so that weights stay equal. Batch norm sees the share of its process, and the first process's statistics are
everyone's; gradient noise, augmentation and dropout differ between processes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from .train_config import TrainError

__all__ = ["Processes", "first_process", "processes"]


def first_process() -> bool:
    """Whether this process is the one that writes files and shows progress."""
    return int(os.environ.get("RANK", "0")) == 0


@dataclass(frozen=True)
class Processes:
    """A process among ``size`` that train one network, on its device."""

    rank: int
    size: int
    device: torch.device

    def wrap(self, model: nn.Module) -> nn.Module:
        """The network as it is called during training."""
        return model if self.size == 1 else nn.parallel.DistributedDataParallel(model)

    def total(self, *values: float) -> list[float]:
        """The sum of each value over all processes."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor)
        return [float(value) for value in tensor]

    def agree(self, *tensors: Tensor) -> None:
        """Overwrite tensors with the first process's."""
        for tensor in tensors if self.size > 1 else ():
            distributed.broadcast(tensor, 0)

    def random_states(self) -> list[Tensor]:
        """The state of torch's random numbers in each process, and then of those of its GPU where it has one."""
        own = [torch.get_rng_state()]
        if self.device.type == "cuda":
            own.append(torch.cuda.get_rng_state(self.device))
        if self.size == 1:
            return own
        everyone: list[list[Tensor]] = [[] for _ in range(self.size)]
        distributed.all_gather_object(everyone, own)
        return [state for states in everyone for state in states]

    def restore(self, states: list[Tensor]) -> None:
        """Set what `random_states` returned in a group of the same size. A state of a GPU is ignored on a CPU; where
        none was saved, that of the GPU stays as it is."""
        kinds = len(states) // self.size
        own = states[self.rank * kinds:(self.rank + 1) * kinds]
        torch.set_rng_state(own[0])
        if len(own) > 1 and self.device.type == "cuda":
            torch.cuda.set_rng_state(own[1], self.device)


@contextmanager
def processes(device: str, batch_size: int) -> Iterator[Processes]:
    """The group that this process belongs to, for as long as the context lasts.

    Parameters
    ----------
    device : str
        ``cpu``, ``cuda`` or ``auto``.
    batch_size : int
        Of all processes together.

    Raises
    ------
    TrainError
        If there is no GPU for the process, a batch cannot be shared evenly, or the processes do not meet.
    """
    rank, size, local, here = (int(os.environ.get(name, default)) for name, default in
                               (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1")))
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "cuda" and gpus == 0:
        raise TrainError("device 'cuda': torch finds no GPU on this machine; train with device 'cpu'")
    chosen = torch.device("cpu" if device == "cpu" or gpus == 0 else f"cuda:{local}")
    if chosen.type == "cuda" and here > gpus:       # the same answer in all processes, so that none waits for others
        raise TrainError(f"{here} processes on a machine with {gpus} GPUs; start at most {gpus}, or train with "
                         "device 'cpu'")
    if batch_size % size or batch_size // size < 2:
        raise TrainError(f"a batch of {batch_size} images cannot be shared by {size} processes: every process must get "
                         "the same number, at least 2")
    if size == 1:
        yield Processes(0, 1, chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    try:
        distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    except (ValueError, RuntimeError) as error:     # no address of the first process, or no answer from it
        why = str(error).splitlines()[0]
        raise TrainError(f"{size} processes cannot meet: {why}; start them with torchrun") from None
    try:
        yield Processes(rank, size, chosen)
    finally:
        distributed.destroy_process_group()
