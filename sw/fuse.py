"""First pass: the integer graph to stages. Convolutions and additions take their thresholds and max pools along."""

from dataclasses import dataclass

import numpy as np

from dorefabric.hw.config import FabricConfig

from .graph import Add, Convolution, Flatten, Graph, Input, MaxPool, Node, Threshold
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
        pool = self._pool_to_fuse(node, total)
        slices = self._slices(total, node)
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
            bits = self.config.accumulator_bits
            tensor = Tensor(name, node.edge.shape, bits, name)
            slices = self._slices(total, None)
            self._store(self._stage(name, total, tensor, slices, (1, 1), (1, 1)))

    # Helpers ------------------------------------------------------------------------------------

    def _store(self, stage: Stage) -> None:
        self.stages.append(stage)
        assert stage.output.edge is not None
        self.tensors[stage.output.edge] = stage.output

    def _tensor(self, node: Node) -> Tensor:
        self._check_bits(node, node.edge.bits)
        return Tensor(node.name, node.edge.shape, node.edge.bits or 0, node.name)

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

    def _pool_to_fuse(self, node: Threshold, total: _Sum) -> MaxPool | None:
        """The max pool that alone reads these codes, where taking it along costs no more than a pass of its own."""
        consumers = self.graph.consumers(node.name)
        if len(consumers) != 1 or not isinstance(pool := consumers[0], MaxPool) or node.name == self.graph.output.name:
            return None
        if pool.kernel != pool.stride or pool.padding != (0, 0) or isinstance(total.node, Add):
            return None
        source, config, bits = total.inputs[0], self.config, node.edge.bits or 0
        weights = total.node.weights
        planes = total.node.weight_bits + (0 if total.node.bipolar else 1)
        taps = weights.shape[2] * weights.shape[3] * source.chunks(config)
        steps = planes * source.bits * min(taps, -(-weights[0].size // config.lanes))
        channels, height, width = node.edge.shape
        _, pooled_height, pooled_width = pool.edge.shape
        positions = pool.kernel[0] * pool.kernel[1]
        if positions * weights.shape[2] * weights.shape[3] > config.tap_depth:
            return None
        fused = tile_cost(config, channels=channels, height=pooled_height, width=pooled_width, pool_taps=positions,
                          steps=steps, planes=bits)  # fmt: skip
        alone = tile_cost(config, channels=channels, height=height, width=width, pool_taps=1, steps=steps, planes=bits)
        # A pass of its own takes a descriptor for every chunk of channels.
        extra = -(-channels // config.lanes) * tile_cost(
            config, channels=min(channels, config.lanes), height=pooled_height, width=pooled_width,
            pool_taps=positions, steps=2 * bits, planes=bits)  # fmt: skip
        return pool if self.always_pool or fused <= alone + extra else None

    def _stage(self, name: str, total: _Sum, output: Tensor, slices: tuple[Slice, ...], pool: tuple[int, int],
               pool_stride: tuple[int, int]) -> Stage:  # fmt: skip
        node, inputs = total.node, total.inputs
        constants = None
        if slices[0].limits is None:
            constants = np.concatenate([part.planes.constants(max(t.bits for t in inputs)) for part in slices])
            if isinstance(node, Convolution) and node.bias is not None:
                constants = constants + slices[0].planes.divisor * node.bias
        positions = pool[0] * pool[1] * output.shape[1] * output.shape[2]
        if isinstance(node, Add):
            factor_bits = [max(1, abs(factor).bit_length()) for factor in node.factors]
            pairs = sum(bits * tensor.bits for bits, tensor in zip(factor_bits, inputs, strict=True))
            return Stage(name, inputs, output, slices, pool=pool, pool_stride=pool_stride, channelwise=True,
                         useful=positions * output.shape[0] * pairs, constants=constants)  # fmt: skip
        kernel = self._kernel(node, inputs[0]).shape[2:]
        return Stage(name, inputs, output, slices, kernel=(kernel[0], kernel[1]), stride=node.stride,
                     padding=node.padding, pool=pool, pool_stride=pool_stride,
                     useful=positions * node.weights.size * node.weight_bits * inputs[0].bits,
                     constants=constants)  # fmt: skip

    def _kernel(self, node: Convolution, source: Tensor) -> np.ndarray:
        """Weights over the tensor as it is stored: a fully connected layer after a flatten covers the map."""
        if node.weights.shape[1] == source.shape[0]:
            return node.weights
        if node.weights.shape[2:] != (1, 1):
            raise CompileError(f"{node.name}: a convolution of a flattened map must have a 1 × 1 kernel")
        return node.weights.reshape(len(node.weights), *source.shape)

    def _slices(self, total: _Sum, threshold: Threshold | None) -> tuple[Slice, ...]:
        node, config = total.node, self.config
        bits = max(tensor.bits for tensor in total.inputs)
        if isinstance(node, Add):
            channels = total.inputs[0].shape[0]
            slices = channelwise_slices(
                node.factors, channels, bits, threshold.thresholds if threshold else None,
                threshold.falling if threshold else None, config,
            )  # fmt: skip
        else:
            if node.weight_bits > config.weight_bits:
                raise CompileError(
                    f"{node.name}: {node.weight_bits}-bit weights exceed weight_bits = {config.weight_bits} "
                    f"of configuration {config.name!r}"
                )
            weights = self._kernel(node, total.inputs[0])
            weights = weights.reshape(*weights.shape[:2], -1)
            planes = WeightPlanes.bipolar(weights, node.weight_bits) if node.bipolar else WeightPlanes.general(weights)
            if threshold is None:
                slices = (Slice(planes, None),)
            else:
                thresholds = threshold.thresholds if node.bias is None else threshold.thresholds - node.bias[:, None]
                slices = (Slice(*mismatch_limits(planes, bits, thresholds, threshold.falling,
                                                 config.threshold_bits)),)  # fmt: skip
        self._check_counts(node, slices, bits)
        return slices

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
