"""The Verilog of the designs that are simulated, generated once and cached by the sources it comes from."""

import functools
import importlib.metadata
import json
from pathlib import Path

import dorefabric.hw
from dorefabric.hw.config import FabricConfig

from .cache import cached, digest

__all__ = ["board_verilog", "core_verilog"]


def core_verilog(config: FabricConfig, device: str = "") -> str:
    """The core with its bus: ports clk, rst, bus__request__*, bus__response__*.

    With a ``device``, as platforms name it, the Verilog has the cells that a build for it would have.
    """
    from dorefabric.hw.core import Core

    return _cached(Core, config, device)


def board_verilog(config: FabricConfig) -> str:
    """The whole design with its UART: ports clk, rst, rx, tx."""
    from dorefabric.hw.top import UartTop

    return _cached(UartTop, config)


def _cached(top: type, config: FabricConfig, device: str = "") -> str:
    version = importlib.metadata.version("amaranth")
    parts: list[bytes | str] = [*_sources(), version, top.__name__, device, json.dumps(config.to_dict())]
    entry, _ = cached("verilog", digest(parts), lambda folder: _generate(top, config, device, folder))
    return (entry / "top.v").read_text()


@functools.cache
def _sources() -> list[bytes]:
    """Everything in `dorefabric.hw` that the Verilog may depend on."""
    folder = Path(next(iter(dorefabric.hw.__path__)))
    return [part for path in sorted(folder.glob("*.py")) for part in (path.name.encode(), path.read_bytes())]


def _generate(top: type, config: FabricConfig, device: str, folder: Path) -> None:
    from dorefabric.hw.shared import convert

    (folder / "top.v").write_text(convert(top(config), mapped=bool(device), device=device))
