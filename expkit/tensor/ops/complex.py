"""Complex numbers: conjugation, and the views of a complex tensor as pairs of real ones.

Everything else that is special about them is made of these three: real and imag are slices of a view, angle is an
atan2. (Gradients travel the tape conjugated, see autograd/engine.py: rules here are transposes, not adjoints.)
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply1
from expkit.tensor import dtypes
from expkit.tensor.ops.arguments import require_tensor
from expkit.tensor.ops.convert import as_dtype
from expkit.tensor.ops.kinds import linear, materialize, unary, zeros_raw
from expkit.tensor.ops.movement import select

REAL = {np.dtype(np.complex64): np.dtype(np.float32), np.dtype(np.complex128): np.dtype(np.float64)}
COMPLEX = {real: wide for wide, real in REAL.items()}

# ---- primitives ------------------------------------------------------------------------------------------------------


def real_dtype(d: Any) -> Any:
    """The dtype of the parts of a complex number; other dtypes are their own."""
    return REAL.get(np.dtype(d), np.dtype(d))


conj_p = unary("conj", np.conjugate, lambda g, _out, _x: conj_p(g))


def _as_complex(x: Any) -> Any:
    if x.strides[-1] != x.itemsize:
        x = x.copy()
    return x.view(COMPLEX[x.dtype])[..., 0]


view_as_real_p = linear(
    "view_as_real",
    lambda x: x[..., None].view(REAL[x.dtype]),
    lambda x: Aval((*x.shape, 2), REAL[np.dtype(x.dtype)], x.device),
    lambda g, _x: conj_p(view_as_complex_p(g)),
    batch_kw=lambda size, kw: kw,
    aliases=True,
    writable=False,
)
view_as_complex_p = linear(
    "view_as_complex",
    _as_complex,
    lambda x: Aval(tuple(x.shape[:-1]), COMPLEX[np.dtype(x.dtype)], x.device),
    lambda g, _x: view_as_real_p(conj_p(g)),
    batch_kw=lambda size, kw: kw,
    aliases=True,
    writable=False,
)


def _put_whole(view: Primitive, back: Primitive) -> Primitive:
    """What a write through a view of everything makes of the base: the value, as `back` sees it."""

    def impl(_base: Any, value: Any) -> Any:
        return back.impl(value).copy()

    def for_value(g: Any, _out: Any, _base: Any, _value: Any) -> Any:
        return back.vjp[0](g, None, _value)  # type: ignore[index]

    def jvp(tangents: list[Any], out: Any, _primals: list[Any], _kw: dict[str, Any]) -> Any:
        return zeros_raw(out) if tangents[1] is None else back(tangents[1])

    def batch(size: int, values: list[Any], mapped: list[bool], _kw: dict[str, Any]) -> Any:
        return put(*[materialize(size, v, m) for v, m in zip(values, mapped, strict=True)])

    rules: list[Callable[..., Any]] = [lambda g, _out, _base, _value: zeros_raw(g), for_value]
    put = Primitive(f"put_{view.name}", impl, lambda base, _value: base, rules, jvp=jvp, batch=batch)
    return put


view_as_real_p.put = _put_whole(view_as_real_p, view_as_complex_p)
view_as_complex_p.put = _put_whole(view_as_complex_p, view_as_real_p)

# ---- functions -------------------------------------------------------------------------------------------------------


def is_complex(input: Any) -> bool:
    """Whether the tensor's dtype is a complex one."""
    return dtypes.of(require_tensor(input, "is_complex").raw).is_complex


def view_as_real(input: Any) -> Any:
    """The parts of a complex tensor as a view with one more dimension, of size 2, at the end."""
    if not is_complex(input):
        raise RuntimeError(f"view_as_real is only supported for complex tensors, this one is {input.dtype}")
    return apply1(view_as_real_p, input)


def view_as_complex(input: Any) -> Any:
    """A float tensor (..., 2) as a complex view. RuntimeError unless the pairs lie side by side in memory."""
    raw = require_tensor(input, "view_as_complex").raw
    if raw.dtype not in COMPLEX:
        raise RuntimeError(f"view_as_complex is only supported for float32 and float64, this one is {input.dtype}")
    if not raw.ndim or raw.shape[-1] != 2:
        raise RuntimeError(f"view_as_complex: the last dimension must have size 2, the shape is {tuple(raw.shape)}")
    steps = getattr(raw, "strides", None)
    if steps is not None and (steps[-1] != raw.itemsize or any(s % (2 * raw.itemsize) for s in steps[:-1])):
        raise RuntimeError("view_as_complex: pairs must lie side by side in memory; call contiguous() first")
    return apply1(view_as_complex_p, input)


def real(input: Any) -> Any:
    """The real part: a view of a complex tensor, a real tensor itself."""
    return select(view_as_real(input), -1, 0) if is_complex(input) else input


def imag(input: Any) -> Any:
    """The imaginary part of a complex tensor, as a view."""
    if not is_complex(input):
        raise RuntimeError(f"imag is not implemented for tensors with non-complex dtypes, this one is {input.dtype}")
    return select(view_as_real(input), -1, 1)


def conj(input: Any) -> Any:
    """The complex conjugate; a real tensor itself. (Computed at once: PyTorch's would be a view.)"""
    return apply1(conj_p, input) if is_complex(input) else input


def conj_physical(input: Any) -> Any:
    """The complex conjugate in memory of its own; a real tensor itself."""
    return conj(input)


def resolve_conj(input: Any) -> Any:
    """The tensor: conjugates are computed when they are asked for."""
    return require_tensor(input, "resolve_conj")


def resolve_neg(input: Any) -> Any:
    """The tensor: negatives are computed when they are asked for."""
    return require_tensor(input, "resolve_neg")


def complexed(x: Any) -> Any:
    """A float tensor as a complex one of the same precision; a complex one itself."""
    d = dtypes.of(x.raw)
    return x if d.is_complex else as_dtype(x, dtypes.complex128 if d is dtypes.float64 else dtypes.complex64)
