"""Frames of the serial host link: constants, encoding and decoding, in plain Python.

A *frame* is its content and a CRC-32 (that of `zlib.crc32`), escaped as in SLIP (RFC 1055), between two END
bytes. Integers are little-endian.

    wire     END | escaped(content | crc32(4)) | END
    content  of a request:   sequence(1) command(1) word(4) ...
             of a response:  sequence(1) status(1)  word(4) ...

| command | words                     | response                                                         |
|---------|---------------------------|------------------------------------------------------------------|
| SYNC    | nonce                     | SYNCHRONISED, sequence = the one expected next; nonce, identity  |
| QUERY   | nonce                     | the same, but UNSYNCHRONISED when there was no SYNC since reset  |
| WRITE   | address, 1 to 62 of data  | DONE                                                             |
| READ    | address, count (1 to 255) | DONE, count words                                                |

| status         | meaning                                                                                    |
|----------------|--------------------------------------------------------------------------------------------|
| DONE           | the request with this sequence number has been executed                                    |
| SYNCHRONISED   | answer to SYNC and QUERY, which change nothing else                                        |
| EXPECTED       | a frame was damaged or has another sequence number than this, the one expected next        |
| UNSYNCHRONISED | nothing is executed after a reset until there has been a SYNC                              |
| REFUSED        | intact, but no request of this version of the protocol; not executed                       |

The board executes a WRITE or READ only when the frame is intact and its sequence number is the expected one, which
it then increments modulo 256. So an answer can be lost, but what was executed is known again after one QUERY: the
line never reorders bytes, so when the answer with this nonce arrives, nothing sent earlier is still under way, and
everything before the sequence number it carries has been executed, exactly once and in order; nothing else has.
"""

import re
import zlib
from collections.abc import Sequence
from enum import IntEnum

__all__ = [
    "ADDRESS_MASK",
    "CRC_BYTES",
    "END",
    "ESC",
    "ESC_END",
    "ESC_ESC",
    "HEADER_BYTES",
    "IDENTITY",
    "MAX_FRAME_BYTES",
    "MAX_READ_WORDS",
    "MAX_WRITE_WORDS",
    "PROTOCOL_VERSION",
    "Command",
    "FrameSplitter",
    "Status",
    "decode_frame",
    "encode_frame",
    "pack_content",
    "unpack_content",
]

END = 0xC0
ESC = 0xDB
ESC_END = 0xDC
ESC_ESC = 0xDD

HEADER_BYTES = 2
CRC_BYTES = 4
MAX_WRITE_WORDS = 62
"""Data words of the longest WRITE."""
MAX_READ_WORDS = 255
"""Words that one READ can ask for."""
MAX_FRAME_BYTES = HEADER_BYTES + 4 * (1 + MAX_WRITE_WORDS)
"""Content of the longest request; its length fits in a byte."""

PROTOCOL_VERSION = 1
IDENTITY = 0x44460000 | PROTOCOL_VERSION
"""Second word of the answer to SYNC and QUERY: the letters DF, and the version of the protocol."""
ADDRESS_MASK = (1 << 28) - 1


class Command(IntEnum):
    """Second byte of a request."""

    SYNC = 1
    WRITE = 2
    READ = 3
    QUERY = 4


class Status(IntEnum):
    """Second byte of a response."""

    DONE = 0
    SYNCHRONISED = 1
    EXPECTED = 2
    UNSYNCHRONISED = 3
    REFUSED = 4


_BAD_ESCAPE = re.compile(rb"\xdb(?![\xdc\xdd])")


def pack_content(sequence: int, code: int, words: Sequence[int] = ()) -> bytes:
    """Content of a frame: ``sequence`` modulo 256, a `Command` or `Status`, 32-bit ``words``."""
    return bytes((sequence & 0xFF, code)) + b"".join(int(word).to_bytes(4, "little") for word in words)


def unpack_content(content: bytes) -> tuple[int, int, list[int]]:
    """Inverse of `pack_content`; `ValueError` when ``content`` is not a header and whole words."""
    if len(content) < HEADER_BYTES or (len(content) - HEADER_BYTES) % 4:
        raise ValueError(f"a frame is a header of {HEADER_BYTES} bytes and whole words, not {len(content)} bytes")
    words = [int.from_bytes(content[k : k + 4], "little") for k in range(HEADER_BYTES, len(content), 4)]
    return content[0], content[1], words


def encode_frame(content: bytes) -> bytes:
    """Bytes on the wire for one frame, END bytes included."""
    checked = content + zlib.crc32(content).to_bytes(CRC_BYTES, "little")
    escaped = checked.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
    return b"\xc0" + escaped + b"\xc0"


def decode_frame(escaped: bytes) -> bytes | None:
    """Content of the frame whose bytes between two END are ``escaped``; None when it is damaged."""
    if _BAD_ESCAPE.search(escaped):
        return None
    checked = escaped.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")
    content, crc = checked[:-CRC_BYTES], checked[-CRC_BYTES:]
    if len(checked) < CRC_BYTES or zlib.crc32(content) != int.from_bytes(crc, "little"):
        return None
    return content


class FrameSplitter:
    """Turns received bytes, in pieces of any size, into frames."""

    def __init__(self) -> None:
        self._partial = b""

    def feed(self, received: bytes) -> list[bytes | None]:
        """Frames that end within ``received``: their content, or None for a damaged one."""
        *complete, self._partial = (self._partial + received).split(b"\xc0")
        return [decode_frame(escaped) for escaped in complete if escaped]
