"""The memory that UltraPlus parts keep in single-port RAM."""

import gc
import warnings

import pytest
from amaranth.back import rtlil
from amaranth.hdl import UnusedElaboratable

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
        (None, {"width": 16, "depth": 2048, "exclusive": True}, 0),
    ],
)
def test_where_a_memory_goes(device, options, blocks):
    netlist = text(device, **options)
    assert netlist.count("cell \\SB_SPRAM256KA") == blocks
    assert ("memory " in netlist) == (blocks == 0)


def test_exclusive_memory_has_one_write_enable():
    with warnings.catch_warnings():
        # The component that was not finished is not used either.
        warnings.simplefilter("ignore", UnusedElaboratable)
        message = ""
        try:
            BlockMemory(width=16, depth=2048, granularity=8, exclusive=True)
        except ValueError as error:
            message = str(error)
        gc.collect()
    assert message == "an exclusive memory is written a word at a time"
