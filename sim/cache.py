"""A cache of things made from other things: each lies in a folder named by a hash of what it was made from.

The cache is ``$DOREFABRIC_CACHE``, else ``$XDG_CACHE_HOME/dorefabric``, else ``~/.cache/dorefabric``. An entry is
made in a scratch folder that is renamed when complete, under a lock: concurrent makers of one entry wait for the
first, and an interrupted one leaves nothing that could be mistaken for an entry. Deleting the cache is always safe.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from .tools import ToolError

__all__ = ["cache_folder", "cached", "digest"]


def cache_folder() -> Path:
    """The folder of the whole cache; it need not exist yet."""
    if os.environ.get("DOREFABRIC_CACHE"):
        return Path(os.environ["DOREFABRIC_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "dorefabric"


def digest(parts: Iterable[bytes | str]) -> str:
    """Hash of a sequence of parts, 32 hexadecimal digits; the boundaries between the parts count."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()[:32]


def cached(kind: str, key: str, make: Callable[[Path], None]) -> tuple[Path, bool]:
    """The folder ``kind/key`` of the cache, and whether it was there.

    When it is not, ``make`` is called with an empty folder to fill, which becomes the entry unless ``make``
    raises. Raises `ToolError` when the cache cannot be written.
    """
    folder = cache_folder() / kind
    entry = folder / key
    if entry.exists():
        return entry, True
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = folder / f"{key}.lock"
        with _locked(lock):
            if entry.exists():  # made by another process while this one waited
                return entry, True
            scratch = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=folder))
            try:
                make(scratch)
                scratch.rename(entry)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            return entry, False
    except OSError as error:
        raise ToolError(f"cannot write the cache {folder}: {error.strerror}; set DOREFABRIC_CACHE") from None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released by the system even when the holder is killed
        yield
