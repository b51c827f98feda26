"""@one_pass: a function of raw values, written in primitives, that runs as one generated kernel on large arrays.

    @one_pass
    def _tanh_vjp(g, out, _x):
        return g * (1 - out * out)

On large NumPy arrays it is traced, once for each combination of dtypes, ranks, axes of size one and parameters, and the
kernel that `kernel_of` makes of the graph is kept. Everything else (small arrays, other array libraries, Values of an
interpreter, Tensors, what no kernel has) runs the function as it is written. Its numbers may not depend on extents.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import update_wrapper
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval, wrap
from expkit.autograd.trace import trace
from expkit.kernels.cpu.code.elementwise import Gap
from expkit.kernels.cpu.loops.fuse import kernel_of
from expkit.kernels.cpu.machine.locks import forkable
from expkit.tensor.generated.base import enabled

LEAST = 1 << 13  # elements from which a kernel, with its look-up, is faster than two or three operations of NumPy
LONG = 1 << 9  # the same for functions of many operations
LIMIT = 64  # kernels that a function has at most
UNKNOWN = object()
_lock = forkable(threading.RLock())


class OnePass:
    """The function and its kernels."""

    def __init__(self, fn: Callable[..., Any], least: int) -> None:
        self.plain, self.least = fn, least
        self._kernels: dict[Any, Any] = {}  # None: there is none
        update_wrapper(self, fn)

    def __call__(self, *args: Any, **kw: Any) -> Any:
        for a in args:
            if a.__class__ is np.ndarray and a.size >= self.least:
                kernel = self.kernel(args, kw)
                if kernel is None:
                    break
                out = kernel(*[a for a in args if a.__class__ is np.ndarray])
                return out[0] if len(out) == 1 else out
        return self.plain(*args, **kw)

    def kernel(self, args: tuple[Any, ...], kw: dict[str, Any]) -> Callable[..., list[Any]] | None:
        """The kernel for such arguments, of the arrays among them; None where there is none."""
        key = _key(args, kw)
        if key is None:
            return None
        found = self._kernels.get(key, UNKNOWN)
        return self._make(key, args, kw) if found is UNKNOWN else found

    def _make(self, key: Any, args: tuple[Any, ...], kw: dict[str, Any]) -> Callable[..., list[Any]] | None:
        with _lock:
            if key not in self._kernels:
                if len(self._kernels) >= LIMIT:
                    return None  # ever new numbers among the arguments: each would be compiled
                self._kernels[key] = self._compile(args, kw) if enabled() else None
            return self._kernels[key]

    def _compile(self, args: tuple[Any, ...], kw: dict[str, Any]) -> Callable[..., list[Any]] | None:
        places = [i for i, a in enumerate(args) if a.__class__ is np.ndarray]

        def traced(*arrays: Any) -> Any:
            full = list(args)
            for i, x in zip(places, arrays, strict=True):
                full[i] = x.raw
            out = self.plain(*full, **kw)
            found = out if isinstance(out, list | tuple) else [out]
            if any(r is None for r in found):
                raise Gap("a result that is None")
            return [wrap(r) for r in found]

        try:
            graph = trace(traced, *[wrap(args[i]) for i in places])
        except Gap:
            return None
        return kernel_of(graph, sized=False)


def one_pass(fn: Callable[..., Any]) -> OnePass:
    """See above."""
    return OnePass(fn, LEAST)


def long_pass(fn: Callable[..., Any]) -> OnePass:
    """As `one_pass`, for a function of many operations: smaller arrays are worth a kernel."""
    return OnePass(fn, LONG)


def _key(args: tuple[Any, ...], kw: dict[str, Any]) -> Any:
    """What a kernel depends on; None where no kernel takes such arguments. (Numbers by repr: 0.0 is not -0.0.)"""
    parts: list[Any] = []
    for a in args:
        kind = a.__class__
        if kind is np.ndarray or kind is Aval:
            parts.append((kind, a.dtype, tuple([n == 1 for n in a.shape])))
        elif a is None or kind is float or kind is int or kind is bool:
            parts.append(repr(a))
        else:
            return None
    if kw:
        parts.append(repr(kw))
    return tuple(parts)
