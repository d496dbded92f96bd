"""The golden model: a graph evaluated in exact integers with NumPy alone.

Every other implementation (interpreter, simulators, board) is compared with the tensors computed here.
"""

from collections.abc import Callable, Collection, Sequence

import numpy as np

from .graph import Add, Convolution, Flatten, Graph, GraphError, Input, MaxPool, Node, Threshold
from .images import check_images

__all__ = ["evaluate", "evaluate_node", "evaluate_output"]

BATCH = 64
"""Images evaluated together: large enough for BLAS, small enough for the unfolded windows to stay small."""


def evaluate(graph: Graph, images: np.ndarray, *, keep: Collection[str] | None = None,
             progress: Callable[[int], None] | None = None) -> dict[str, np.ndarray]:
    """Every tensor of a graph, exactly.

    Parameters
    ----------
    images : integers (N, C, H, W)
        Input codes, any integer dtype.
    keep : names or None
        Nodes whose tensors are returned; ``None`` keeps all, which takes 8 bytes an element.
    progress : callable or None
        Called with the number of images done.

    Returns
    -------
    dict of str to int64 (N, C, H, W)
        In the order of the nodes.

    Raises
    ------
    InputError
        If ``images`` has another shape, dtype or range than the graph's input.
    GraphError
        If a value leaves the range that its edge declares.
    """
    check_images(images, graph.input.edge.shape, graph.input.edge.high)
    names = [node.name for node in graph.nodes if keep is None or node.name in keep]
    operations = [(node, _operation(graph, node)) for node in graph.nodes]
    kept = {name: np.empty((len(images), *graph[name].edge.shape), np.int64) for name in names}
    for start in range(0, len(images), BATCH):
        part = slice(start, min(start + BATCH, len(images)))
        tensors = {graph.input.name: images[part].astype(np.int64)}
        for node, operation in operations:
            if not isinstance(node, Input):
                tensors[node.name] = operation([tensors[name] for name in node.inputs])
            _check_range(node, tensors[node.name])
            if node.name in kept:
                kept[node.name][part] = tensors[node.name]
        if progress is not None:
            progress(part.stop)
    return kept


def evaluate_output(graph: Graph, images: np.ndarray, *,
                    progress: Callable[[int], None] | None = None) -> np.ndarray:
    """The output tensor alone, int64 (N, C, H, W); arguments and errors as `evaluate`."""
    return evaluate(graph, images, keep=(graph.output.name,), progress=progress)[graph.output.name]


def evaluate_node(graph: Graph, node: Node, tensors: Sequence[np.ndarray]) -> np.ndarray:
    """The tensor of one node, int64 (N, C, H, W), from the int64 tensors of its inputs; range checked."""
    result = _operation(graph, node)(tensors)
    _check_range(node, result)
    return result


def _check_range(node: Node, tensor: np.ndarray) -> None:
    if tensor.shape[1:] != node.edge.shape:
        raise GraphError(f"{node.name}: computed shape {tensor.shape[1:]}, declared {node.edge.shape}")
    if tensor.size and (tensor.min() < node.edge.low or tensor.max() > node.edge.high):
        raise GraphError(f"{node.name}: computed values from {tensor.min()} to {tensor.max()}, "
                         f"declared {node.edge.low} to {node.edge.high}")


# Operations ------------------------------------------------------------------------------------------

Operation = Callable[[Sequence[np.ndarray]], np.ndarray]


def _operation(graph: Graph, node: Node) -> Operation:
    match node:
        case Input():
            return lambda tensors: tensors[0]
        case Convolution():
            return _convolution(node, graph[node.inputs[0]])
        case Add():
            return lambda tensors: np.tensordot(node.factors, np.stack(tensors), 1)
        case Threshold():
            return lambda tensors: _threshold(node, tensors[0])
        case MaxPool():
            return lambda tensors: _max_pool(node, tensors[0])
        case Flatten():
            return lambda tensors: tensors[0].reshape(len(tensors[0]), -1, 1, 1)
    raise GraphError(f"{node.name}: the golden model does not know {type(node).__name__} nodes")


def _windows(tensor: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int],
             padding: tuple[int, int]) -> np.ndarray:
    """Zero-padded sliding windows as a view, (N, C, H', W', kernel height, kernel width)."""
    (py, px), (sy, sx) = padding, stride
    padded = np.pad(tensor, ((0, 0), (0, 0), (py, py), (px, px))) if py or px else tensor
    return np.lib.stride_tricks.sliding_window_view(padded, kernel, (2, 3))[:, :, ::sy, ::sx]


def _convolution(node: Convolution, source: Node) -> Operation:
    """Unfolded windows times weights.

    Every product and every partial sum is an integer of magnitude at most ``bound``, so BLAS in the narrowest
    float type that holds all of those is exact in whatever order it adds.
    """
    channels = len(node.weights)
    largest = max(abs(source.edge.low), abs(source.edge.high))
    bound = int(np.abs(node.weights).reshape(channels, -1).sum(1).max()) * largest
    dtype: type[np.generic] = np.int64
    for candidate, mantissa in ((np.float32, 24), (np.float64, 53)):
        if bound < 1 << mantissa:
            dtype = candidate
            break
    if bound >= 1 << 63:
        raise GraphError(f"{node.name}: accumulators up to {bound} exceed 63 bits")
    # (groups, outputs of a group, length)
    weights = node.weights.reshape(node.groups, channels // node.groups, -1).astype(dtype)
    kernel = (node.weights.shape[2], node.weights.shape[3])

    def run(tensors: Sequence[np.ndarray]) -> np.ndarray:
        windows = _windows(tensors[0].astype(dtype), kernel, node.stride, node.padding)
        count, _, height, width = windows.shape[:4]
        # One product for the whole batch: many small ones cost more in BLAS threads than they compute.
        columns = windows.transpose(1, 4, 5, 0, 2, 3).reshape(node.groups, weights.shape[2], -1)
        product = (weights @ columns).reshape(channels, count, height, width)
        sums = product.transpose(1, 0, 2, 3).astype(np.int64, order="C")
        return sums if node.bias is None else sums + node.bias[:, None, None]

    return run


def _threshold(node: Threshold, tensor: np.ndarray) -> np.ndarray:
    """#{i : y >= t_i}; a falling channel is the rising one of -y and -t."""
    codes = np.empty_like(tensor)
    for channel, (thresholds, falling) in enumerate(zip(node.thresholds, node.falling, strict=True)):
        sign = -1 if falling else 1
        codes[:, channel] = np.searchsorted(sign * thresholds, sign * tensor[:, channel], side="right")
    return codes


def _max_pool(node: MaxPool, tensor: np.ndarray) -> np.ndarray:
    windows = _windows(tensor, node.kernel, node.stride, node.padding)
    result = windows[..., 0, 0].copy()
    for y in range(node.kernel[0]):
        for x in range(node.kernel[1]):
            np.maximum(result, windows[..., y, x], out=result)
    return result
