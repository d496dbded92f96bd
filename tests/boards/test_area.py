"""The area model: its composition, its fit, and its block RAM against what boards are known to need."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import dorefabric.boards
from dorefabric.boards import BOARDS
from dorefabric.boards.area import MARKS, block_ram, boards_table, fit, load_costs, predict, rest_units, tile_units
from dorefabric.hw.config import ConfigError, FabricConfig
from dorefabric.hw.descriptor import field_widths

README = Path(dorefabric.boards.__file__).parent / "README.md"
CONFIG = FabricConfig(rows=4, columns=8, lanes=32, tile_columns=4, technology="ecp5", prefetch=False)


def test_fit_finds_the_costs_of_what_is_linear() -> None:
    rng = np.random.default_rng(0)
    costs = {"a": 3.0, "b": 0.0, "c": 40.0}
    units = [{"a": float(a), "b": float(b), "c": 1.0} for a, b in rng.integers(1, 500, (12, 2))]
    cells = [sum(costs[name] * number for name, number in unit.items()) for unit in units]
    assert fit(units, cells) == pytest.approx(costs, abs=1e-2)


def test_fit_has_no_negative_costs() -> None:
    units = [{"a": float(a), "b": 1.0} for a in range(1, 9)]
    assert fit(units, [10.0 - a for a in range(1, 9)])["a"] == 0


def test_prediction_is_the_sum_of_its_units() -> None:
    zero = {unit: 0.0 for unit in (*tile_units(CONFIG), *rest_units(CONFIG))}
    part = {kind: dict(zero) for kind in ("lut", "flip_flops")}
    costs = {"ecp5": {"tile": {"lut": zero | {"lane": 2.0}, "flip_flops": zero | {"operand bit": 1.0}}, "rest": part}}
    usage = predict(CONFIG, costs)
    assert usage.lut == 2 * CONFIG.total_lanes
    assert usage.flip_flops == CONFIG.tiles * CONFIG.rows * CONFIG.lanes
    ahead = predict(dataclasses.replace(CONFIG, prefetch=True), costs)
    assert ahead.lut == usage.lut
    assert ahead.flip_flops == usage.flip_flops + sum(field_widths(CONFIG).values())
    with pytest.raises(ConfigError, match=r"^technology must be one of ecp5 to be predicted, not 'generic'$"):
        predict(dataclasses.replace(CONFIG, technology="generic"), costs)


def test_block_ram_of_a_board() -> None:
    """Columns of 2 memories of 1,024 × 32 bits, 4 banks of 2 of 2,048 × 32, thresholds, program, taps, frames."""
    config = dataclasses.replace(
        BOARDS["ulx3s_85f"].config, rows=4, columns=32, lanes=64, threshold_columns=1, weight_depth=1024,
        feature_depth=2048, threshold_depth=512, threshold_bits=20, program_depth=1024, tap_depth=1024)  # fmt: skip
    assert block_ram(config) == 32 * 2 * 2 + 4 * 2 * 4 + 32 + 2 + 2 + 1


@pytest.mark.parametrize("technology", load_costs())
def test_committed_costs(technology: str) -> None:
    """Every sample of the calibration within 5 % but for the smallest; larger arrays cost more, lane by lane."""
    of = load_costs()[technology]
    for part in ("tile", "rest"):
        for kind in ("lut", "flip_flops"):
            errors = np.abs(list(of[part][f"{kind}_error_percent"].values()))
            assert np.median(errors) < 5, (part, kind, errors)
    small, large = (
        predict(dataclasses.replace(CONFIG, technology=technology, rows=rows)).lut for rows in (2, 4)
    )  # fmt: skip
    assert small < large < 3 * small


@pytest.mark.skipif(not README.is_file(), reason="the README is not in an installed package")
def test_the_committed_table_of_the_model_is_what_it_says_now() -> None:
    page = README.read_text()
    table = page.partition(MARKS[0])[2].partition(MARKS[1])[0].lstrip("\n")
    assert table == boards_table(page)
    (row,) = (line.split(" | ") for line in table.splitlines() if line.startswith("| tang_nano_9k | "))
    assert abs(float(row[5].rstrip("%"))) < 8
