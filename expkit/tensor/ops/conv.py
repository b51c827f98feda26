"""Convolution (cross-correlation, as in PyTorch) over one to three spatial axes.

Three primitives share one trilinear form T(x, w, y) = sum(y * conv(x, w)): `conv` is its derivative by y, `conv_input`
by x (the transposed convolution), `conv_weight` by w. Each one's gradients are the other two: any order of derivative
is made of these three. x: (N, C, *S), w: (O, C / groups, *K), y: (N, O, *P).

Which code runs is decided in tensor/generated/conv.py. Large results lie in memory with their channels innermost.
"""

from typing import Any

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.generated import conv as kernels
from expkit.tensor.ops import conv_arrays
from expkit.tensor.ops.conv_batch import fold
from expkit.tensor.ops.kinds import expand_p, push_bilinear, reshape_p, sum_p
from expkit.tensor.ops.windows import Pads, Sizes, check_rank, in_float32, out_sizes, per_axis, reach

# ---- rules -----------------------------------------------------------------------------------------------------------


def _spatial(x: Any) -> Sizes:
    return tuple(x.shape[2:])


def _conv_shape(
    x: Aval, w: Aval, _b: Any = None, *, stride: Sizes, padding: Pads, dilation: Sizes, groups: int
) -> Aval:
    out = out_sizes(_spatial(x), _spatial(w), stride, padding, dilation)
    return Aval((x.shape[0], w.shape[0], *out), x.dtype, x.device)


def _sum_channels(g: Any) -> Any:
    return sum_p(g, axes=(0, *range(2, len(g.shape))))


def _beside_channels(b: Any, rank: int) -> Any:
    """(C,) as (1, C, 1, ...)."""
    return reshape_p(b, shape=(1, *b.shape, *(1,) * (rank - 2)))


def _conv_push(tangents: list[Any], out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
    x, w = primals[:2]
    parts = []
    if tangents[0] is not None:
        parts.append(conv_p(tangents[0], w, **kw))
    if tangents[1] is not None:
        parts.append(conv_p(x, tangents[1], **kw))
    if len(tangents) > 2 and tangents[2] is not None:
        b = _beside_channels(tangents[2], len(out.shape))
        parts.append(b if parts else expand_p(b, shape=tuple(out.shape)))
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _conv_batch(size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any]) -> Any:
    x, w, *rest = values
    if not rest:
        return fold(conv_p, size, values, mapped, kw)
    if mapped[0] or mapped[1]:
        out = fold(conv_p, size, [x, w], mapped[:2], kw)
    else:
        out = conv_p(x, w, **kw)
        out = reshape_p(out, shape=(1, *out.shape))
    b = rest[0]
    shape = (b.shape[0] if mapped[2] else 1, 1, b.shape[-1], *(1,) * (len(out.shape) - 3))
    return out + reshape_p(b, shape=shape)


conv_p = Primitive(
    "conv",
    in_float32(kernels.convolution.decorator(conv_arrays.conv)),
    _conv_shape,
    (
        lambda g, _out, _x, w, _b=None, **kw: conv_input_p(g, w, size=_spatial(_x), **kw),
        lambda g, _out, x, _w, _b=None, **kw: conv_weight_p(x, g, kernel=_spatial(_w), **kw),
        lambda g, _out, _x, _w, _b=None, **kw: _sum_channels(g),
    ),
    jvp=_conv_push,
    batch=_conv_batch,
)
conv_input_p = Primitive(
    "conv_input",
    in_float32(kernels.input_gradient.decorator(conv_arrays.conv_input)),
    lambda y, w, *, size, groups, **_: Aval((y.shape[0], groups * w.shape[1], *size), y.dtype, y.device),
    (
        lambda g, _out, _y, w, *, size, **kw: conv_p(g, w, **kw),
        lambda g, _out, y, _w, *, size, **kw: conv_weight_p(g, y, kernel=_spatial(_w), **kw),
    ),
    batch=lambda *args: fold(conv_input_p, *args),
)
conv_weight_p = Primitive(
    "conv_weight",
    in_float32(kernels.weight_gradient.decorator(conv_arrays.conv_weight)),
    lambda x, y, *, kernel, groups, **_: Aval((y.shape[1], x.shape[1] // groups, *kernel), x.dtype, x.device),
    (
        lambda g, _out, _x, y, *, kernel, **kw: conv_input_p(y, g, size=_spatial(_x), **kw),
        lambda g, _out, x, _y, *, kernel, **kw: conv_p(x, g, **kw),
    ),
    batch=lambda *args: fold(conv_weight_p, *args),
)
conv_input_p.jvp = push_bilinear(conv_input_p)
conv_weight_p.jvp = push_bilinear(conv_weight_p)

# ---- functions -------------------------------------------------------------------------------------------------------


def _sides(padding: Any, kernel: Sizes, stride: Sizes, dilation: Sizes, name: str) -> Pads:
    """(before, after) on each axis; the odd one of 'same' goes after."""
    if not isinstance(padding, str):
        (pads,) = per_axis(name, len(kernel), padding=padding)
        return tuple((p, p) for p in pads)
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding != "same":
        raise ValueError(f"{name}: padding must be ints, 'same' or 'valid', got {padding!r}")
    if any(s != 1 for s in stride):
        raise ValueError(f"{name}: padding='same' is not supported for strided convolutions (stride={stride})")
    return tuple(((r - 1) // 2, r - 1 - (r - 1) // 2) for r in reach(kernel, dilation))


def _check(name: str, x: Any, w: Any, b: Any, groups: int, ins: int, outs: int) -> None:
    """ShapeErrors about groups and channels. `ins`, `outs`: the channels that the weight asks for and gives."""
    if any(v is not None and v.raw.dtype != x.raw.dtype for v in (w, b)):
        found = ", ".join(str(dtypes.of(v.raw)) for v in (x, w, b) if v is not None)
        raise TypeError(f"{name}: input, weight and bias must have one dtype, got {found}: convert with .to(dtype)")
    if groups < 1 or w.shape[0] % groups:
        raise ShapeError(f"{name}: groups={groups} does not divide the first size of the weight {tuple(w.shape)}")
    if x.shape[1] != ins:
        raise ShapeError(
            f"{name}: with groups={groups}, a weight of shape {tuple(w.shape)} expects {ins} input channels, "
            f"but the input {tuple(x.shape)} has {x.shape[1]}"
        )
    if b is not None and tuple(b.shape) != (outs,):
        raise ShapeError(
            f"{name}: the bias has shape {tuple(b.shape)}, expected ({outs},): one number per output channel"
        )


def _weight_rank(name: str, w: Any, spatial: int) -> None:
    if w.ndim != spatial + 2:
        raise ShapeError(f"{name}: the weight must have {spatial + 2} dimensions, got shape {tuple(w.shape)}")


def _fits(name: str, x: Any, w: Any, padding: Pads, dilation: Sizes, out: Sizes) -> None:
    if any(m < 1 for m in out):
        size = tuple(n + lo + hi for n, (lo, hi) in zip(x.shape[2:], padding, strict=True))
        spans = reach(tuple(w.shape[2:]), dilation)
        raise ShapeError(
            f"{name}: the kernel spans {spans}, more than the padded input {size} "
            f"(input {tuple(x.shape)}, weight {tuple(w.shape)})"
        )


def _forward(name: str, spatial: int, doc: str) -> Any:
    def fn(
        input: Any,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Any:
        _weight_rank(name, weight, spatial)
        x = input if check_rank(name, input, spatial) else input.unsqueeze(0)
        steps, spread = per_axis(name, spatial, stride=stride, dilation=dilation)
        _check(name, x, weight, bias, groups, weight.shape[1] * groups, weight.shape[0])
        pads = _sides(padding, tuple(weight.shape[2:]), steps, spread, name)
        _fits(name, x, weight, pads, spread, out_sizes(_spatial(x), _spatial(weight), steps, pads, spread))
        operands = (x, weight) if bias is None else (x, weight, bias)
        out = apply(conv_p, *operands, stride=steps, padding=pads, dilation=spread, groups=groups)
        return out if x is input else out.squeeze(0)

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = doc
    return fn


def _backward(name: str, spatial: int, doc: str) -> Any:
    def fn(
        input: Any,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Any:
        _weight_rank(name, weight, spatial)
        x = input if check_rank(name, input, spatial) else input.unsqueeze(0)
        steps, spread, pads, extra = per_axis(
            name, spatial, stride=stride, dilation=dilation, padding=padding, output_padding=output_padding
        )
        if any(e >= max(s, d) for e, s, d in zip(extra, steps, spread, strict=True)):
            raise ShapeError(f"{name}: output_padding {extra} must be smaller than stride {steps} or dilation {spread}")
        _check(name, x, weight, bias, groups, weight.shape[0], weight.shape[1] * groups)
        spans = reach(_spatial(weight), spread)
        # The extra elements lie outside all windows: cropped on that side, the forward convolution gives x's size back.
        sides = tuple((p, p - e) for p, e in zip(pads, extra, strict=True))
        ends = zip(_spatial(x), steps, spans, sides, strict=True)
        size = tuple((n - 1) * s + r - lo - hi for n, s, r, (lo, hi) in ends)
        if any(n < 1 for n in size):
            raise ShapeError(f"{name}: the output would have the size {size} (input {tuple(x.shape)}, padding {pads})")
        out = apply(conv_input_p, x, weight, size=size, stride=steps, padding=sides, dilation=spread, groups=groups)
        if bias is not None:
            out = out + _beside_channels(bias, out.ndim)
        return out if x is input else out.squeeze(0)

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = doc
    return fn


_AXES = ("L", "H, W", "D, H, W")
_FORWARD = """Cross-correlation.

    input: (N, C, {0}) or (C, {0}), weight: (O, C / groups, *kernel), bias: (O,) -> (N, O, *out) or (O, *out)
    out = (size + 2 padding - dilation (kernel - 1) - 1) // stride + 1; `padding` may be 'same' (stride 1) or 'valid'.
    ShapeError where channels, ranks or sizes do not fit.
    float32, 3x3, stride 1: by Winograd's transforms where they pay; EXPKIT_WINOGRAD=0 has sums as exact as PyTorch's.
    """
_BACKWARD = """Transposed convolution: the gradient of a convolution by its input.

    input: (N, C, {0}) or (C, {0}), weight: (C, O / groups, *kernel), bias: (O,) -> (N, O, *out) or (O, *out)
    out = (size - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1.
    ShapeError where channels, ranks or sizes do not fit.
    """
conv1d, conv2d, conv3d = (_forward(f"conv{n}d", n, _FORWARD.format(_AXES[n - 1])) for n in (1, 2, 3))
conv_transpose1d, conv_transpose2d, conv_transpose3d = (
    _backward(f"conv_transpose{n}d", n, _BACKWARD.format(_AXES[n - 1])) for n in (1, 2, 3)
)
