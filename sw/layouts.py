"""Second to fourth pass: how the host packs the input, and how every tensor lies in the banks.

A tensor's banks fit one x stride. Where consumers disagree, or an addition's inputs differ in planes, a copy is added.
Its pitch decides which consumers can let their tiles of pixels run over the ends of image rows.
"""

from dataclasses import dataclass, replace

from dorefabric.hw.config import FabricConfig

from .stages import Slice, Stage, Tensor, identity_stage
from .weight_planes import WeightPlanes

__all__ = ["Form", "arrange_inputs", "choose_pitches", "choose_strides", "runs_on", "unfolded"]

Unfold = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Form:
    """The network's input as one stage reads it; `unfold` as in `program.InputForm`."""

    tensor: Tensor
    unfold: Unfold | None


def arrange_inputs(
    stages: list[Stage], source: Tensor, config: FabricConfig, always_unfold: bool = False
) -> tuple[list[Stage], list[Form]]:
    """Give every stage that reads the network's input a packing of its own.

    Thin inputs waste lanes when a convolution reads them tap by tap: 3 channels fill 3 of 64. Where it takes fewer
    steps, the host unfolds the windows, so that the reduction axis lies in the lanes without gaps.
    """
    result, forms = [], []
    for stage in stages:
        if source not in stage.inputs:
            result.append(stage)
            continue
        taps = stage.kernel[0] * stage.kernel[1]
        fewer = -(-source.shape[0] * taps // config.lanes) < taps * source.chunks(config)
        trivial = taps == 1 and stage.padding == (0, 0)
        name = f"input of {stage.name}"
        if not stage.channelwise and len(stage.slices) == 1 and (fewer or trivial or always_unfold):
            form = _unfolded_form(stage, source, name)
            reader = unfolded(stage)
        else:
            form = Form(replace(source, name=name, edge=None), None)
            reader = stage
        forms.append(form)
        result.append(reader.rewired({source.name: form.tensor}))
    return result, forms


def _unfolded_form(stage: Stage, source: Tensor, name: str) -> Form:
    """The convolution's windows as pixels, as many as the (pooled) output needs."""
    height, width = (
        (out - 1) * stage.pool_stride[axis] + stage.pool[axis] for axis, out in enumerate(stage.output.shape[1:])
    )
    channels = source.shape[0] * stage.kernel[0] * stage.kernel[1]
    tensor = Tensor(name, (channels, height, width), source.bits)
    return Form(tensor, (stage.kernel, stage.stride, stage.padding))


def unfolded(stage: Stage) -> Stage:
    """The same convolution over unfolded windows: one tap, all of the reduction axis in the channels."""
    slices = []
    for part in stage.slices:
        bits = part.planes.bits
        planes = WeightPlanes(bits.reshape(*bits.shape[:2], -1, 1), part.planes.significance, part.planes.divisor)
        slices.append(Slice(planes, part.limits, part.chunk, part.tile))
    return replace(stage, slices=tuple(slices), kernel=(1, 1), stride=(1, 1), padding=(0, 0))


def choose_strides(stages: list[Stage], config: FabricConfig) -> list[Stage]:
    """Settle the x stride and the planes of every tensor, with copies where its consumers need different ones.

    Only a tensor laid out for stride 1 can be copied at full rate, so that is what consumers that disagree get.
    """
    wishes: dict[str, set[int]] = {}
    for stage in stages:
        for tensor in stage.inputs:
            wishes.setdefault(tensor.name, set()).update(_wanted_strides(stage, config))
    strides = {name: wish.pop() if len(wish) == 1 else 1 for name, wish in wishes.items()}
    tensors = {
        tensor.name: replace(tensor, stride=strides.get(tensor.name, 1))
        for stage in stages for tensor in (*stage.inputs, stage.output)
    }  # fmt: skip
    result: list[Stage] = []
    copies: set[Tensor] = set()
    for old in stages:
        stage = old.rewired(tensors)
        bits = max(tensor.bits for tensor in stage.inputs)
        for tensor in dict.fromkeys(stage.inputs):
            stride = max(_wanted_strides(stage, config), default=tensor.stride)
            if (bits, stride) == (tensor.bits, tensor.stride):
                continue
            name = f"copy of {tensor.name} ({bits} bits, stride {stride})"
            copy = replace(tensor, name=name, edge=None, bits=bits, stride=stride)
            if copy not in copies:
                copies.add(copy)
                result.append(identity_stage(name, tensor, copy, config))
            stage = stage.rewired({tensor.name: copy})
        result.append(stage)
    return result


def choose_pitches(stages: list[Stage], config: FabricConfig) -> list[Stage]:
    """Settle how many places an image row of every tensor takes, so that its consumers need few tiles of pixels.

    The inputs of an addition get the same pitch.
    """
    group = {tensor.name: tensor.name for stage in stages for tensor in (*stage.inputs, stage.output)}
    for stage in stages:
        for tensor in stage.inputs[1:]:
            keep, drop = group[stage.inputs[0].name], group[tensor.name]
            group.update({name: keep for name, root in group.items() if root == drop})
    readers: dict[str, list[Stage]] = {}
    for stage in stages:
        readers.setdefault(group[stage.inputs[0].name], []).append(stage)
    pitches = {root: _pitch(of, config) for root, of in readers.items()}
    tensors = {
        tensor.name: replace(tensor, pitch=pitches.get(group[tensor.name]))
        for stage in stages for tensor in (*stage.inputs, stage.output)
    }  # fmt: skip
    return [stage.rewired(tensors) for stage in stages]


def _pitch(readers: list[Stage], config: FabricConfig) -> int:
    """The pitch with the fewest tiles of all readers, the smallest of such."""
    source = readers[0].inputs[0]
    least = -(-source.shape[2] // source.stride)
    whole = -(-least // config.rows) * config.rows

    def tiles(pitch: int) -> int | None:
        total = 0
        for stage in readers:
            height, width = stage.output.shape[1:]
            if runs_on(stage, pitch, config):
                count = -(-height * width // config.rows)
            elif height > 1 and stage.step[0] * pitch % config.rows:
                return None
            else:
                count = height * -(-width // config.rows)
            total += count * len(stage.slices)
        return total

    counts = {pitch: count for pitch in (*range(least, least + config.rows), whole)
              if (count := tiles(pitch)) is not None}  # fmt: skip
    return min(counts, key=lambda pitch: (counts[pitch], pitch))


def runs_on(stage: Stage, pitch: int, config: FabricConfig) -> bool:
    """Whether tiles of the stage's pixels run over the ends of image rows, with an input of that pitch."""
    height, width = stage.output.shape[1:]
    fits = (stage.step[0] * pitch - width) % config.rows == 0
    return config.row_wrap and fits and height > 1 and width >= config.rows and width % config.rows != 0


def _wanted_strides(stage: Stage, config: FabricConfig) -> set[int]:
    """The x stride that the stage's inputs must be laid out for; empty where any will do."""
    if config.rows == 1:
        return {1}
    if stage.output.shape[2] == 1 and len(stage.inputs) == 1:
        return set()
    return {stage.step[1]}
