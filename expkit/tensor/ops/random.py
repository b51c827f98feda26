"""Random tensors: uniform, normal, whole numbers, orders, and draws from given distributions."""

from typing import Any

import numpy as np

from expkit.autograd.handle import Aval, Handle
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import ShapeError
from expkit.tensor import devices, dtypes
from expkit.tensor.ops.arguments import require_tensor, sizes
from expkit.tensor.ops.convert import as_dtype
from expkit.tensor.ops.generator import (
    Generator,
    draw,
    normal_p,
    uniform_p,
    words_per,
)
from expkit.tensor.ops.kinds import broadcast_shapes, materialize, zeros_raw
from expkit.tensor.ops.order import argsort
from expkit.tensor.ops.poisson import counts

# ---- primitives ------------------------------------------------------------------------------------------------------


def _integers(bits: Any, *, low: int, high: int, dtype: Any) -> Any:
    pairs = bits.reshape(-1, 2).astype(np.uint64)
    whole = (pairs[:, 0] << np.uint64(32)) | pairs[:, 1]
    below = whole if high - low >= 1 << 64 else whole % np.uint64(high - low)
    return (below + np.uint64(low % (1 << 64))).astype(np.int64).astype(dtype)


integers_p = Primitive("integers", _integers, lambda b, *, low, high, dtype: Aval((b.shape[0] // 2,), dtype, b.device))


def _drawn_push(tangents: list[Any], out: Any, _primals: list[Any], _kw: dict[str, Any]) -> Any:
    return zeros_raw(out) if tangents[0] is None else tangents[0]


drawn_p = Primitive(  # a draw, seen as a function of its distribution's parameter: one that does not move it
    "drawn",
    lambda value, _parameter: value,
    lambda value, _parameter: value,
    (lambda g, _out, _value, _parameter: g, lambda g, _out, _value, _parameter: zeros_raw(g, tuple(_parameter.shape))),
    jvp=_drawn_push,
    batch=lambda size, values, mapped, kw: drawn_p(
        *(materialize(size, v, m) for v, m in zip(values, mapped, strict=True))
    ),
)


def _unmoved(value: Any, *parameters: Any) -> Any:
    """The draw, with a gradient of zero for the parameters that want one."""
    for p in parameters:
        if isinstance(p, Handle) and p.requires_grad:
            value = apply(drawn_p, value, p)
    return value


# ---- functions -------------------------------------------------------------------------------------------------------


def require_values(x: Any, fits: Any, message: str) -> None:
    """RuntimeError where a value of x does not fit. Not looked at on a GPU or under an interpreter."""
    if x.raw.__class__ is np.ndarray and not fits(x.raw).all():
        raise RuntimeError(message)


def _shape(what: str, given: tuple[Any, ...], named: Any) -> tuple[int, ...]:
    """The sizes of a call: rand(2, 3), rand((2, 3)) or rand(size=(2, 3))."""
    if named is not None:
        if given:
            raise TypeError(f"{what}(): the size was given twice")
        given = (named,)
    return sizes(given)


def _float_draw(
    prim: Primitive, shape: tuple[int, ...], generator: Any, dtype: Any, device: Any, requires_grad: bool
) -> Any:
    d = dtypes.get_default_dtype() if dtype is None else dtypes.get(dtype)
    where = devices.resolve(device)
    if d.is_complex:  # the parts of a normal one have variance 1/2
        part = np.dtype(np.float32 if d is dtypes.complex64 else np.float64)
        pairs = _draw_floats(prim, (*shape, 2), generator, part, where)
        out = (pairs[..., 0] + pairs[..., 1] * 1j) * (0.5**0.5 if prim is normal_p else 1.0)
    elif d.is_floating_point:
        out = _draw_floats(prim, shape, generator, d.dtype, where)
    else:
        raise TypeError(f"{prim.name} random numbers need a floating-point or complex dtype, not {d}")
    return out.requires_grad_() if requires_grad else out


def _draw_floats(prim: Primitive, shape: tuple[int, ...], generator: Any, dtype: Any, where: devices.device) -> Any:
    name = f"{prim.name} {dtype.str[1:]}"
    return draw(shape, words_per(dtype), lambda w: apply(prim, w, dtype=dtype), generator, where, name)


def rand(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    **named: Any,
) -> Any:  # fmt: skip
    """Uniform on [0, 1)."""
    shape = _shape("rand", size, _only_size("rand", named))
    return _float_draw(uniform_p, shape, generator, dtype, device, requires_grad)


def randn(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    **named: Any,
) -> Any:  # fmt: skip
    """Standard normal."""
    shape = _shape("randn", size, _only_size("randn", named))
    return _float_draw(normal_p, shape, generator, dtype, device, requires_grad)


def _only_size(what: str, named: dict[str, Any]) -> Any:
    size = named.pop("size", None)
    if named:
        raise TypeError(f"{what}() got an unexpected keyword argument {next(iter(named))!r}")
    return size


def survivors(shape: tuple[int, ...], p: float, where: devices.device, generator: Generator | None = None) -> Any:
    """A mask that is false with probability p: where a uniform float32 is not below p."""
    single = np.dtype(np.float32)
    return draw(shape, 1, lambda w: apply(uniform_p, w, dtype=single) >= p, generator, where, "mask", p)


def _like(fn: Any) -> Any:
    def like(
        input: Any,
        *,
        dtype: Any = None,
        device: Any = None,
        generator: Generator | None = None,
        requires_grad: bool = False,
        memory_format: Any = None,
    ) -> Any:
        return fn(
            *require_tensor(input, f"{fn.__name__}_like").shape,
            dtype=dtype or input.dtype,
            device=device or input.device,
            generator=generator,
            requires_grad=requires_grad,
        )

    like.__name__ = like.__qualname__ = f"{fn.__name__}_like"
    like.__doc__ = f"As {fn.__name__}, with the shape, dtype and device of `input`."
    return like


rand_like, randn_like = _like(rand), _like(randn)


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = dtypes.int64,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """Integers on [low, high), also randint(high, size). 64 random bits each: no visible bias up to 2**32."""
    if isinstance(high, list | tuple) and size is None:
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    if not isinstance(size, list | tuple):
        raise TypeError("randint: expected randint(high, size) or randint(low, high, size), size a tuple")
    d = dtypes.get(dtype)
    low, high = _bounds("randint", low, high, d)
    out = draw(
        sizes((size,)),
        2,
        lambda w: apply(integers_p, w, low=low, high=high, dtype=d.dtype),
        generator,
        devices.resolve(device),
    )
    return out.requires_grad_() if requires_grad else out


def _bounds(what: str, low: Any, high: Any, d: dtypes.dtype) -> tuple[int, int]:
    low, high = (int(v.item()) if isinstance(v, Handle) else v for v in (low, high))
    if high <= low:
        raise RuntimeError(f"{what}: expects 'from' to be less than 'to', but got from={low} >= to={high}")
    if dtypes.category(d) == 1 and not dtypes.iinfo(d).min <= low <= high - 1 <= dtypes.iinfo(d).max:
        raise RuntimeError(f"{what}: [{low}, {high}) is out of bounds for {d}")
    return int(low), int(high)


def randint_like(
    input: Any,
    low: int,
    high: int | None = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Any:
    """As randint, with the shape, dtype and device of `input`; also randint_like(input, high)."""
    shape = tuple(require_tensor(input, "randint_like").shape)
    low, high = (0, low) if high is None else (low, high)
    return randint(
        low,
        high,
        shape,
        generator=generator,
        dtype=dtype or input.dtype,
        device=device or input.device,
        requires_grad=requires_grad,
    )


def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: Any = dtypes.int64,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """A random order of 0 ... n-1: the order that sorts n random 64-bit words."""
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"randperm: n must be an int, not {type(n).__name__}")
    if n < 0:
        raise RuntimeError(f"randperm: n must be non-negative, got {n}")
    keys = draw(
        (n,),
        2,
        lambda w: apply(integers_p, w, low=0, high=2**63 - 1, dtype=np.dtype(np.int64)),
        generator,
        devices.resolve(device),
    )
    out = as_dtype(argsort(keys), dtypes.get(dtype))
    return out.requires_grad_() if requires_grad else out


def bernoulli(input: Any, p: Any = None, *, generator: Generator | None = None) -> Any:
    """1 with the probability given by each element of `input` (by p, if it is given), else 0. Its gradient is zero."""
    if not require_tensor(input, "bernoulli").is_floating_point():
        raise TypeError(f"bernoulli: the probabilities must be floating-point, not {input.dtype}")
    chance = input.detach() if p is None else p
    return _unmoved(as_dtype(hits(tuple(input.shape), chance, input, generator), dtypes.of(input.raw)), input)


def hits(shape: tuple[int, ...], chance: Any, like: Any, generator: Generator | None) -> Any:
    """A mask that is true with the probability `chance`, a number or tensor."""
    if isinstance(chance, Handle):
        require_values(chance, lambda v: (v >= 0) & (v <= 1), "bernoulli: each probability must lie in [0, 1]")
    elif not 0 <= chance <= 1:
        raise ValueError(f"bernoulli expects p to be in [0, 1], but got p={chance}")
    return rand(*shape, generator=generator, device=like.device, dtype=dtypes.float32) < chance


def normal(
    mean: Any,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """Normal with the given mean and standard deviation: tensors (their shape), or numbers with a size.

    The gradient for mean and std is zero: a draw is not a function of them. (randn(...) * std + mean is one.)
    """
    if isinstance(std, Handle):
        require_values(std, lambda v: v >= 0, "normal: std must not be negative")
    elif std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    given = [x for x in (mean, std) if isinstance(x, Handle)]
    if not given:
        if size is None:
            raise TypeError("normal: with numbers for mean and std a size is needed")
        out = randn(*sizes((size,)), generator=generator, dtype=dtype, device=device) * std + mean
        return out.requires_grad_() if requires_grad else out
    shape = broadcast_shapes(*(tuple(x.shape) for x in given))
    noise = randn(*shape, generator=generator, dtype=given[0].dtype, device=given[0].device)
    scale, centre = (x.detach() if isinstance(x, Handle) else x for x in (std, mean))
    return _unmoved(as_dtype(noise * scale + centre, dtypes.of(given[0].raw)), *given)


def multinomial(input: Any, num_samples: int, replacement: bool = False, *, generator: Generator | None = None) -> Any:
    """Indices drawn with probabilities proportional to the rows of `input`: (..., num_samples).

    Without replacement the keys log(u) / weight are ranked (Efraimidis and Spirakis, 2006).
    """
    if input.ndim not in (1, 2) or not input.is_floating_point() or num_samples < 1:
        raise RuntimeError(
            f"multinomial: expected floating-point weights of 1 or 2 dimensions and num_samples >= 1, "
            f"got {input.dtype}{list(input.shape)} and {num_samples}"
        )
    weights = (input if input.ndim == 2 else input.reshape(1, -1)).detach()
    weights = weights.float() if weights.itemsize == 2 else weights
    rows, n = weights.shape
    require_values(weights, lambda w: np.isfinite(w) & (w >= 0), "multinomial: a weight is negative or not finite")
    if num_samples > n and not replacement:
        raise RuntimeError(
            f"cannot sample n_sample > prob_dist.size(-1) samples without replacement ({num_samples} > {n})"
        )
    if n > 1 << 24:
        raise RuntimeError(f"multinomial: there may be at most 2**24 categories, got {n}")
    least = 1 if replacement else num_samples
    require_values(weights, lambda w: (w > 0).sum(-1) >= least, f"multinomial: fewer than {least} weights above 0")
    options = {"generator": generator, "device": input.device, "dtype": weights.dtype}
    if replacement:
        edges = weights.cumsum(-1)
        u = rand(rows, num_samples, **options) * edges[:, -1:]
        out = (u.unsqueeze(-1) >= edges.unsqueeze(1)).sum(-1).clamp(max=n - 1)
    else:
        out = ((1 - rand(rows, n, **options)).log() / weights).topk(num_samples, -1).indices
    return out if input.ndim == 2 else out.reshape(num_samples)


def poisson(input: Any, generator: Generator | None = None) -> Any:
    """Draws from Poisson distributions with the rates in `input`. Its gradient is zero."""
    if not require_tensor(input, "poisson").is_floating_point():
        raise TypeError(f"poisson: the rates must be floating-point, not {input.dtype}")
    require_values(input, lambda rate: rate >= 0, "poisson: each rate must be at least 0")
    return _unmoved(as_dtype(counts(input.detach().double(), _uniform_source(input, generator)), input.dtype), input)


def _uniform_source(like: Any, generator: Generator | None) -> Any:
    """() -> fresh uniform float64 numbers in the shape of a tensor."""
    return lambda: rand(*like.shape, generator=generator, device=like.device, dtype=dtypes.float64)


def require_size(shape: tuple[int, ...], like: Any, what: str) -> None:
    """ShapeError where a parameter's shape does not broadcast to that of the tensor to be filled."""
    if broadcast_shapes(shape, tuple(like.shape)) != tuple(like.shape):
        raise ShapeError(f"{what}: a parameter of shape {shape} does not fit {tuple(like.shape)}")
