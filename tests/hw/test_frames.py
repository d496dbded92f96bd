"""Frame format: round trips, damage, splitting in pieces."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dorefabric.hw.frames import (
    END,
    FrameSplitter,
    decode_frame,
    encode_frame,
    pack_content,
    unpack_content,
)

contents = st.lists(st.sampled_from([0xC0, 0xDB, 0xDC, 0xDD, 0x00, 0x41]) | st.integers(0, 255)).map(bytes)


@given(contents)
def test_decode_inverts_encode(content: bytes) -> None:
    wire = encode_frame(content)
    assert wire[0] == wire[-1] == END
    assert END not in wire[1:-1]
    assert decode_frame(wire[1:-1]) == content


def test_format_byte_by_byte() -> None:
    content = bytes.fromhex("cc 10 c0 db")
    crc = zlib.crc32(content).to_bytes(4, "little")
    assert crc == bytes.fromhex("c0 f1 02 db")
    assert encode_frame(content) == bytes.fromhex("c0 cc 10 db dc db dd db dc f1 02 db dd c0")


@given(st.lists(contents.filter(len)), st.integers(1, 7))
def test_splitter_takes_pieces_of_any_size(frames: list[bytes], size: int) -> None:
    wire = b"".join(map(encode_frame, frames))
    splitter = FrameSplitter()
    found = [frame for k in range(0, len(wire), size) for frame in splitter.feed(wire[k : k + size])]
    assert found == frames


@given(contents, st.data())
def test_a_changed_lost_or_repeated_byte_is_noticed(content: bytes, data: st.DataObject) -> None:
    wire = encode_frame(content)[1:-1]
    at = data.draw(st.integers(0, len(wire) - 1))
    kind = data.draw(st.sampled_from(["flip", "drop", "repeat"]))
    changed = bytes([wire[at] ^ 1 << data.draw(st.integers(0, 7))])
    damaged = wire[:at] + {"flip": changed, "drop": b"", "repeat": wire[at : at + 1] * 2}[kind] + wire[at + 1 :]
    results = FrameSplitter().feed(bytes([END]) + damaged + bytes([END]))
    assert content not in results or damaged == wire


@pytest.mark.parametrize("escaped", ["db", "db 41", "db db dc", "41 db", "", "01 02 03"])
def test_bad_escapes_and_short_frames_are_damaged(escaped: str) -> None:
    assert decode_frame(bytes.fromhex(escaped)) is None


def test_contents() -> None:
    content = pack_content(0x1FE, 3, [0x01020304, 0xFFFFFFFF])
    assert content == bytes.fromhex("fe 03 04 03 02 01 ff ff ff ff")
    assert unpack_content(content) == (0xFE, 3, [0x01020304, 0xFFFFFFFF])
    with pytest.raises(ValueError, match=r"^a frame is a header of 2 bytes and whole words, not 5 bytes$"):
        unpack_content(bytes(5))
