"""The whole core in Amaranth's simulator against the device model: memories and counters, to the bit and the cycle."""

from pathlib import Path

import numpy as np
import pytest
from core_cases import REGISTER, check, check_case, load, start
from random_descriptors import PAIR_BASE, random_case

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.core import Core
from dorefabric.hw.isa import COUNTER_WORDS, DESCRIPTOR_FIELDS, DESCRIPTOR_WORDS, decode_fields, encode_fields
from dorefabric.hw.registers import address
from dorefabric.hw.timing import descriptor_cycles, run_cycles
from dorefabric.sim.design import core_verilog
from dorefabric.sim.gates import GateLevelLink, synthesise
from dorefabric.sim.lint import lint
from dorefabric.sim.pysim import PysimLink
from dorefabric.sim.verilator import VerilatorLink
from dorefabric.sw.interpret import DeviceModel

SMALL = {"weight_depth": 32, "threshold_depth": 32, "program_depth": 100, "tap_depth": 16}
CONFIGS = [
    FabricConfig(rows=1, columns=2, lanes=8, tile_columns=1, feature_depth=256, accumulator_bits=8, threshold_bits=8,
                 activation_bits=4, **SMALL),
    FabricConfig(rows=2, columns=4, lanes=8, tile_columns=2, feature_depth=256, accumulator_bits=10,
                 threshold_bits=9, activation_bits=3, **SMALL),
    FabricConfig(rows=3, columns=4, lanes=8, tile_columns=4, threshold_columns=2, feature_depth=256,
                 accumulator_bits=10, threshold_bits=10, activation_bits=3, technology="ecp5", **SMALL),
    FabricConfig(rows=8, columns=1, lanes=16, tile_columns=1, feature_depth=128, accumulator_bits=8,
                 threshold_bits=8, activation_bits=2, technology="ice40", **SMALL),
]  # fmt: skip


def name(config: FabricConfig) -> str:
    return f"{config.rows}x{config.columns}x{config.lanes}-{config.technology}"


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_random_descriptors(config: FabricConfig) -> None:
    with PysimLink(config, component=Core(config)) as link:
        for seed in range(1 if config.rows == 8 else 2):
            check_case(link, config, seed)


@pytest.mark.parametrize("options", [
    {"rows": 4, "columns": 4, "lanes": 32, "tile_columns": 2},
    {"rows": 2, "columns": 8, "lanes": 32, "tile_columns": 8, "threshold_columns": 4, "feature_ports": 1,
     "image_size": 63, "technology": "ice40"},
    {"rows": 4, "columns": 4, "lanes": 16, "tile_columns": 1, "feature_ports": 1},
], ids=["two-ports", "one-port-ice40", "one-port"])  # fmt: skip
def test_many_random_descriptors_in_verilator(options: dict) -> None:
    config = FabricConfig(feature_depth=512, accumulator_bits=12, threshold_bits=11, **options, **SMALL)
    with VerilatorLink(config, stalls=0.1) as link:
        seen = [check_case(link, config, seed) for seed in range(60)]
    # The cases are of every kind.
    assert {d["raw"] for d in seen} == {0, 1}
    for field in ("pool_taps", "channel_tiles", "x_tiles", "y_count", "chunks", "taps", "pairs", "out_stride"):
        assert len({d[field] for d in seen}) > 1, field


def test_netlist_of_an_ultraplus() -> None:
    """Feature memory in single-port RAM, accumulators in multiplier blocks, as in a build."""
    config = FabricConfig(rows=2, columns=4, lanes=8, tile_columns=4, threshold_columns=2, feature_depth=1024,
                          feature_ports=1, image_size=63, accumulator_bits=12, threshold_bits=11, activation_bits=3,
                          technology="ice40", **SMALL)  # fmt: skip
    device = "iCE40UP5K-SG48"
    netlist = synthesise(core_verilog(config, device), "ice40")
    assert netlist.count("SB_SPRAM256KA ") == 2
    assert netlist.count("SB_MAC16 ") == 8
    with GateLevelLink(config, device=device) as link:
        for seed in range(40):
            check_case(link, config, seed)


def chain(count: int, seed: int) -> tuple[DeviceModel, list[int]]:
    """A model loaded with a random descriptor, ``count`` times over with other shapes; returns the loop counts."""
    config = CONFIGS[1]
    memories, d = random_case(config, np.random.default_rng(seed))
    model = DeviceModel(config)
    end = 3 * DESCRIPTOR_WORDS
    memories.program[end : end + 4] = memories.program[PAIR_BASE : PAIR_BASE + 4]
    memories.program[:end] = 0
    steps = []
    for number in range(count):
        d |= {"last": int(number == count - 1), "y_count": 1, "channel_tiles": 1 + number, "pair_base": end,
              "out_plane_step": 3, "out_pixel_step": 3 * d["planes"], "out_segment": 0, "out_width": 1,
              "out_base": config.feature_depth // 2 + 30 * number}  # fmt: skip
        words = np.array(encode_fields(DESCRIPTOR_FIELDS, d, DESCRIPTOR_WORDS), np.uint32)
        memories.program[number * DESCRIPTOR_WORDS :][:DESCRIPTOR_WORDS] = words
        steps.append(d["channel_tiles"] * d["x_tiles"] * d["pool_taps"] * d["pairs"] * d["taps"] * d["chunks"])
    load(model, memories)
    return model, steps


def test_a_chain_runs_to_its_last_descriptor_and_again() -> None:
    model, steps = chain(3, 2)
    with PysimLink(model.config, component=Core(model.config)) as link:
        load(link, model.memories)
        for run in (1, 2):
            for device in (model, link):
                start(device)
            check(link, model, f"run {run}")
            words = link.read(address("program"), 3 * DESCRIPTOR_WORDS).reshape(3, DESCRIPTOR_WORDS)
            assert words[:, COUNTER_WORDS["completed"]].tolist() == [run] * 3
            assert words[:, COUNTER_WORDS["steps"]].tolist() == steps


def test_single_steps_stop_after_each_descriptor() -> None:
    model, _ = chain(2, 3)
    with PysimLink(model.config, component=Core(model.config)) as link:
        load(link, model.memories)
        for number in range(2):
            for device in (model, link):
                start(device, number * DESCRIPTOR_WORDS, single=True)
            check(link, model, f"descriptor {number}")
            assert link.read(REGISTER["descriptor"], 1) == [(number + 1) * DESCRIPTOR_WORDS]
            assert link.read(REGISTER["status"], 1) == [number + 1 << 8]


@pytest.mark.parametrize(
    "field", ["planes", "x_tiles", "y_count", "channel_tiles", "pool_taps", "taps", "chunks", "pairs"]
)
def test_a_loop_count_of_zero_ends_at_once(field: str) -> None:
    config = CONFIGS[0]
    memories, d = random_case(config, np.random.default_rng(0))
    memories.program[:DESCRIPTOR_WORDS] = encode_fields(DESCRIPTOR_FIELDS, d | {field: 0}, DESCRIPTOR_WORDS)
    with PysimLink(config, component=Core(config)) as link:
        link.write(address("program"), memories.program)
        start(link)
        words = link.read(address("program"), DESCRIPTOR_WORDS).tolist()
        assert words[-4:] == [descriptor_cycles(config, d | {field: 0}).cycles, 0, 0, 1]
        assert link.read(REGISTER["cycles"], 1) == [run_cycles(config, [d | {field: 0}])]
        assert not link.read(address("features"), 256).any()


def test_registers() -> None:
    config = CONFIGS[0]
    with PysimLink(config, component=Core(config)) as link:
        link.write(REGISTER["scratch"], np.array([0xDEADBEEF], np.uint32))
        link.write(REGISTER["descriptor"], np.array([40]))
        link.write(REGISTER["control"], np.array([2]))  # no start bit
        assert link.read(REGISTER["scratch"], 1) == [0xEF]
        assert link.read(REGISTER["descriptor"], 1) == [40]
        assert link.read(REGISTER["status"], 1) == [0]
        before, cycle = int(link.read(REGISTER["idle"], 1)[0]), link.cycles
        link.run(100)
        assert int(link.read(REGISTER["idle"], 1)[0]) - before == link.cycles - cycle
        # Write-only spaces and spaces that do not exist read as 0.
        for space in ("taps", "thresholds", "weights"):
            link.write(address(space), np.array([0xFFFFFFFF], np.uint32))
            assert link.read(address(space), 1) == [0]
        assert link.read(0xF000000, 1) == [0]


def test_memories_are_the_circuits_while_it_is_busy() -> None:
    model, _ = chain(3, 4)
    with PysimLink(model.config, component=Core(model.config)) as link:
        load(link, model.memories)
        start(model)
        link.write(REGISTER["control"], np.array([1]))
        for space in ("program", "taps", "thresholds", "weights", "features"):
            link.write(address(space), np.full(3, 0xFFFFFFFF, np.uint32))
        link.write(REGISTER["descriptor"], np.array([7]))
        link.write(REGISTER["control"], np.array([1]))
        assert link.read(REGISTER["status"], 1) == [1]
        link.wait_idle(60)
        check(link, model, "written to while busy")


def test_verilog_is_clean(tmp_path: Path) -> None:
    from amaranth.back import verilog

    config = FabricConfig(rows=2, columns=8, lanes=64, tile_columns=4, **SMALL)
    path = tmp_path / "core.v"
    path.write_text(verilog.convert(Core(config), name="core", emit_src=False))
    assert lint([path], top="core") == []
    fields = decode_fields(DESCRIPTOR_FIELDS, [0] * DESCRIPTOR_WORDS)
    assert all(word in path.read_text() for word in ("tile_1", "element_1_3", "feeder", "out_plane_step"))
    assert "out_plane_step" in fields
