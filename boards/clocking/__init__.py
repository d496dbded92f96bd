"""Phase-locked loops of the supported devices: dividers in plain Python, and the circuit that makes a clock.

Each class is the divider setting of one device family. ``solve(input_hz, output_hz)`` searches it,
``output_hz`` gives the exact frequency back, and the constructor refuses what the data sheet does not permit,
so a setting that exists is a legal one. Only exact solutions are returned: the host link's baud rate and the
reported speed are both computed from the clock.

| class        | primitive                         | output frequency                        | oscillator          |
|--------------|-----------------------------------|-----------------------------------------|---------------------|
| `Ice40Pll`   | ``SB_PLL40_PAD``, ``SB_PLL40_CORE`` | input / (R + 1) · (F + 1) / 2**Q       | output · 2**Q       |
| `Ecp5Pll`    | ``EHXPLLL``                       | input / reference · feedback            | output · divider    |
| `GowinPll`   | ``rPLL``                          | input / (I + 1) · (F + 1)               | output · divider    |
| `XilinxPll`  | ``PLLE2_BASE``                    | input / reference · feedback / divider  | output · divider    |
"""

from .base import ClockError, Pll
from .ecp5 import Ecp5Pll
from .gowin import GowinPll
from .ice40 import Ice40Pll
from .xilinx import XilinxPll

__all__ = ["ClockError", "Ecp5Pll", "GowinPll", "Ice40Pll", "Pll", "XilinxPll"]
