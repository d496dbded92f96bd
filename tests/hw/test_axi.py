"""AXI front end: memory map, responses, streams, everything at once under stalls."""

import random

import pytest
from amaranth.lib.wiring import flipped
from amaranth.sim import Simulator

from dorefabric.hw.axi import AxiFront
from dorefabric.sim.processes import BusMemory

FRONT = 0x3C000000
WRITE_ADDRESS, WRITE_LENGTH, READ_ADDRESS, READ_LENGTH = (FRONT + 4 * k for k in range(4))


class Master:
    """AXI4-Lite accesses, with idle cycles before each handshake."""

    def __init__(self, dut: AxiFront, ctx, idle: float, rng: random.Random) -> None:
        self._dut, self._ctx, self._idle, self._rng = dut, ctx, idle, rng

    async def _pause(self) -> None:
        while self._rng.random() < self._idle:
            await self._ctx.tick()

    async def _handshake(self, valid, ready) -> None:
        self._ctx.set(valid, 1)
        done = 0
        while not done:
            _, _, done = await self._ctx.tick().sample(ready)
        self._ctx.set(valid, 0)

    async def write(self, address: int, data: int, strobes: int = 15) -> int:
        """Returns BRESP. Address and data come in any order."""
        dut, ctx = self._dut, self._ctx
        ctx.set(dut.s_axi_awaddr, address)
        ctx.set(dut.s_axi_wdata, data)
        ctx.set(dut.s_axi_wstrb, strobes)
        waiting = [(dut.s_axi_awvalid, dut.s_axi_awready), (dut.s_axi_wvalid, dut.s_axi_wready)]
        self._rng.shuffle(waiting)
        ctx.set(waiting[0][0], 1)
        await self._pause()
        ctx.set(waiting[1][0], 1)
        while waiting:
            _, _, *ready = await ctx.tick().sample(*(pair[1] for pair in waiting))
            for (valid, _), taken in zip(waiting, ready, strict=True):
                if taken:
                    ctx.set(valid, 0)
            waiting = [pair for pair, taken in zip(waiting, ready, strict=True) if not taken]
        await self._pause()
        return (await self._collect(dut.s_axi_bvalid, dut.s_axi_bready, dut.s_axi_bresp))[0]

    async def read(self, address: int) -> tuple[int, int]:
        """Returns RDATA and RRESP."""
        dut = self._dut
        self._ctx.set(dut.s_axi_araddr, address)
        await self._handshake(dut.s_axi_arvalid, dut.s_axi_arready)
        await self._pause()
        data, response = await self._collect(dut.s_axi_rvalid, dut.s_axi_rready, dut.s_axi_rdata, dut.s_axi_rresp)
        return data, response

    async def _collect(self, valid, ready, *values) -> list[int]:
        self._ctx.set(ready, 1)
        done = 0
        while not done:
            _, _, done, *sampled = await self._ctx.tick().sample(valid, *values)
        self._ctx.set(ready, 0)
        return sampled


def run(bench, memory: BusMemory, idle: float = 0.0, beats=(), received: list | None = None) -> None:
    dut = AxiFront()
    rng = random.Random(9)
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def main(ctx) -> None:
        await bench(Master(dut, ctx, idle, rng), ctx)

    async def feed(ctx) -> None:
        for beat in beats:
            while rng.random() < idle:
                await ctx.tick()
            ctx.set(dut.s_axis_tdata, beat)
            ctx.set(dut.s_axis_tvalid, 1)
            ready = 0
            while not ready:
                _, _, ready = await ctx.tick().sample(dut.s_axis_tready)
            ctx.set(dut.s_axis_tvalid, 0)

    async def drain(ctx) -> None:
        while True:
            ctx.set(dut.m_axis_tready, rng.random() >= idle)
            _, _, valid, ready, data, last = await ctx.tick().sample(
                dut.m_axis_tvalid, dut.m_axis_tready, dut.m_axis_tdata, dut.m_axis_tlast
            )
            if valid and ready:
                received.append((data, last))

    simulator.add_testbench(main)
    simulator.add_testbench(feed, background=True)
    if received is not None:
        simulator.add_testbench(drain, background=True)
    simulator.add_testbench(memory.serve(flipped(dut.bus)), background=True)
    simulator.run()


@pytest.mark.parametrize("idle", [0.0, 0.5])
def test_lite_reaches_the_bus(idle: float) -> None:
    memory = BusMemory(idle)
    rng = random.Random(1)
    model: dict[int, int] = {}

    async def bench(master: Master, ctx) -> None:
        for _ in range(80):
            address = rng.choice([0x0000010, 0x5000003, 0xEFFFFFF]) + rng.randrange(4)
            address = min(address, 0xEFFFFFF)
            if rng.random() < 0.5:
                model[address] = rng.getrandbits(32)
                assert await master.write(4 * address, model[address]) == 0
            else:
                assert await master.read(4 * address) == (model.get(address, 0), 0)

    run(bench, memory, idle)
    assert memory.words == model


def test_partial_writes_change_nothing() -> None:
    memory = BusMemory()

    async def bench(master: Master, ctx) -> None:
        for strobes in (0, 1, 7, 14):
            assert await master.write(64, 5, strobes) == 2
        assert await master.read(64) == (0, 0)

    run(bench, memory)
    assert memory.writes == []


def test_write_and_read_that_come_together_take_turns() -> None:
    memory = BusMemory()

    async def bench(master: Master, ctx) -> None:
        dut = master._dut
        ctx.set(dut.s_axi_wstrb, 15)
        for valid in (dut.s_axi_awvalid, dut.s_axi_wvalid, dut.s_axi_arvalid, dut.s_axi_bready, dut.s_axi_rready):
            ctx.set(valid, 1)
        order = []
        for _ in range(80):
            _, _, written, read = await ctx.tick().sample(dut.s_axi_bvalid, dut.s_axi_rvalid)
            order += ["w"] * written + ["r"] * read
        assert order[:8] == ["w", "r"] * 4

    run(bench, memory)


@pytest.mark.parametrize("idle", [0.0, 0.4])
def test_streams(idle: float) -> None:
    memory = BusMemory(idle)
    rng = random.Random(2)
    beats = [rng.getrandbits(32) for _ in range(150)]
    received: list[tuple[int, int]] = []

    async def bench(master: Master, ctx) -> None:
        for start, length in ((0x5000100, 100), (0x4000000, 1), (0x5000164, 49)):
            assert await master.write(WRITE_ADDRESS, start) == 0
            assert await master.write(WRITE_LENGTH, length) == 0
            while (await master.read(WRITE_LENGTH))[0]:
                pass
            assert await master.read(WRITE_ADDRESS) == (start + length, 0)
        for start, length in ((0x5000100, 149), (0x4000000, 1)):
            assert await master.write(READ_ADDRESS, start) == 0
            assert await master.write(READ_LENGTH, length) == 0
            # The memory map stays reachable while words stream.
            assert await master.read(4 * 0x5000100) == (beats[0], 0)
            while (await master.read(READ_LENGTH))[0]:
                pass

    run(bench, memory, idle, beats, received)
    assert [data for data, _ in received] == [*beats[:100], *beats[101:], beats[100]]
    assert [last for _, last in received] == [0] * 148 + [1, 1]
    assert [address for address, _ in memory.writes] == [
        *range(0x5000100, 0x5000164), 0x4000000, *range(0x5000164, 0x5000195),
    ]  # fmt: skip


def test_write_and_read_streams_at_the_same_time() -> None:
    memory = BusMemory(0.2)
    memory.words = {k: 7 * k for k in range(60)}
    received: list[tuple[int, int]] = []

    async def bench(master: Master, ctx) -> None:
        for register, value in ((WRITE_ADDRESS, 1000), (READ_ADDRESS, 0), (WRITE_LENGTH, 60), (READ_LENGTH, 60)):
            assert await master.write(register, value) == 0
        # A transfer's registers are closed while it runs.
        for register in (WRITE_ADDRESS, WRITE_LENGTH, READ_ADDRESS, READ_LENGTH):
            assert await master.write(register, 0) == 2
        while (await master.read(WRITE_LENGTH))[0] or (await master.read(READ_LENGTH))[0]:
            pass

    run(bench, memory, 0.2, list(range(60)), received)
    assert [data for data, _ in received] == [7 * k for k in range(60)]
    assert memory.writes == [(1000 + k, k) for k in range(60)]


def test_streams_carry_a_word_a_cycle() -> None:
    dut = AxiFront()
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    requests = []

    async def bench(ctx) -> None:
        master = Master(dut, ctx, 0, random.Random(0))
        ctx.set(dut.bus.request.ready, 1)
        ctx.set(dut.s_axis_tvalid, 1)
        assert await master.write(WRITE_LENGTH, 50) == 0
        for _ in range(60):
            _, _, valid = await ctx.tick().sample(dut.bus.request.valid)
            requests.append(valid)

    simulator.add_testbench(bench)
    simulator.run()
    assert requests.count(1) >= 48
    first = requests.index(1)
    assert all(requests[first : first + 48])


def test_unknown_front_registers() -> None:
    async def bench(master: Master, ctx) -> None:
        assert await master.write(FRONT + 16, 1) == 2
        assert await master.read(FRONT + 16) == (0, 0)

    run(bench, BusMemory())
