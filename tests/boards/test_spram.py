"""The memory that UltraPlus parts keep in single-port RAM."""

import pytest
from amaranth.back import rtlil

from dorefabric.hw.memory import SPRAM_DEPTH, BlockMemory


class Part:
    """As much of a platform as the memory looks at."""

    def __init__(self, device: str) -> None:
        self.device = device


def text(device: str | None, **options) -> str:
    return rtlil.convert(BlockMemory(**options), platform=Part(device) if device else None, name="top")


@pytest.mark.parametrize(
    ("device", "options", "blocks"),
    [
        ("iCE40UP5K", {"width": 16, "depth": 2048, "exclusive": True}, 1),
        ("iCE40UP5K", {"width": 17, "depth": SPRAM_DEPTH, "exclusive": True}, 2),
        ("iCE40UP5K", {"width": 16, "depth": 512, "exclusive": True}, 0),  # block RAM is enough
        ("iCE40UP5K", {"width": 16, "depth": 2 * SPRAM_DEPTH, "exclusive": True}, 0),
        ("iCE40UP5K", {"width": 16, "depth": 2048}, 0),  # needs two ports
        ("iCE40HX8K", {"width": 16, "depth": 2048, "exclusive": True}, 0),
        ("iCE40UP5K", {"width": 32, "depth": SPRAM_DEPTH, "granularity": 8, "exclusive": True}, 2),
        ("iCE40UP5K", {"width": 32, "depth": SPRAM_DEPTH, "granularity": 2, "exclusive": True}, 0),  # masks four bits
        (None, {"width": 16, "depth": 2048, "exclusive": True}, 0),
    ],
)
def test_where_a_memory_goes(device, options, blocks):
    netlist = text(device, **options)
    assert netlist.count("cell \\SB_SPRAM256KA") == blocks
    assert ("memory " in netlist) == (blocks == 0)
