"""Serial link through pseudo-terminals: the same calls as for a board, and every way in which a port can fail."""

import errno
import os
import pty
import select
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import serial

from dorefabric.sim.line import FrameModel
from dorefabric.sw.link import LinkError
from dorefabric.sw.serial_link import SerialLink


class Board:
    """A device behind a pseudo-terminal, answering in a thread until it is unplugged."""

    def __init__(self, device) -> None:
        self._device = device
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        self.port = os.ttyname(slave)
        self._slave = slave
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop.is_set():
            if select.select([self._master], [], [], 0.02)[0]:
                answer = self._device.feed(os.read(self._master, 4096))
                while answer:
                    answer = answer[os.write(self._master, answer) :]

    def unplug(self) -> None:
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            os.close(self._slave)
            os.close(self._master)


@pytest.fixture
def model() -> FrameModel:
    return FrameModel()


@pytest.fixture
def board(model: FrameModel) -> Iterator[Board]:
    board = Board(model)
    yield board
    board.unplug()


def test_writes_and_reads(board: Board, model: FrameModel) -> None:
    words = np.random.default_rng(1).integers(0, 1 << 32, 5000, dtype=np.uint32)
    with SerialLink(board.port, 1_000_000) as link:
        link.write(0x1000, words)
        assert (link.read(0x1000, 5000) == words).all()
        assert link.statistics.damaged == 0
    assert model.writes == [(0x1000 + k, int(word)) for k, word in enumerate(words)]


def test_opening_again_goes_on(board: Board) -> None:
    for k in range(3):
        with SerialLink(board.port, 1_000_000) as link:
            link.write(k, np.array([k], dtype=np.uint32))
            assert link.read(0, k + 1).tolist() == list(range(k + 1))


def test_port_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    class Info:
        def __init__(self, device: str) -> None:
            self.device = device

    found = [Info("/dev/ttyUSB1"), Info("/dev/ttyACM0")]
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: found)
    with pytest.raises(LinkError, match=r"^port /dev/ttyNONE does not exist \(serial ports of this machine: "
                                        r"/dev/ttyACM0, /dev/ttyUSB1\)$"):  # fmt: skip
        SerialLink("/dev/ttyNONE", 115200)
    found.clear()
    with pytest.raises(LinkError, match=r"^port /dev/ttyNONE does not exist \(serial ports of this machine: none\)$"):
        SerialLink("/dev/ttyNONE", 115200)


def test_port_that_is_busy(board: Board) -> None:
    with (
        SerialLink(board.port, 115200),
        pytest.raises(LinkError, match=f"^port {board.port} is busy: another program has it open$"),
    ):
        SerialLink(board.port, 115200)
    SerialLink(board.port, 115200).close()


def test_port_without_permission(monkeypatch: pytest.MonkeyPatch, board: Board) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise serial.SerialException(errno.EACCES, "could not open port: [Errno 13] Permission denied")

    import grp

    group = grp.getgrgid(os.stat(board.port).st_gid).gr_name
    monkeypatch.setattr("serial.Serial", refuse)
    with pytest.raises(LinkError, match=rf"^no permission to open port {board.port}: join the group that owns it "
                                        rf"\(sudo usermod -aG {group} \$USER, then log in again\)$"):  # fmt: skip
        SerialLink(board.port, 115200)


def test_file_that_is_no_port(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text")
    with pytest.raises(LinkError, match=f"^{path} is not a serial port$"):
        SerialLink(str(path), 115200)


def test_rate_that_the_port_cannot_run_at(board: Board) -> None:
    with pytest.raises(LinkError, match=f"^port {board.port} cannot run at -5 bit/s$"):
        SerialLink(board.port, -5)


def test_port_that_goes_away(board: Board) -> None:
    link = SerialLink(board.port, 115200)
    link.write(0, np.arange(10, dtype=np.uint32))
    board.unplug()
    with pytest.raises(LinkError, match=rf"^port {board.port} went away: was the board unplugged\?$"):
        link.read(0, 10)
    link.close()


class Silent:
    def feed(self, data: bytes) -> bytes:
        return b""


class Console:
    def feed(self, data: bytes) -> bytes:
        return b"bash: command not found\r\n"


def test_no_board_behind_the_port() -> None:
    board = Board(Silent())
    with pytest.raises(LinkError, match=rf"^no answer from the board on {board.port} within 0\.3 s: is it programmed "
                                        rf"\(dorefabric flash\), and is its rate 115200 bit/s\?$"):  # fmt: skip
        SerialLink(board.port, 115200, timeout=0.3)
    board.unplug()


def test_something_else_behind_the_port() -> None:
    board = Board(Console())
    with pytest.raises(LinkError, match=rf"^what answers on {board.port} is not a dorefabric board: is it the right "
                                        rf"port, and is its rate 115200 bit/s\?$"):  # fmt: skip
        SerialLink(board.port, 115200, timeout=0.3)
    board.unplug()
