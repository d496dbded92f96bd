"""Feature memory through the bus: random words at random addresses, read back under random stalls."""

import random

import cocotb
import numpy as np

from dorefabric.hw.registers import address

from .bench import parameters
from .bench_bus import BusMaster


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def words_written_are_read_back(dut):
    values = parameters()
    master = BusMaster(dut, stalls=values["stalls"], seed=values["seed"])
    await master.reset()
    source = random.Random(values["seed"])
    expected = {}
    for _ in range(values["count"]):
        offset = source.randrange(values["words"])
        expected[offset] = source.getrandbits(32)
        await master.write(address("features", offset), [expected[offset]])
    for offset, word in expected.items():
        assert np.array_equal(await master.read(address("features", offset), 1), [word])
