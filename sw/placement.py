"""Fifth pass: where every tensor lies in the feature memory, and how many input rows fit at once."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.layout import FeatureLayout

from .layouts import Form
from .stages import CompileError, Stage, Tensor

__all__ = ["Placement", "place_features"]


@dataclass(frozen=True)
class Placement:
    """Layout of every tensor by name; of an input form that is loaded in bands, the layout of one band.

    bands : by name of the form, output rows of the consuming stage that one load serves
    """

    layouts: dict[str, FeatureLayout]
    bands: dict[str, int]


def place_features(
    stages: list[Stage], forms: list[Form], kept: str, config: FabricConfig
) -> Placement:
    """First fit in order of execution; the tensor named ``kept``, the result, stays until the end.

    Two strategies are tried: everything from the low end, and alternating ends, which never fragments a chain.
    `CompileError` names the stage whose tensors do not fit.
    """
    try:
        return _place(stages, forms, kept, config, lambda index: False)
    except CompileError:
        return _place(stages, forms, kept, config, lambda index: index % 2 == 1)


def _layout(tensor: Tensor, config: FabricConfig, base: int, height: int | None = None) -> FeatureLayout:
    _, full, width = tensor.shape
    return FeatureLayout.of(config, base=base, height=full if height is None else height, width=width,
                            channels=tensor.channels(config), planes=tensor.bits, stride=tensor.stride,
                            pitch=tensor.pitch)  # fmt: skip


def _place(stages: list[Stage], forms: list[Form], kept: str, config: FabricConfig,
           from_top: Callable[[int], bool]) -> Placement:  # fmt: skip
    last_use = {tensor.name: index for index, stage in enumerate(stages) for tensor in stage.inputs}
    last_use[kept] = len(stages)
    form_of = {form.tensor.name: form for form in forms}
    layouts: dict[str, FeatureLayout] = {}
    bands: dict[str, int] = {}
    live: dict[str, tuple[int, int]] = {}
    for index, stage in enumerate(stages):
        size = _layout(stage.output, config, 0).size
        start, end = _gap(live, size, config, stage, from_top(index))
        base = end - size if from_top(index) else start
        layouts[stage.output.name] = _layout(stage.output, config, base)
        live[stage.output.name] = (base, base + size)
        for tensor in dict.fromkeys(stage.inputs):
            if (form := form_of.get(tensor.name)) is not None:
                layouts[tensor.name], bands[tensor.name] = _place_form(form, stage, live, config)
                live[tensor.name] = (layouts[tensor.name].base, layouts[tensor.name].base + layouts[tensor.name].size)
        live = {name: span for name, span in live.items() if last_use.get(name, index) > index}
    return Placement(layouts, bands)


def _place_form(form: Form, stage: Stage, live: dict[str, tuple[int, int]],
                config: FabricConfig) -> tuple[FeatureLayout, int]:  # fmt: skip
    """The whole form if it fits; else, where windows are unfolded, as many rows as the largest gap holds."""
    rows = stage.output.shape[1]
    gaps = _gaps(live, config)
    start, end = max(gaps, key=lambda gap: gap[1] - gap[0], default=(0, 0))
    layout = _layout(form.tensor, config, start)
    if layout.size <= end - start:
        return layout, rows
    least = _layout(form.tensor, config, 0, stage.pool[0]).size if form.unfold is not None else layout.size
    if least > end - start:
        raise _overflow(stage, least, end - start, config)
    step = stage.step[0]
    most = (end - start) // layout.group_pitch * layout.rows // layout.pitch
    fitting = (most - stage.pool[0]) // step + 1
    count = -(-rows // fitting)
    band = -(-rows // count)  # bands of equal height
    return _layout(form.tensor, config, start, (band - 1) * step + stage.pool[0]), band


def _gaps(live: dict[str, tuple[int, int]], config: FabricConfig) -> list[tuple[int, int]]:
    edges = [(0, 0), *sorted(live.values()), (config.feature_depth, config.feature_depth)]
    return [(low[1], high[0]) for low, high in pairwise(edges) if high[0] > low[1]]


def _gap(live: dict[str, tuple[int, int]], size: int, config: FabricConfig, stage: Stage,
         from_top: bool) -> tuple[int, int]:  # fmt: skip
    gaps = _gaps(live, config)
    fitting = [gap for gap in gaps if gap[1] - gap[0] >= size]
    if not fitting:
        raise _overflow(stage, size, max((end - start for start, end in gaps), default=0), config)
    return fitting[-1] if from_top else fitting[0]


def _overflow(stage: Stage, needed: int, available: int, config: FabricConfig) -> CompileError:
    return CompileError(
        f"{stage.name}: a feature map needs {needed} words of each bank, but {available} of "
        f"{config.feature_depth} are free: generate a configuration with a larger feature_depth, or use fewer "
        f"channels, pixels or bits"
    )
