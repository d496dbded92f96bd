"""A layer descriptor as the circuit holds it: the fields of `isa`, in as many bits as the memories make meaningful."""

from amaranth.lib import data
from amaranth.utils import ceil_log2

from .config import FabricConfig
from .isa import BLOCK_WORDS, DESCRIPTOR_FIELDS

__all__ = ["COUNTS", "LEVEL_BITS", "Level", "block_layout", "coordinate_bits", "descriptor_layout", "field_widths"]

COUNTS = (
    "planes",
    "x_tiles",
    "y_count",
    "channel_tiles",
    "pool_taps",
    "taps",
    "chunks",
    "pairs",
    "out_stride",
    "out_width",
)
"""Fields that are held less one, as the index of the last: what a loop counter is compared with."""


class Level:
    """How far the loops advance after the last step of a tile of results. 0: the step is not the last of its tile."""

    POOL = 1  # next pool position of the same pixels
    COLUMN = 2  # next pixel tile
    ROW = 3  # next output row
    CHANNEL = 4  # next channel tile
    END = 5  # the descriptor is done


LEVEL_BITS = 3


def field_widths(config: FabricConfig) -> dict[str, int]:
    """Bits of every field that the circuit holds.

    Addresses are modulo the memory's power of two. Loop counts are as wide as the memory that the loop walks through,
    and image sizes as wide as ``image_size`` says and the feature memory allows: a descriptor beyond that has no
    meaning, as it would pass the same words again.
    """
    feature, tap = config.feature_address_bits, ceil_log2(config.tap_depth)
    program, weight, threshold = (
        ceil_log2(config.program_depth),
        config.weight_address_bits,
        config.threshold_address_bits,
    )
    size = config.image_size.bit_length()
    width, bank = min(size, feature + ceil_log2(config.rows) + 1), ceil_log2(config.rows)
    stride = min(8, size)
    tiles = feature if config.row_wrap else min(feature, size)
    widths = {
        "last": 1, "raw": 1, "planes": ceil_log2(max(config.activation_bits, config.accumulator_bits)),
        "feature_base": feature, "x_step": feature, "y_step": feature,
        "x_tiles": tiles, "y_count": min(feature, size), "channel_tiles": weight, "pool_taps": tap,
        "taps": tap, "chunks": min(feature, weight), "tap_base": tap, "pair_base": program, "pairs": program,
        "in_width": width, "in_height": width, "x_stride": stride, "y_stride": stride,
        "weight_base": weight, "weight_step": weight, "threshold_base": threshold, "threshold_step": threshold,
        "out_base": feature, "out_row_step": feature, "out_pixel_step": feature, "out_plane_step": feature,
        "out_stride": stride, "out_segment": 8, "out_width": width, "out_group_step": feature,
        "out_bank": bank, "out_bank_step": bank, "out_tail": bank, "wrap_step": feature, "wrap_width": width + 1,
    }  # fmt: skip
    return {
        field.name: min(field.width, widths[field.name])
        for field in DESCRIPTOR_FIELDS if field.word not in BLOCK_WORDS.values()
    }  # fmt: skip


def coordinate_bits(config: FabricConfig) -> int:
    """Bits of an input coordinate, modulo which a negative one is beyond any image.

    The largest is that of the last row of a partly filled pixel tile: less than in_width + rows · x_stride + 32.
    """
    widths = field_widths(config)
    return ((1 << widths["in_width"]) + (config.rows << widths["x_stride"]) + 64).bit_length()


def descriptor_layout(config: FabricConfig) -> data.StructLayout:
    """The descriptor's registers; those of `COUNTS` hold the field less one."""
    return data.StructLayout(field_widths(config))


def block_layout(config: FabricConfig) -> data.StructLayout:
    """A block to copy, of `isa.BLOCK_WORDS`: feature address, and words of the destination."""
    most = max(config.weight_address_bits, config.threshold_address_bits) + 1
    return data.StructLayout({"source": config.feature_address_bits, "count": min(16, most)})
