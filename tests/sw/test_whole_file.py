"""Files that appear whole or not at all."""

from pathlib import Path

import pytest

from dorefabric.hw.errors import DorefabricError
from dorefabric.sw.program import ProgramError
from dorefabric.sw.whole_file import whole_file


def test_a_file_is_replaced_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with whole_file(path) as scratch:
        scratch.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), ValueError("x"), OSError("disk full")])
def test_what_was_there_stays(tmp_path: Path, fault: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises((KeyboardInterrupt, ValueError, DorefabricError)) as caught, whole_file(path) as scratch:
        scratch.write_text("half")
        raise fault
    assert str(caught.value) == (f"cannot write {path}: disk full" if isinstance(fault, OSError) else str(fault))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for name, reason in (("none/a", "No such file or directory"), ("file/a", "Not a directory"),
                         ("folder", "Is a directory")):  # fmt: skip
        path = tmp_path / name
        with pytest.raises(ProgramError) as caught, whole_file(path, "program", ProgramError) as scratch:
            scratch.write_text("new")
        assert str(caught.value) == f"cannot write program {path}: {reason}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
