"""The search for a configuration: what it tries fits, its front is a front, and the plot is an image."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dorefabric.boards import BOARDS
from dorefabric.boards.area import load_costs, predict
from dorefabric.boards.explore import Point, candidates, explore, fits, pareto, svg
from dorefabric.boards.report import Usage
from dorefabric.hw.config import FabricConfig

BOARD = BOARDS["ulx3s_85f"]


def point(speed: float, lut: int) -> Point:
    return Point(BOARD.config, Usage(lut, 0, 0), 1, 0, speed)


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=20))
def test_pareto(values: list[tuple[int, int]]) -> None:
    points = [point(float(speed), lut) for speed, lut in values]
    front = pareto(points)
    for member in points:
        beaten = any(
            other.images_per_second >= member.images_per_second and other.usage.lut <= member.usage.lut
            and (other.images_per_second, other.usage.lut) != (member.images_per_second, member.usage.lut)
            for other in points
        )  # fmt: skip
        same = (member.images_per_second, member.usage.lut)
        assert beaten != (same in [(kept.images_per_second, kept.usage.lut) for kept in front])
    speeds = [kept.images_per_second for kept in front]
    assert speeds == sorted(set(speeds), reverse=True)


def test_what_is_tried_fits_the_board() -> None:
    arrays = list(candidates(BOARD))
    assert len(arrays) > 20 and all(fits(BOARD, predict(config)) for config in arrays)
    assert arrays == sorted(arrays, key=lambda config: -config.total_lanes)


def test_explore() -> None:
    """An imaginary network of a million steps on one lane, which needs 1,024 words of features and all weights."""

    def evaluate(config: FabricConfig) -> tuple[int, int] | None:
        if config.feature_depth < 1024:
            return None
        return 10**9 // config.total_lanes, 0 if config.weight_depth >= 512 else 1000

    seen: list[tuple[int, int]] = []
    points = explore(BOARD, evaluate, limit=10, progress=lambda *step: seen.append(step), costs=load_costs())
    assert seen == [(index + 1, 10) for index in range(10)]
    best = pareto(points)[0]
    assert best.config.feature_depth == 1024 and best.streamed_words == 0
    assert best.images_per_second == pytest.approx(BOARD.clock_hz / best.cycles)
    image = ElementTree.fromstring(svg(points, pareto(points), "title"))
    assert len(image.findall("{http://www.w3.org/2000/svg}circle")) == len(points)
