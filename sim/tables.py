"""Tables of measured figures in a README: written by the command that measures them, between marks of their own.

    <!-- bench NAME -->
    | … |
    <!-- end of bench NAME -->
"""

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dorefabric.hw.errors import DorefabricError
from dorefabric.sw.whole_file import whole_file

__all__ = ["Table", "markdown", "provenance", "update"]

Table = tuple[str, list[str], list[list[str]]]
"""Title, column names, rows."""


def markdown(tables: Sequence[Table], note: str) -> str:
    """The tables under their titles, and a line that says where the figures come from."""
    parts = []
    for title, columns, rows in tables:
        lines = [f"| {' | '.join(columns)} |", "|---" + "|---:" * (len(columns) - 1) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        parts.append(f"{title}\n\n" + "\n".join(lines))
    return "\n\n".join([*parts, note]) + "\n"


def provenance(command: str, seed: int, packages: Sequence[str] = ("amaranth", "numpy", "torch")) -> str:
    """Command, versions, processor, seed and date of a measurement."""
    known = []
    for package in ("dorefabric", *packages):
        try:
            known.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            known.append(f"{package} not installed")
    date = datetime.now(UTC).date().isoformat()
    return f"`{command}`, seed {seed}, {date}; {', '.join(known)}; Python {platform.python_version()}, {_processor()}."


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} × {names[0]}" if names else platform.machine()


def update(path: str | Path, name: str, text: str) -> None:
    """Put ``text`` between the marks of ``name`` in the file at ``path``; `DorefabricError` where that fails."""
    begin, end = f"<!-- bench {name} -->", f"<!-- end of bench {name} -->"
    try:
        before, _, rest = Path(path).read_text().partition(begin)
    except OSError as error:
        raise DorefabricError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DorefabricError(f"{path} is no text file") from None
    _, mark, after = rest.partition(end)
    if not mark:
        raise DorefabricError(f"{path} does not have the marks {begin} and {end}")
    with whole_file(path) as scratch:
        scratch.write_text(f"{before}{begin}\n{text}{end}{after}")
