"""Program files: what is saved is loaded, and what is damaged is named."""

import dataclasses
import struct
from pathlib import Path

import numpy as np
import pytest

from dorefabric.hw.config import FabricConfig
from dorefabric.sw.compile import compile_graph
from dorefabric.sw.images import InputError
from dorefabric.sw.interpret import interpret
from dorefabric.sw.program import Program, ProgramError
from dorefabric.sw.random_graphs import random_images, random_network

CONFIG = FabricConfig(name="small", rows=2, columns=8, lanes=32, weight_depth=300, feature_depth=4096,
                      threshold_depth=1024, program_depth=2048)  # fmt: skip


def example(config: FabricConfig = CONFIG) -> tuple[Program, np.ndarray]:
    graph = random_network(np.random.default_rng(0), blocks=2, weight_bits=2, activation_bits=2)
    return compile_graph(graph, config), random_images(np.random.default_rng(1), graph, 3)


def test_saved_programs_run_alike(tmp_path: Path) -> None:
    program, images = example(dataclasses.replace(CONFIG, weight_depth=48, feature_depth=192))
    assert program.streamed
    path = tmp_path / "net.dfp"
    program.save(path)
    loaded = Program.load(path)
    assert loaded.config == program.config
    assert loaded.layers[0].stored.layout == program.layers[0].stored.layout
    np.testing.assert_array_equal(loaded.scale, program.scale)
    assert loaded.report() == program.report()
    for mine, other in zip(interpret(program, images), interpret(loaded, images), strict=True):
        np.testing.assert_array_equal(mine, other)
    loaded.save(tmp_path / "again.dfp")
    assert (tmp_path / "again.dfp").read_bytes() == path.read_bytes()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["again.dfp", "net.dfp"]


def damaged(path: Path) -> dict[str, tuple[bytes, str]]:
    data = path.read_bytes()
    newer = data[:8] + struct.pack("<I", 2) + data[12:]
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 4
    return {
        "empty": (b"", "is not a dorefabric program"),
        "other": (b"PK\3\4" + data, "is not a dorefabric program"),
        "start": (data[:10], "is truncated: 10 bytes"),
        "half": (data[: len(data) // 2], f"is truncated: {len(data) // 2} of {len(data)} bytes"),
        "flipped": (bytes(flipped), "is corrupted: the checksum does not match"),
        "longer": (data + b"x", "is corrupted: the checksum does not match"),
        "newer": (newer, "has format version 2, newer than 1: update dorefabric"),
    }


@pytest.mark.parametrize("case", ["empty", "other", "start", "half", "flipped", "longer", "newer"])
def test_damage_is_named(tmp_path: Path, case: str) -> None:
    path = tmp_path / "net.dfp"
    example()[0].save(path)
    data, message = damaged(path)[case]
    path.write_bytes(data)
    with pytest.raises(ProgramError) as caught:
        Program.load(path)
    subject = str(path) if case in ("empty", "other") else f"program {path}"
    assert str(caught.value) == f"{subject} {message}"


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ProgramError) as caught:
        Program.load(tmp_path / "absent.dfp")
    assert str(caught.value) == f"cannot read program {tmp_path / 'absent.dfp'}: No such file or directory"
    with pytest.raises(ProgramError) as caught:
        example()[0].save(tmp_path / "absent" / "net.dfp")
    assert str(caught.value) == f"cannot write program {tmp_path / 'absent' / 'net.dfp'}: No such file or directory"


def test_another_configuration_is_refused() -> None:
    program, _ = example()
    program.check_config(dataclasses.replace(CONFIG, name="same shape", technology="ecp5").fingerprint)
    other = dataclasses.replace(CONFIG, rows=4).fingerprint
    with pytest.raises(ProgramError) as caught:
        program.check_config(other)
    assert str(caught.value) == (
        f"program 'network' is for configuration 'small' (0x{CONFIG.fingerprint:08x}), but this circuit is "
        f"configuration 0x{other:08x}: compile it for that configuration"
    )


def test_unusable_input_is_named() -> None:
    program, images = example()
    shape = ", ".join(str(size) for size in images.shape[1:])
    cases = [
        (images[0], f"input must have shape (N, {shape}), not {images[0].shape}"),
        (images[:, :, :-1], f"input must have shape (N, {shape}), not {images[:, :, :-1].shape}"),
        (images / 255, "input must be unsigned 8-bit integers, not float64"),
        (images.astype(int) * 0 + 256, "input values must be from 0 to 255, not 256 to 256"),
        (images.astype(int) * 0 - 1, "input values must be from 0 to 255, not -1 to -1"),
    ]
    for bad, message in cases:
        with pytest.raises(InputError) as caught:
            program.check_input(bad)
        assert str(caught.value) == message
    result, tensors = interpret(program, images[:0])
    assert result.shape == (0, 10, 1, 1)
    assert tensors == {}


def test_batches_and_progress() -> None:
    program, images = example()
    seen: list[int] = []
    result, _ = interpret(program, images, batch_size=2, progress=seen.append)
    assert seen == [2, 3]
    np.testing.assert_array_equal(result, interpret(program, images, batch_size=1)[0])
