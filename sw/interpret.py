"""Run programs without a circuit, bit for bit as the circuit does.

`DeviceModel` is a whole circuit at the level of its bus, for one image at a time; `interpret` runs a program file on
many images at once. Both execute descriptors with `run_descriptor`, and know nothing but memories and programs.
"""

from .device_model import DeviceModel
from .execute import run_descriptor
from .memories import InterpreterError, Memories

__all__ = ["DeviceModel", "InterpreterError", "Memories", "run_descriptor"]
