"""`FeatureMemory`: stores of segments, stores by the host, reads of every bank at its own address."""

import random

import pytest
from simulate import simulate

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.features import FeatureMemory
from dorefabric.hw.timing import memory_latency


def test_one_port_gives_the_cycle_to_the_store() -> None:
    """The bank that stores does not read its own address in that cycle; the other banks do."""
    config = FabricConfig(rows=2, columns=8, lanes=8, tile_columns=1, feature_depth=16, feature_ports=1,
                          technology="ice40")  # fmt: skip
    component = FeatureMemory(config)
    read = []

    async def bench(ctx) -> None:
        for bank in range(2):
            for address, value in ((3, 0x33), (5, 0x55)):
                ctx.set(component.host, {"valid": 1, "address": address, "bank": bank, "data": value})
                await ctx.tick()
        ctx.set(component.host, {"valid": 0})
        await ctx.tick()
        for bank in range(2):
            ctx.set(component.addresses[bank], 5)
        ctx.set(component.store, {"valid": 1, "address": 3, "bank": 1, "segment": 0, "bits": 0x99})
        await ctx.tick()
        ctx.set(component.store, {"valid": 0})
        for _ in range(2):
            await ctx.tick()
            read.append([ctx.get(component.words[bank]) for bank in range(2)])

    simulate(component, bench)
    assert read[0][0] == 0x55
    assert read[0][1] != 0x55
    assert read[1] == [0x55, 0x55]


@pytest.mark.parametrize(("technology", "ports"), [("generic", 2), ("ice40", 2), ("ice40", 1)])
@pytest.mark.parametrize(("rows", "columns", "lanes"), [(1, 8, 8), (2, 4, 16), (4, 8, 64), (2, 64, 64), (2, 64, 128)])
def test_against_a_list(rows: int, columns: int, lanes: int, technology: str, ports: int) -> None:
    rng = random.Random(lanes)
    config = FabricConfig(rows=rows, columns=columns, lanes=lanes, tile_columns=1, feature_depth=16,
                          technology=technology, feature_ports=ports)  # fmt: skip
    component = FeatureMemory(config)
    model = [[0] * rows for _ in range(16)]
    width = min(32, lanes)

    def draw() -> dict[str, int]:
        return {"address": rng.randrange(16), "bank": rng.randrange(rows)}

    def write(port: str) -> None:
        values = {"valid": 1, **draw()}
        word = model[values["address"]][values["bank"]]
        if port == "store":
            values |= {"segment": rng.randrange(config.segments), "bits": rng.getrandbits(columns)}
            low, size, data = values["segment"] * columns, columns, values["bits"]
            word = 0 if values["segment"] == 0 else word
        else:
            values |= {"piece": rng.randrange(config.bus_words), "data": rng.getrandbits(32)}
            low, size, data = values["piece"] * 32, width, values["data"] & (1 << width) - 1
        mask = (1 << size) - 1 << low
        model[values["address"]][values["bank"]] = word & ~mask | data << low
        return values

    async def bench(ctx) -> None:
        for _ in range(60):
            port = rng.choice(["store", "host"])
            ctx.set(getattr(component, port), write(port))
            await ctx.tick()
            ctx.set(getattr(component, port), {"valid": 0})
            if rng.random() < 0.5:
                addresses = [rng.randrange(16) for _ in range(rows)]
                await ctx.tick()  # a store is readable two cycles after it was given
                for bank, address in enumerate(addresses):
                    ctx.set(component.addresses[bank], address)
                await ctx.tick().repeat(memory_latency(technology))
                words = [ctx.get(component.words[bank]) for bank in range(rows)]
                assert words == [model[address][bank] for bank, address in enumerate(addresses)]

    simulate(component, bench)
