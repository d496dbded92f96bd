"""Verilog in which equal components are one module, however often they are used.

Amaranth writes a module for every use of a component, so an array of a thousand equal elements takes minutes to
convert and megabytes to store. A component whose ``elaborate`` is decorated with `shared` is written once for each
set of parameters and instantiated everywhere else. That happens only under `convert`; simulation and synthesis
through Amaranth see the component itself.
"""

import functools
import re
from collections.abc import Callable, Hashable
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Value
from amaranth.lib import wiring

__all__ = ["convert", "shared"]

Elaborate = Callable[[Any, Any], Any]


class _Library:
    """Takes the place of the platform while Verilog is written; holds the modules that are shared."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._names: dict[Hashable, str] = {}
        self._texts: dict[str, str] = {}
        self._inside: wiring.Component | None = None

    def is_inside(self, component: wiring.Component) -> bool:
        return self._inside is component

    def write(self, component: wiring.Component, name: str) -> str:
        """The component's own module, and those of its parts that are not shared."""
        outside, self._inside = self._inside, component
        text = verilog.convert(component, name=name, platform=self, emit_src=False, strip_internal_attrs=True)
        self._inside = outside
        return text

    def instance(self, component: wiring.Component, key: Hashable) -> Instance:
        key = (type(component), key)
        if key not in self._names:
            kind = re.sub(r"(?<!^)(?=[A-Z])", "_", type(component).__name__).lower()
            number = sum(other[0] is type(component) for other in self._names)  # type: ignore[index]
            name = f"{self._prefix}_{kind}" + (f"_{number}" if number else "")
            self._names[key] = name
            self._texts[name] = self.write(component, name)
        name = self._names[key]
        header = re.search(rf"^module {name}\((.*?)\);", self._texts[name], re.MULTILINE | re.DOTALL)
        assert header is not None
        ports = set(re.findall(r"\w+", header[1]))
        connections: dict[str, Any] = {}
        for path, member, value in component.signature.flatten(component):
            direction = "i" if member.flow is wiring.In else "o"
            connections[f"{direction}_{'__'.join(map(str, path))}"] = Value.cast(value)
        if "clk" in ports:
            connections["i_clk"] = ClockSignal()
        if "rst" in ports:
            connections["i_rst"] = ResetSignal()
        return Instance(name, **connections)

    def text(self) -> str:
        return "".join(self._texts.values())


def shared(key: Callable[[Any], Hashable]) -> Callable[[Elaborate], Elaborate]:
    """Decorator of ``elaborate`` for a component that works in the ``sync`` domain alone.

    ``key`` maps the component to its parameters: what is equal in components that are one module.
    """

    def decorate(elaborate: Elaborate) -> Elaborate:
        @functools.wraps(elaborate)
        def wrapper(self: wiring.Component, platform: Any) -> Module | Instance:
            if isinstance(platform, _Library) and not platform.is_inside(self):
                return platform.instance(self, key(self))
            return elaborate(self, platform)

        return wrapper

    return decorate


def convert(component: wiring.Component, name: str) -> str:
    """Verilog of ``component`` as module ``name``; the modules it shares follow, called ``name``_something."""
    library = _Library(name)
    return library.write(component, name) + library.text()
