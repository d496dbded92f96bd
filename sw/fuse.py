"""First pass: the integer graph to stages. Convolutions and additions take their thresholds and max pools along."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dorefabric.hw.config import FabricConfig
from dorefabric.hw.timing import raw_planes

from .graph import Add, Convolution, Flatten, Graph, Input, MaxPool, Node, Threshold
from .groups import choose_parts, merged_weights
from .stages import (
    CompileError,
    Slice,
    Stage,
    Tensor,
    channelwise_slices,
    identity_stage,
    tile_cost,
)
from .weight_planes import WeightPlanes, mismatch_limits

__all__ = ["fuse"]


def fuse(graph: Graph, config: FabricConfig, always_pool: bool = False) -> list[Stage]:
    """Stages in graph order. `CompileError` for what the array cannot do, naming the node.

    A convolution takes its max pool along where that is not slower than a pass of its own, or ``always_pool``: a
    pass of its own takes memory.
    """
    return _Fuser(graph, config, always_pool).run()


@dataclass
class _Sum:
    """Accumulators that wait for what follows: weights of a convolution, or factors of an addition."""

    node: Convolution | Add
    inputs: tuple[Tensor, ...]


class _Fuser:
    def __init__(self, graph: Graph, config: FabricConfig, always_pool: bool) -> None:
        self.graph, self.config, self.always_pool = graph, config, always_pool
        self.grouping = choose_parts(graph, config)
        self.tensors: dict[str, Tensor] = {}  # stored tensor of every edge of codes
        self.sums: dict[str, _Sum] = {}  # accumulators, by edge
        self.stages: list[Stage] = []

    def run(self) -> list[Stage]:
        for node in self.graph.nodes:
            if node.name in self.tensors:
                continue  # a max pool that its producer has taken along
            match node:
                case Input():
                    self._check_bits(node, node.edge.bits)
                    self.tensors[node.name] = Tensor(node.name, node.edge.shape, node.edge.bits or 0, node.name)
                case Convolution() | Add():
                    self.sums[node.name] = _Sum(node, tuple(self._codes(node, name) for name in node.inputs))
                case Threshold():
                    self._threshold(node)
                case MaxPool():
                    source = self._codes(node, node.inputs[0])
                    self._store(identity_stage(node.name, source, self._tensor(node), self.config, kernel=node.kernel,
                                               stride=node.stride, padding=node.padding))  # fmt: skip
                case Flatten():
                    self._flatten(node)
                case _:
                    raise CompileError(f"{node.name}: {type(node).__name__} is not supported")
        self._raw_output()
        return self.stages

    # Node by node -------------------------------------------------------------------------------

    def _threshold(self, node: Threshold) -> None:
        total = self.sums.get(node.inputs[0])
        if total is None:
            raise CompileError(f"{node.name}: thresholds must follow a convolution or an addition")
        slices = self._slices(total, node)
        pool = self._pool_to_fuse(node, total, slices)
        output = pool or node
        window = (pool.kernel, pool.stride) if pool else ((1, 1), (1, 1))
        self._store(self._stage(output.name, total, self._tensor(output), slices, *window))

    def _flatten(self, node: Flatten) -> None:
        name = node.inputs[0]
        if name in self.sums:
            self.sums[node.name] = self.sums[name]
        else:
            # The consumer reads the tensor as it lies; a fully connected layer's weights take the shape.
            self.tensors[node.name] = self.tensors[name]

    def _raw_output(self) -> None:
        """Accumulators that no threshold follows: only the graph's output may be such."""
        consumed = {
            name for node in self.graph.nodes if isinstance(node, Threshold | Flatten) for name in node.inputs
        }
        for name, total in self.sums.items():
            if name in consumed:
                continue
            if name != self.graph.output.name:
                raise CompileError(f"{name}: accumulators must go to thresholds or be the output")
            node = total.node
            slices = self._slices(total, None)
            most = max(tensor.bits for tensor in total.inputs)
            bits = raw_planes(self.config, max(part.planes.largest_count(most) for part in slices))
            tensor = Tensor(name, node.edge.shape, bits, name, parts=self.grouping.parts.get(name, 1))
            self._store(self._stage(name, total, tensor, slices, (1, 1), (1, 1)))

    # Helpers ------------------------------------------------------------------------------------

    def _store(self, stage: Stage) -> None:
        self.stages.append(stage)
        assert stage.output.edge is not None
        self.tensors[stage.output.edge] = stage.output

    def _tensor(self, node: Node) -> Tensor:
        self._check_bits(node, node.edge.bits)
        return Tensor(node.name, node.edge.shape, node.edge.bits or 0, node.name,
                      parts=self.grouping.parts.get(node.name, 1))  # fmt: skip

    def _check_bits(self, node: Node, bits: int | None) -> None:
        if bits is None or bits > self.config.activation_bits:
            raise CompileError(
                f"{node.name}: {bits}-bit activations exceed activation_bits = {self.config.activation_bits} "
                f"of configuration {self.config.name!r}"
            )

    def _codes(self, node: Node, name: str) -> Tensor:
        if name not in self.tensors:
            raise CompileError(f"{node.name}: input {name} must be codes, not accumulators")
        tensor = self.tensors[name]
        shape = self.graph[name].edge.shape
        if shape != tensor.shape and not isinstance(node, Convolution | Flatten):
            raise CompileError(f"{node.name}: {name} is flattened, which only a fully connected layer can read")
        return tensor

    def _pool_to_fuse(self, node: Threshold, total: _Sum, slices: tuple[Slice, ...]) -> MaxPool | None:
        """The max pool that alone reads these codes, where taking it along costs no more than a pass of its own."""
        consumers = self.graph.consumers(node.name)
        if len(consumers) != 1 or not isinstance(pool := consumers[0], MaxPool) or node.name == self.graph.output.name:
            return None
        if pool.kernel != pool.stride or pool.padding != (0, 0) or isinstance(total.node, Add):
            return None
        source, config, bits = total.inputs[0], self.config, node.edge.bits or 0
        stride = total.node.stride[0]
        channels, height, width = node.edge.shape
        _, pooled_height, pooled_width = pool.edge.shape
        positions = pool.kernel[0] * pool.kernel[1]
        if positions * slices[0].planes.bits.shape[3] > config.tap_depth:
            return None

        stride = total.node.stride[0]

        def cost(height: int, width: int, positions: int) -> int:
            cycles = 0
            for part in slices:
                planes, outputs, inputs, taps = part.planes.bits.shape
                windows = taps * -(-inputs // config.lanes)
                if len(slices) == 1 and source.name == self.graph.input.name:  # the host may unfold the windows
                    windows = min(windows, -(-inputs * taps // config.lanes))
                step = stride * (pool.stride[0] if positions > 1 else 1)
                cycles += tile_cost(config, channels=outputs, height=height, width=width, pool_taps=positions,
                                    steps=planes * source.bits * windows, planes=bits, step=step)  # fmt: skip
            return cycles

        fused, alone = cost(pooled_height, pooled_width, positions), cost(height, width, 1)
        # A pass of its own takes a descriptor for every chunk of channels.
        extra = -(-channels // config.lanes) * tile_cost(
            config, channels=min(channels, config.lanes), height=pooled_height, width=pooled_width,
            pool_taps=positions, steps=2 * bits, planes=bits, step=pool.stride[0])  # fmt: skip
        return pool if self.always_pool or fused <= alone + extra else None

    def _stage(self, name: str, total: _Sum, output: Tensor, slices: tuple[Slice, ...], pool: tuple[int, int],
               pool_stride: tuple[int, int]) -> Stage:  # fmt: skip
        node, inputs = total.node, total.inputs
        constants = None
        if slices[0].limits is None:
            stored = np.zeros(output.chunks(self.config) * self.config.lanes, np.int64)
            for part in slices:
                values = part.planes.constants(max(tensor.bits for tensor in inputs))
                first = part.tile * self.config.columns
                stored[first : first + len(values)] = values
            constants = stored[output.positions(self.config)]
            if isinstance(node, Convolution) and node.bias is not None:
                constants = constants + slices[0].planes.divisor * node.bias
        positions = pool[0] * pool[1] * output.shape[1] * output.shape[2]
        if isinstance(node, Add):
            factor_bits = [max(1, abs(factor).bit_length()) for factor in node.factors]
            pairs = sum(bits * tensor.bits for bits, tensor in zip(factor_bits, inputs, strict=True))
            return Stage(name, inputs, output, slices, pool=pool, pool_stride=pool_stride, channelwise=True,
                         useful=positions * output.shape[0] * pairs, constants=constants)  # fmt: skip
        kernel = self._kernel(node, inputs[0]).shape[3:]
        return Stage(name, inputs, output, slices, kernel=(kernel[0], kernel[1]), stride=node.stride,
                     padding=node.padding, pool=pool, pool_stride=pool_stride,
                     useful=positions * node.weights.size * node.weight_bits * inputs[0].bits,
                     constants=constants)  # fmt: skip

    def _kernel(self, node: Convolution, source: Tensor) -> np.ndarray:
        """Weights (slices, outputs, inputs, kernel height, kernel width) over the tensor as it is stored: a fully
        connected layer after a flatten covers the map."""
        weights = merged_weights(node, self.grouping.slices.get(node.name, 1))
        if node.weights.shape[1] * node.groups == source.shape[0]:
            return weights
        if node.weights.shape[2:] != (1, 1):
            raise CompileError(f"{node.name}: a convolution of a flattened map must have a 1 × 1 kernel")
        return weights.reshape(*weights.shape[:2], -1, *source.shape[1:])

    def _slices(self, total: _Sum, threshold: Threshold | None) -> tuple[Slice, ...]:
        node, config = total.node, self.config
        bits = max(tensor.bits for tensor in total.inputs)
        thresholds = falling = None
        if threshold is not None:
            thresholds, falling = threshold.thresholds, threshold.falling
        if isinstance(node, Add):
            source = total.inputs[0]
            if source.parts > 1 and thresholds is not None and falling is not None:
                # Channels between the parts stay 0: their sums, which are 0, reach no threshold.
                thresholds = _spread(thresholds, source.positions(config), source.channels(config), 1 << 40)
                falling = _spread(falling, source.positions(config), source.channels(config), False)
            slices = channelwise_slices(node.factors, source.channels(config), bits, thresholds, falling, config)
        else:
            if node.weight_bits > config.weight_bits:
                raise CompileError(
                    f"{node.name}: {node.weight_bits}-bit weights exceed weight_bits = {config.weight_bits} "
                    f"of configuration {config.name!r}"
                )
            if thresholds is not None and node.bias is not None:
                thresholds = thresholds - node.bias[:, None]
            slices = tuple(self._convolution_slices(node, total.inputs[0], thresholds, falling))
        self._check_counts(node, slices, bits)
        return slices

    def _convolution_slices(
        self, node: Convolution, source: Tensor, thresholds: np.ndarray | None, falling: np.ndarray | None
    ) -> Iterator[Slice]:
        """One slice, or several where the convolution is grouped; channels in the places where tensors store them."""
        config, count = self.config, self.grouping.slices.get(node.name, 1)
        kernel = self._kernel(node, source)
        kernel = kernel.reshape(*kernel.shape[:3], -1)
        exact = node.bipolar and count == node.groups
        target = self._target(node)
        places_in, places_out = source.positions(config), target.positions(config)
        for index, weights in enumerate(kernel):
            planes = WeightPlanes.bipolar(weights, node.weight_bits) if exact else WeightPlanes.general(weights)
            outputs = slice(index * len(weights), (index + 1) * len(weights))
            limits = None
            if thresholds is not None and falling is not None:
                planes, limits = mismatch_limits(planes, source.bits, thresholds[outputs], falling[outputs],
                                                 config.threshold_bits)  # fmt: skip
            inputs = places_in[index * weights.shape[1] : (index + 1) * weights.shape[1]]
            first_in, first_out = inputs[0], places_out[outputs][0]
            # Lanes and columns between the parts have plane bits and limits of 0, which give code 0.
            bits = _spread(planes.bits.swapaxes(0, 2), inputs - first_in, inputs[-1] - first_in + 1, 0).swapaxes(0, 2)
            rows = places_out[outputs] - first_out
            bits = _spread(bits.swapaxes(0, 1), rows, rows[-1] + 1, 0).swapaxes(0, 1)
            if limits is not None:
                limits = _spread(limits, rows, rows[-1] + 1, 0)
            planes = WeightPlanes(bits, planes.significance, planes.divisor)
            yield Slice(planes, limits, int(first_in) // config.lanes, int(first_out) // config.columns)

    def _target(self, node: Convolution) -> Tensor:
        """The tensor that the convolution's results end up in, as far as its channels go."""
        consumers = self.graph.consumers(node.name)
        edge = next((other.name for other in consumers if isinstance(other, Threshold)), node.name)
        return Tensor(edge, node.edge.shape, 0, parts=self.grouping.parts.get(edge, 1))

    def _check_counts(self, node: Node, slices: tuple[Slice, ...], bits: int) -> None:
        config = self.config
        name, width = ("accumulator_bits", config.accumulator_bits)
        if slices[0].limits is not None:
            name, width = "threshold_bits", config.threshold_bits
        largest = max(part.planes.largest_count(bits) for part in slices)
        if largest >= (1 << width) - 1:
            raise CompileError(
                f"{node.name}: counts up to {largest} need {name} of at least {(largest + 1).bit_length()}, "
                f"not {width}: generate a configuration with wider counts or use fewer bits"
            )


def _spread(values: np.ndarray, places: np.ndarray, count: int, fill: int) -> np.ndarray:
    """An array of ``count`` rows, those of ``values`` at ``places`` and ``fill`` elsewhere."""
    if len(values) == count:
        return values
    result = np.full((count, *values.shape[1:]), fill, values.dtype)
    result[places] = values
    return result
