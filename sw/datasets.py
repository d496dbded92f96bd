"""Data sets read from a folder of the user's. Nothing is ever downloaded.

Images come as the uint8 codes that the hardware takes; ``codes / 255`` is what a network sees.
"""

import contextlib
import gzip
import hashlib
import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dorefabric.hw.errors import DorefabricError

__all__ = ["DATASETS", "DatasetError", "load_dataset"]

Data = tuple[NDArray[np.uint8], NDArray[np.int64]]

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class DatasetError(DorefabricError, ValueError):
    """A data set, or a file of one, is unknown, missing or damaged; one line says which and what to do."""


def load_dataset(name: str, data_dir: str | Path | None = None, split: str = "train") -> Data:
    """Load one split of a data set.

    Parameters
    ----------
    name : str
        ``digits`` (scikit-learn's 1,797 digits, no file needed), ``mnist``, ``cifar10``, or ``svhn``
        (cropped digits, enlarged to the 40x40 pixels of DoReFa-Net).
    data_dir : path
        Folder with the data set's files, or with a subfolder of them (``mnist``, ``cifar10``, ``svhn``).
    split : str
        ``train`` or ``test``.

    Returns
    -------
    images : uint8 array (N, C, H, W)
    labels : int64 array (N,)

    Raises
    ------
    DatasetError
        If the name or split is unknown, or a file is missing or damaged.
    """
    if name not in DATASETS:
        raise DatasetError(f"unknown data set {name!r}: choose one of {', '.join(DATASETS)}")
    if split not in ("train", "test"):
        raise DatasetError(f"split must be 'train' or 'test', not {split!r}")
    if name == "digits":
        return _digits(split)
    if data_dir is None:
        raise DatasetError(f"data set {name!r} needs the folder that holds its files: give a data directory")
    folder = Path(data_dir)
    if not folder.is_dir():
        raise DatasetError(f"data directory {folder} does not exist: {_HOW_TO_GET[name]}")
    return DATASETS[name](folder, split)


_HOW_TO_GET = {
    "mnist": "download the four idx .gz files of MNIST (train-images-idx3-ubyte.gz, ...) into it",
    "cifar10": "download cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html and "
               "unpack it there, or put CIFAR-10-images.tar.gz (JPEG files) into it",
    "svhn": "download train_32x32.mat and test_32x32.mat from http://ufldl.stanford.edu/housenumbers "
            "into it",
}


# Digits ----------------------------------------------------------------------------------------------

def _digits(split: str) -> Data:
    """scikit-learn's 8x8 digits: values v of 0 to 16 become the nearest v / 16 * 255, halves up.

    A fifth of each class, drawn with the fixed seed 0, is the test split.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DatasetError("data set 'digits' comes with scikit-learn: pip install scikit-learn") from None

    raw = load_digits()
    images = ((raw.images.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)[:, np.newaxis]
    labels = raw.target.astype(np.int64)
    rng = np.random.default_rng(0)
    is_test = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        members = rng.permutation(np.flatnonzero(labels == digit))
        is_test[members[: len(members) // 5]] = True
    chosen = is_test if split == "test" else ~is_test
    return images[chosen], labels[chosen]


# MNIST -----------------------------------------------------------------------------------------------

def _find(folder: Path, subfolders: tuple[str, ...], names: tuple[str, ...], dataset: str) -> Path:
    """The first of ``names`` that exists in ``folder`` or one of its subfolders."""
    for base in (folder, *(folder / sub for sub in subfolders)):
        for name in names:
            if (base / name).exists():
                return base / name
    raise DatasetError(f"{folder / names[0]} is missing: {_HOW_TO_GET[dataset]}")


def _idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes, gzipped or not."""
    damaged = f"{path} is damaged or not an idx file: {_HOW_TO_GET['mnist']}"
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(damaged) from error
    # Header: 0, 0, type (8 = unsigned byte), number of dimensions, then each size as a big-endian uint32.
    if len(raw) < 4 + 4 * dimensions or raw[:4] != bytes((0, 0, 8, dimensions)):
        raise DatasetError(damaged)
    shape = np.frombuffer(raw, dtype=">u4", count=dimensions, offset=4).astype(np.int64)
    body = np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * dimensions)
    if body.size != shape.prod():
        raise DatasetError(damaged)
    return body.reshape(shape).copy()


def _mnist(folder: Path, split: str) -> Data:
    prefix = "train" if split == "train" else "t10k"
    arrays = []
    for kind, dimensions in (("images-idx3", 3), ("labels-idx1", 1)):
        name = f"{prefix}-{kind}-ubyte"
        arrays.append(_idx(_find(folder, ("mnist", "MNIST", "MNIST/raw"), (f"{name}.gz", name), "mnist"),
                           dimensions))
    images, labels = arrays
    if len(images) != len(labels) or images.shape[1:] != (28, 28) or (labels > 9).any():
        raise DatasetError(f"the {prefix} files in {folder} do not belong together: {_HOW_TO_GET['mnist']}")
    return images[:, np.newaxis], labels.astype(np.int64)


# CIFAR-10 --------------------------------------------------------------------------------------------

_CIFAR10_BINARY = "cifar-10-batches-bin"
_CIFAR10_TAR = "CIFAR-10-images.tar.gz"
_CIFAR10_FOLDERS = ("cifar10", "cifar10-jpeg", "CIFAR-10-images", "cifar10-jpeg/CIFAR-10-images")


def _cifar10(folder: Path, split: str) -> Data:
    """The binary version where it is present, else a folder or tar of JPEG files.

    JPEG is lossy: figures from it belong to "CIFAR-10 (JPEG)" and compare only with others from these files.
    """
    for base in (folder, *(folder / sub for sub in _CIFAR10_FOLDERS)):
        for batches in (base / _CIFAR10_BINARY, base):
            if (batches / "test_batch.bin").exists() or (batches / "data_batch_1.bin").exists():
                return _cifar10_binary(batches, split)
        if (base / split / CIFAR10_CLASSES[0]).is_dir():
            files = sorted((base / split).glob("*/*.jpg"))
            return _cifar10_jpeg(base, ((f"{f.parent.name}/{f.name}", f.read_bytes()) for f in files))
    tar = _find(folder, _CIFAR10_FOLDERS, (_CIFAR10_TAR,), "cifar10")
    return _cached(tar, split, lambda: _cifar10_jpeg(tar, _tar_members(tar, split)))


def _cifar10_binary(batches: Path, split: str) -> Data:
    """Records of 1 label byte and 3 x 32 x 32 pixel bytes, 10,000 a file."""
    names = ["test_batch.bin"] if split == "test" else [f"data_batch_{i}.bin" for i in range(1, 6)]
    records = []
    for name in names:
        path = _find(batches, (), (name,), "cifar10")
        raw = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        if raw.size == 0 or raw.size % 3073 or (raw[::3073] > 9).any():
            raise DatasetError(f"{path} is damaged: {_HOW_TO_GET['cifar10']}")
        records.append(raw.reshape(-1, 3073))
    data = np.concatenate(records)
    return data[:, 1:].reshape(-1, 3, 32, 32).copy(), data[:, 0].astype(np.int64)


def _tar_members(tar: Path, split: str) -> Iterator[tuple[str, bytes]]:
    """(``class/file.jpg``, content) of the split, in the tar's own order."""
    try:
        # As a stream, because seeking in a .gz rereads it from the start; through gzip rather than "r|gz",
        # which takes the end of a truncated file for the end of the archive.
        with gzip.open(tar) as raw, tarfile.open(fileobj=raw, mode="r|") as archive:
            for member in archive:
                parts = member.name.split("/")
                if member.isfile() and parts[-3:-2] == [split] and parts[-1].endswith(".jpg"):
                    content = archive.extractfile(member)
                    assert content is not None
                    yield "/".join(parts[-2:]), content.read()
            while raw.read(1 << 20):  # to the end, where the checksum is
                pass
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{tar} is damaged: {_HOW_TO_GET['cifar10']}") from error


def _cached(source: Path, split: str, decode: Callable[[], Data]) -> Data:
    """``decode()``, kept in the user's cache folder under the checksum of ``source``: decoding takes seconds.

    A cache that cannot be read or written is as good as none.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    path = base / "dorefabric" / f"{digest[:32]}-{split}.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            return content["images"], content["labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        images, labels = decode()
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as new:
            np.savez(new, images=images, labels=labels)
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
    return images, labels


def _cifar10_jpeg(source: Path, files: Iterator[tuple[str, bytes]]) -> Data:
    """Decode JPEG files named ``class/file.jpg``; the result is ordered by name."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise DatasetError(f"the JPEG files of {source} need Pillow: pip install pillow") from None

    decoded: dict[str, NDArray[np.uint8]] = {}
    for name, content in files:
        if name.split("/")[0] not in CIFAR10_CLASSES:
            raise DatasetError(f"{source} holds {name}, which is no class of CIFAR-10")
        try:
            pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        except (UnidentifiedImageError, OSError) as error:
            raise DatasetError(f"{name} in {source} is damaged: {_HOW_TO_GET['cifar10']}") from error
        if pixels.shape != (32, 32, 3):
            raise DatasetError(f"{name} in {source} is {pixels.shape[1]}x{pixels.shape[0]}, not 32x32")
        decoded[name] = pixels
    if not decoded:
        raise DatasetError(f"{source} holds no JPEG files of CIFAR-10: {_HOW_TO_GET['cifar10']}")
    names = sorted(decoded)
    images = np.stack([decoded[name] for name in names]).transpose(0, 3, 1, 2)
    labels = np.array([CIFAR10_CLASSES.index(name.split("/")[0]) for name in names], dtype=np.int64)
    return np.ascontiguousarray(images), labels


# SVHN ------------------------------------------------------------------------------------------------

def _svhn(folder: Path, split: str) -> Data:
    """Format 2 (cropped digits), enlarged to 40x40 bilinearly, as the authors of DoReFa-Net do."""
    try:
        from PIL import Image
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError as error:
        raise DatasetError(f"data set 'svhn' needs {error.name}: pip install scipy pillow") from None

    path = _find(folder, ("svhn",), (f"{split}_32x32.mat",), "svhn")
    try:
        content = loadmat(path)
        raw, labels = content["X"], content["y"].reshape(-1).astype(np.int64) % 10     # 10 stands for 0
    except (MatReadError, ValueError, TypeError, KeyError, OSError, NotImplementedError, zlib.error) as error:
        raise DatasetError(f"{path} is damaged or not SVHN: {_HOW_TO_GET['svhn']}") from error
    if raw.dtype != np.uint8 or raw.shape != (32, 32, 3, len(labels)):
        raise DatasetError(f"{path} is damaged or not SVHN: {_HOW_TO_GET['svhn']}")
    images = np.empty((len(labels), 3, 40, 40), dtype=np.uint8)
    for index in range(len(labels)):
        enlarged = Image.fromarray(raw[..., index]).resize((40, 40), Image.Resampling.BILINEAR)
        images[index] = np.asarray(enlarged).transpose(2, 0, 1)
    return images, labels


DATASETS: dict[str, Callable[[Path, str], Data]] = {
    "digits": lambda folder, split: _digits(split),
    "mnist": _mnist,
    "cifar10": _cifar10,
    "svhn": _svhn,
}
