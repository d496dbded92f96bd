"""Unframer, frame store and framer against the software twin, with stalls and with damage."""

import random
from zlib import crc32

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from dorefabric.hw.frames import END, FrameSplitter, encode_frame
from dorefabric.hw.framing import Framer, FrameStore, Unframer
from dorefabric.hw.streams import StreamSettler
from dorefabric.sim.processes import sink, source


def run(dut, ports: tuple, payloads: list, idle: float, watch=None) -> tuple[list, int]:
    """Send ``payloads`` to the first port, collect from the second until nothing has come for 300 cycles.

    Returns what was received, and for how many cycles ``watch`` was high.
    """
    port_i, port_o = ports
    received: list = []
    high = 0
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    sending = source(port_i, payloads, idle, seed=5)

    async def bench(ctx) -> None:
        await sending(ctx)
        seen, still = len(received), 0
        while still < 300:
            await ctx.tick()
            still = still + 1 if len(received) == seen else 0
            seen = len(received)

    async def count(ctx) -> None:
        nonlocal high
        while True:
            _, _, level = await ctx.tick().sample(watch)
            high += level

    simulator.add_testbench(bench)
    simulator.add_testbench(sink(port_o, received, idle), background=True)
    if watch is not None:
        simulator.add_testbench(count, background=True)
    simulator.run()
    return received, high


def settled(unit) -> tuple[Module, tuple]:
    """``unit`` behind the stage that registered units need; the module and its ports."""
    m = Module()
    m.submodules.unit = unit
    m.submodules.stage = stage = StreamSettler(unit.i.payload.shape())
    connect(m, stage.o, unit.i)
    return m, (stage.i, unit.o)


def random_contents(seed: int, count: int, longest: int = 30) -> list[bytes]:
    rng = random.Random(seed)
    pool = [0xC0, 0xDB, 0xDC, 0xDD, *range(256)]
    return [bytes(rng.choice(pool if k % 2 else pool[:4]) for _ in range(rng.randint(1, longest)))
            for k in range(count)]  # fmt: skip


@pytest.mark.parametrize("idle", [0.0, 0.4])
@pytest.mark.parametrize("crc_bits", [1, 8])
@pytest.mark.parametrize("registered", [False, True])
def test_framer_is_encode_frame(crc_bits: int, idle: float, registered: bool) -> None:
    dut = Framer(crc_bits, registered=registered)
    # Of the CRC's bytes only the first can be looked at too early: two that need an escape.
    numbers = [k.to_bytes(4, "little") for k in range(2000)]
    escaped = [next(content for content in numbers if crc32(content) & 255 == byte) for byte in (0xC0, 0xDB)]
    contents = random_contents(1, 6) + escaped
    payloads = [{"data": byte, "last": k == len(content) - 1}
                for content in contents for k, byte in enumerate(content)]  # fmt: skip
    received, _ = run(dut, (dut.i, dut.o), payloads, idle)
    assert bytes(received) == b"".join(map(encode_frame, contents))


def damage(wire: bytes, rng: random.Random, rate: float) -> bytes:
    """Flip, drop and repeat bytes."""
    out = bytearray()
    for byte in wire:
        kind = rng.random() / rate
        out += b"" if kind < 1 / 3 else bytes([byte] * 2) if kind < 2 / 3 else bytes([byte])
        if 2 / 3 <= kind < 1:
            out[-1] ^= 1 << rng.randrange(8)
    return bytes(out)


@pytest.mark.parametrize("idle", [0.0, 0.4])
@pytest.mark.parametrize("crc_bits", [1, 8])
@pytest.mark.parametrize("registered", [False, True])
def test_unframer_is_decode_frame(crc_bits: int, idle: float, registered: bool) -> None:
    unframer = Unframer(crc_bits, registered=registered)
    dut, ports = settled(unframer) if registered else (unframer, (unframer.i, unframer.o))
    rng = random.Random(2)
    wire = b"".join(encode_frame(content) for content in random_contents(3, 12))
    wire = damage(wire, rng, 0.03) + bytes([0xDB, END, 0xDB, 0x41, END]) + encode_frame(b"after") + bytes([END])
    received, _ = run(dut, ports, list(wire), idle)
    found: list[bytes | None] = []
    partial = bytearray()
    for item in received:
        if not item.end:
            partial.append(item.data)
        else:
            if partial:
                found.append(bytes(partial[:-4]) if item.intact else None)
            partial.clear()
    # An ESC with nothing behind it carries no byte, so the gateware takes the frame for an empty one.
    lone_escapes = wire.split(b"\xc0").count(b"\xdb")
    expected = FrameSplitter().feed(wire)
    assert lone_escapes == 1
    expected.remove(None)
    assert found.count(None) == expected.count(None)
    assert [frame for frame in found if frame is not None] == [frame for frame in expected if frame is not None]
    assert b"after" in found


@pytest.mark.parametrize("registered", [False, True])
@pytest.mark.parametrize("idle", [0.0, 0.5])
def test_store_keeps_intact_whole_frames_only(idle: float, registered: bool) -> None:
    store = FrameStore(depth=64, max_frame_bytes=26, registered=registered)
    dut, ports = settled(store) if registered else (store, (store.i, store.o))
    rng = random.Random(4)
    payloads, expected, dropped = [], [], 0
    for _ in range(60):
        length = rng.choice([0, 1, 4, 6, 9, 10, 14, 14, 18, 22, 26, 30, 34])
        frame = bytes(rng.randrange(256) for _ in range(length))
        intact = rng.random() < 0.7
        payloads += [{"data": byte, "end": 0, "intact": 0} for byte in frame]
        payloads.append({"data": 0, "end": 1, "intact": intact})
        if intact and 10 <= length <= 30 and length % 4 == 2:
            expected += [length - 4, *frame[:-4]]
        else:
            dropped += length > 0
    received, damaged = run(dut, ports, payloads, idle, watch=store.damaged)
    if idle or registered:  # the sink is not faster than the source: some frames may not fit, none may be wrong
        assert damaged >= dropped
        assert is_subsequence_of_frames(received, expected)
    else:
        assert damaged == dropped
        assert received == expected


def is_subsequence_of_frames(received: list[int], expected: list[int]) -> bool:
    remaining = iter(split_lengths(expected))
    return all(any(frame == other for other in remaining) for frame in split_lengths(received))


def split_lengths(stream: list[int]) -> list[list[int]]:
    frames = []
    while stream:
        frames.append(stream[1 : 1 + stream[0]])
        stream = stream[1 + stream[0] :]
    return frames


def test_store_drops_the_frame_that_does_not_fit_and_no_other() -> None:
    dut = FrameStore(depth=32, max_frame_bytes=26)
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    received: list[int] = []

    async def send(ctx, value: int, length: int) -> int:
        drops = 0
        for k in range(length + 1):
            ctx.set(dut.i.payload, {"data": value, "end": k == length, "intact": 1})
            ctx.set(dut.i.valid, 1)
            _, _, damaged = await ctx.tick().sample(dut.damaged)
            drops += damaged
        ctx.set(dut.i.valid, 0)
        return drops

    async def bench(ctx) -> None:
        assert await send(ctx, 1, 14) == 0  # 11 bytes in the ring, one of them already on its way out
        assert await send(ctx, 2, 14) == 0
        assert await send(ctx, 3, 14) == 1  # 22 + 15 do not fit
        ctx.set(dut.o.ready, 1)
        for _ in range(60):
            _, _, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                received.append(payload)
        assert await send(ctx, 4, 30) == 0
        for _ in range(60):
            _, _, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                received.append(payload)

    simulator.add_testbench(bench)
    simulator.run()
    assert split_lengths(received) == [[1] * 10, [2] * 10, [4] * 26]


def test_store_of_framed_bytes() -> None:
    m = Module()
    m.submodules.unframer = unframer = Unframer()
    m.submodules.store = store = FrameStore()
    connect(m, unframer.o, store.i)
    longest = bytes(k * 37 & 255 for k in range(254))
    wire = encode_frame(longest) + encode_frame(longest + bytes(4)) + encode_frame(longest[:10])
    received, damaged = run(m, (unframer.i, store.o), list(wire), 0.0, watch=store.damaged)
    assert split_lengths(received) == [list(longest), list(longest[:10])]
    assert damaged == 1


@pytest.mark.parametrize("depth", [100, 256])
def test_depth_that_cannot_hold_a_frame_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=rf"^depth must be a power of two above 259, not {depth}$"):
        FrameStore.check(depth, 254)
