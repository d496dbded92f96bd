"""Waveform files in both formats hold the signals' names and values, and the compression is what its readers expect."""

import os
import subprocess
import zlib

import numpy as np
import pytest

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.registers import address
from dorefabric.sim import build
from dorefabric.sim.tools import find_compiler
from dorefabric.sim.verilator import VerilatorLink

PROGRAM = """
#include <cstdio>
#include "fst_compression.h"
int main(int, char **argv) {
    std::vector<char> in, out;
    for (int c; (c = std::getchar()) != EOF;) in.push_back(char(c));
    uLongf size;
    if (argv[1][0] == 'l') {
        out.resize(LZ4_compressBound(int(in.size())));
        size = LZ4_compress_default(in.data(), out.data(), int(in.size()), int(out.size()));
    } else {
        out.resize(compressBound(in.size()));
        compress2((Bytef *)out.data(), &size, (const Bytef *)in.data(), in.size(), 9);
    }
    std::fwrite(out.data(), 1, size, stdout);
}
"""


def lz4_block(data):
    """Decode an LZ4 block, and check the rules for its end."""
    out, at, last_match = bytearray(), 0, None
    while True:
        token, at = data[at], at + 1
        count, at = _length(data, at, token >> 4)
        out += data[at : at + count]
        at += count
        if at == len(data):
            assert last_match is None or (len(out) - last_match >= 12 and count >= 5)
            return bytes(out)
        offset, at = int.from_bytes(data[at : at + 2], "little"), at + 2
        assert 0 < offset <= len(out)
        match, at = _length(data, at, token & 15)
        last_match = len(out)
        for _ in range(match + 4):
            out.append(out[-offset])


def _length(data, at, value):
    if value == 15:
        while data[at] == 255:
            value, at = value + 255, at + 1
        value, at = value + data[at], at + 1
    return value, at


@pytest.fixture(scope="module")
def compress(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compress")
    (folder / "main.cpp").write_text(PROGRAM)
    command = [*find_compiler(), "-std=c++17", "-O1", "-Wall", "-Werror", f"-I{build.SOURCES}", "-o",
               str(folder / "program"), str(folder / "main.cpp")]  # fmt: skip
    subprocess.run(command, check=True)

    def run(kind, data):
        return subprocess.run([folder / "program", kind], input=data, capture_output=True, check=True).stdout

    return run


@pytest.mark.parametrize(
    "data",
    [b"", b"a", b"abcd" * 3, b"x" * 100_000, os.urandom(70_000), b"".join(b"%d," % (k % 777) for k in range(40_000)),
     bytes(range(256)) * 300 + os.urandom(300) + bytes(200_000)],
    ids=["empty", "one", "short", "run", "random", "numbers", "mixed"],
)  # fmt: skip
def test_compression_round_trip(compress, data):
    assert lz4_block(compress("lz4", data)) == data
    assert zlib.decompress(compress("zlib", data)) == data


def test_repetition_is_compressed(compress):
    assert len(compress("lz4", b"0123456789abcdef" * 1000)) < 200


def test_fst(bus_memory, tmp_path):
    path = tmp_path / "wave.fst"
    with VerilatorLink(FabricConfig(), path, verilog=bus_memory.verilog) as link:
        link.write(address("features", 0), np.arange(500, dtype=np.uint32))
        link.record(False)
        link.run(100_000)
        link.record(True)
    blocks = dict(_fst_blocks(path.read_bytes()))
    assert {0, 3, 6} < blocks.keys()  # header, geometry, hierarchy, and values
    size, compressed = int.from_bytes(blocks[6][:8], "big"), blocks[6][8:]
    names = lz4_block(compressed)
    assert len(names) == size
    assert b"bus__request__payload" in names
    assert len(path.read_bytes()) < 100_000  # what was not recorded takes no space


def _fst_blocks(data):
    """(type, content) of each block of an FST file."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 9], "big")
        yield data[at], data[at + 9 : at + 1 + size]
        at += 1 + size
