"""Layers of every precision on one generated design, against the golden model: a part of `dorefabric bench layers`."""

import pytest

from dorefabric.sim.benchmarks import LAYERS_CONFIG, random_layers
from dorefabric.sim.tools import ToolError, find_compiler, find_verilator
from dorefabric.sim.verilator import VerilatorLink


def test_random_layers_of_every_precision() -> None:
    try:
        find_verilator()
        find_compiler()
    except ToolError as error:
        pytest.skip(str(error))
    done: list[int] = []
    with VerilatorLink(LAYERS_CONFIG) as link:
        assert random_layers(128, 7, link, LAYERS_CONFIG, done.append) == []
    assert done[-1] == 128
