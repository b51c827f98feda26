"""Pooling over one to three spatial axes: maxima, averages, and the adaptive forms.

An average is a linear map (`window_sum`, with its transpose `window_spread`) times a factor. A maximum is a pick by the
places of the maxima; only the places depend on the input, so its derivatives of any order are picks too.
"""

from math import prod
from typing import Any

import numpy as np

from expkit.autograd.handle import ARRAYS, Aval, wrap
from expkit.autograd.mode import MODE
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply, apply1
from expkit.tensor import dtypes
from expkit.tensor.generated import pooling as generated
from expkit.tensor.ops import pool_arrays
from expkit.tensor.ops.arguments import require_floating
from expkit.tensor.ops.convert import as_dtype
from expkit.tensor.ops.elementwise import div
from expkit.tensor.ops.interpolate import averaging, resampled
from expkit.tensor.ops.kinds import linear, materialize
from expkit.tensor.ops.reduce import mean
from expkit.tensor.ops.windows import Pads, Sizes, adaptive_sizes, geometry, out_sizes, tiles

PLACE = np.dtype(np.int32)

# ---- primitives ------------------------------------------------------------------------------------------------------


def _last(x: Any, n: int) -> Sizes:
    return tuple(x.shape[len(x.shape) - n :])


def _sum_shape(x: Aval, *, kernel: Sizes, stride: Sizes, padding: Pads, **_: Any) -> Aval:
    n = len(kernel)
    out = out_sizes(_last(x, n), kernel, stride, padding, (1,) * n)
    return Aval((*x.shape[: x.ndim - n], *out), x.dtype, x.device)


def _max_shape(x: Aval, *, kernel: Sizes, stride: Sizes, padding: Pads, dilation: Sizes) -> Aval:
    n = len(kernel)
    return Aval((*x.shape[: x.ndim - n], *out_sizes(_last(x, n), kernel, stride, padding, dilation)), x.dtype, x.device)


def _with_size(x: Aval, size: Sizes) -> Aval:
    return Aval((*x.shape[: x.ndim - len(size)], *size), x.dtype, x.device)


def _same(_size: int, kw: dict[str, Any]) -> dict[str, Any]:
    """Parameters that concern the last axes only serve a batch as well."""
    return kw


def _places_shape(x: Aval, **kw: Any) -> tuple[Aval, Aval]:
    out = _max_shape(x, **kw) if "kernel" in kw else _with_size(x, kw["pieces"])
    return out, out._replace(dtype=PLACE)


def _places_joint(g: Any, out: Any, _x: Any, **kw: Any) -> tuple[Any]:
    size = _last(_x, len(kw.get("kernel") or kw["pieces"]))
    return (drop_p(g[0], out[1], size=size, window=_window(kw)),)


def _window(kw: dict[str, Any]) -> tuple[Any, ...]:
    """What `drop` wants to know of the windows whose maxima it is for; nothing of adaptive ones."""
    return tuple(kw[name] for name in generated.WINDOW) if "kernel" in kw else ()


def _places_push(tangents: list[Any], out: Any, _primals: list[Any], kw: dict[str, Any]) -> Any:
    if tangents[0] is None:
        return None
    return [pick_p(tangents[0], out[1], spatial=len(kw.get("kernel") or kw["pieces"])), None]


def _with_places(name: str, impl: Any) -> Primitive:
    """x -> (maxima, their flat places in the planes), which the gradient goes by."""
    prim = Primitive(
        name,
        impl,
        _places_shape,
        joint=_places_joint,
        jvp=_places_push,
        batch=lambda size, values, mapped, kw: prim(values[0], **kw),
        nout=2,
        saves=(1,),
    )
    return prim


def _max_vjp(g: Any, _out: Any, x: Any, **kw: Any) -> Any:
    return drop_p(g, max_place_p(x, **kw)[1], size=_last(x, len(kw["kernel"])), window=_window(kw))


def _max_push(tangents: list[Any], _out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
    t = tangents[0]
    return None if t is None else pick_p(t, max_place_p(primals[0], **kw)[1], spatial=len(kw["kernel"]))


def _both_batched(prim: Primitive, args: tuple[Any, ...]) -> Any:
    size, values, mapped, kw = args
    return prim(*(materialize(size, v, m) for v, m in zip(values, mapped, strict=True)), **kw)


window_sum_p = linear(
    "window_sum",
    generated.reduced("sum", pool_arrays.window_sum),
    _sum_shape,
    lambda g, _x, **kw: window_spread_p(g, size=_last(_x, len(kw["kernel"])), **kw),
    batch_kw=_same,
)
window_spread_p = linear(
    "window_spread",
    generated.spread(pool_arrays.window_spread),
    lambda g, *, size, **_: _with_size(g, size),
    lambda g, _x, *, size, **kw: window_sum_p(g, **kw),
    batch_kw=_same,
)
max_pool_p = Primitive(
    "max_pool",
    generated.reduced("max", pool_arrays.max_pool),
    _max_shape,
    _max_vjp,
    jvp=_max_push,
    batch=lambda size, values, mapped, kw: max_pool_p(values[0], **kw),
)
max_place_p = _with_places("max_place", generated.reduced("place", pool_arrays.max_and_place))
adaptive_place_p = _with_places("adaptive_place", generated.adaptive_maxima(pool_arrays.adaptive_max_and_place))
pick_p = Primitive(
    "pick",
    pool_arrays.pick,
    lambda x, index, *, spatial: Aval(index.shape, x.dtype, x.device),
    (lambda g, _out, _x, index, *, spatial: drop_p(g, index, size=_last(_x, spatial), window=()), None),
    jvp=lambda tangents, _out, primals, kw: None if tangents[0] is None else pick_p(tangents[0], primals[1], **kw),
    batch=lambda *args: _both_batched(pick_p, args),
)
drop_p = Primitive(
    "drop",
    generated.dropped(pool_arrays.drop),
    lambda g, index, *, size, window: _with_size(g, size),
    (lambda g, _out, _g, index, *, size, window: pick_p(g, index, spatial=len(size)), None),
    jvp=lambda tangents, _out, primals, kw: None if tangents[0] is None else drop_p(tangents[0], primals[1], **kw),
    batch=lambda *args: _both_batched(drop_p, args),
)

# ---- functions -------------------------------------------------------------------------------------------------------


def _maxima(prim: Primitive, x: Any, kw: dict[str, Any], with_places: bool) -> Any:
    values, places = apply(prim, x, **kw)
    return (values, as_dtype(places, dtypes.int64)) if with_places else values


def picked(x: Any, places: Any, spatial: int) -> Any:
    """x (..., *S) at flat places (..., *P) in its last `spatial` axes."""
    return apply(pick_p, x, places, spatial=spatial)


def _max(x: Any, kw: dict[str, Any], with_places: bool) -> Any:
    """The places are kept where a gradient will ask for them."""
    if with_places or (MODE.grad and x.requires_grad):
        return _maxima(max_place_p, x, kw, with_places)
    return apply1(max_pool_p, x, **kw)


def _make_max(name: str, spatial: int) -> Any:
    def fn(
        input: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        kw = geometry(name, input, spatial, kernel_size, stride, padding, dilation, ceil_mode)
        kw.pop("plain")
        return _max(input, kw, return_indices)

    return _named(fn, name, spatial, "The largest element of each window; the first of equal ones gets the gradient.")


def _make_avg(name: str, spatial: int) -> Any:
    def fn(
        input: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Any:
        kw = geometry(name, input, spatial, kernel_size, stride, padding, 1, ceil_mode)
        pads, _ = kw.pop("plain"), kw.pop("dilation")
        if not dtypes.of(input.raw).is_floating_point:
            return _avg_whole(name, input, pads, kw, count_include_pad, divisor_override)
        if divisor_override is not None:
            if divisor_override == 0:
                raise ValueError(f"{name}: divisor_override must not be zero")
            return apply1(window_sum_p, input, scale=1 / divisor_override, **kw)
        beyond = any(hi != p for (_, hi), p in zip(kw["padding"], pads, strict=True))
        if not beyond and (count_include_pad or not any(pads)):
            return apply1(window_sum_p, input, scale=1 / prod(kw["kernel"]), **kw)
        return apply1(window_sum_p, input, scale=1.0, **kw) * _shares(input, pads, count_include_pad, kw)

    return _named(fn, name, spatial, "The mean of each window; `count_include_pad`: padding counts as zeros.")


def _avg_whole(name: str, x: Any, pads: Sizes, kw: dict[str, Any], include: bool, divisor: int | None) -> Any:
    """The means of whole numbers, cut to whole numbers."""
    if dtypes.of(x.raw) is not dtypes.int64:
        raise TypeError(f"{name}: the input must be floating-point or int64, got {dtypes.of(x.raw)}. Use .float().")
    if divisor == 0:
        raise ValueError(f"{name}: divisor_override must not be zero")
    total = apply1(window_sum_p, x, scale=1, **kw)
    return div(total, _counts(x, pads, include, kw) if divisor is None else divisor, rounding_mode="trunc")


def _shares(x: Any, pads: Sizes, include: bool, kw: dict[str, Any]) -> Any:
    """One over the number of elements that count in each window."""
    return wrap(1 / _counts(x, pads, include, kw).raw)


def _counts(x: Any, pads: Sizes, include: bool, kw: dict[str, Any]) -> Any:
    """How many elements count in each window."""
    inner = tuple(n + 2 * p * include for n, p in zip(_last(x, len(pads)), pads, strict=True))
    around = tuple((lo - p * include, hi - p * include) for (lo, hi), p in zip(kw["padding"], pads, strict=True))
    ones = ARRAYS.ones(Aval(inner, x.raw.dtype, getattr(x.raw, "device", None)))
    return wrap(pool_arrays.window_sum(ones, kernel=kw["kernel"], stride=kw["stride"], padding=around, scale=1))


def _make_adaptive_avg(name: str, spatial: int) -> Any:
    def fn(input: Any, output_size: Any) -> Any:
        out = adaptive_sizes(name, require_floating(input, name), spatial, output_size)
        if set(out) == {1}:
            return mean(input, tuple(range(-spatial, 0)), keepdim=True)
        kernel = tiles(_last(input, spatial), out)
        if kernel is not None:
            sides = ((0, 0),) * spatial
            return apply1(window_sum_p, input, kernel=kernel, stride=kernel, padding=sides, scale=1 / prod(kernel))
        return resampled(input, tuple(averaging(n, m) for n, m in zip(_last(input, spatial), out, strict=True)))

    return _named(
        fn, name, spatial, "Means over windows that cut the input into `output_size` pieces (None: no change)."
    )


def _make_adaptive_max(name: str, spatial: int) -> Any:
    def fn(input: Any, output_size: Any, return_indices: bool = False) -> Any:
        out = adaptive_sizes(name, input, spatial, output_size)
        kernel = tiles(_last(input, spatial), out)
        if kernel is None:
            return _maxima(adaptive_place_p, input, {"pieces": out}, return_indices)
        kw = {"kernel": kernel, "stride": kernel, "padding": ((0, 0),) * spatial, "dilation": (1,) * spatial}
        return _max(input, kw, return_indices)

    return _named(
        fn, name, spatial, "Maxima over windows that cut the input into `output_size` pieces (None: no change)."
    )


def _named(fn: Any, name: str, spatial: int, summary: str) -> Any:
    axes = ", ".join("DHW"[-spatial:]) if spatial > 1 else "L"
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = f"{summary}\n\n    input: (N, C, {axes}) or (C, {axes}). Arguments and defaults are PyTorch's.\n    "
    return fn


max_pool1d, max_pool2d, max_pool3d = (_make_max(f"max_pool{n}d", n) for n in (1, 2, 3))
avg_pool1d, avg_pool2d, avg_pool3d = (_make_avg(f"avg_pool{n}d", n) for n in (1, 2, 3))
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = (
    _make_adaptive_avg(f"adaptive_avg_pool{n}d", n) for n in (1, 2, 3)
)
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = (
    _make_adaptive_max(f"adaptive_max_pool{n}d", n) for n in (1, 2, 3)
)
