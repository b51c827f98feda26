"""RMS norm: plain tensor code, and one primitive with kernels of its own for large arrays."""

from collections.abc import Sequence
from math import prod
from typing import Any

from expkit.autograd.handle import Aval
from expkit.autograd.mode import MODE
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.generated import norm
from expkit.tensor.ops.compound import compound
from expkit.tensor.ops.convert import as_dtype
from expkit.tensor.ops.elementwise import add, mul, rsqrt, square
from expkit.tensor.ops.kinds import keep, reduced, sum_p
from expkit.tensor.ops.memory_format import in_own_order
from expkit.tensor.ops.pointwise import rsqrt_p
from expkit.tensor.ops.reduce import mean
from expkit.tensor.ops.windows import recordable


def _trailing(x: Any, count: int) -> tuple[int, ...]:
    return tuple(range(len(x.shape) - count, len(x.shape)))


def _plain(x: Any, weight: Any = None, *, count: int, eps: float) -> Any:
    normed = mul(x, rsqrt(add(mean(square(x), _trailing(x, count), keepdim=True), eps)))
    return normed if weight is None else mul(normed, weight)


def _composed(y: Any, square: Any, x: Any, *weight: Any, count: int, eps: float) -> Any:
    """The gradients of x and weight from y, that of the result."""
    axes = _trailing(x, count)
    rstd = keep(rsqrt_p(square + eps), x, axes)
    normed = x * rstd
    found = [sum_p(y * normed, axes=tuple(range(axes[0])))] if weight else []
    if weight:
        y = y * weight[0]
    along = keep(sum_p(y * normed, axes=axes), x, axes) * (1 / prod(x.shape[axes[0] :]))
    moved = rstd * (y - normed * along)
    return (moved, *found) if found else moved


def _grad_shape(_y: Aval, _square: Aval, x: Aval, *weight: Aval, **_: Any) -> Any:
    return (x, *weight) if weight else x


GRADS = [  # (y, mean squares, x, weight?) -> gradients of x and weight?
    compound(f"rms_norm_grad{n}", norm.rms_grad, _grad_shape, _composed, nout=n) for n in (1, 2)
]


def _joint(g: Any, out: Any, x: Any, *weight: Any, count: int, eps: float) -> list[Any]:
    (y, gsquare), square = g, out[1]
    found: list[Any] = [None] * (1 + len(weight))
    if y is not None:
        rule = GRADS[len(weight)] if recordable(y, square, x, *weight) else _composed
        made = rule(y, square, x, *weight, count=count, eps=eps)
        found = list(made) if weight else [made]
    if gsquare is not None:
        axes = _trailing(x, count)
        through = x * (keep(gsquare, x, axes) * (2 / prod(x.shape[axes[0] :])))
        found[0] = through if found[0] is None else found[0] + through
    return found


rms_norm_p = Primitive(  # (x, weight?) -> (result, mean squares)
    "rms_norm",
    norm.rms,
    lambda x, *_weight, count, eps: (x, reduced(x, _trailing(x, count))),
    joint=_joint,
    nout=2,
    saves=(1,),
    materialize=False,
)


@in_own_order
def rms_norm(input: Any, normalized_shape: int | Sequence[int], weight: Any = None, eps: float | None = None) -> Any:
    """x / sqrt(mean(x²) + eps) over the trailing dimensions (Zhang and Sennrich, 2019), times weight.

    normalized_shape: the sizes of these dimensions, also of the weight. eps None: the dtype's.
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or tuple(input.shape[-len(shape) :]) != shape:
        raise ShapeError(f"rms_norm: given normalized_shape={shape}, expected them last in input {tuple(input.shape)}")
    if weight is not None and tuple(weight.shape) != shape:
        raise ShapeError(f"rms_norm: weight has shape {tuple(weight.shape)}, expected {shape}")
    d = dtypes.of(input.raw)
    wide = dtypes.float32 if d.itemsize == 2 else d
    if eps is None:  # PyTorch's choice: that of the dtype it computes in
        eps = dtypes.finfo(wide).eps
    operands = [as_dtype(v, wide) for v in ((input,) if weight is None else (input, weight))]
    return as_dtype(_normalized(operands, len(shape), eps), d)


def _normalized(operands: Sequence[Any], count: int, eps: float) -> Any:
    raws = [v.raw for v in operands]
    whole = recordable(*raws) and norm.has_kernels(raws[0].dtype) if MODE.special else norm.has_rms(*raws)
    if not whole:
        return _plain(*operands, count=count, eps=eps)
    return apply(rms_norm_p, *operands, count=count, eps=eps)[0]
