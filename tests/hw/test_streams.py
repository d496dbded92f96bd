"""Building blocks of streams: data in = data out under every pattern of stalls. The proof is in tests/formal."""

import random

import pytest
from amaranth.sim import Simulator

from dorefabric.hw.streams import StreamBuffer, StreamRegister, StreamSettler
from dorefabric.sim.processes import sink, source


@pytest.mark.parametrize("block", [StreamBuffer, StreamRegister, StreamSettler])
@pytest.mark.parametrize(("source_idle", "sink_idle"), [(0, 0), (0.5, 0), (0, 0.5), (0.3, 0.3)])
def test_passes_everything_in_order(block, source_idle: float, sink_idle: float) -> None:
    dut = block(16)
    rng = random.Random(3)
    payloads = [rng.getrandbits(16) for _ in range(200)]
    received: list[int] = []
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(source(dut.i, payloads, source_idle))

    async def wait(ctx) -> None:
        for _ in range(2000):
            if len(received) == len(payloads):
                return
            await ctx.tick()

    simulator.add_testbench(sink(dut.o, received, sink_idle), background=True)
    simulator.add_testbench(wait)
    simulator.run()
    assert received == payloads


def test_throughput_is_one_a_cycle() -> None:
    dut = StreamBuffer(8)
    received = []
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def bench(ctx) -> None:
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.o.ready, 1)
        for k in range(50):
            ctx.set(dut.i.payload, k)
            _, _, accepted, valid, payload = await ctx.tick().sample(dut.i.ready, dut.o.valid, dut.o.payload)
            assert accepted == 1
            if valid:
                received.append(payload)

    simulator.add_testbench(bench)
    simulator.run()
    assert received == list(range(49))
