"""Layers of every precision on one generated design, against the golden model: a part of `dorefabric bench layers`."""

from dataclasses import replace

import pytest

from dorefabric.sim.benchmarks import LAYERS_CONFIG, random_layers
from dorefabric.sim.tools import ToolError, find_compiler, find_verilator
from dorefabric.sim.verilator import VerilatorLink


@pytest.mark.parametrize(("prefetch", "count"), [(True, 128), (False, 64)])
def test_random_layers_of_every_precision(prefetch: bool, count: int) -> None:
    config = replace(LAYERS_CONFIG, prefetch=prefetch)
    try:
        find_verilator()
        find_compiler()
    except ToolError as error:
        pytest.skip(str(error))
    done: list[int] = []
    with VerilatorLink(config) as link:
        assert random_layers(count, 7, link, config, done.append) == []
    assert done[-1] == count
