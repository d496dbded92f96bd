"""Data sets: shapes, values, and one clear line for whatever is missing or damaged."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from sklearn.datasets import load_digits

from dorefabric.sw import datasets as module
from dorefabric.sw.datasets import CIFAR10_CLASSES, DatasetError, load_dataset

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def needs(folder):
    return pytest.mark.skipif(not (DATA / folder).is_dir(), reason=f"../shared/data/{folder} is not present")


def refused(*arguments):
    with pytest.raises(DatasetError) as error:
        load_dataset(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


# Digits ----------------------------------------------------------------------------------------------

def test_digits():
    splits = [load_dataset("digits", None, split) for split in ("train", "test")]
    assert [images.shape for images, _ in splits] == [(1442, 1, 8, 8), (355, 1, 8, 8)]
    for images, labels in splits:
        assert images.dtype == np.uint8 and labels.dtype == np.int64
        assert (np.bincount(labels) >= len(labels) * 0.095).all()
    # Together the splits are the whole data set, each value v the nearest of v / 16 * 255, halves up.
    raw = load_digits()
    expected = np.floor(raw.images / 16 * 255 + 0.5).astype(np.uint8)[:, np.newaxis]
    both = [np.concatenate(parts) for parts in zip(*splits, strict=True)]
    assert sorted(zip(expected.reshape(1797, -1).tolist(), raw.target.tolist(), strict=True)) == sorted(
        zip(both[0].reshape(1797, -1).tolist(), both[1].tolist(), strict=True))


def test_digits_split_is_fixed():
    images, labels = load_dataset("digits", None, "test")
    assert labels[:10].tolist() == [5, 9, 2, 4, 6, 7, 9, 3, 4, 6]
    assert int(images.sum()) == 1765287


def test_unknown_name_and_split():
    assert refused("imagenet") == "unknown data set 'imagenet': choose one of digits, mnist, cifar10, svhn"
    assert refused("digits", None, "valid") == "split must be 'train' or 'test', not 'valid'"
    assert refused("mnist") == \
        "data set 'mnist' needs the folder that holds its files: give a data directory"


# MNIST -----------------------------------------------------------------------------------------------

@needs("mnist")
def test_mnist():
    images, labels = load_dataset("mnist", DATA, "test")
    assert images.shape == (10000, 1, 28, 28) and images.dtype == np.uint8 and labels.dtype == np.int64
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert images.max() == 255
    same, _ = load_dataset("mnist", DATA / "mnist", "test")
    assert np.array_equal(same, images)
    assert load_dataset("mnist", DATA, "train")[0].shape == (60000, 1, 28, 28)


def idx(array):
    head = bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_mnist(folder, images, labels, suffix=".gz"):
    for name, array in (("t10k-images-idx3-ubyte", images), ("t10k-labels-idx1-ubyte", labels)):
        content = idx(array)
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix else content)


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_mnist_files(tmp_path, suffix):
    images = np.random.default_rng(0).integers(256, size=(3, 28, 28))
    write_mnist(tmp_path, images, np.array([1, 2, 3]), suffix)
    loaded, labels = load_dataset("mnist", tmp_path, "test")
    assert np.array_equal(loaded[:, 0], images) and labels.tolist() == [1, 2, 3]


def test_mnist_missing(tmp_path):
    how = "download the four idx .gz files of MNIST (train-images-idx3-ubyte.gz, ...) into it"
    assert refused("mnist", tmp_path / "no") == f"data directory {tmp_path / 'no'} does not exist: {how}"
    assert refused("mnist", tmp_path) == f"{tmp_path / 'train-images-idx3-ubyte.gz'} is missing: {how}"


@pytest.mark.parametrize("damage", [
    lambda raw: raw[:-20], lambda raw: b"hello", lambda raw: b"",
    lambda raw: raw[:40] + bytes((raw[40] ^ 255,)) + raw[41:],
    lambda raw: gzip.compress(gzip.decompress(raw)[:-1]),
    lambda raw: gzip.compress(b"\0\0\x0d\x03" + gzip.decompress(raw)[4:])])
def test_mnist_damaged(tmp_path, damage):
    images = np.random.default_rng(0).integers(256, size=(3, 28, 28))
    write_mnist(tmp_path, images, np.array([1, 2, 3]))
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    assert refused("mnist", tmp_path, "test").startswith(f"{path} is damaged or not an idx file: download")


def test_mnist_files_of_different_sets(tmp_path):
    write_mnist(tmp_path, np.zeros((3, 28, 28)), np.zeros(4))
    assert "do not belong together" in refused("mnist", tmp_path, "test")


# CIFAR-10 --------------------------------------------------------------------------------------------

def jpeg(colour):
    image = pytest.importorskip("PIL.Image")
    buffer = io.BytesIO()
    image.new("RGB", (32, 32), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def write_folder(folder):
    for split in ("train", "test"):
        for label, name in enumerate(CIFAR10_CLASSES):
            (folder / split / name).mkdir(parents=True)
            (folder / split / name / "0000.jpg").write_bytes(jpeg((label * 20, 100, 200)))


def check_colours(images, labels):
    assert images.shape == (10, 3, 32, 32) and images.dtype == np.uint8 and labels.dtype == np.int64
    assert labels.tolist() == list(range(10))
    expected = np.stack([np.array((label * 20, 100, 200)) for label in range(10)])
    assert np.abs(images.mean(axis=(2, 3)) - expected).max() < 4     # JPEG is lossy


def test_cifar10_folder(tmp_path):
    write_folder(tmp_path / "CIFAR-10-images")
    check_colours(*load_dataset("cifar10", tmp_path, "test"))
    check_colours(*load_dataset("cifar10", tmp_path / "CIFAR-10-images", "train"))


def test_cifar10_tar(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_folder(tmp_path / "images")
    path = tmp_path / "CIFAR-10-images.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for split in ("train", "test"):
            archive.add(tmp_path / "images" / split, arcname=split)
    check_colours(*load_dataset("cifar10", tmp_path, "train"))
    whole = path.read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 500, len(whole) - 1):
        path.write_bytes(whole[:length])
        for split in ("train", "test"):
            assert refused("cifar10", tmp_path, split).startswith(f"{path} is damaged: ")


def test_decoded_images_are_kept(tmp_path, monkeypatch):
    """A second load takes the kept arrays; another archive, or a damaged copy, is decoded again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "archive"
    source.write_bytes(b"one")
    calls = []

    def decode():
        calls.append(source.read_bytes())
        return np.full((2, 1, 1, 1), len(calls), np.uint8), np.arange(2)

    for _ in range(2):
        images, labels = module._cached(source, "test", decode)
        assert images.flat[0] == 1 and labels.tolist() == [0, 1]
    (kept,) = (tmp_path / "cache" / "dorefabric").iterdir()
    kept.write_bytes(kept.read_bytes()[:-30])
    assert module._cached(source, "test", decode)[0].flat[0] == 2
    source.write_bytes(b"two")
    assert module._cached(source, "test", decode)[0].flat[0] == 3
    assert module._cached(source, "train", decode)[0].flat[0] == 4
    monkeypatch.setenv("XDG_CACHE_HOME", str(source))            # no folder can be made there
    assert module._cached(source, "test", decode)[0].flat[0] == 5


def test_cifar10_binary(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    records = np.random.default_rng(0).integers(256, size=(4, 3073), dtype=np.uint8)
    records[:, 0] = (3, 1, 9, 0)
    path = folder / "test_batch.bin"
    path.write_bytes(records.tobytes())
    images, labels = load_dataset("cifar10", tmp_path, "test")
    assert np.array_equal(images.reshape(4, -1), records[:, 1:]) and labels.tolist() == [3, 1, 9, 0]
    assert refused("cifar10", tmp_path, "train").startswith(f"{folder / 'data_batch_1.bin'} is missing: ")
    path.write_bytes(records.tobytes()[:-1])
    assert refused("cifar10", tmp_path, "test").startswith(f"{path} is damaged: ")


def test_cifar10_missing_and_damaged(tmp_path):
    assert refused("cifar10", tmp_path).startswith(f"{tmp_path / 'CIFAR-10-images.tar.gz'} is missing: ")
    write_folder(tmp_path)
    (tmp_path / "test" / "cat" / "0000.jpg").write_bytes(b"not a picture")
    assert refused("cifar10", tmp_path, "test").startswith(f"cat/0000.jpg in {tmp_path} is damaged: ")


@needs("cifar10-jpeg")
def test_cifar10_jpeg():
    images, labels = load_dataset("cifar10", DATA, "test")
    assert images.shape == (10000, 3, 32, 32)
    assert (np.bincount(labels) == 1000).all()


# SVHN ------------------------------------------------------------------------------------------------

def test_svhn(tmp_path):
    pytest.importorskip("PIL.Image")
    path = tmp_path / "test_32x32.mat"
    colours = np.array([(0, 100, 200), (255, 7, 31)], dtype=np.uint8)
    pixels = np.broadcast_to(colours.T, (32, 32, 3, 2)).copy()
    savemat(path, {"X": pixels, "y": np.array([[10], [3]], dtype=np.uint8)})
    images, labels = load_dataset("svhn", tmp_path, "test")
    assert images.shape == (2, 3, 40, 40) and images.dtype == np.uint8 and labels.tolist() == [0, 3]
    assert (images == colours[:, :, None, None]).all()
    assert refused("svhn", tmp_path, "train").startswith(f"{tmp_path / 'train_32x32.mat'} is missing: ")
    for damaged in (b"hello", path.read_bytes()[:1000]):
        path.write_bytes(damaged)
        assert refused("svhn", tmp_path, "test").startswith(f"{path} is damaged or not SVHN: ")
    savemat(path, {"X": pixels[:31], "y": np.array([[10], [3]], dtype=np.uint8)})
    assert refused("svhn", tmp_path, "test").startswith(f"{path} is damaged or not SVHN: ")
