"""Methods of training, each of which turns a reference network of DoReFa layers into its own.

===========  =======================================  ==========================================
name         weights                                  activations
===========  =======================================  ==========================================
dorefa       arXiv 1606.06160, 1 to 8 bits or float   codes in [0, 1]; or a learned clip (PACT)
aqe          arXiv 2003.04296, 1 to 4 bits            the same levels, signed
plus-minus   DoReFa's, odd integers                   odd integers over n, signed (1905.13389)
a2q, a2q+    arXiv 2308.13504 and 2401.10432,         codes in [0, 1]
             all layers but the last
mls          arXiv 2006.02804, float networks only    float, in the MLS format at every layer
===========  =======================================  ==========================================

Networks of signed activations pad with their lowest level, -1, because the array's padding is the code 0.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor, nn

from . import aqe
from .a2q import BoundedConv2d, BoundedLinear, BoundedWeight, norm_limit
from .aqe_layers import AsymptoticActivation, AsymptoticConv2d, AsymptoticLinear, AsymptoticWeight
from .conventions import AUTHORS, Conventions
from .layers import QuantActivation, QuantAdd, QuantConv2d, QuantLinear, QuantWeight
from .learned_clip import LearnedClipActivation
from .mls import MlsFormat
from .mls_layers import MlsConv2d, MlsLinear
from .plus_minus import PlusMinusActivation
from .quantize import FLOAT_BITS, check_bits

__all__ = ["DOREFA", "METHODS", "Method"]

METHODS = ("dorefa", "aqe", "plus-minus", "a2q", "a2q+", "mls")
BOUNDED = ("a2q", "a2q+")


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method and its parameters.

    Members
    -------
    name : str
        One of `METHODS`.
    first_bits, last_bits : int or None
        Weight bits of the first and the last layer, 1 to 8 or 32 for float; ``None`` leaves the network's own, except
        for AQE, whose paper leaves nothing but the network's input unquantized: there it is the bits of the others.
        With more bits than AQE has, 5 and above, such a layer is DoReFa-Net's.
    conventions : Conventions
        Of the quantizers of DoReFa-Net.
    learned_clip : bool
        DoReFa with activations clipped at a learned level.
    clip_decay : float
        Factor on the sum of squares of the clipping levels in the loss.
    alpha_start, alpha_reach : float
        Schedule of AQE (`aqe.alpha_schedule`).
    delta : float or None
        Of AQE (`aqe.quantized_integers`).
    accumulator_bits : int
        P of A2Q and A2Q+.
    bound_weight : float
        Factor on what exceeds their bound in the loss.
    element : (Ex, Mx)
        Of MLS.

    Raises
    ------
    ValueError
        For a value out of range, or an option of another method.
    """

    name: str = "dorefa"
    first_bits: int | None = None
    last_bits: int | None = None
    conventions: Conventions = AUTHORS
    learned_clip: bool = False
    clip_decay: float = 2e-4
    alpha_start: float = 0.5
    alpha_reach: float = 0.7
    delta: float | None = None
    accumulator_bits: int = 16
    bound_weight: float = 1e-3
    element: tuple[int, int] = (2, 1)

    def __post_init__(self) -> None:
        if self.name not in METHODS:
            raise ValueError(f"unknown method {self.name!r}: choose one of {', '.join(METHODS)}")
        for place in ("first", "last"):
            bits = getattr(self, f"{place}_bits")
            if bits is not None:
                check_bits(f"{place} layer", bits)
        if self.learned_clip and self.name != "dorefa":
            raise ValueError(f"a learned clip belongs to method 'dorefa', not {self.name!r}")
        aqe.check_schedule(self.alpha_start, self.alpha_reach)
        MlsFormat(element=self.element)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Method":
        """The inverse of `to_dict`."""
        return cls(**{**values, "conventions": Conventions(**values["conventions"]),
                      "element": tuple(values["element"])})

    def to_dict(self) -> dict[str, Any]:
        """Numbers, strings, lists and dictionaries only."""
        return {**asdict(self), "element": list(self.element)}

    def check(self, weight_bits: int, activation_bits: int, gradient_bits: int) -> None:
        """`ValueError` if the method cannot have these bits."""
        bits = weight_bits, activation_bits, gradient_bits
        if gradient_bits != FLOAT_BITS and activation_bits == FLOAT_BITS:
            raise ValueError(f"{gradient_bits}-bit gradients need quantized activations, of 1 to 8 bits, not 32")
        if self.name == "mls" and bits != (FLOAT_BITS,) * 3:
            raise ValueError(f"method 'mls' has a format of its own: bits must be 32,32,32, not "
                             f"{','.join(map(str, bits))}")
        if self.name == "aqe":
            aqe.check_aqe_bits("weight", weight_bits)
            aqe.check_aqe_bits("activation", activation_bits)
            if self.delta is not None:
                for layer_bits in {weight_bits, activation_bits} - {1}:
                    aqe.check_delta(layer_bits, self.delta)
        if self.name in BOUNDED:
            if not 2 <= weight_bits <= 8 or activation_bits == FLOAT_BITS:
                raise ValueError(f"method {self.name!r} needs weight bits 2 to 8 and activation bits 1 to 8, not "
                                 f"{weight_bits},{activation_bits}")
            norm_limit(self.accumulator_bits, 8, centred=self.name == "a2q+")       # the first layer has 8-bit inputs
        if self.name == "plus-minus" and activation_bits == FLOAT_BITS:
            raise ValueError("method 'plus-minus' needs activation bits 1 to 8, not 32")

    def apply(self, model: nn.Module) -> nn.Module:
        """Swap the layers of a network from `models.build_model`, in place, and return it; parameters are kept."""
        layers = [m for m in model.modules() if isinstance(m, QuantWeight)]
        for place, bits in ((0, self.first_bits), (-1, self._last_bits(layers))):
            if bits is not None:
                layers[place].weight_bits = bits
        activation_bits = next((m.bits for m in model.modules() if isinstance(m, QuantActivation)), 8)
        signed = self.name in ("aqe", "plus-minus")
        if (signed or self.learned_clip) and any(isinstance(m, QuantAdd) for m in model.modules()):
            kind = "signed activations" if signed else "learned clipping levels"
            raise ValueError(f"residual additions need codes p / (2**bits - 1), and the method has {kind}; choose a "
                             "network without QuantAdd")
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                swapped = child if self.name in BOUNDED and child is layers[-1] else self._swapped(child)
                if isinstance(swapped, BoundedWeight):
                    swapped.bound(self.accumulator_bits, 8 if child is layers[0] else activation_bits,
                                  centred=self.name == "a2q+")
                if isinstance(swapped, QuantWeight):
                    swapped.conventions = self.conventions
                    swapped.padding_value = -1.0 if signed and child is not layers[0] else 0.0
                if type(swapped) is QuantActivation:
                    swapped.conventions = self.conventions
                setattr(parent, name, swapped)
        return model

    def initialise(self, model: nn.Module) -> None:
        """Set what the method wants of fresh parameters, in place.

        The largest of a window's n values, normalised and independent, is positive with probability 1 - 2^-n. The sign
        would hold next to nothing, so batch norms in front of a max pool start at minus the median of that largest
        value, and AQE's activation behind it in the middle of its levels.
        """
        if self.name != "aqe":
            return
        for block in model.modules():
            norm = None
            for layer in block.children() if isinstance(block, nn.Sequential) else ():
                if isinstance(layer, nn.MaxPool2d) and norm is not None:
                    kernel = layer.kernel_size
                    count = kernel**2 if isinstance(kernel, int) else math.prod(kernel)
                    nn.init.constant_(norm.bias, -NormalDist().inv_cdf(0.5 ** (1 / count)))
                norm = layer if isinstance(layer, nn.BatchNorm2d) else None

    def _last_bits(self, layers: list[QuantWeight]) -> int | None:
        if self.last_bits is None and self.name == "aqe" and len(layers) > 1:
            return layers[-2].weight_bits
        return self.last_bits

    def _swapped(self, module: nn.Module) -> nn.Module:
        if type(module) is QuantActivation:
            if self.name == "aqe":
                activation = AsymptoticActivation(module.bits)
                activation.delta = self.delta if module.bits > 1 else None
                return activation
            if self.name == "plus-minus":
                return PlusMinusActivation(module.bits)
            return LearnedClipActivation(module.bits) if self.learned_clip else module
        if self.name == "aqe" and isinstance(module, QuantWeight) and module.weight_bits > aqe.MOST_BITS:
            return module
        if type(module) is QuantConv2d:
            new = {"aqe": AsymptoticConv2d, "a2q": BoundedConv2d, "a2q+": BoundedConv2d,
                   "mls": MlsConv2d}.get(self.name)
            return module if new is None else self._options(_twin_convolution(module, new))
        if type(module) is QuantLinear:
            linear = {"aqe": AsymptoticLinear, "a2q": BoundedLinear, "a2q+": BoundedLinear,
                      "mls": MlsLinear}.get(self.name)
            return module if linear is None else self._options(_twin_linear(module, linear))
        return module

    def _options(self, layer: Any) -> nn.Module:
        if self.name == "aqe":
            layer.delta = self.delta if layer.weight_bits > 1 else None
        elif self.name == "mls":
            for kind in ("weight", "input", "error"):
                fmt: MlsFormat = getattr(layer, f"{kind}_format")
                setattr(layer, f"{kind}_format",
                        MlsFormat(element=self.element, axes=fmt.axes, stochastic=fmt.stochastic))
        return layer  # type: ignore[no-any-return]

    def advance(self, model: nn.Module, done: float) -> None:
        """Set what changes during training, when the part ``done`` of all steps is behind."""
        if self.name == "aqe":
            alpha = aqe.alpha_schedule(done, self.alpha_start, self.alpha_reach)
            for module in model.modules():
                if isinstance(module, AsymptoticWeight | AsymptoticActivation):
                    module.alpha = alpha

    def penalty(self, model: nn.Module) -> Tensor | None:
        """What the method adds to the loss, or None."""
        if self.name in BOUNDED:
            excess = [m.excess() for m in model.modules() if isinstance(m, BoundedWeight)]
            return self.bound_weight * torch.stack(excess).sum()
        if not self.learned_clip:
            return None
        clips = [m.clip.square() for m in model.modules() if isinstance(m, LearnedClipActivation)]
        return self.clip_decay * torch.stack(clips).sum()


DOREFA = Method()
"""DoReFa-Net as its authors' code has it."""


def _twin_convolution(layer: QuantConv2d, new: Callable[..., QuantConv2d]) -> QuantConv2d:
    twin = new(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding,
               weight_bits=layer.weight_bits, gradient_bits=layer.gradient_bits, bias=layer.bias is not None,
               dilation=layer.dilation, groups=layer.groups)
    twin.weight, twin.bias = layer.weight, layer.bias
    return twin


def _twin_linear(layer: QuantLinear, new: Callable[..., QuantLinear]) -> QuantLinear:
    twin = new(layer.in_features, layer.out_features, layer.weight_bits, layer.gradient_bits, layer.bias is not None)
    twin.weight, twin.bias = layer.weight, layer.bias
    return twin
