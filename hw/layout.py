"""Where a feature map lies in the banked feature-map memory. Pure arithmetic, shared by compiler and tests.

A word holds ``lanes`` channels (one *chunk*) of one bit plane of one pixel. Pixel x of every row lies in
bank ``x // stride % rows``, where ``stride`` is the x stride of the layer that reads the map, so the
``rows`` pixels that a tap of that layer needs are always in different banks:

    slot(x)    = x // (stride * rows) * stride + x % stride
    address    = base + y * row_pitch + slot(x) * pixel_pitch + plane * chunks + chunk
    bank       = x // stride % rows

With rows = 4:    stride 1                     stride 2
    bank 0        x = 0  4  8 ...              x = 0 1  8 9 ...
    bank 1        x = 1  5  9 ...              x = 2 3 10 11 ...
    bank 2        x = 2  6 10 ...              x = 4 5 12 13 ...
    bank 3        x = 3  7 11 ...              x = 6 7 14 15 ...
"""

from dataclasses import dataclass

from .config import FabricConfig

__all__ = ["FeatureLayout"]


@dataclass(frozen=True)
class FeatureLayout:
    """A feature map of ``planes`` × ``channels`` × ``height`` × ``width`` bits at ``base`` of every bank."""

    base: int
    height: int
    width: int
    channels: int
    planes: int
    stride: int
    rows: int
    lanes: int

    @classmethod
    def of(cls, config: FabricConfig, *, base: int, height: int, width: int, channels: int, planes: int,
           stride: int) -> "FeatureLayout":  # fmt: skip
        return cls(base=base, height=height, width=width, channels=channels, planes=planes, stride=stride,
                   rows=config.rows, lanes=config.lanes)  # fmt: skip

    @property
    def bank_pitch(self) -> int:
        """Banks of an address in the host's memory map: ``rows``, rounded up to a power of two."""
        return 1 << (self.rows - 1).bit_length()

    @property
    def chunks(self) -> int:
        return -(-self.channels // self.lanes)

    @property
    def pixel_pitch(self) -> int:
        return self.chunks * self.planes

    @property
    def row_pitch(self) -> int:
        """Words of each bank that one image row occupies."""
        return -(-self.width // (self.stride * self.rows)) * self.stride * self.pixel_pitch

    @property
    def size(self) -> int:
        """Words of each bank that the map occupies."""
        return self.height * self.row_pitch

    def slot(self, x: int) -> int:
        return x // (self.stride * self.rows) * self.stride + x % self.stride

    def bank(self, x: int) -> int:
        return x // self.stride % self.rows

    def address(self, y: int, x: int, plane: int, chunk: int) -> int:
        return self.base + y * self.row_pitch + self.slot(x) * self.pixel_pitch + plane * self.chunks + chunk
