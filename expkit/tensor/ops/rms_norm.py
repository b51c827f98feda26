"""RMS norm: plain tensor code, and one primitive with kernels of its own for large arrays."""

from collections.abc import Sequence
from typing import Any

from expkit.autograd.mode import MODE
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.composite import slope
from expkit.tensor.generated import norm
from expkit.tensor.ops.convert import as_dtype
from expkit.tensor.ops.elementwise import add, mul, rsqrt, square
from expkit.tensor.ops.kinds import reduced
from expkit.tensor.ops.memory_format import in_own_order
from expkit.tensor.ops.reduce import mean
from expkit.tensor.ops.windows import all_raw


def _trailing(x: Any, count: int) -> tuple[int, ...]:
    return tuple(range(len(x.shape) - count, len(x.shape)))


def _plain(x: Any, weight: Any = None, *, count: int, eps: float) -> Any:
    normed = mul(x, rsqrt(add(mean(square(x), _trailing(x, count), keepdim=True), eps)))
    return normed if weight is None else mul(normed, weight)


def _joint(g: Any, out: Any, x: Any, *weight: Any, count: int, eps: float) -> list[Any]:
    if all_raw(*g, out[1], x, *weight):
        return norm.rms_grad(g, out[1], x, *weight, count=count, eps=eps)
    operands, kw = (x, *weight), {"count": count, "eps": eps}  # the mean square is not given out: its gradient is 0
    return [slope(_plain, i, g[0], operands, kw) for i in range(len(operands))]


rms_norm_p = Primitive(  # (x, weight?) -> (result, mean squares)
    "rms_norm",
    norm.rms,
    lambda x, *_weight, count, eps: (x, reduced(x, _trailing(x, count))),
    joint=_joint,
    nout=2,
    saves=(1,),
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
    if MODE.special or not norm.has_rms(*(v.raw for v in operands)):
        return _plain(*operands, count=count, eps=eps)
    return apply(rms_norm_p, *operands, count=count, eps=eps)[0]
