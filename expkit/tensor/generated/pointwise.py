"""Elementwise functions by generated kernels.

A number beside an array becomes a 0-d array of its dtype: kernels are keyed by structure, never by values. The few
exponents of `powers` are structure.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from operator import attrgetter
from typing import Any

import numpy as np

from expkit.kernels.cpu.code.elementwise import POWERS, Gap, kind_of
from expkit.kernels.cpu.loops.pointwise import Kernel
from expkit.kernels.cpu.loops.program import Program, Ref, Step
from expkit.kernels.cpu.machine.locks import forkable
from expkit.tensor.generated.base import enabled

HEAVY = 1 << 12  # elements from which a kernel is faster where NumPy computes slowly
LIGHT = 1 << 16  # and where NumPy is as fast as the memory, on one core
Plain = Callable[..., Any]
_lock = forkable()
_array = np.ndarray
_dtype_of = attrgetter("dtype")


class Kernels:
    """The kernels of one elementwise expression, for each combination of the operands' dtypes.

    into: the operand whose memory the result is written to.
    """

    def __init__(self, *steps: Step, operands: int, into: int | None = None) -> None:
        self._steps, self._operands, self._into = steps, operands, into
        self._made: dict[Any, Kernel | None] = {}

    def __call__(self, *operands: Any) -> Any:
        """The result for arrays and numbers; None where there is no kernel."""
        for a in operands:
            if a.__class__ is not _array:
                return self._mixed(operands)
        kernel = self.of(tuple(map(_dtype_of, operands)))
        return None if kernel is None else kernel.run(*operands)

    def _mixed(self, operands: tuple[Any, ...]) -> Any:
        """The same where there are numbers among them."""
        for a in operands:
            if a.__class__ is _array:
                dtype = a.dtype
        try:
            return self(*[a if a.__class__ is _array else scalar(a, dtype) for a in operands])
        except (TypeError, OverflowError):
            return None

    def of(self, dtypes: tuple[Any, ...]) -> Kernel | None:
        """The kernel for operands of these dtypes, or None."""
        found = self._made.get(dtypes, self)
        return self._first(dtypes) if found is self else found  # type: ignore[return-value]

    def _first(self, dtypes: tuple[Any, ...]) -> Kernel | None:
        with _lock:
            if dtypes not in self._made:
                self._made[dtypes] = self._make(dtypes) if enabled() else None
        return self._made[dtypes]

    def _make(self, dtypes: tuple[Any, ...]) -> Kernel | None:
        try:
            kinds = tuple(kind_of(d) for d in dtypes)
            return Kernel(Program(kinds, self._steps, (self._operands + len(self._steps) - 1,), self._into))
        except Gap:
            return None


def scalar(x: Any, dtype: Any) -> Any:
    """A Python number as a 0-d array. TypeError for what is none, or would not keep its value in integers."""
    if (x.__class__ is float and dtype.kind == "f") or (x.__class__ is int and dtype.kind in "fi"):
        return np.array(x, dtype)
    raise TypeError(x)


def elementwise(name: str, plain: Plain) -> Plain:
    """The implementation of an elementwise primitive: with kernels for large arrays, where it has any."""
    if name in _OTHERS:
        return wraps(plain)(_OTHERS[name](plain))
    arity, least = SIZES.get(name, (0, 0))
    return wraps(plain)(_ARITIES[arity](name, plain, least)) if arity else plain


def _unary(name: str, plain: Plain, least: int) -> Plain:
    kernels = Kernels(Step(name, (Ref(0),)), operands=1)

    def impl(x: Any) -> Any:
        if x.__class__ is _array and x.size >= least:
            out = kernels(x)
            if out is not None:
                return out
        return plain(x)

    return impl


def _binary(name: str, plain: Plain, least: int) -> Plain:
    kernels = Kernels(Step(name, (Ref(0), Ref(1))), operands=2)

    def impl(x: Any, y: Any) -> Any:
        if (x.__class__ is _array and x.size >= least) or (y.__class__ is _array and y.size >= least):
            out = kernels(x, y)
            if out is not None:
                return out
        return plain(x, y)

    return impl


def _where(_name: str, plain: Plain, least: int) -> Plain:
    kernels = Kernels(Step("where", (Ref(0), Ref(1), Ref(2))), operands=3)

    def impl(c: Any, x: Any, y: Any) -> Any:
        if c.__class__ is _array and c.size >= least:
            out = kernels(c, x, y)
            if out is not None:
                return out
        return plain(c, x, y)

    return impl


def cast(plain: Plain) -> Plain:
    """The conversion to a dtype."""
    kernels: dict[Any, Kernels] = {}

    @wraps(plain)
    def impl(x: Any, *, dtype: Any) -> Any:
        if x.__class__ is _array and x.size >= LIGHT:
            if dtype not in kernels:
                kernels[dtype] = Kernels(Step("cast", (Ref(0),), (("dtype", dtype),)), operands=1)
            out = kernels[dtype](x)
            if out is not None:
                return out
        return plain(x, dtype=dtype)

    return impl


LIMITS = {  # an instruction each; they hold for limits that are no NaN
    "clamp_min": (Step("lt", (Ref(0), Ref(1))), Step("where", (Ref(2), Ref(1), Ref(0)))),
    "clamp_max": (Step("gt", (Ref(0), Ref(1))), Step("where", (Ref(2), Ref(1), Ref(0)))),
    "clamp": (
        Step("lt", (Ref(0), Ref(1))), Step("where", (Ref(3), Ref(1), Ref(0))),
        Step("gt", (Ref(4), Ref(2))), Step("where", (Ref(5), Ref(2), Ref(4))),
    ),
}  # fmt: skip
_LIMITED = (("clamp_min", 2), ("clamp_max", 2), ("clamp", 3))


def _clamp(plain: Plain) -> Plain:
    """Limits that are numbers or None."""
    below, above, both = (Kernels(*LIMITS[name], operands=n) for name, n in _LIMITED)

    def impl(x: Any, *, low: Any, high: Any) -> Any:
        if x.__class__ is _array and x.size >= HEAVY and low == low and high == high:  # NaN is everyone's limit
            out = below(x, low) if high is None else above(x, high) if low is None else both(x, low, high)
            if out is not None:
                return out
        return plain(x, low=low, high=high)

    return impl


def _pow(plain: Plain) -> Plain:
    """x ** y for the exponents that take a few multiplications."""
    kernels = {y: Kernels(Step("pow", (Ref(0), y)), operands=1) for y in POWERS}

    def impl(x: Any, y: Any) -> Any:
        if x.__class__ is _array and x.size >= HEAVY and y.__class__ in (int, float) and y in kernels:
            out = kernels[y](x)
            if out is not None:
                return out
        return plain(x, y)

    return impl


_ARITIES: tuple[Any, ...] = (None, _unary, _binary, _where)
_OTHERS = {"clamp": _clamp, "pow": _pow}
_SLOW = """exp expm1 log log1p log2 log10 tanh sigmoid erf erfc softplus sqrt rsqrt sin cos tan gelu gelu_slope
    gelu_tanh gelu_tanh_slope silu silu_slope sign sgn relu positive safe_sqrt"""
_QUICK = "neg abs square reciprocal floor ceil trunc round isfinite isinf isnan logical_not"
_PAIRS = """add sub mul div maximum minimum eq ne lt le gt ge logical_and logical_or logical_xor bitwise_and bitwise_or
    bitwise_xor"""
SIZES: dict[str, tuple[int, int]] = {  # name: (operands, elements from which a kernel is faster)
    **dict.fromkeys(_SLOW.split(), (1, HEAVY)),
    **dict.fromkeys(_QUICK.split(), (1, LIGHT)),
    **dict.fromkeys(_PAIRS.split(), (2, LIGHT)),
    "where": (3, HEAVY),
}
