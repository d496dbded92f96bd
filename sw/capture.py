"""Capture of a model's forward pass as a list of calls of its layers, with the shapes they yield."""

import copy
import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from dorefabric.hw.errors import DorefabricError

from .layers import QuantActivation, QuantAdd, QuantConv2d, QuantInput, QuantLinear

__all__ = ["SUPPORTED", "Captured", "LoweringError", "capture", "flattens", "image_shape", "record"]

LEAVES = (QuantInput, QuantConv2d, QuantLinear, QuantActivation, QuantAdd)

SUPPORTED = ("QuantInput, QuantConv2d, QuantLinear, QuantActivation, QuantAdd (or +), BatchNorm1d, BatchNorm2d, "
             "MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, Flatten (or flatten, view, reshape), Dropout, Identity")


class LoweringError(DorefabricError, ValueError):
    """A model that has no integer graph; the message names the layer by its path in the model."""


@dataclass(frozen=True, eq=False)
class Captured:
    """A model as calls in order.

    Members
    -------
    module : fx.GraphModule
        Runs as the model does; shares its layers.
    results : dict of fx.Node to Tensor or anything else
        What each call yields for a batch of two random images.
    dtype : torch.dtype
        Of the parameters: float32 or float64.
    faithful : bool
        Whether the captured calls yield what the model does. They do not where a tensor is changed in place and
        used again, since every call is traced as if it made a new tensor.
    """

    module: fx.GraphModule
    results: dict[fx.Node, Any]
    dtype: torch.dtype
    faithful: bool

    def layer(self, node: fx.Node) -> nn.Module:
        """The module that a ``call_module`` node calls."""
        return self.module.get_submodule(str(node.target))

    def describe(self, node: fx.Node) -> str:
        """``layer features.3 (Softmax)``, ``function softmax in head (Head)``."""
        if node.op == "call_module":
            return f"layer {node.target} ({type(self.layer(node)).__name__})"
        kind = {"call_function": "function", "call_method": "method"}.get(node.op, node.op)
        name = getattr(node.target, "__name__", str(node.target))
        stack = list(node.meta.get("nn_module_stack", {}).values())
        where = f"{stack[-1][0]} ({stack[-1][1].__name__})" if stack else "the model's forward"
        return f"{kind} {name} in {where}"

    def path(self, node: fx.Node) -> str:
        """A name for what a call yields: the layer's path, or that of the module whose forward calls it."""
        if node.op == "call_module":
            return str(node.target)
        stack = list(node.meta.get("nn_module_stack", {}).values())
        return f"{stack[-1][0]}.{node.name}" if stack else node.name


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LEAVES) or super().is_leaf_module(m, module_qualified_name)


class _Recorder(fx.Interpreter):
    """Runs a captured model and keeps what every call yields."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.results: dict[fx.Node, Any] = {}
        self.extra_traceback = False

    def run_node(self, n: fx.Node) -> Any:
        self.results[n] = super().run_node(n)
        return self.results[n]


def capture(model: nn.Module, shape: tuple[int, int, int]) -> Captured:
    """Trace a model in eval mode; the argument is not changed.

    Parameters
    ----------
    shape : (C, H, W)
        Of an input image.

    Raises
    ------
    LoweringError
        If a layer is in training mode, the forward pass cannot be traced, takes several inputs or branches on
        values, or fails on an input of this shape.
    """
    for path, module in model.named_modules():
        if module.training and isinstance(module, nn.modules.batchnorm._NormBase | nn.modules.dropout._DropoutNd):
            raise LoweringError(f"layer {path} ({type(module).__name__}) is in training mode; call model.eval() first")
    model = _on_cpu(model)
    dtypes = {parameter.dtype for parameter in model.parameters()} or {torch.float32}
    if len(dtypes) != 1 or not dtypes <= {torch.float32, torch.float64}:
        names = ", ".join(sorted(str(dtype) for dtype in dtypes))
        raise LoweringError(f"parameters must all be float32, or all float64, not {names}")
    dtype = dtypes.pop()
    root = nn.Sequential(model) if isinstance(model, LEAVES) else model
    try:
        graph = _Tracer().trace(root)
    except Exception as error:  # whatever the user's forward raises when it meets a proxy
        raise LoweringError(f"{type(model).__name__} cannot be traced: {_line(error)}; its forward must not depend "
                            f"on values of tensors") from error
    inputs = [node for node in graph.nodes if node.op == "placeholder" and node.users]
    if len(inputs) != 1:
        raise LoweringError(f"{type(model).__name__} takes {len(inputs)} inputs; supported: 1")
    module = fx.GraphModule(root, graph)
    recorder = _Recorder(module)
    images = torch.rand(2, *shape, dtype=dtype, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about speed; what matters here is refused by the lowering
            eager, traced = root(images.clone()), recorder.run(images)
    except Exception as error:  # a layer that does not fit the shape raises anything
        raise LoweringError(f"{type(model).__name__} fails on an input of shape (N, {', '.join(map(str, shape))}): "
                            f"{_line(error)}") from error
    return Captured(module, recorder.results, dtype, _agree(eager, traced))


def image_shape(model: nn.Module, shape: tuple[int, int, int] | None) -> tuple[int, int, int]:
    """``shape``, or the model's attribute ``input_shape``; `LoweringError` where that is no (C, H, W)."""
    found = getattr(model, "input_shape", None) if shape is None else shape
    if found is None:
        raise LoweringError(f"the input shape of {type(model).__name__} is not known; pass input_shape=(C, H, W)")
    found = tuple(found)
    if len(found) != 3 or not all(isinstance(size, int) and size > 0 for size in found):
        raise LoweringError(f"input_shape must be three positive integers (C, H, W), not {found}")
    return found


def record(captured: Captured, images: Tensor) -> dict[fx.Node, Any]:
    """Run a captured model on images (N, C, H, W) and return what every call yields."""
    recorder = _Recorder(captured.module)
    with torch.no_grad():
        recorder.run(images)
    return recorder.results


def _on_cpu(model: nn.Module) -> nn.Module:
    tensors = [*model.parameters(), *model.buffers()]
    return model if all(t.device.type == "cpu" for t in tensors) else copy.deepcopy(model).cpu()


def _agree(eager: Any, traced: Any) -> bool:
    """Whether two runs on the same images mean the same, but for a code that float rounding may have flipped."""
    if not isinstance(eager, Tensor) or not isinstance(traced, Tensor):
        return True
    eager, traced = eager.nan_to_num(), traced.nan_to_num()
    return bool((eager - traced).abs().mean() <= 0.05 * eager.abs().mean())


def _line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def flattens(result: Any, shape: tuple[int, int, int]) -> bool:
    """Whether a result (2, ...) is a (C, H, W) map made a vector."""
    return isinstance(result, Tensor) and tuple(result.shape) == (2, math.prod(shape))
