"""Bridge and whole serial front end: every command, every status, exactly-once execution."""

import random
from collections.abc import Callable
from functools import partial

import pytest
from amaranth.lib.wiring import flipped
from amaranth.sim import Simulator

from dorefabric.hw.frames import (
    IDENTITY,
    Command,
    FrameSplitter,
    Status,
    encode_frame,
    pack_content,
    unpack_content,
)
from dorefabric.hw.front import SerialFront
from dorefabric.sim.processes import BusMemory, sink, source

NONCE = 0xC0DB1234
SYNC = pack_content(0, Command.SYNC, [NONCE])


@pytest.fixture(params=[False, True], ids=["plain", "registered"])
def converse(request: pytest.FixtureRequest) -> Callable[..., list]:
    return partial(conversation, request.param)


def conversation(
    registered: bool, wire: bytes, memory: BusMemory, idle: float = 0.0, crc_bits: int = 8, quiet: int = 600
) -> list:
    """Send ``wire`` to a fresh front end; its responses as (sequence, status, words)."""
    dut = SerialFront(crc_bits, registered=registered)
    received: list[int] = []
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    sending = source(dut.i, list(wire), idle, seed=7)

    async def bench(ctx) -> None:
        await sending(ctx)
        seen, still = len(received), 0
        while still < quiet:
            await ctx.tick()
            still = still + 1 if len(received) == seen else 0
            seen = len(received)

    simulator.add_testbench(bench)
    simulator.add_testbench(sink(dut.o, received, idle), background=True)
    simulator.add_testbench(memory.serve(flipped(dut.bus)), background=True)
    simulator.run()
    frames = FrameSplitter().feed(bytes(received))
    assert None not in frames
    return [unpack_content(frame) for frame in frames if frame is not None]


def wire_of(*requests: bytes) -> bytes:
    return b"".join(map(encode_frame, requests))


@pytest.mark.parametrize("idle", [0.0, 0.4])
@pytest.mark.parametrize("crc_bits", [1, 8])
def test_writes_and_reads(converse, crc_bits: int, idle: float) -> None:
    memory = BusMemory(idle)
    words = [0xC0C0DBDB, 0x01234567, 0xFFFFFFFF, 0]
    answers = converse(
        wire_of(
            SYNC,
            pack_content(0, Command.WRITE, [0x0ABCDEF0, *words]),
            pack_content(1, Command.WRITE, [0x00000009, 0x5A5A5A5A]),
            pack_content(2, Command.READ, [0x0ABCDEF1, 3]),
            pack_content(3, Command.READ, [9, 1]),
        ),
        memory, idle, crc_bits,
    )  # fmt: skip
    assert answers == [
        (0, Status.SYNCHRONISED, [NONCE, IDENTITY]),
        (0, Status.DONE, []),
        (1, Status.DONE, []),
        (2, Status.DONE, words[1:]),
        (3, Status.DONE, [0x5A5A5A5A]),
    ]
    assert memory.writes == [(0x0ABCDEF0 + k, word) for k, word in enumerate(words)] + [(9, 0x5A5A5A5A)]


def test_nothing_is_executed_before_a_sync(converse) -> None:
    memory = BusMemory()
    answers = converse(wire_of(pack_content(0, Command.WRITE, [1, 2]), pack_content(0, Command.READ, [1, 1])), memory)
    assert answers == [(0, Status.UNSYNCHRONISED, [])] * 2
    assert memory.log == []


def test_sync_tells_the_expected_number_and_changes_nothing(converse) -> None:
    memory = BusMemory()
    writes = [pack_content(k, Command.WRITE, [k, k]) for k in range(3)]
    answers = converse(wire_of(SYNC, *writes, SYNC, pack_content(3, Command.WRITE, [3, 3])), memory)
    assert answers[4] == (3, Status.SYNCHRONISED, [NONCE, IDENTITY])
    assert memory.writes == [(k, k) for k in range(4)]


def test_query_is_a_sync_that_does_not_synchronise(converse) -> None:
    memory = BusMemory()
    query = pack_content(0, Command.QUERY, [77])
    answers = converse(wire_of(query, SYNC, pack_content(0, Command.WRITE, [1, 1]), query), memory)
    assert [answers[0], answers[3]] == [
        (0, Status.UNSYNCHRONISED, []),
        (1, Status.SYNCHRONISED, [77, IDENTITY]),
    ]


def test_repeated_frames_are_not_executed(converse) -> None:
    memory = BusMemory()
    write, read = pack_content(0, Command.WRITE, [5, 1]), pack_content(1, Command.READ, [5, 2])
    answers = converse(wire_of(SYNC, write, write, read, write, read), memory)
    done, early = Status.DONE, Status.EXPECTED
    assert answers[1:] == [(0, done, []), (1, early, []), (1, done, [1, 0]), (2, early, []), (2, early, [])]
    assert memory.log == [(5, 1), (5, None), (6, None)]


def test_early_frames_are_not_executed(converse) -> None:
    memory = BusMemory()
    early = [pack_content(k, Command.WRITE, [k, k]) for k in (1, 2, 127, 128, 255)]
    answers = converse(wire_of(SYNC, *early, pack_content(0, Command.WRITE, [0, 9])), memory)
    assert answers[1:] == [(0, Status.EXPECTED, [])] * 5 + [(0, Status.DONE, [])]
    assert memory.writes == [(0, 9)]


def test_sequence_numbers_wrap(converse) -> None:
    memory = BusMemory()
    count = 260
    writes = [pack_content(k, Command.WRITE, [k, k]) for k in range(count)]
    answers = converse(wire_of(SYNC, *writes), memory)
    assert [answer[0] for answer in answers[1:]] == [k & 255 for k in range(count)]
    assert memory.writes == [(k, k) for k in range(count)]


def test_damaged_frames_are_reported_and_never_executed(converse) -> None:
    memory = BusMemory()
    good = encode_frame(pack_content(0, Command.WRITE, [1, 1]))
    bad = bytearray(encode_frame(pack_content(1, Command.WRITE, [2, 2])))
    bad[5] ^= 4
    short = encode_frame(b"\x01\x02\x03")
    answers = converse(wire_of(SYNC) + good + bytes(bad), memory)
    assert answers[1:] == [(0, Status.DONE, []), (1, Status.EXPECTED, [])]
    answers = converse(bytes(bad), memory)
    assert answers == [(0, Status.UNSYNCHRONISED, [])]
    answers = converse(wire_of(SYNC) + short, memory)
    assert answers[1:] == [(0, Status.EXPECTED, [])]
    assert memory.writes == [(1, 1)]


@pytest.mark.parametrize(
    "request_",
    [
        (9, [1, 2]), (Command.SYNC, [1, 2]), (Command.QUERY, [1, 2]), (Command.WRITE, [1]), (Command.READ, [1]),
        (Command.READ, [1, 2, 3]),
    ],
)  # fmt: skip
def test_intact_nonsense_is_refused(converse, request_: tuple[int, list[int]]) -> None:
    memory = BusMemory()
    answers = converse(wire_of(SYNC, pack_content(0, *request_), pack_content(0, Command.WRITE, [1, 1])), memory)
    assert answers[1:] == [(0, Status.REFUSED, []), (0, Status.DONE, [])]
    assert memory.log == [(1, 1)]


def test_longest_requests(converse) -> None:
    memory = BusMemory()
    rng = random.Random(8)
    words = [rng.getrandbits(32) for _ in range(62)]
    answers = converse(
        wire_of(SYNC, pack_content(0, Command.WRITE, [16, *words]), pack_content(1, Command.READ, [16, 255])), memory,
        quiet=1200,  # the store hands out the write's 255 bytes in four cycles each
    )  # fmt: skip
    assert answers[1:] == [(0, 0, []), (1, 0, words + [0] * 193)]
