"""The program word: layer descriptors, plane pairs and taps. One definition for gateware, compiler and docs.

A *program* is a chain of descriptors in the program memory. One descriptor runs one layer (or a band or
a group of channels of one): for every tile of ``rows`` output pixels and ``columns`` output channels it
walks plane pairs × taps × chunks, one step a clock cycle. `hw/README.md` has the loop nest.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "BLOCK_WORDS",
    "COUNTER_WORDS",
    "DESCRIPTOR_FIELDS",
    "DESCRIPTOR_WORDS",
    "PAIR_FIELDS",
    "TAP_FIELDS",
    "Field",
    "decode_fields",
    "encode_fields",
]


@dataclass(frozen=True)
class Field:
    """A bit field of a program word: ``width`` bits from bit ``lsb`` of 32-bit word ``word``."""

    name: str
    word: int
    lsb: int
    width: int
    doc: str
    signed: bool = False


DESCRIPTOR_WORDS = 22
"""Words from one descriptor to the next: 18 of parameters, 4 that the circuit writes back."""

DESCRIPTOR_FIELDS = (
    Field("last", 0, 0, 1, "stop after this descriptor"),
    Field("raw", 0, 1, 1, "store accumulators (accumulator_bits planes) instead of threshold codes"),
    Field("out_bank", 0, 16, 4, "bank of the first stored pixel"),
    Field("out_bank_step", 0, 20, 4, "banks from the first pixel of a stored row to that of the next, modulo rows"),
    Field("out_tail", 0, 24, 4, "rows of the last pixel tile of an output row that are stored, less one"),
    Field("planes", 0, 8, 8, "planes stored per output: activation bits; raw: accumulator_bits, or fewer"),
    Field("feature_base", 1, 0, 16, "address of output pixel (0, 0)'s window before tap offsets"),
    Field("x_step", 2, 0, 16, "address step from one pixel tile to the next, also of a bank that wrapped"),
    Field("y_step", 2, 16, 16, "address step from one output row to the next"),
    Field("x_tiles", 3, 0, 16, "pixel tiles per output row"),
    Field("y_count", 3, 16, 16, "output rows"),
    Field("channel_tiles", 4, 0, 16, "channel tiles"),
    Field("pool_taps", 4, 16, 16, "positions of the fused max-pool window; 1 without pooling"),
    Field("taps", 5, 0, 16, "taps of the kernel, per pool position"),
    Field("chunks", 5, 16, 16, "lanes-wide chunks read at each tap"),
    Field("tap_base", 6, 0, 16, "first tap in the tap memory; pool position t starts at tap_base + t * taps"),
    Field("pair_base", 6, 16, 16, "first plane pair in the program memory"),
    Field("pairs", 7, 0, 16, "plane pairs, most significant first"),
    Field("in_width", 8, 0, 16, "input columns; taps outside read zero"),
    Field("in_height", 8, 16, 16, "input rows; taps outside read zero"),
    Field("x_stride", 9, 0, 8, "input columns between neighbouring output pixels"),
    Field("y_stride", 9, 8, 8, "input rows between neighbouring output rows"),
    Field("wrap_step", 9, 16, 16, "added to the feature address each time that the pixels go on in the next image row"),
    Field("weight_base", 10, 0, 16, "weight word of channel tile 0, plane 0"),
    Field("weight_step", 10, 16, 16, "weight words per channel tile"),
    Field("threshold_base", 11, 0, 16, "threshold entry of channel tile 0"),
    Field("threshold_step", 11, 16, 16, "threshold entries per channel tile"),
    Field("out_base", 12, 0, 16, "address of output pixel (0, 0), plane 0, chunk 0"),
    Field("out_row_step", 12, 16, 16, "address step from one stored row to the next, before a wrap of the bank"),
    Field("out_pixel_step", 13, 0, 16, "words per stored pixel slot"),
    Field("out_plane_step", 13, 16, 16, "words from one plane of a pixel to the next"),
    Field("out_stride", 14, 0, 8, "x stride of the layer that reads the output: pixels x // stride share a bank"),
    Field("out_segment", 14, 8, 8, "segment of the feature word that channel tile 0 fills"),
    Field("out_width", 14, 16, 16, "pixels of a stored row, after which the next begins"),
    Field("out_group_step", 15, 0, 16, "out_stride * out_pixel_step: address step when the bank wraps to 0"),
    Field("wrap_width", 15, 16, 16, "input columns after which the pixels go on in the next image row"),
    Field("weight_source", 16, 0, 16, "feature address from which weights are copied to weight_base, before all else"),
    Field("weight_words", 16, 16, 16, "weight words to copy, 0 for none"),
    Field("threshold_source", 17, 0, 16, "feature address from which thresholds are copied to threshold_base"),
    Field("threshold_entries", 17, 16, 16, "threshold entries to copy, 0 for none"),
)

BLOCK_WORDS = {"weights": 16, "thresholds": 17}
"""Words of a descriptor that name a block to copy; the circuit does not keep them."""

COUNTER_WORDS = {"cycles": 18, "steps": 19, "stalls": 20, "completed": 21}
"""Words of a descriptor that the circuit writes when the layer ends: clock cycles from descriptor fetch (with
``prefetch`` from the exchange of descriptors) to the last stored word, array steps issued, cycles the issue waited for
the drain, and a run count."""

PAIR_FIELDS = (
    Field("feature_offset", 0, 0, 16, "added to the feature address: activation plane * chunks"),
    Field("weight_offset", 0, 16, 15, "added to the weight address: weight plane * words per plane"),
    Field("double", 0, 31, 1, "double the accumulators before the first step of this pair"),
)

TAP_FIELDS = (
    Field("feature_offset", 0, 0, 16, "added to the feature address, modulo 2**16"),
    Field("rotation", 0, 16, 4, "row r reads bank (r + rotation) mod rows"),
    Field("dy", 0, 20, 6, "input row minus output row * y_stride", signed=True),
    Field("dx", 0, 26, 6, "input column minus output column * x_stride", signed=True),
)


def encode_fields(fields: tuple[Field, ...], values: Mapping[str, int], words: int = 1) -> list[int]:
    """Pack named values into 32-bit words; every field must be given and in range (`ValueError`)."""
    encoded = [0] * words
    names = {field.name for field in fields}
    if set(values) != names:
        raise ValueError(f"fields {sorted(set(values) ^ names)} are missing or unknown")
    for field in fields:
        value = int(values[field.name])
        low, high = (-(1 << field.width - 1), 1 << field.width - 1) if field.signed else (0, 1 << field.width)
        if not low <= value < high:
            raise ValueError(f"{field.name} must be from {low} to {high - 1}, not {value}")
        encoded[field.word] |= (value & (1 << field.width) - 1) << field.lsb
    return encoded


def decode_fields(fields: tuple[Field, ...], words: list[int]) -> dict[str, int]:
    """Inverse of `encode_fields`."""
    values = {}
    for field in fields:
        value = words[field.word] >> field.lsb & (1 << field.width) - 1
        if field.signed and value >> field.width - 1:
            value -= 1 << field.width
        values[field.name] = value
    return values
