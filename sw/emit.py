"""From a stage, its place in the memories, and a band of rows to a descriptor with its plane pairs and taps."""

from dataclasses import dataclass

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.isa import DESCRIPTOR_FIELDS, PAIR_FIELDS, TAP_FIELDS, encode_fields
from dorefabric.hw.layout import FeatureLayout

from .layouts import runs_on
from .placement import Placement
from .residency import Piece
from .stages import CompileError, Stage

__all__ = ["Run", "emit"]

_LOW, _HIGH = -32, 31
"""Range of a tap's row and column displacement."""


@dataclass(frozen=True)
class Run:
    """One descriptor before it has an address: its fields but for `last` and the three bases, pairs and taps."""

    fields: dict[str, int]
    pairs: tuple[int, ...]
    taps: tuple[int, ...]


def emit(stage: Stage, piece: Piece, bases: tuple[int, int], band: tuple[int, int], placement: Placement,
         config: FabricConfig) -> Run:  # fmt: skip
    """Descriptor of one piece of a stage, for output rows ``band`` = (first, end), with weights and thresholds at
    ``bases``. The input tensor holds the rows of that band alone when it is loaded in bands."""
    first_row, end_row = band
    sources = [placement.layouts[tensor.name] for tensor in stage.inputs]
    source, target = sources[0], placement.layouts[stage.output.name]
    banded = placement.bands.get(stage.inputs[0].name, 0) not in (0, stage.output.shape[1])
    rows = (end_row - first_row - 1) * stage.step[0] + stage.pool[0] if banded else source.height
    chunks = -(-piece.slice.planes.bits.shape[2] // config.lanes)
    taps = _taps(stage, sources, (end_row - first_row if banded else stage.output.shape[1]), rows)
    per_position = len(taps) // (stage.pool[0] * stage.pool[1])
    pairs = _pairs(stage, source, piece.slice.planes.significance, per_position * chunks)
    tile = piece.slice.tile + piece.first_tile
    width = stage.output.shape[2]
    # A single output column has no neighbour: any x step will do, and the layout's own keeps rows conflict-free.
    x_stride = source.stride if width == 1 else stage.step[1]
    count, tiles, wrap_step = end_row - first_row, -(-width // config.rows), 0
    if runs_on(stage, source.pitch, config):
        wrap_step = (stage.step[0] * source.pitch - width) // config.rows * source.group_pitch
        count, tiles = 1, -(-count * width // config.rows)
    stored = (end_row - first_row) // count * width  # pixels in one round of the tiles
    first_place = first_row * target.pitch
    fields = {
        "raw": int(stage.raw), "planes": target.planes,
        "feature_base": source.base + piece.slice.chunk,
        "x_step": x_stride * source.pixel_pitch,
        "y_step": stage.step[0] * source.pitch // config.rows * source.group_pitch,
        "x_tiles": tiles, "y_count": count, "wrap_width": width * x_stride, "wrap_step": wrap_step & 0xFFFF,
        "channel_tiles": piece.tiles, "pool_taps": stage.pool[0] * stage.pool[1],
        "taps": per_position, "chunks": chunks, "pairs": len(pairs),
        "in_width": source.width, "in_height": rows, "x_stride": x_stride, "y_stride": stage.step[0],
        "weight_base": bases[0], "weight_step": piece.weights.shape[1],
        "threshold_base": bases[1], "threshold_step": piece.thresholds.shape[1],
        "out_base": target.base + first_place // config.rows * target.group_pitch + tile // config.segments,
        "out_bank": first_place % config.rows, "out_bank_step": target.pitch % config.rows,
        "out_tail": (stored - 1) % config.rows,
        "out_row_step": target.pitch // config.rows * target.group_pitch,
        "out_pixel_step": target.pixel_pitch, "out_plane_step": target.chunks,
        "out_stride": target.stride, "out_segment": tile % config.segments, "out_width": width,
        "out_group_step": target.group_pitch,
        "weight_source": 0, "weight_words": 0, "threshold_source": 0, "threshold_entries": 0,
    }  # fmt: skip
    # What earlier passes have seen to: one displacement leads from one input to the other, and only loaded bands split.
    assert len({(layout.pitch, layout.pixel_pitch, layout.stride, layout.planes) for layout in sources}) == 1
    assert banded or first_row == 0
    _check_fields(stage, fields, config)
    return Run(fields, pairs, taps)


def _pairs(stage: Stage, source: FeatureLayout, significance: tuple[int, ...], plane_words: int) -> tuple[int, ...]:
    """Every activation plane with every weight plane, most significant first, doubling between significances."""
    order = sorted(
        ((i + s, i, j) for i in range(source.planes) for j, s in enumerate(significance)), reverse=True
    )
    words, previous = [], order[0][0]
    for total, i, j in order:
        fields = {"feature_offset": i * source.chunks, "weight_offset": j * plane_words,
                  "double": int(total != previous)}  # fmt: skip
        _check_range(stage, "weight_offset", fields["weight_offset"], 1 << 15)
        words.append(encode_fields(PAIR_FIELDS, fields)[0])
        previous = total
    return tuple(words)


def _taps(stage: Stage, sources: list[FeatureLayout], y_count: int, in_height: int) -> tuple[int, ...]:
    """Taps of all pool positions: kernel positions of a convolution, or the tensors of an addition."""
    source = sources[0]
    words = []
    for pool_y in range(stage.pool[0]):
        for pool_x in range(stage.pool[1]):
            for ky in range(stage.kernel[0]):
                for kx in range(stage.kernel[1]):
                    dy = pool_y * stage.stride[0] + ky - stage.padding[0]
                    dx = pool_x * stage.stride[1] + kx - stage.padding[1]
                    for other in sources:
                        words.append(_tap(stage, source, other, dy, dx, y_count, in_height))
    return tuple(words)


def _tap(stage: Stage, source: FeatureLayout, other: FeatureLayout, dy: int, dx: int, y_count: int,
         in_height: int) -> int:  # fmt: skip
    group, rotation = divmod(dy * source.pitch + dx // source.stride, source.rows)
    offset = other.base - source.base + group * source.group_pitch + dx % source.stride * source.pixel_pitch
    last_y, last_x = (y_count - 1) * stage.step[0], (stage.output.shape[2] - 1) * stage.step[1]
    fields = {
        "feature_offset": offset & 0xFFFF, "rotation": rotation,
        "dy": _displacement(stage, dy, last_y, in_height), "dx": _displacement(stage, dx, last_x, source.width),
    }  # fmt: skip
    return encode_fields(TAP_FIELDS, fields)[0]


def _displacement(stage: Stage, value: int, last: int, size: int) -> int:
    """The value for the test whether a tap is inside; 0, which always is, where a far tap never is outside."""
    if _LOW <= value <= _HIGH:
        return value
    if value >= 0 and last + value < size:
        return 0
    raise CompileError(
        f"{stage.name}: a padded kernel or pool window reaches {value} pixels, beyond {_LOW} to {_HIGH}: "
        f"split the layer in the model"
    )


def _check_fields(stage: Stage, fields: dict[str, int], config: FabricConfig) -> None:
    for name in ("in_width", "in_height", "out_width", "y_count", "x_stride", "y_stride", "out_stride"):
        if fields[name] > config.image_size:
            raise CompileError(
                f"{stage.name}: {name} is {fields[name]}, but image_size is {config.image_size}: "
                f"generate a configuration with image_size of at least {fields[name]}"
            )
    for field in DESCRIPTOR_FIELDS:
        if field.name in fields:
            _check_range(stage, field.name, fields[field.name], 1 << field.width)


def _check_range(stage: Stage, name: str, value: int, limit: int) -> None:
    if not 0 <= value < limit:
        raise CompileError(f"{stage.name}: descriptor field {name} would be {value}, but must be below {limit}")
