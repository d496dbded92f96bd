"""`HostPort`: reads and writes in order, with pauses on both sides."""

import random

import pytest
from simulate import simulate

from dorefabric.hw.host import HostPort
from dorefabric.hw.registers import SPACES, address

READ_CYCLES = 4


@pytest.mark.parametrize("pause", [0.0, 0.5])
def test_accesses_in_order(pause: float) -> None:
    rng = random.Random(0)
    component = HostPort(READ_CYCLES)
    requests = [(rng.random() < 0.5, rng.choice(list(SPACES)), rng.randrange(1 << 24), rng.getrandbits(32))
                for _ in range(60)]  # fmt: skip
    written, read, held = [], [], 0
    reads = [request for request in requests if not request[0]]
    cycles = 0

    async def bench(ctx) -> None:
        nonlocal held, cycles
        bus = component.bus
        queue = list(requests)
        while queue or len(read) < len(reads):
            offered = bool(queue) and (ctx.get(bus.request.valid) or rng.random() >= pause)
            if offered:
                write, space, offset, data = queue[0]
                ctx.set(bus.request.payload, {"data": data, "address": address(space, offset), "write": write})
            ctx.set(bus.request.valid, offered)
            ctx.set(bus.response.ready, rng.random() >= pause)
            access = ctx.get(component.access)
            spaces = [space for space in SPACES if access.space[space]]
            # The answer is right only in the last cycle of the access.
            held = held + 1 if spaces and not access.write else 0
            ctx.set(component.answer, access.offset * 3 + 1 if held == READ_CYCLES + 1 else 0)
            if spaces and access.write:
                written.append((True, *spaces, access.offset, access.data))
            if ctx.get(bus.request.valid) and ctx.get(bus.request.ready):
                assert held in (0, READ_CYCLES + 1)
                held = 0
                queue.pop(0)
                taken = True
            else:
                taken = False
            if ctx.get(bus.response.valid) and ctx.get(bus.response.ready):
                read.append(ctx.get(bus.response.payload))
            await ctx.tick()
            cycles += 1
            if taken:
                ctx.set(bus.request.valid, 0)

    simulate(component, bench)
    assert written == [request for request in requests if request[0]]
    assert read == [offset * 3 + 1 & 0xFFFFFFFF for _, _, offset, _ in reads]
    if not pause:  # one cycle a write, READ_CYCLES + 1 and the response's cycle a read
        assert cycles <= len(written) + len(reads) * (READ_CYCLES + 2)
