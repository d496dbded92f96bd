"""What several verbs share: the console, progress bars, types of arguments and those that name a configuration."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.errors import DorefabricError
from dorefabric.sw.whole_file import whole_file

__all__ = ["add_target_arguments", "chosen_config", "console", "load_array", "natural", "parse_bits", "positive",
           "progress_bar", "save_array", "share", "table", "target_config"]  # fmt: skip

console = Console()


def table(title: str, columns: list[str], rows: list[list[str]]) -> Table:
    """A table whose columns after the first are right-aligned."""
    result = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        result.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        result.add_row(*row)
    return result


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error; calling the value with the count that is done moves it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    terminal = Console(stderr=True)
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as progress:
        task = progress.add_task(description, total=total)
        yield lambda done: progress.update(task, completed=done)


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--board", metavar="NAME", help="a supported board (see `dorefabric boards`)")
    group.add_argument("--config", metavar="FILE.toml", help="a configuration file, as `generate` writes it")


def target_config(args: argparse.Namespace) -> FabricConfig:
    """The configuration that --board or --config names."""
    if args.board is not None:
        from dorefabric.boards import get_board

        return get_board(args.board).config
    return FabricConfig.from_toml(args.config)


def chosen_config(args: argparse.Namespace) -> FabricConfig | None:
    """The configuration that --board or --config names, None without them; `DorefabricError` for both."""
    if args.board is not None and args.config is not None:
        raise DorefabricError("name one of --board and --config, not both")
    return None if args.board is None and args.config is None else target_config(args)


def parse_bits(text: str) -> tuple[int, int, int]:
    """``W,A`` or ``W,A,G``: each 1 to 8, or 32 for float; the gradient defaults to 32."""
    parts = text.split(",")
    if len(parts) not in (2, 3):
        raise DorefabricError(f"--bits must be W,A or W,A,G, not {text!r}")
    values = []
    for name, part in zip(("weight", "activation", "gradient"), parts, strict=False):
        try:
            value = int(part)
        except ValueError:
            value = -1
        if value != 32 and not 1 <= value <= 8:
            raise DorefabricError(f"{name} bits must be 1 to 8, or 32 for float, not {part!r}")
        values.append(value)
    return (values[0], values[1], values[2] if len(values) == 3 else 32)


def positive(text: str) -> int:
    """Type of an argument: a whole number of at least 1."""
    return _at_least(1, text)


def natural(text: str) -> int:
    """Type of an argument: a whole number of at least 0."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, not {text!r}")
    return int(text)


def share(text: str) -> float:
    """Type of an argument: a number from 0 to below 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to below 1, not {text!r}")
    return value


def load_array(path: str) -> np.ndarray:
    """Read a .npy file; refuses anything that would need unpickling."""
    try:
        with open(path, "rb") as file:
            return np.load(file, allow_pickle=False)
    except OSError as error:
        raise DorefabricError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, EOFError) as error:
        raise DorefabricError(f"{path} is not a .npy array: {error}") from None


def save_array(path: str, array: np.ndarray) -> None:
    """Write a .npy file, whole or not at all."""
    with whole_file(path) as scratch, scratch.open("wb") as file:
        np.save(file, array)
