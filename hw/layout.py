"""Where a feature map lies in the banked feature-map memory. Pure arithmetic, shared by compiler and tests.

A word holds ``lanes`` channels (one *chunk*) of one bit plane of one pixel. ``stride`` is the x stride of the layer
that reads the map: as many neighbouring pixels share a place. Places are numbered through the whole map, ``pitch`` to
an image row, and spread over the banks, so the ``rows`` pixels that a tap of that layer needs are in different banks:

    place      = y * pitch + x // stride
    address    = base + (place // rows * stride + x % stride) * pixel_pitch + plane * chunks + chunk
    bank       = place % rows

With rows = 4, in image row 0:
                  stride 1                     stride 2
    bank 0        x = 0  4  8 ...              x = 0 1  8 9 ...
    bank 1        x = 1  5  9 ...              x = 2 3 10 11 ...
    bank 2        x = 2  6 10 ...              x = 4 5 12 13 ...
    bank 3        x = 3  7 11 ...              x = 6 7 14 15 ...

A layer of output width W and vertical stride s may walk through its pixels in tiles of ``rows`` without regard to the
ends of image rows if s * pitch - W is a multiple of ``rows``: then a pixel of the next image row is ``wrap`` addresses
further than it would be in the same one. It can walk row by row if s * pitch is such a multiple.
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
    pitch: int

    @classmethod
    def of(cls, config: FabricConfig, *, base: int, height: int, width: int, channels: int, planes: int,
           stride: int, pitch: int | None = None) -> "FeatureLayout":  # fmt: skip
        """Without a ``pitch``, image rows begin in bank 0."""
        if pitch is None:
            pitch = -(-width // (stride * config.rows)) * config.rows
        return cls(base=base, height=height, width=width, channels=channels, planes=planes, stride=stride,
                   rows=config.rows, lanes=config.lanes, pitch=pitch)  # fmt: skip

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
    def group_pitch(self) -> int:
        """Words of a bank from one place to the next."""
        return self.stride * self.pixel_pitch

    @property
    def size(self) -> int:
        """Words of each bank that the map occupies."""
        return -(-self.height * self.pitch // self.rows) * self.group_pitch

    def address(self, y: int, x: int, plane: int, chunk: int) -> int:
        group = (y * self.pitch + x // self.stride) // self.rows
        return self.base + group * self.group_pitch + x % self.stride * self.pixel_pitch + plane * self.chunks + chunk

    def bank(self, y: int, x: int) -> int:
        return (y * self.pitch + x // self.stride) % self.rows
