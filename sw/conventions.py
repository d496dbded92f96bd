"""Where DoReFa-Net's paper, its authors' code and later code differ, as one value that the quantizers take.

========================  =================================  ======================================
question                  arXiv 1606.06160                   authors' code (tensorpack)
========================  =================================  ======================================
sign(0) of 1-bit weights  plus (eq. 7)                       first 0, as TensorFlow's; later plus
ties of rounding          not said                           to even, as TensorFlow's
scale of 1-bit weights    one a layer (eq. 7, 8)             one a layer
bounded activation        clip to [0, 1]                     clip; min(1, \\|x\\|) for SVHN
noise of gradients        uniform, half a step (eq. 12)      the same, then clipped to the range
========================  =================================  ======================================

XNOR-Net (arXiv 1603.05279) has one scale a filter. Every field changes training only through the quantizers, and the
integer graph follows the model's own expression, so a network lowers under any convention that has integer codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["AUTHORS", "PAPER", "Conventions", "parse_conventions"]

_CHOICES = {
    "sign_of_zero": (1, 0, -1),
    "rounding": ("even", "up"),
    "weight_scale": ("layer", "channel"),
    "activation": ("clip", "abs"),
    "gradient_noise": (True, False),
    "gradient_clip": (True, False),
}


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """How the quantizers treat what the formulas leave open.

    Members
    -------
    sign_of_zero : int
        Of a 1-bit weight that is exactly 0: 1, -1, or 0, which has no code and so only trains.
    rounding : str
        Ties go to ``even``, or ``up``: floor(x + 1/2).
    weight_scale : str
        E(abs w) of 1-bit weights and max abs tanh w of others over the ``layer`` or over each output ``channel``.
    activation : str
        ``clip`` to [0, 1], or ``abs``: min(1, abs x), which is not monotone and so only trains.
    gradient_noise : bool
        Whether gradients get uniform noise before they are rounded.
    gradient_clip : bool
        Whether the noisy gradient is clipped to the range before it is rounded. It matters only where rounding
        errors lift the largest value over the last tie.

    Raises
    ------
    ValueError
        For a value that is none of these.
    """

    sign_of_zero: int = 1
    rounding: str = "even"
    weight_scale: str = "layer"
    activation: str = "clip"
    gradient_noise: bool = True
    gradient_clip: bool = True

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices or type(value) is not type(choices[0]):
                raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")


def parse_conventions(texts: Sequence[str]) -> Conventions:
    """Those of the authors but for fields given as ``NAME=VALUE``, a value being as Python writes it or a bare word.

    Raises
    ------
    ValueError
        For an unknown field or value.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in _CHOICES:
            raise ValueError(f"unknown convention {name!r}: choose of {', '.join(_CHOICES)}")
        known = {str(choice): choice for choice in _CHOICES[name]}
        values[name] = known.get(value, value)
    return Conventions(**values)


AUTHORS = Conventions()
PAPER = Conventions(gradient_clip=False)
