"""Verilog in which a component that repeats is written once.

Amaranth writes every copy of a component anew: a thousand processing elements are a thousand modules, slow to generate
and slow to compile. Here a parent asks `place` for its copies, which are instances of one module when the conversion is
`convert`'s, and ordinary submodules everywhere else (Amaranth's simulator, board builds).
"""

from collections.abc import Callable
from typing import Any

from amaranth import ClockSignal, Instance, Module, ResetSignal, Value
from amaranth.back import verilog
from amaranth.lib.wiring import Component, In

__all__ = ["convert", "mapped", "place"]


class _Shared:
    """The platform of one conversion: components to be written once, by the name of their module."""

    def __init__(self, prefix: str, mapped: bool, device: str) -> None:
        self.prefix = prefix
        self.mapped = mapped
        self.device = device
        self.modules: dict[str, Component] = {}


def mapped(platform: object) -> bool:
    """Whether to write the cells of a technology rather than behaviour: in board builds, and where Verilog asks for it.

    Simulation gets the behaviour, which is the same (proved in `tests/formal`) and runs far faster.
    """
    return getattr(platform, "mapped", hasattr(platform, "device"))


def place(m: Module, platform: object, name: str, module: str, make: Callable[[], Component]) -> Any:
    """Make the component that ``make`` returns the submodule ``name`` of ``m``; returns its ports.

    Where copies can be shared it is an instance of ``module``: everything that is placed as one module in a design must
    be equal, and clocked by ``sync`` alone.
    """
    if not isinstance(platform, _Shared):
        m.submodules[name] = component = make()
        return component
    # Everything that a design consists of carries its name, so that it can stand beside any other Verilog.
    module = f"{platform.prefix}_{module}"
    if module not in platform.modules:
        platform.modules[module] = make()
    signature = platform.modules[module].signature
    interface = signature.create(path=(name,))
    ports: dict[str, Any] = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
    for path, member, value in signature.flatten(interface):
        direction = "i" if member.flow is In else "o"
        ports[f"{direction}_{'__'.join(map(str, path))}"] = Value.cast(value)
    m.submodules[name] = Instance(module, **ports)
    return interface


def convert(top: Component, *, name: str = "top", mapped: bool = False, device: str = "", **options: Any) -> str:
    """Verilog of ``top`` as module ``name`` and of the modules that it shares; options as of Amaranth's own.

    ``mapped``: with the technology's own cells where there are some (`mapped`). ``device``, as platforms name it: with
    its own memories and multipliers where there are some (`memory.BlockMemory`, `element_ice40`).
    """
    platform = _Shared(name, mapped, device)
    texts = [verilog.convert(top, name=name, platform=platform, **options)]
    written: set[str] = set()
    while missing := [module for module in platform.modules if module not in written]:
        for module in missing:
            written.add(module)
            texts.append(verilog.convert(platform.modules[module], name=module, platform=platform, **options))
    return "\n".join(texts)
