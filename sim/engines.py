"""The engines that a program runs on, by name, behind one `Link`."""

from collections.abc import Callable
from pathlib import Path

from dorefabric.hw.config import FabricConfig
from dorefabric.sw.device_model import DeviceModel
from dorefabric.sw.link import Link

from .pysim import PysimLink
from .tools import ToolError, find_compiler, find_verilator
from .verilator import VerilatorLink

__all__ = ["ENGINES", "open_engine"]

ENGINES = ("interpret", "verilator", "pysim")
"""``interpret`` executes programs in NumPy, without a circuit and exactly; the others simulate the circuit's every
clock cycle: ``verilator`` compiled, ``pysim`` in Python, about a thousand times slower."""


def open_engine(
    name: str, config: FabricConfig, wave: str | Path | None = None, progress: Callable[[str], None] | None = None
) -> Link:
    """A link to the accelerator ``config`` on engine ``name``; the caller closes it.

    ``wave`` is a file that records all signals: .vcd or .fst with verilator, .vcd with pysim. ``progress`` is
    called with one line at each step of preparing the engine. Raises `ToolError` for an unknown engine, a missing
    tool (with the engine that would work), or a waveform that the engine cannot write.
    """
    if name not in ENGINES:
        raise ToolError(f"engine must be one of {', '.join(ENGINES)}, not {name!r}")
    if name == "interpret":
        if wave is not None:
            raise ToolError("the interpreter has no signals to record: use the engine verilator or pysim")
        return DeviceModel(config)
    if name == "pysim":
        return PysimLink(config, wave)
    try:
        find_verilator()
        find_compiler()
    except ToolError as error:
        raise ToolError(f"{error}; or use the engine pysim, which needs neither but is slow") from None
    return VerilatorLink(config, wave, progress=progress)
