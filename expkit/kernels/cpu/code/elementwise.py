"""Primitive name -> the code of one element. What is not here, or not for a kind, is a Gap: the caller falls back.

An emitter gets its operands as Values of one kind (`where`: a bool first) and the primitive's keyword parameters.
"""

from __future__ import annotations

import math as numbers
from collections.abc import Callable
from typing import Any

import numpy as np

from expkit.kernels.cpu.code import math
from expkit.kernels.cpu.code.ir import Value, scalar_of

KINDS = {
    np.dtype(name): kind
    for name, kind in {
        "float32": "f4", "float64": "f8", "bool": "b1", "uint8": "u1", "int8": "i1", "int16": "i2", "int32": "i4",
        "int64": "i8",
    }.items()
}  # fmt: skip
DTYPES = {kind: dtype for dtype, kind in KINDS.items()}


class Gap(Exception):
    """No code for this; the plain implementation runs instead."""


def kind_of(dtype: Any) -> str:
    try:
        return KINDS[np.dtype(dtype)]
    except (KeyError, TypeError):
        raise Gap(f"no kernels for {dtype}") from None


def _floats(fn: Callable[..., Value]) -> Callable[..., Value]:
    def emitter(x: Value, *rest: Value, **kw: Any) -> Value:
        if not x.is_float:
            raise Gap(f"{fn.__name__} of {x.kind}")
        return fn(x, *rest, **kw)

    return emitter


def _no_bool(fn: Callable[..., Value]) -> Callable[..., Value]:
    def emitter(*args: Value, **kw: Any) -> Value:
        if scalar_of(args[0].kind) == "b1":
            raise Gap("arithmetic of bools")
        return fn(*args, **kw)

    return emitter


def _rounding(name: str) -> Callable[..., Value]:
    return _floats(lambda x: x.block.call(name, x))


def _comparison(name: str) -> Callable[..., Value]:
    return lambda x, y: x.compare(name, y)


def _logical(op: str) -> Callable[..., Value]:
    return lambda x, y: x.to("b1").binary(op, y.to("b1"))


def _bitwise(op: str) -> Callable[..., Value]:
    def emitter(x: Value, y: Value) -> Value:
        if x.is_float:
            raise Gap("bits of floats")
        return x.binary(op, y)

    return emitter


def _extremum(keeps: str) -> Callable[..., Value]:
    def emitter(x: Value, y: Value) -> Value:
        best = x.compare(keeps, y).select(x, y)  # y, if one of both is NaN
        return x.compare("ne", x).select(x, best) if x.is_float else best

    return emitter


def _abs(x: Value) -> Value:
    if x.is_float:
        return math.fabs(x)
    return x if x.kind[0] == "u" else x.compare("lt", 0).select(-x, x)


def _sign(x: Value) -> Value:
    if not x.is_float:
        raise Gap("sign of integers")
    return x.compare("gt", 0.0).to(x.kind) - x.compare("lt", 0.0).to(x.kind)


def _clamp(x: Value, *, low: Any, high: Any) -> Value:
    for name, bound in (("lt", low), ("gt", high)):
        if bound is not None:
            x = x.compare(name, bound).select(bound, x)
    return x


POWERS: dict[float, Callable[[Value], Value]] = {
    1: lambda x: x, 2: lambda x: x * x, 3: lambda x: x * x * x, 4: lambda x: (x * x) * (x * x), 0.5: math.sqrt,
    -0.5: math.rsqrt, -1: lambda x: 1 / x, -2: lambda x: 1 / (x * x),
}  # fmt: skip


def _pow(x: Value, y: Value) -> Value:
    raise Gap("pow with such an exponent")


def _power(x: Value, exponent: float) -> Value:
    """x to the power of a known number; the few that are worth code."""
    if exponent not in POWERS or not x.is_float:
        raise Gap(f"pow({x.kind}, {exponent})")
    return POWERS[exponent](x)


def _where(c: Value, x: Value, y: Value) -> Value:
    return c.to("b1").select(x, y)


def _cast(x: Value, *, dtype: Any) -> Value:
    kind = kind_of(dtype)
    if x.is_float and kind not in ("f4", "f8", "b1", "i4", "i8"):
        raise Gap("float to narrow integer: NumPy's way with what is out of range has no instruction")
    return x.to(kind)


def _finite(x: Value) -> Value:
    return math.fabs(x).compare("lt", numbers.inf)


def _safe_power(x: Value, *, p: float) -> Value:
    return x.compare("eq", 0.0).select(x, _power(x, p))


def _xlogy(x: Value, y: Value) -> Value:
    """x log(y), 0 where x is 0, unless y is NaN."""
    product = x * math.log(y)
    return x.compare("eq", 0.0).select(y.compare("eq", y).select(x * 0.0, product), product)


# ---- activations -----------------------------------------------------------------------------------------------------

_DENSITY = 1 / numbers.sqrt(2 * numbers.pi)
_ROOT, _CUBIC = numbers.sqrt(2 / numbers.pi), 0.044715


def _gelu(x: Value) -> Value:
    return x * math.normal_cdf(x)


def _gelu_slope(x: Value) -> Value:
    return math.normal_cdf(x) + x * math.exp(x * x * -0.5) * _DENSITY


def _gelu_tanh(x: Value) -> Value:
    return x * (math.tanh(x * (x * x * (_ROOT * _CUBIC) + _ROOT)) + 1) * 0.5


def _gelu_tanh_slope(x: Value) -> Value:
    squared = x * x
    t = math.tanh(x * (squared * (_ROOT * _CUBIC) + _ROOT))
    return (t + 1) * 0.5 + x * (1 - t * t) * (squared * (3 * _ROOT * _CUBIC) + _ROOT) * 0.5


def _silu(x: Value) -> Value:
    return x * math.sigmoid(x)


def _silu_slope(x: Value) -> Value:
    s = math.sigmoid(x)
    return s * (x * (1 - s) + 1)


_FLOAT_FUNCTIONS = {
    name: getattr(math, name)
    for name in (
        "exp", "expm1", "log", "log1p", "log2", "log10", "tanh", "sigmoid", "erf", "erfc", "softplus", "sqrt", "rsqrt",
        "sin", "cos", "tan",
    )
} | {
    "gelu": _gelu, "gelu_slope": _gelu_slope, "gelu_tanh": _gelu_tanh, "gelu_tanh_slope": _gelu_tanh_slope,
    "silu": _silu, "silu_slope": _silu_slope, "reciprocal": lambda x: 1 / x, "isfinite": _finite,
    "isinf": lambda x: math.fabs(x).compare("eq", numbers.inf), "isnan": lambda x: x.compare("ne", x),
    "div": lambda x, y: x / y, "relu": lambda x: x.compare("lt", 0.0).select(0.0, x),
    "positive": lambda x: (x.compare("le", 0.0) ^ 1).to(x.kind),
    "safe_sqrt": math.sqrt, "safe_power": _safe_power, "copysign": math.copysign, "xlogy": _xlogy,
}  # fmt: skip
EMITTERS: dict[str, Callable[..., Value]] = {
    **{name: _floats(fn) for name, fn in _FLOAT_FUNCTIONS.items()},
    **{name: _comparison(name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{f"logical_{name}": _logical(name) for name in ("and", "or", "xor")},
    **{f"bitwise_{name}": _bitwise(name) for name in ("and", "or", "xor")},
    "neg": _no_bool(lambda x: -x), "abs": _no_bool(_abs), "square": _no_bool(lambda x: x * x),
    "sign": _sign, "sgn": _sign,
    "floor": _rounding("floor"), "ceil": _rounding("ceil"), "trunc": _rounding("trunc"), "round": _rounding("rint"),
    "clamp": _no_bool(_clamp), "logical_not": lambda x: x.to("b1") ^ 1, "pow": _pow,
    "add": _no_bool(lambda x, y: x + y), "sub": _no_bool(lambda x, y: x - y), "mul": _no_bool(lambda x, y: x * y),
    "maximum": _no_bool(_extremum("gt")), "minimum": _no_bool(_extremum("lt")),
    "where": _where, "cast": _cast, "convert": _cast,
}  # fmt: skip
_LIGHT = "reciprocal isfinite isinf isnan div relu positive sqrt safe_sqrt safe_power copysign"
HEAVY = frozenset(_FLOAT_FUNCTIONS) - frozenset(_LIGHT.split())


def emit(name: str, args: list[Value | float], kw: dict[str, Any]) -> Value:
    """The code of one equation. Python numbers among the operands take the others' kind."""
    if name not in EMITTERS:
        raise Gap(f"no code for {name}")
    values = [a for a in args if isinstance(a, Value)]
    if not values:
        raise Gap(f"{name} of numbers only")
    typed = values[-1]
    if name == "pow" and isinstance(args[0], Value) and not isinstance(args[1], Value):
        return _power(args[0], args[1])
    if len({v.kind for v in (values[1:] if name == "where" else values)}) != 1:
        raise Gap(f"{name} of {', '.join(v.kind for v in values)}")
    if not typed.is_float and not all(isinstance(a, Value | bool | int) for a in args):
        raise Gap(f"{name} mixes {typed.kind} and a number")
    return EMITTERS[name](*(typed.like(a) for a in args), **kw)
