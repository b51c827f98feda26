"""Public functions say which argument should have been a tensor.

The operations do not check: an argument without a tensor's attributes raises AttributeError somewhere inside. Here, on
the way out, that becomes a TypeError; a call that is right costs nothing but the wrapper.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from expkit.autograd.handle import Handle, Value


def refusing(fn: Callable[..., Any]) -> Callable[..., Any]:
    """fn, with a TypeError where something that is no tensor was taken for one."""

    @wraps(fn)
    def call(*args: Any, **kw: Any) -> Any:
        try:
            return fn(*args, **kw)
        except AttributeError as error:
            if isinstance(error.obj, Handle | Value) or not _given(error.obj, (*args, *kw.values())):
                raise
            raise TypeError(f"{fn.__name__}(): expected a Tensor, got {type(error.obj).__name__}") from None

    return call


def _given(what: Any, arguments: Any) -> bool:
    """Whether it is one of the arguments, an element of one, or the truth value of a comparison with one."""
    if isinstance(what, bool):
        return True
    return any(a is what or (isinstance(a, list | tuple | dict | str) and what in list(a)) for a in arguments)
