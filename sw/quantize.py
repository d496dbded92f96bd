"""DoReFa-Net quantizers for weights, activations and gradients (arXiv 1606.06160).

Each quantizer exists in two views that cannot drift apart, because the first is computed from the second:

* the *fake-quantized* float tensor that training sees, with straight-through gradients;
* the integer *codes* that the hardware sees, with ``codes * scale`` equal to the float tensor bit for bit.

Throughout, ``n`` is ``2**bits - 1``, rounding is half to even, the sign of zero is plus, and 32 bits
means "left as float".
"""

import numbers

import torch
from torch import Tensor

__all__ = [
    "activation_codes",
    "check_bits",
    "gradient_codes",
    "gradient_quantizer",
    "levels",
    "quantize_activation",
    "quantize_gradient",
    "quantize_unit",
    "quantize_weight",
    "weight_codes",
]

FLOAT_BITS = 32


def check_bits(kind: str, bits: object) -> int:
    """Return ``bits`` as a plain ``int`` if it is 1 to 8 or 32.

    Parameters
    ----------
    kind : str
        What the bits are of, for the message: ``"weight"``, ``"activation"``, ``"gradient"``, ``"input"``.

    Raises
    ------
    ValueError
        For any other value; booleans and non-integers are refused too.
    """
    if isinstance(bits, numbers.Integral) and not isinstance(bits, bool):
        value = int(bits)
        if 1 <= value <= 8 or value == FLOAT_BITS:
            return value
    raise ValueError(f"{kind} bits must be 1 to 8, or 32 for float, not {bits!r}")


def levels(bits: int) -> int:
    """``2**bits - 1``: the number of steps between the lowest and the highest of ``2**bits`` levels."""
    return (1 << bits) - 1


def _code_bits(kind: str, bits: object) -> int:
    if check_bits(kind, bits) == FLOAT_BITS:
        raise ValueError(f"float {kind}s have no codes: {kind} bits must be 1 to 8, not {bits!r}")
    return int(bits)  # type: ignore[call-overload, no-any-return]


class _StraightThrough(torch.autograd.Function):
    """Forward: ``value``. Backward: the gradient goes to ``surrogate`` unchanged.

    The usual ``surrogate + (value - surrogate).detach()`` rounds twice and may miss ``value`` by one ulp.
    """

    @staticmethod
    def forward(ctx: object, surrogate: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return grad, None


def _straight_through(surrogate: Tensor, value: Tensor) -> Tensor:
    return _StraightThrough.apply(surrogate, value.detach())  # type: ignore[no-untyped-call, no-any-return]


def quantize_unit(r: Tensor, bits: int) -> Tensor:
    """``round(n r) / n`` for ``r`` in [0, 1], any shape; the gradient passes straight through (eq. 5, 6)."""
    n = levels(bits)
    return _straight_through(r, torch.round(r * n) / n)


# Weights ---------------------------------------------------------------------------------------------

def _weight_unit(weight: Tensor) -> Tensor:
    """``tanh w / (2 max |tanh w|) + 1/2``, in [0, 1]; the maximum is over the layer. All-zero layer: 1/2."""
    squashed = torch.tanh(weight)
    peak = squashed.abs().amax()
    return 0.5 * (squashed / torch.where(peak > 0, peak, torch.ones_like(peak))) + 0.5


def _integer_weight(weight: Tensor, bits: int) -> tuple[Tensor, Tensor | float]:
    """Codes as integer-valued floats, and their scale in the dtype of ``weight``."""
    if bits == 1:
        # Summed in float64 so that the scale does not depend on the order of summation (threads, device).
        scale = weight.abs().mean(dtype=torch.float64).to(weight.dtype)
        return torch.where(weight >= 0, 1.0, -1.0).to(weight.dtype), scale
    n = levels(bits)
    return 2 * torch.round(_weight_unit(weight) * n) - n, 1.0 / n


def quantize_weight(weight: Tensor, bits: int) -> Tensor:
    """Fake-quantized weight of a layer, same shape, with straight-through gradients.

    One bit gives ``sign(w) * mean |w|`` (eq. 7, gradient passed to ``w`` as it is); more bits give
    ``2 quantize(tanh w / (2 max |tanh w|) + 1/2) - 1`` (eq. 9, gradient through tanh and the maximum);
    32 returns ``weight`` itself.

    Raises
    ------
    ValueError
        If ``bits`` is not 1 to 8 or 32.
    """
    bits = check_bits("weight", bits)
    if bits == FLOAT_BITS:
        return weight
    codes, scale = _integer_weight(weight.detach(), bits)
    surrogate = weight if bits == 1 else 2 * _weight_unit(weight) - 1
    return _straight_through(surrogate, codes * scale)


def weight_codes(weight: Tensor, bits: int) -> tuple[Tensor, float]:
    """Integer view of :func:`quantize_weight`.

    Returns
    -------
    codes : Tensor
        int64, same shape: the odd integers ``2 q - n`` in [-n, n] (one bit: -1 or +1).
    scale : float
        ``1 / n``; for one bit the layer's ``mean |w|``. ``codes.to(weight.dtype) * scale`` is the
        fake-quantized weight bit for bit.

    Raises
    ------
    ValueError
        If ``bits`` is not 1 to 8, or a weight is NaN or infinite.
    """
    bits = _code_bits("weight", bits)
    weight = weight.detach()
    if not torch.isfinite(weight).all():
        raise ValueError("weights contain NaN or infinity: they have no codes")
    codes, scale = _integer_weight(weight, bits)
    return codes.to(torch.int64), float(scale)


# Activations -----------------------------------------------------------------------------------------

class _QuantizeActivation(torch.autograd.Function):
    """Clip, scale, round and unscale in one buffer: they are most of the memory traffic of training."""

    @staticmethod
    def forward(ctx, x: Tensor, n: int) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward((x >= 0) & (x <= 1))
        return torch.clamp(x, 0.0, 1.0).mul_(n).round_().div_(n)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def, override]
        return grad * ctx.saved_tensors[0], None


def quantize_activation(x: Tensor, bits: int) -> Tensor:
    """``quantize(clip(x, 0, 1))``, any shape (eq. 11 with h = clip); 32 bits clips only.

    The gradient is 1 where ``0 <= x <= 1`` and 0 elsewhere.

    Raises
    ------
    ValueError
        If ``bits`` is not 1 to 8 or 32.
    """
    bits = check_bits("activation", bits)
    if bits == FLOAT_BITS:
        return torch.clamp(x, 0.0, 1.0)
    return _QuantizeActivation.apply(x, levels(bits))  # type: ignore[no-untyped-call, no-any-return]


def activation_codes(x: Tensor, bits: int) -> Tensor:
    """Codes ``p`` in [0, n], int64, same shape: ``p.to(x.dtype) / n`` is :func:`quantize_activation`.

    Raises
    ------
    ValueError
        If ``bits`` is not 1 to 8, or ``x`` contains NaN.
    """
    bits = _code_bits("activation", bits)
    if torch.isnan(x).any():
        raise ValueError("activations contain NaN: they have no codes")
    return torch.round(torch.clamp(x.detach(), 0.0, 1.0) * levels(bits)).to(torch.int64)


# Gradients -------------------------------------------------------------------------------------------

def _integer_gradient(grad: Tensor, bits: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Codes as integer-valued floats, and the scale of each sample shaped (N, 1, 1, ...)."""
    n = levels(bits)
    peak = grad.abs().amax(dim=tuple(range(1, grad.dim())), keepdim=True) if grad.dim() > 1 else grad.abs()
    # A sample whose gradient is all zero has scale 0, so its value is 0 whatever its codes are.
    unit = 0.5 * (grad / torch.where(peak > 0, peak, torch.ones_like(peak))) + 0.5
    device = grad.device if generator is None else generator.device
    noise = torch.rand(grad.shape, generator=generator, device=device, dtype=grad.dtype) - 0.5
    # Clipped after the noise, as the authors' code does; without it the extreme values leave the range.
    codes = torch.round(torch.clamp(unit + noise.to(grad.device) / n, 0.0, 1.0) * n)
    return 2 * codes - n, peak / n


def quantize_gradient(grad: Tensor, bits: int, generator: torch.Generator | None = None) -> Tensor:
    """Gradient (N, ...) rounded at random to ``2**bits`` levels, one scale for each sample (eq. 12).

    ``2 m [quantize(g / (2 m) + 1/2 + noise) - 1/2]`` with ``m`` the sample's largest magnitude and noise
    uniform in ``[-1/2, 1/2) / n`` for every element, clipped to [0, 1] before rounding. A sample that is all
    zero stays zero. 32 bits returns ``grad`` itself and draws no noise.

    Parameters
    ----------
    generator : torch.Generator or None
        Source of the noise; ``None`` takes torch's default one.

    Raises
    ------
    ValueError
        If ``bits`` is not 1 to 8 or 32.
    """
    bits = check_bits("gradient", bits)
    if bits == FLOAT_BITS:
        return grad
    codes, scale = _integer_gradient(grad, bits, generator)
    return codes * scale


def gradient_codes(
    grad: Tensor, bits: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Integer view of :func:`quantize_gradient` for the same state of ``generator``.

    Returns
    -------
    codes : Tensor
        int64, shape of ``grad``: the odd integers ``2 q - n`` in [-n, n].
    scale : Tensor
        (N, 1, 1, ...), dtype of ``grad``: ``max |g| / n`` of each sample, 0 for a sample that is all zero.

    Raises
    ------
    ValueError
        If ``bits`` is not 1 to 8, or a gradient is NaN or infinite.
    """
    bits = _code_bits("gradient", bits)
    if not torch.isfinite(grad).all():
        raise ValueError("gradients contain NaN or infinity: they have no codes")
    codes, scale = _integer_gradient(grad.detach(), bits, generator)
    return codes.to(torch.int64), scale


class _QuantizeGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, bits: int, generator: torch.Generator | None) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.bits, ctx.generator = bits, generator
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def, override]
        return quantize_gradient(grad, ctx.bits, ctx.generator), None, None


def gradient_quantizer(x: Tensor, bits: int, generator: torch.Generator | None = None) -> Tensor:
    """Identity on ``x`` (N, ...) whose gradient goes through :func:`quantize_gradient` on the way back."""
    bits = check_bits("gradient", bits)
    if bits == FLOAT_BITS:
        return x
    return _QuantizeGradient.apply(x, bits, generator)  # type: ignore[no-untyped-call, no-any-return]
