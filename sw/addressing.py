"""Where a descriptor reads and stores feature words: the address counters of `hw/README.md`, vectorised."""

import numpy as np

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.isa import TAP_FIELDS, Field

from .memories import InterpreterError, Memories

__all__ = ["Reads", "check_depth", "store_addresses"]


class Reads:
    """Feature words of every output pixel, pool position, tap and chunk, before the pair's offset."""

    def __init__(self, memories: Memories, d: dict[str, int]) -> None:
        config = memories.config
        rows = config.rows
        tile, row = _stored_pixels(config.rows, d)
        self.pixels = tile.size
        base, y, x = (values[tile][:, None, None] for values in _tiles(config, d))
        row = row[:, None, None]
        first, count = d["tap_base"], d["pool_taps"] * d["taps"]
        check_depth("taps", first + count - 1, memories.taps.size)
        words = memories.taps[first : first + count].reshape(1, d["pool_taps"], d["taps"])
        tap = {field.name: _decode(field, words) for field in TAP_FIELDS}
        bank = (row + tap["rotation"]) % rows
        address = base + tap["feature_offset"] + np.where(bank < tap["rotation"], d["x_step"], 0)
        x = x + row * d["x_stride"]
        beyond = (x >= d["wrap_width"]) & (row > 0) & config.row_wrap  # in the next image row
        address = address + np.where(beyond, d["wrap_step"], 0)
        y_in = y + np.where(beyond, d["y_stride"], 0) + tap["dy"]
        x_in = x - np.where(beyond, d["wrap_width"], 0) + tap["dx"]
        valid = (y_in >= 0) & (y_in < d["in_height"]) & (x_in >= 0) & (x_in < d["in_width"])
        # (pixels, pool_taps, taps, chunks)
        self._address = address[..., None] + np.arange(d["chunks"])
        self._bank = bank[..., None]
        self._valid = np.broadcast_to(valid[..., None], self._address.shape)
        self._pitch, self._depth = config.bank_pitch, config.feature_depth
        self._mask = (1 << config.feature_address_bits) - 1

    def index(self, offset: int, pixels: slice) -> np.ndarray:
        """Word numbers (pixels, pool_taps, taps, chunks) at a pair's feature offset; the zero word outside."""
        address = self._address[pixels] + offset & self._mask
        valid = self._valid[pixels]
        check_depth("features", int(np.max(address, where=valid, initial=0)), self._depth)
        return np.where(valid, address * self._pitch + self._bank[pixels], self._depth * self._pitch)

    def touched(self, offsets: list[tuple[int, ...]]) -> np.ndarray:
        """Every word number that is read, without the zero word."""
        words = np.unique([self.index(offset, slice(None)) for group in offsets for offset in group])
        return words[words < self._depth * self._pitch]


def store_addresses(memories: Memories, d: dict[str, int]) -> np.ndarray:
    """Word numbers (planes, pixels, chunks stored) of the output."""
    config = memories.config
    y, x = np.divmod(np.arange(len(_stored_pixels(config.rows, d)[0])), d["out_width"])
    # Banks are counted on through groups, from row to row and within a row.
    row_bank = d["out_bank"] + y * d["out_bank_step"]
    place = row_bank + x // d["out_stride"]
    bank = place % config.rows
    address = (d["out_base"] + y * d["out_row_step"] + place // config.rows * d["out_group_step"]
               + x % d["out_stride"] * d["out_pixel_step"])  # fmt: skip
    chunks = -(-(d["out_segment"] + d["channel_tiles"]) // config.segments)
    first = d["out_segment"] // config.segments
    plane = np.arange(d["planes"])[:, None, None] * d["out_plane_step"]
    address = address[:, None] + plane + np.arange(first, chunks) & (1 << config.feature_address_bits) - 1
    check_depth("features", int(address.max()), config.feature_depth)
    return address * config.bank_pitch + bank[:, None]


def check_depth(memory: str, address: int, depth: int) -> None:
    """`InterpreterError` for an address beyond a memory of ``depth`` words."""
    if address >= depth:
        raise InterpreterError(f"the descriptor reaches address {address} of {memory}, which has {depth} words")


def _decode(field: Field, words: np.ndarray) -> np.ndarray:
    values = (words.astype(np.int64) >> field.lsb) & (1 << field.width) - 1
    return np.where(values >> field.width - 1, values - (1 << field.width), values) if field.signed else values


def _stored_pixels(rows: int, d: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Tile and row of every pixel that is stored, in order; both int64 (pixels,)."""
    tile, row = np.divmod(np.arange(d["y_count"] * d["x_tiles"] * rows), rows)
    stored = (tile % d["x_tiles"] < d["x_tiles"] - 1) | (row <= d["out_tail"])
    return tile[stored], row[stored]


def _tiles(config: FabricConfig, d: dict[str, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Feature address, input row and input column of the first pixel of every tile, without taps: int64 (tiles,)."""
    address, y, x = 0, 0, 0
    line = []
    for _ in range(d["x_tiles"]):
        line.append((address, y, x))
        address, x = address + d["x_step"], x + config.rows * d["x_stride"]
        if config.row_wrap and x >= d["wrap_width"]:
            address, y, x = address + d["wrap_step"], y + d["y_stride"], x - d["wrap_width"]
    offsets = np.array(line, np.int64)
    # The input row goes on from where the last tile was.
    lines = np.arange(d["y_count"])[:, None]
    first_y = lines * (offsets[-1, 1] + d["y_stride"])
    base = d["feature_base"] + lines * d["y_step"] + offsets[:, 0]
    return base.reshape(-1), (first_y + offsets[:, 1]).reshape(-1), np.tile(offsets[:, 2], d["y_count"])
