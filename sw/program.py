"""Programs: what a compiled network is, and the file that holds it.

A program writes its resident memories once, then, for every image, goes through its *steps*: write memories that are
streamed, load input rows, run a chain of descriptors. The file (.dfp) is

    magic "DFPROG\\r\\n" | u32 version | u32 header length | u64 payload length | header | payload | SHA-256

little-endian; the header is JSON, the payload uint32 words that the header refers to by position and length, and the
checksum covers everything before it.
"""

import hashlib
import json
import math
import struct
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.errors import DorefabricError
from dorefabric.hw.isa import DESCRIPTOR_FIELDS, DESCRIPTOR_WORDS, decode_fields
from dorefabric.hw.layout import FeatureLayout
from dorefabric.hw.registers import OFFSET_BITS, SPACES

from .cycles import run_cycles
from .groups import stored_positions
from .images import check_images
from .packing import pack_features, unfold, unpack_features
from .whole_file import whole_file

__all__ = ["FORMAT_VERSION", "InputForm", "LayerInfo", "Load", "Program", "ProgramError", "Step",
           "Stored", "Write"]  # fmt: skip

FORMAT_VERSION = 1
_MAGIC = b"DFPROG\r\n"
_PREFIX = struct.Struct("<8sIIQ")
_DIGEST = 32


class ProgramError(DorefabricError, ValueError):
    """A file that is no usable program, or a program for another configuration."""


@dataclass(frozen=True, eq=False)
class Write:
    """uint32 ``words`` to consecutive bus addresses."""

    address: int
    words: np.ndarray


@dataclass(frozen=True)
class InputForm:
    """How the host packs an image for one layer: whole, or every window of a convolution as one pixel.

    unfold : (kernel, stride, padding), each a (vertical, horizontal) pair, or None for the image as it is
    layout : of one load; its height is the most rows of one load, its base the same for all
    """

    unfold: tuple[tuple[int, int], tuple[int, int], tuple[int, int]] | None
    layout: FeatureLayout

    def pack(self, images: np.ndarray, first_row: int, rows: int) -> np.ndarray:
        """Bus words (N, n) of ``rows`` rows of the (unfolded) images (N, C, H, W)."""
        if self.unfold is not None:
            kernel, stride, padding = self.unfold
            padded = np.pad(images, ((0, 0), (0, 0), (padding[0], padding[0]), (0, 0)))
            top = first_row * stride[0]
            images = padded[:, :, top : top + (rows - 1) * stride[0] + kernel[0]]
            images = unfold(images, kernel, stride, (0, padding[1]))
        else:
            images = images[:, :, first_row : first_row + rows]
        # A max pool may leave out the last columns.
        return pack_features(images[:, :, :, : self.layout.width], self.layout)


@dataclass(frozen=True)
class Load:
    """Rows of an input form that a step needs in the feature memory."""

    form: int
    first_row: int
    rows: int


@dataclass(frozen=True)
class Step:
    """Work of one image that needs no host in between: ``count`` descriptors from program word ``descriptor``."""

    writes: tuple[Write, ...]
    load: Load | None
    descriptor: int
    count: int


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor in the feature memory: unsigned codes, or mismatch counts M of accumulators y = (K − M) / divisor.

    shape : (C, H, W) of the tensor in the graph; the same values as the layout's, flattened or not
    constants : int64 (C,) K of accumulators; None for codes
    parts : the channels lie in as many equal parts, each beginning with a word of its own
    """

    layout: FeatureLayout
    shape: tuple[int, int, int]
    constants: np.ndarray | None
    divisor: int
    parts: int = 1

    def decode(self, words: np.ndarray) -> np.ndarray:
        """int64 (N, C, H, W) from bus words (N, n)."""
        values = unpack_features(words, self.layout)
        if self.parts > 1:
            channels = math.prod(self.shape) // (self.layout.height * self.layout.width)
            values = values[:, stored_positions(channels, self.parts, self.layout.lanes)]
        if self.constants is not None:
            values = (self.constants[None, :, None, None] - values) // self.divisor
        return values.reshape(len(values), *self.shape)


@dataclass(frozen=True, eq=False)
class LayerInfo:
    """What one layer of the program stores and costs.

    name : the graph edge it computes, or a description of a pass that the compiler added
    edge : the graph edge, None for an added pass
    descriptors : (step, position in the step's chain) of each of its descriptors
    useful : binary operations (multiply-accumulate × weight bits × activation bits) of the graph that it performs
    steps, stalls, cycles : predicted counters, sums over the descriptors
    """

    name: str
    edge: str | None
    stored: Stored
    descriptors: tuple[tuple[int, int], ...]
    useful: int
    steps: int
    stalls: int
    cycles: int


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled network for one configuration.

    input_shape : (C, H, W); input_bits : codes from 0 to 2**input_bits − 1
    resident : written once; steps : done for every image; forms : packings that steps load
    output : the result; scale : float64 (C,) real value of one unit of the result
    """

    name: str
    config: FabricConfig
    input_shape: tuple[int, int, int]
    input_bits: int
    forms: tuple[InputForm, ...]
    resident: tuple[Write, ...]
    steps: tuple[Step, ...]
    layers: tuple[LayerInfo, ...]
    output: Stored
    scale: np.ndarray

    @property
    def streamed(self) -> bool:
        """Whether any memory but the feature memory is written again for every image."""
        return any(step.writes for step in self.steps)

    def busy_cycles(self) -> list[int]:
        """Predicted clock cycles that the circuit is busy with each step of one image, from start to idle."""
        memory = np.zeros(self.config.program_depth, np.uint32)

        def write(writes: tuple[Write, ...]) -> None:
            for item in writes:
                if item.address >> OFFSET_BITS == SPACES["program"]:
                    offset = item.address & (1 << OFFSET_BITS) - 1
                    memory[offset : offset + item.words.size] = item.words

        write(self.resident)
        busy = []
        for step in self.steps:
            write(step.writes)
            words = memory[step.descriptor :][: step.count * DESCRIPTOR_WORDS].reshape(step.count, DESCRIPTOR_WORDS)
            busy.append(run_cycles(self.config, [decode_fields(DESCRIPTOR_FIELDS, row) for row in words.tolist()]))
        return busy

    def report(self) -> dict[str, Any]:
        """Predicted counters of every layer, and what the circuit is busy with one image for: more than the layers
        count, see `dorefabric.hw.timing.run_cycles`. The useful share is of the array's peak."""
        layers = [self.counters(layer, layer.steps, layer.stalls, layer.cycles) for layer in self.layers]
        cycles = sum(self.busy_cycles())
        useful = sum(layer.useful for layer in self.layers)
        return {
            "name": self.name, "config": self.config.name, "layers": layers, "cycles": cycles,
            "useful": useful / max(1, cycles * self.config.total_lanes), "useful_operations": useful,
            "streamed": self.streamed, "streamed_words": sum(w.words.size for s in self.steps for w in s.writes),
            "resident_words": sum(w.words.size for w in self.resident),
        }  # fmt: skip

    def counters(self, layer: LayerInfo, steps: int, stalls: int, cycles: int) -> dict[str, Any]:
        """One row of a layer table: counters and the useful share of the peak while the layer ran."""
        useful = layer.useful / max(1, cycles * self.config.total_lanes)
        return {"name": layer.name, "steps": steps, "stalls": stalls, "cycles": cycles, "useful": useful}

    def check_config(self, fingerprint: int, name: str = "this circuit") -> None:
        """`ProgramError` unless the circuit with this fingerprint can run the program."""
        if fingerprint != self.config.fingerprint:
            raise ProgramError(
                f"program {self.name!r} is for configuration {self.config.name!r} (0x{self.config.fingerprint:08x}), "
                f"but {name} is configuration 0x{fingerprint:08x}: compile it for that configuration"
            )

    def check_input(self, images: np.ndarray) -> None:
        """`InputError` unless ``images`` is an integer array (N, C, H, W) of codes in range."""
        check_images(images, self.input_shape, (1 << self.input_bits) - 1)

    # File ---------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the program file, whole or not at all; `ProgramError` where that fails."""
        payload: list[np.ndarray] = []
        header = json.dumps(_encode(self, payload), separators=(",", ":")).encode()
        words = b"".join(array.tobytes() for array in payload)
        data = _PREFIX.pack(_MAGIC, FORMAT_VERSION, len(header), len(words)) + header + words
        with whole_file(path, "program", ProgramError) as scratch:
            scratch.write_bytes(data + hashlib.sha256(data).digest())

    @classmethod
    def load(cls, path: str | Path) -> "Program":
        """Read a program file; `ProgramError` names what is wrong with it."""
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise ProgramError(f"cannot read program {path}: {error.strerror}") from None
        if data[: len(_MAGIC)] != _MAGIC[: len(data)] or not data:
            raise ProgramError(f"{path} is not a dorefabric program")
        if len(data) < _PREFIX.size:
            raise ProgramError(f"program {path} is truncated: {len(data)} bytes")
        _, version, header_size, payload_size = _PREFIX.unpack_from(data)
        if version > FORMAT_VERSION:
            raise ProgramError(
                f"program {path} has format version {version}, newer than {FORMAT_VERSION}: update dorefabric"
            )
        expected = _PREFIX.size + header_size + payload_size + _DIGEST
        if len(data) < expected:
            raise ProgramError(f"program {path} is truncated: {len(data)} of {expected} bytes")
        if len(data) > expected or hashlib.sha256(data[:-_DIGEST]).digest() != data[-_DIGEST:]:
            raise ProgramError(f"program {path} is corrupted: the checksum does not match")
        header = json.loads(data[_PREFIX.size : _PREFIX.size + header_size])
        start = _PREFIX.size + header_size
        return _decode(header, data[start : start + payload_size])


_CLASSES: dict[str, Any] = {
    item.__name__: item for item in (Program, Write, InputForm, Load, Step, Stored, LayerInfo, FeatureLayout)
}


def _encode(value: Any, payload: list[np.ndarray]) -> Any:
    """A JSON value; arrays go to the payload as little-endian uint32 words."""
    if isinstance(value, FabricConfig):
        return {"class": "FabricConfig", **value.to_dict()}
    if is_dataclass(value):
        return {"class": type(value).__name__,
                **{field.name: _encode(getattr(value, field.name), payload) for field in fields(value)}}  # fmt: skip
    if isinstance(value, np.ndarray):
        start = sum(array.nbytes for array in payload)
        array = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
        payload.append(array.view("<u4").reshape(-1))
        return {"class": "array", "dtype": value.dtype.name, "start": start, "shape": list(value.shape)}
    if isinstance(value, tuple):
        return [_encode(item, payload) for item in value]
    return value


def _decode(value: Any, payload: bytes) -> Any:
    """Inverse of `_encode`; lists become tuples."""
    if isinstance(value, list):
        return tuple(_decode(item, payload) for item in value)
    if not isinstance(value, dict):
        return value
    kind = value["class"]
    members = {key: item for key, item in value.items() if key != "class"}
    if kind == "FabricConfig":
        return FabricConfig.from_dict(members)
    if kind == "array":
        dtype = np.dtype(members["dtype"]).newbyteorder("<")
        count = int(np.prod(members["shape"], dtype=np.int64))
        array = np.frombuffer(payload, dtype, count, members["start"])
        return array.reshape(members["shape"]).astype(np.dtype(members["dtype"]))
    return _CLASSES[kind](**{key: _decode(item, payload) for key, item in members.items()})
