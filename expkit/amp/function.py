"""Decorators for a custom Function's forward and backward, so that both run in the same precision."""

import functools
from collections.abc import Callable
from typing import Any

from expkit import tree
from expkit.amp.context import autocast
from expkit.amp.settings import checked
from expkit.tensor import Tensor, dtypes, float64
from expkit.tensor import dtype as Dtype
from expkit.tensor.precision import STATE


def custom_fwd(
    fwd: Callable[..., Any] | None = None, *, device_type: str, cast_inputs: Dtype | None = None
) -> Callable[..., Any]:
    """Decorates `forward`. cast_inputs: inside autocast the floating-point arguments on the device are cast to it, and
    forward runs with autocast off; None: it runs as autocast stands."""
    checked(device_type)
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def forward(*args: Any, **kw: Any) -> Any:
        ctx = args[0]
        on = STATE.enabled[device_type]
        ctx._dtype = STATE.dtypes[device_type]
        ctx._fwd_used_autocast = on and cast_inputs is None
        if not on or cast_inputs is None:
            return fwd(*args, **kw)
        with autocast(device_type, enabled=False):
            return fwd(*_cast(args, device_type, cast_inputs), **_cast(kw, device_type, cast_inputs))

    return forward


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str) -> Callable[..., Any]:
    """Decorates `backward`, which then runs in the precision that its forward ran in."""
    checked(device_type)
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def backward(*args: Any, **kw: Any) -> Any:
        ctx = args[0]
        with autocast(device_type, dtype=ctx._dtype, enabled=ctx._fwd_used_autocast):
            return bwd(*args, **kw)

    return backward


def _cast(values: Any, device_type: str, dtype: Dtype) -> Any:
    def cast(x: Any) -> Any:
        fits = isinstance(x, Tensor) and x.is_floating_point() and x.device.type == device_type
        return x.to(dtypes.get(dtype)) if fits and x.dtype is not float64 else x

    return tree.map(cast, values)
