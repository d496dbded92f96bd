"""The memories of the circuit as NumPy arrays, behind the bus addresses of `dorefabric.hw.registers`.

The feature memory has a leading batch axis: a program treats every image alike, so the interpreter runs many at once.
"""

import numpy as np

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.errors import DorefabricError
from dorefabric.hw.registers import OFFSET_BITS, SPACES

__all__ = ["InterpreterError", "Memories", "bits_to_words", "words_to_bits"]


class InterpreterError(DorefabricError, RuntimeError):
    """A program that asks the circuit for something undefined: a mistake of whoever made the program."""


def words_to_bits(words: np.ndarray) -> np.ndarray:
    """uint32 (..., n) to uint8 zeros and ones (..., 32 n), least significant bit first."""
    data = np.ascontiguousarray(words, dtype="<u4").view(np.uint8)
    return np.unpackbits(data, axis=-1, bitorder="little")


def bits_to_words(bits: np.ndarray) -> np.ndarray:
    """uint8 zeros and ones (..., k) to uint32 (..., ceil(k / 32)), least significant bit first."""
    packed = np.packbits(bits, axis=-1, bitorder="little")
    missing = -packed.shape[-1] % 4
    if missing:
        packed = np.concatenate([packed, np.zeros((*packed.shape[:-1], missing), np.uint8)], axis=-1)
    return np.ascontiguousarray(packed).view("<u4").astype(np.uint32, copy=False)


class Memories:
    """Contents of the five memories of one circuit, all zero at first.

    Attributes
    ----------
    program : uint32 (program_depth,)
    taps : uint32 (tap_depth,)
    thresholds : uint32 (threshold_depth, columns), threshold_bits of each
    weights : uint32 (weight_depth, columns, bus_words), lanes bits of each word
    features : uint8 (batch, feature_depth * bank_pitch + 1, lanes), one element per bit; word address * bank_pitch +
        bank, where banks beyond ``rows`` are absent, and one more word that is always zero, for taps outside the image
    """

    def __init__(self, config: FabricConfig, batch: int = 1) -> None:
        self.config = config
        self.batch = batch
        self.program = np.zeros(config.program_depth, np.uint32)
        self.taps = np.zeros(config.tap_depth, np.uint32)
        self.thresholds = np.zeros((config.threshold_depth, config.columns), np.uint32)
        self.weights = np.zeros((config.weight_depth, config.columns, config.bus_words), np.uint32)
        self.features = np.zeros((batch, config.feature_depth * config.bank_pitch + 1, config.lanes), np.uint8)

    def write(self, address: int, words: np.ndarray) -> None:
        """Write uint32 ``words`` of shape (n,), or (batch, n) for features that differ between images."""
        space, offset = self._locate(address, words.shape[-1])
        if space == "features":
            slices = self._feature_slices()
            width = slices.shape[-1]
            bits = words_to_bits(np.atleast_2d(words)).reshape(-1, words.shape[-1], 32)
            slices[:, offset : offset + words.shape[-1]] = bits[..., :width]
            self.clear_absent_banks()
            return
        self._flat(space)[offset : offset + words.size] = words & np.uint32(self._mask(space))

    def read(self, address: int, count: int) -> np.ndarray:
        """Read ``count`` words: uint32 (count,), or (batch, count) of features. Write-only spaces read 0."""
        space, offset = self._locate(address, count)
        if space == "features":
            return bits_to_words(self._feature_slices()[:, offset : offset + count]).reshape(self.batch, count)
        if space == "program":
            return self.program[offset : offset + count].copy()
        return np.zeros(count, np.uint32)

    def clear_absent_banks(self) -> None:
        """Banks beyond ``rows`` hold nothing, whatever is written to them."""
        if self.config.bank_pitch > self.config.rows:
            banks = self.features[:, :-1].reshape(self.batch, -1, self.config.bank_pitch, self.config.lanes)
            banks[:, :, self.config.rows :] = 0

    def clear_features(self) -> None:
        """Forget every image."""
        self.features[:] = 0

    def _locate(self, address: int, count: int) -> tuple[str, int]:
        number, offset = address >> OFFSET_BITS, address & (1 << OFFSET_BITS) - 1
        sizes = {
            "program": self.program.size, "taps": self.taps.size, "thresholds": self.thresholds.size,
            "weights": self.weights.size, "features": (self.features.shape[1] - 1) * self.config.bus_words,
        }  # fmt: skip
        for space, size in sizes.items():
            if SPACES[space] == number:
                if offset + count > size:
                    raise InterpreterError(
                        f"{count} words at offset {offset} exceed the {space} space, which has {size} words"
                    )
                return space, offset
        raise InterpreterError(f"bus address 0x{address:07x} is in no memory")

    def _flat(self, space: str) -> np.ndarray:
        return getattr(self, space).reshape(-1)

    def _feature_slices(self) -> np.ndarray:
        """The feature memory as bus words: a view (batch, words, bits of a bus word)."""
        bus_words = self.config.bus_words
        return self.features.reshape(self.batch, -1, self.config.lanes // bus_words)

    def _mask(self, space: str) -> int:
        if space == "thresholds":
            return (1 << self.config.threshold_bits) - 1
        if space == "weights":
            return (1 << min(32, self.config.lanes)) - 1
        return 0xFFFFFFFF
