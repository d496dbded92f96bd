"""Writes a configuration's Verilog, its memory map and the configuration itself.

    dorefabric.v         module dorefabric, self-contained Verilog-2005
    registers.md, .json  what the host sees: ports, memory map, registers, descriptor fields
    config.toml, .json   the `FabricConfig`

The same configuration always gives the same bytes.
"""

import json
from pathlib import Path
from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import Component, In

from .axi import FRONT_REGISTERS, FRONT_SPACE
from .config import FabricConfig
from .errors import DorefabricError
from .isa import COUNTER_WORDS, DESCRIPTOR_FIELDS, PAIR_FIELDS, TAP_FIELDS, Field
from .registers import OFFSET_BITS, REGISTERS, SPACES, constants
from .shared import convert
from .top import top_for

__all__ = ["MODULE_NAME", "generate_verilog", "memory_map", "memory_map_markdown", "verilog_text"]

MODULE_NAME = "dorefabric"


class _AxiPorts(Component):
    """The AXI design with the clock and the active-low reset that AXI prescribes."""

    def __init__(self, design: Component) -> None:
        self._design = design
        super().__init__({"aclk": In(1), "aresetn": In(1), **design.signature.members})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.domains.sync = ClockDomain()
        m.d.comb += [ClockSignal().eq(self.aclk), ResetSignal().eq(~self.aresetn)]
        m.submodules.design = self._design
        for name, member in self._design.signature.members.items():
            inside, outside = getattr(self._design, name), getattr(self, name)
            m.d.comb += inside.eq(outside) if member.flow is wiring.In else outside.eq(inside)
        return m


def verilog_text(config: FabricConfig, *, core: Component | None = None) -> str:
    """Verilog of module ``dorefabric``, with the ports of ``config.front``.

    uart, bus: ``clk``, ``rst`` (active high, synchronous); axi: ``aclk``, ``aresetn``. ``core`` as in `UartTop`.
    """
    design = top_for(config, core=core)
    if config.front == "axi":
        design = _AxiPorts(design)
    text = convert(design, name=MODULE_NAME, emit_src=False, strip_internal_attrs=True)
    header = f"// dorefabric, configuration {config.name!r}, fingerprint {config.fingerprint:08x}\n"
    return header + text


def _field(field: Field) -> dict[str, Any]:
    return {"name": field.name, "word": field.word, "lsb": field.lsb, "width": field.width,
            "signed": field.signed, "description": field.doc}  # fmt: skip


def memory_map(config: FabricConfig) -> dict[str, Any]:
    """Everything a host program needs to know, as plain data. Addresses are bus word addresses."""
    values = constants(config)
    fronts = (
        [{"name": r.name, "address": FRONT_SPACE << OFFSET_BITS | r.index, "access": "R/W", "description": r.doc}
         for r in FRONT_REGISTERS] if config.front == "axi" else []
    )  # fmt: skip
    sizes = {
        "registers": len(REGISTERS), "program": config.program_depth, "taps": config.tap_depth,
        "thresholds": config.threshold_depth * config.columns,
        "weights": config.weight_depth * config.columns * config.bus_words,
        "features": config.feature_depth * config.bank_pitch * config.bus_words,
    }  # fmt: skip
    return {
        "word_bits": 32,
        "address_bits": OFFSET_BITS + 4,
        "byte_addresses": config.front == "axi",
        "spaces": [{"name": name, "address": number << OFFSET_BITS, "words": sizes[name]}
                   for name, number in SPACES.items()],
        "registers": [
            {"name": r.name, "address": r.index, "access": r.access, "value": values.get(r.name), "description": r.doc}
            for r in REGISTERS
        ],
        "front_registers": fronts,
        "descriptor": [_field(field) for field in DESCRIPTOR_FIELDS],
        "descriptor_counters": COUNTER_WORDS,
        "plane_pair": [_field(field) for field in PAIR_FIELDS],
        "tap": [_field(field) for field in TAP_FIELDS],
    }  # fmt: skip


def _table(columns: list[str], rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[k]) for row in [columns, *rows]) for k in range(len(columns))]
    lines = [columns, ["-" * width for width in widths], *rows]
    return ["| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |"
            for line in lines] + [""]  # fmt: skip


def memory_map_markdown(config: FabricConfig) -> str:
    """The memory map as tables for people."""
    info = memory_map(config)
    scale = 4 if info["byte_addresses"] else 1
    unit = "byte address" if info["byte_addresses"] else "word address"

    def address(value: int) -> str:
        return f"0x{value * scale:08x}"

    lines = [
        f"# dorefabric {config.name}",
        "",
        f"{config.rows} rows × {config.columns} columns × {config.lanes} lanes, front end {config.front}, "
        f"fingerprint 0x{config.fingerprint:08x}. All accesses are 32-bit words.",
        "",
        "## Spaces",
        "",
        *_table([unit, "space", "words"],
                [[address(s["address"]), s["name"], str(s["words"])] for s in info["spaces"]]),
        "## Registers",
        "",
    ]  # fmt: skip
    rows = []
    for register in [*info["registers"], *info["front_registers"]]:
        value = register.get("value")
        rows.append([address(register["address"]), register["name"], register["access"],
                     "" if value is None else f"0x{value:08x}", register["description"]])  # fmt: skip
    lines += _table([unit, "name", "access", "value", "meaning"], rows)
    for title, key in (("Layer descriptor", "descriptor"), ("Plane pair", "plane_pair"), ("Tap", "tap")):
        lines += [f"## {title}", ""]
        fields = [[str(f["word"]), f"{f['lsb'] + f['width'] - 1}:{f['lsb']}", f["name"], f["description"]]
                  for f in info[key]]  # fmt: skip
        if key == "descriptor":
            fields += [[str(word), "31:0", name, "written by the circuit"] for name, word in COUNTER_WORDS.items()]
        lines += _table(["word", "bits", "field", "meaning"], fields)
    return "\n".join(lines)


def generate_verilog(config: FabricConfig, directory: str | Path, *, core: Component | None = None) -> list[Path]:
    """Write the files named above into ``directory``, which is made if need be; returns their paths.

    Nothing is written before everything is generated. `DorefabricError` when the directory cannot be written.
    """
    directory = Path(directory)
    texts = {
        "dorefabric.v": verilog_text(config, core=core),
        "registers.md": memory_map_markdown(config),
        "registers.json": json.dumps(memory_map(config), indent=2) + "\n",
        "config.toml": config.to_toml(),
        "config.json": json.dumps(config.to_dict(), indent=2) + "\n",
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DorefabricError(f"cannot write to {directory}: {error.strerror}") from None
    return [directory / name for name in texts]
