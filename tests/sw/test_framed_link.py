"""Framed link over noisy lines in virtual time: exact data, each write executed once and in order, never a hang."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dorefabric.hw.frames import END, Command, FrameSplitter, encode_frame, pack_content, unpack_content
from dorefabric.sim.line import FrameModel, NoisyLine
from dorefabric.sw.framed_link import FramedLink
from dorefabric.sw.link import LinkError


@pytest.fixture(autouse=True)
def fixed_nonces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nonces decide how many bytes are escaped, and so where the noise falls."""
    monkeypatch.setattr("secrets.randbits", random.Random(1).getrandbits)


def words_of(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 32, count, dtype=np.uint32)


def exercise(line: NoisyLine, model: FrameModel, seed: int, operations: int, longest: int) -> FramedLink:
    """Random writes and reads; checks reads, the memory, and that each write was executed once and in order."""
    rng = np.random.default_rng(seed)
    link = FramedLink(line)
    expected: list[tuple[int, int]] = []
    for _ in range(operations):
        start, count = int(rng.integers(0, 500)), int(rng.integers(1, longest))
        if rng.random() < 0.6:
            words = rng.integers(0, 1 << 32, count, dtype=np.uint32)
            link.write(start, words)
            expected += [(start + k, int(word)) for k, word in enumerate(words)]
            words[:] = 0  # the caller may reuse its buffer
        else:
            memory = dict(expected)
            assert link.read(start, count).tolist() == [memory.get(start + k, 0) for k in range(count)]
    link.close()
    assert model.writes == expected
    assert model.words == dict(expected)
    return link


@pytest.mark.parametrize("error_rate", [0.0, 0.001, 0.005, 0.02])
def test_exact_on_noisy_lines(error_rate: float) -> None:
    model = FrameModel()
    line = NoisyLine(model, error_rate, seed=11)
    link = exercise(line, model, seed=12, operations=60, longest=300)
    assert line.closed
    if error_rate:
        assert link.statistics.recoveries > 0
        assert link.statistics.damaged > 0
        assert link.statistics.resent > 0
    else:
        assert link.statistics.recoveries == link.statistics.resent == link.statistics.damaged == 0


@settings(max_examples=40)
@given(seed=st.integers(0, 1 << 30), error_rate=st.sampled_from([0.001, 0.003, 0.01, 0.02]),
       latency=st.sampled_from([0.0, 0.001, 0.016]), baud_rate=st.sampled_from([9600.0, 1e6, 12e6]))  # fmt: skip
def test_exact_whatever_the_noise(seed: int, error_rate: float, latency: float, baud_rate: float) -> None:
    model = FrameModel()
    line = NoisyLine(model, error_rate, seed=seed, latency=latency, baud_rate=baud_rate)
    exercise(line, model, seed, operations=8, longest=120)


def test_noise_that_sets_in_later_shortens_frames() -> None:
    model = FrameModel()
    line = NoisyLine(model, seed=3)
    link = FramedLink(line)
    words = words_of(1, 1500)
    link.write(0, words)
    line.error_rate = 0.02
    link.write(1500, words)
    assert link.read(0, 3000).tolist() == [*words.tolist(), *words.tolist()]
    assert model.writes == list(enumerate([*words.tolist(), *words.tolist()]))


def test_efficiency_of_a_clean_line() -> None:
    model = FrameModel()
    line = NoisyLine(model, baud_rate=1e6, latency=1e-3)
    link = FramedLink(line)
    words = words_of(2, 20_000)
    started = line.now()
    link.write(0, words)
    link.flush()
    rate = 4 * len(words) / (line.now() - started)
    assert rate > 0.9 * 100_000  # bytes/s of the 100,000 that the line carries
    started = line.now()
    assert (link.read(0, 20_000) == words).all()
    assert 4 * len(words) / (line.now() - started) > 0.9 * 100_000
    assert link.statistics.overhead < 0.11


def test_slow_board_is_waited_for() -> None:
    model = FrameModel()
    line = NoisyLine(model, baud_rate=3000, latency=0.4)
    link = FramedLink(line)
    words = words_of(4, 500)
    link.write(0, words)
    assert (link.read(0, 500) == words).all()
    assert len(model.writes) == 500
    assert link.statistics.recoveries < 10


def test_empty_transfers_send_nothing() -> None:
    line = NoisyLine(FrameModel())
    link = FramedLink(line)
    before = link.statistics.bytes_sent
    link.write(0, np.zeros(0, np.uint32))
    assert len(link.read(0, 0)) == 0
    assert link.statistics.bytes_sent == before


def test_wait_idle() -> None:
    model = FrameModel()
    link = FramedLink(NoisyLine(model))
    link.wait_idle(1.0)
    model.words[5] = 0x301
    with pytest.raises(LinkError, match=r"^the board on line is still busy after 0\.5 s$"):
        link.wait_idle(0.5)
    model.words[5] = 0x400
    link.wait_idle(1.0)


# Failures -------------------------------------------------------------------------------------------


class Silent:
    def feed(self, data: bytes) -> bytes:
        return b""


class Echo:
    def feed(self, data: bytes) -> bytes:
        return data


class Shell:
    def feed(self, data: bytes) -> bytes:
        return b"login: \r\n"


class OtherVersion(FrameModel):
    def feed(self, data: bytes) -> bytes:
        answers = FrameSplitter().feed(super().feed(data))
        contents = [unpack_content(answer) for answer in answers if answer]
        return b"".join(encode_frame(pack_content(s, c, [w[0], w[1] + 2])) for s, c, w in contents)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        (Silent(), r"no answer from the board on line within 2 s: is it programmed \(dorefabric flash\), "
                   r"and is its rate 1000000 bit/s\?"),
        (Echo(), r"what answers on line is not a dorefabric board: is it the right port, "
                 r"and is its rate 1000000 bit/s\?"),
        (Shell(), r"what answers on line is not a dorefabric board: is it the right port, "
                  r"and is its rate 1000000 bit/s\?"),
        (OtherVersion(), r"the board on line speaks version 3 of the link protocol, this driver version 1: "
                         r"program the board with this version of dorefabric"),
    ],
)  # fmt: skip
def test_open_failures(device, message: str) -> None:
    line = NoisyLine(device)
    with pytest.raises(LinkError, match=f"^{message}$"):
        FramedLink(line)
    assert line.closed


class Dying(FrameModel):
    """Falls silent after some frames."""

    left = 20

    def feed(self, data: bytes) -> bytes:
        self.left -= 1
        return super().feed(data) if self.left > 0 else b""


def test_board_that_stops_answering() -> None:
    line = NoisyLine(Dying())
    link = FramedLink(line)
    with pytest.raises(LinkError, match=r"^the board on line stopped answering: silent for 2 s$"):
        link.write(0, words_of(5, 5000))
    assert line.closed
    with pytest.raises(LinkError, match=r"^the link to line is closed$"):
        link.read(0, 1)
    link.close()


@pytest.mark.parametrize("outstanding", [False, True])
def test_board_that_was_reset(outstanding: bool) -> None:
    model = FrameModel()
    line = NoisyLine(model)
    link = FramedLink(line)
    link.write(0, words_of(6, 100))
    if not outstanding:
        link.flush()
    model.reset()
    with pytest.raises(LinkError, match=r"^the board on line has been reset: its memories no longer hold what was "
                                        r"written$"):  # fmt: skip
        link.write(0, words_of(7, 100))
        link.flush()


def test_two_programs_on_one_board() -> None:
    model = FrameModel()
    line = NoisyLine(model)
    link = FramedLink(line)
    other = FramedLink(NoisyLine(model))
    for _ in range(60):
        other.read(0, 1)
    with pytest.raises(LinkError, match=r"^the board on line is being used by another program as well$"):
        link.write(0, words_of(7, 100))
        link.flush()


def is_question(data: bytes) -> bool:
    return data[2] in (Command.SYNC, Command.QUERY)


class Deaf(FrameModel):
    """Answers questions; finds every request damaged."""

    def feed(self, data: bytes) -> bytes:
        return super().feed(data if is_question(data) else bytes([END, 1, END]))


def test_line_that_is_too_noisy() -> None:
    link = FramedLink(NoisyLine(Deaf()))
    with pytest.raises(LinkError, match=r"^the line to line is too noisy: 200 attempts without one success$"):
        link.write(0, words_of(8, 100))
        link.flush()


class Refusing(FrameModel):
    def feed(self, data: bytes) -> bytes:
        return super().feed(data) if is_question(data) else encode_frame(pack_content(0, 4))


def test_refused_request() -> None:
    link = FramedLink(NoisyLine(Refusing()))
    with pytest.raises(LinkError, match=r"^the board on line refused a request \(status 4\)$"):
        link.read(0, 1)


def test_parameters_out_of_range() -> None:
    line = NoisyLine(FrameModel())
    with pytest.raises(ValueError, match=r"^window must be from 1 to 32, not 33$"):
        FramedLink(line, window=33)
    with pytest.raises(ValueError, match=r"^timeout must be above 0 seconds, not 0$"):
        FramedLink(line, timeout=0)
    link = FramedLink(line)
    with pytest.raises(ValueError, match=r"^bus addresses must be from 0 to 0xfffffff, not 268435450 to 268435459$"):
        link.read((1 << 28) - 6, 10)


def test_close_waits_for_the_writes_and_can_be_called_twice() -> None:
    model = FrameModel()
    line = NoisyLine(model, 0.02, seed=6)
    link = FramedLink(line)
    link.write(0, words_of(9, 300))
    link.close()
    link.close()
    assert len(model.writes) == 300
    assert line.closed


def test_with_statement_does_not_hide_an_error() -> None:
    line = NoisyLine(FrameModel())
    with pytest.raises(ZeroDivisionError), FramedLink(line) as link:
        link.write(0, words_of(10, 10))
        raise ZeroDivisionError
    assert line.closed
