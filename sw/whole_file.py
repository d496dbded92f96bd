"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dorefabric.hw.errors import DorefabricError

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: str | Path, kind: str = "", error: type[DorefabricError] = DorefabricError) -> Iterator[Path]:
    """The path of a scratch file in the folder of ``path``, which it replaces at the end of the block, once on disk.

    Nothing is left of it when the block is left by an exception, Ctrl-C included; what was at ``path`` stays.

    Parameters
    ----------
    kind : str
        What messages call the file, as ``"program"``.
    error : type
        Of the exception raised in the place of an `OSError`.
    """
    path = Path(path)
    scratch = path.with_name(f"{path.name}.partial")
    try:
        yield scratch
        with scratch.open("r+b") as file:
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as cause:
        what = f"{kind} {path}" if kind else str(path)
        raise error(f"cannot write {what}: {cause.strerror or cause}") from None
    finally:
        with suppress(OSError):  # where the folder is none, there is nothing to remove
            scratch.unlink(missing_ok=True)
