"""Gowin platforms on the current open flow, and the Tang Nano 20K.

Amaranth 0.5 calls ``nextpnr-gowin``, which nextpnr has replaced by ``nextpnr-himbaechel-gowin`` with other options;
`OpenFlow` puts the new call in its place. The rest of Amaranth's platform is used as it is.
"""

from typing import Any

from amaranth.build import Attrs, Clock, Pins, Resource
from amaranth.vendor import GowinPlatform
from amaranth_boards.resources import ButtonResources, LEDResources, UARTResource
from amaranth_boards.tang_nano_9k import TangNano9kPlatform

from dorefabric.hw import gowin_chain

__all__ = ["OpenFlow", "TangNano9k", "TangNano20k"]


class OpenFlow(GowinPlatform):
    """A Gowin platform whose place and route is ``nextpnr-himbaechel-gowin``."""

    mapped = True
    _apicula_required_tools = ["yosys", "nextpnr-himbaechel-gowin", "gowin_pack"]  # noqa: RUF012
    _apicula_command_templates = [  # noqa: RUF012
        GowinPlatform._apicula_command_templates[0],
        r"""
        {{invoke_tool("nextpnr-himbaechel-gowin")}}
            {{quiet("--quiet")}}
            {{get_override("nextpnr_opts")|options}}
            --log {{name}}.tim
            --device {{platform.part}}
            --vopt family={{platform._chipdb_device}}
            --vopt cst={{name}}.cst
            --json {{name}}.syn.json
            --write {{name}}.pnr.json
        """,
        GowinPlatform._apicula_command_templates[2],
    ]

    def toolchain_prepare(self, fragment: Any, name: str, **kwargs: Any) -> Any:
        self.add_file("dorefabric_alu.v", gowin_chain.VERILOG)
        overrides = {"script_after_synth": f"{gowin_chain.AFTER_SYNTHESIS}; write_json {name}.syn.json", **kwargs}
        return super().toolchain_prepare(fragment, name, **overrides)


class TangNano9k(OpenFlow, TangNano9kPlatform):
    """Sipeed Tang Nano 9K of amaranth-boards, on the current flow."""


class TangNano20k(OpenFlow):
    """Sipeed Tang Nano 20K: GW2AR-LV18QN88C8/I7, a GW2A-18C with SDRAM in its package.

    27 MHz clock on pin 4; UART to the on-board BL616, 69 out of and 70 into the FPGA; LEDs 15 to 20, lit when low;
    buttons 88 and 87, high when pressed. Checked: the open tools place every pin, and clock, buttons and first
    LED agree with constraint files that others published for this board. Not checked: a real board.
    """

    part = "GW2AR-LV18QN88C8/I7"
    family = "GW2AR-18C"
    default_clk = "clk27"
    resources = [  # noqa: RUF012
        Resource("clk27", 0, Pins("4", dir="i"), Clock(27e6), Attrs(IO_TYPE="LVCMOS33")),
        *ButtonResources(pins="88 87", attrs=Attrs(IO_TYPE="LVCMOS33", PULL_MODE="DOWN")),
        *LEDResources(pins="15 16 17 18 19 20", invert=True, attrs=Attrs(IO_TYPE="LVCMOS33")),
        UARTResource(0, rx="70", tx="69", attrs=Attrs(PULL_MODE="UP", IO_TYPE="LVCMOS33")),
    ]
    connectors: list[Any] = []  # noqa: RUF012

    @property
    def _chipdb_device(self) -> str:
        return "GW2A-18C"

    def toolchain_prepare(self, fragment: Any, name: str, **kwargs: Any) -> Any:
        overrides = {"gowin_pack_opts": "--sspi_as_gpio --mspi_as_gpio", **kwargs}
        return super().toolchain_prepare(fragment, name, **overrides)
