"""Integer matrix products on every engine, with operands of all precisions, also where the bus stalls."""

from contextlib import closing

import numpy as np

from dorefabric.sim.engines import open_engine
from dorefabric.sw.matrix_unit import Codes, MatrixUnit


def random_codes(rng, rows, length):
    bits = int(rng.integers(1, 9))
    return Codes(rng.integers(0, 1 << bits, (rows, length), dtype=np.uint8), bits, int(rng.integers(-3, 4)),
                 int(rng.integers(-9, 10)))  # fmt: skip


def check(link, config, count, most, seed):
    rng = np.random.default_rng(seed)
    unit = MatrixUnit(link, config)
    for _ in range(count):
        rows, columns, length = rng.integers(1, most, 3)
        left, right = random_codes(rng, rows, length), random_codes(rng, columns, length)
        assert np.array_equal(unit.multiply(left, right), left.values() @ right.values().T)
    assert unit.usage.cycles == unit.usage.predicted > 0


def test_products_in_python(small):
    with closing(open_engine("pysim", small)) as link:
        check(link, small, count=2, most=8, seed=1)


def test_products_in_verilator(small, verilator_link):
    check(verilator_link, small, count=30, most=70, seed=2)
