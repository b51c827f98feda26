"""Batch, layer and group normalisation: one primitive that normalises over some axes, its gradient in few passes."""

from collections.abc import Sequence
from math import prod
from typing import Any

from expkit.autograd.handle import Aval
from expkit.autograd.levels import Batched
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.composite import fused
from expkit.tensor.ops import norm_arrays
from expkit.tensor.ops.compound import compound
from expkit.tensor.ops.convert import as_dtype
from expkit.tensor.ops.elementwise import add, mul, rsqrt, sub
from expkit.tensor.ops.kinds import keep, materialize, reduced, reshape_p, shifted, spread, sum_p
from expkit.tensor.ops.memory_format import in_own_order
from expkit.tensor.ops.movement import reshape
from expkit.tensor.ops.pointwise import rsqrt_p
from expkit.tensor.ops.windows import recordable

Axes = tuple[int, ...]

# ---- the primitive ---------------------------------------------------------------------------------------------------


def _beside(v: Any, x: Any, at: Axes) -> Any:
    return reshape_p(v, shape=tuple(n if i in at else 1 for i, n in enumerate(x.shape)))


def _shape(x: Aval, *_affine: Any, axes: Axes, **_: Any) -> tuple[Aval, Aval, Aval]:
    return x, reduced(x, axes), reduced(x, axes)


def _normed(x: Any, mean: Any, var: Any, axes: Axes, eps: float) -> tuple[Any, Any]:
    """(x with mean 0 and variance 1, the factor that made it so)."""
    rstd = keep(rsqrt_p(var + eps), x, axes)
    return (x - keep(mean, x, axes)) * rstd, rstd


def _composed(
    y: Any, mean: Any, var: Any, x: Any, weight: Any = None, *, grads: int, axes: Axes, at: Axes, eps: float
) -> Any:
    """The gradients of x and, `grads` of them, of weight and bias, from y, that of the result."""
    n = prod(x.shape[i] for i in axes)
    normed, rstd = _normed(x, mean, var, axes, eps)
    rest = tuple(i for i in range(len(x.shape)) if i not in at)
    found = [sum_p(y * normed, axes=rest), sum_p(y, axes=rest)] if grads else []
    if weight is not None:
        y = y * _beside(weight, x, at)
    total, along = (keep(sum_p(v, axes=axes), x, axes) * (1 / n) for v in (y, y * normed))
    moved = rstd * (y - total - normed * along)
    return (moved, *found[:grads]) if grads else moved


def _grad_shape(_y: Aval, _mean: Aval, _var: Aval, x: Aval, *weight: Aval, grads: int, **_: Any) -> Any:
    return (x, *weight * grads) if grads else x


GRADS = [  # (y, mean, var, x, weight?) -> gradients of x, weight?, bias?
    compound(f"normalize_grad{n}", norm_arrays.normalize_grad, _grad_shape, _composed, nout=n) for n in (1, 2, 3)
]


def _through_statistics(gmean: Any, gvar: Any, mean: Any, x: Any, axes: Axes) -> list[Any]:
    """What comes to x's gradient through mean and variance: gmean / n and (x - mean) gvar 2 / n."""
    share, found = 1 / prod(x.shape[i] for i in axes), []
    if gmean is not None:
        found.append(spread(keep(gmean, x, axes) * share, tuple(x.shape)))
    if gvar is not None:
        found.append((x - keep(mean, x, axes)) * (keep(gvar, x, axes) * (2 * share)))
    return found


def _joint(
    g: Any, out: Any, x: Any, weight: Any = None, _bias: Any = None, *, axes: Axes, at: Axes, eps: float
) -> list[Any]:
    (y, gmean, gvar), (_, mean, var) = g, out
    grads = (weight is not None) + (_bias is not None)
    operands = (y, mean, var, x, *(() if weight is None else (weight,)))
    found: list[Any] = [None] * (1 + grads)
    if y is not None:
        rule: Any = GRADS[grads] if recordable(*operands) else _composed
        made = rule(*operands, grads=grads, axes=axes, at=at, eps=eps)
        found = list(made) if grads else [made]
    for part in _through_statistics(gmean, gvar, mean, x, axes):
        found[0] = part if found[0] is None else found[0] + part
    return found


def _push(tangents: list[Any], out: Any, primals: list[Any], kw: dict[str, Any]) -> list[Any]:
    (x, *affine), axes, at = primals, kw["axes"], kw["at"]
    n = prod(x.shape[i] for i in axes)
    normed, rstd = _normed(x, out[1], out[2], axes, kw["eps"])
    t, *rest = tangents
    moved = mean = var = None
    if t is not None:
        mean = sum_p(t, axes=axes) * (1 / n)
        var = sum_p(t * normed / rstd, axes=axes) * (2 / n)
        moved = rstd * (t - keep(mean, x, axes) - normed * (keep(var, x, axes) * rstd * 0.5))
        if affine:
            moved = moved * _beside(affine[0], x, at)
    for v, factor in zip(rest, (normed, None), strict=False):
        if v is not None:
            part = spread(_beside(v, x, at), tuple(x.shape))
            part = part if factor is None else part * factor
            moved = part if moved is None else moved + part
    return [moved, mean, var]


def _batch(size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any]) -> Any:
    x, *affine = values
    x, at = materialize(size, x, mapped[0]), shifted(kw["at"])
    if any(mapped[1:]):
        affine = [materialize(size, v, m) for v, m in zip(affine, mapped[1:], strict=True)]
        at = (0, *at)
    return normalize_p(x, *affine, axes=shifted(kw["axes"]), at=at, eps=kw["eps"])


normalize_p = Primitive(  # (x, weight?, bias?) -> (result, mean, variance)
    "normalize", norm_arrays.normalize, _shape, joint=_joint, jvp=_push, batch=_batch, nout=3, saves=(1, 2),
    materialize=False,
)  # fmt: skip

# ---- functions -------------------------------------------------------------------------------------------------------


def _normalize(x: Any, weight: Any, bias: Any, axes: Axes, at: Axes, eps: float) -> tuple[Any, Any, Any]:
    """Two-byte floats are computed in float32; parameters may have another dtype than x."""
    d = dtypes.of(x.raw)
    if not d.is_floating_point:
        raise TypeError(f"normalisation needs a floating-point input, got {d}. Use .float().")
    wide = dtypes.float32 if d.itemsize == 2 else d
    affine = [as_dtype(v, wide) for v in (weight, bias) if v is not None]
    if weight is None and bias is not None:
        out, mean, var = apply(normalize_p, as_dtype(x, wide), axes=axes, at=(), eps=eps)
        out = add(out, reshape(affine[0], [n if i in at else 1 for i, n in enumerate(x.shape)]))
    else:
        out, mean, var = apply(normalize_p, as_dtype(x, wide), *affine, axes=axes, at=at if affine else (), eps=eps)
    return as_dtype(out, d), mean, var


def batch_norm(
    input: Any,
    mean: Any,
    var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    eps: float = 1e-5,
) -> tuple[Any, Any, Any]:
    """Each channel to mean 0 and variance 1 (Ioffe and Szegedy, 2015).   input: (N, C, ...) -> (result, mean, variance)

    In training by the mean and the biased variance of the batch, which are returned, (C,) each; else by those given.
    """
    if input.ndim < 2:
        raise ShapeError(f"batch_norm: expected (N, C, ...), but got an input of shape {tuple(input.shape)}")
    for name, v in {"mean": mean, "var": var, "weight": weight, "bias": bias}.items():
        if v is not None and tuple(v.shape) != (input.shape[1],):
            raise ShapeError(f"batch_norm: {name} has shape {tuple(v.shape)}, expected ({input.shape[1]},)")
    if eps < 0 or (training and not eps):
        raise ValueError(f"batch_norm: eps must be {'positive in training' if training else 'at least 0'}, got {eps}")
    if training:
        axes = (0, *range(2, input.ndim))
        if prod(input.shape[i] for i in axes) <= 1:
            raise ShapeError(
                f"batch_norm: expected more than 1 value per channel when training, got {tuple(input.shape)}"
            )
        if any(v is not None and v.raw.__class__ is Batched for v in (weight, bias)):
            return _affine_apart(input, weight, bias, axes, eps)
        return _normalize(input, weight, bias, axes, (1,), eps)
    if mean is None or var is None:
        raise ValueError("batch_norm: running_mean and running_var are needed when training=False")
    scale = rsqrt(add(var, eps))
    if weight is not None:
        scale = mul(scale, weight)
    shift = mul(mean, scale)
    shift = mul(shift, -1.0) if bias is None else sub(bias, shift)
    shape = (1, input.shape[1], *(1,) * (input.ndim - 2))
    out = _scaled(input, reshape(scale, shape), reshape(shift, shape))
    return as_dtype(out, dtypes.of(input.raw)), mean, var


def _affine_apart(x: Any, weight: Any, bias: Any, axes: Axes, eps: float) -> tuple[Any, Any, Any]:
    """As _normalize; under a vmap of the weights, the statistics of an x that it does not map are no batch."""
    out, mean, var = _normalize(x, None, None, axes, (1,), eps)
    shape = (1, x.shape[1], *(1,) * (x.ndim - 2))
    if weight is not None:
        out = mul(out, reshape(weight, shape))
    if bias is not None:
        out = add(out, reshape(bias, shape))
    return out, mean, var


@fused
def _scaled(x: Any, scale: Any, shift: Any) -> Any:
    return add(mul(x, scale), shift)


@in_own_order
def layer_norm(
    input: Any, normalized_shape: int | Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """The last dimensions of each sample to mean 0 and variance 1 (Ba, Kiros and Hinton, 2016).

    normalized_shape: the sizes of these dimensions, also of weight and bias. ShapeError where the input has others.
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    k = len(shape)
    if not k or tuple(input.shape[input.ndim - k :]) != shape or input.ndim < k:
        raise ShapeError(
            f"layer_norm: given normalized_shape={shape}, expected an input of shape "
            f"(*, {', '.join(map(str, shape))}), but got {tuple(input.shape)}"
        )
    for name, v in {"weight": weight, "bias": bias}.items():
        if v is not None and tuple(v.shape) != shape:
            raise ShapeError(f"layer_norm: {name} has shape {tuple(v.shape)}, expected {shape}")
    axes = tuple(range(input.ndim - k, input.ndim))
    return _normalize(input, weight, bias, axes, axes, eps)[0]


def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Each group of channels of each sample to mean 0 and variance 1 (Wu and He, 2018).   input: (N, C, ...)"""
    if input.ndim < 2:
        raise ShapeError(f"group_norm: expected (N, C, ...), but got an input of shape {tuple(input.shape)}")
    if num_groups < 1 or input.shape[1] % num_groups:
        raise ShapeError(
            f"group_norm: {input.shape[1]} channels (input {tuple(input.shape)}) do not split in {num_groups} groups"
        )
    n, c = input.shape[:2]
    grouped = reshape(input, (n, num_groups, c // num_groups, prod(input.shape[2:])))
    for v in (weight, bias):
        if v is not None and tuple(v.shape) != (c,):
            raise ShapeError(f"group_norm: weight and bias must have shape ({c},), got {tuple(v.shape)}")
    scale, shift = (None if v is None else reshape(v, (num_groups, c // num_groups)) for v in (weight, bias))
    return reshape(_normalize(grouped, scale, shift, (2, 3), (1, 2), eps)[0], tuple(input.shape))
