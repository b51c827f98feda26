"""Public functions say which argument should have been a tensor.

The operations do not check: an argument without a tensor's attributes raises AttributeError somewhere inside. Here, on
the way out, that becomes a TypeError; a call that is right costs nothing but the wrapper.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from expkit.autograd.handle import Handle, Value
from expkit.tensor.out import TAKING, deliver


def refusing(fn: Callable[..., Any], into: bool = False) -> Callable[..., Any]:
    """fn, with a TypeError where something that is no tensor was taken for one; with out=, where it is to have that."""

    @wraps(fn)
    def call(*args: Any, **kw: Any) -> Any:
        try:
            return fn(*args, **kw)
        except AttributeError as error:
            _explain(fn, error, (*args, *kw.values()))
            raise

    @wraps(fn)
    def call_into(*args: Any, out: Any = None, **kw: Any) -> Any:
        try:
            result = fn(*args, **kw)
        except AttributeError as error:
            _explain(fn, error, (*args, *kw.values()))
            raise
        return result if out is None else deliver(result, out, fn.__name__, args)

    return call_into if into or fn.__name__ in TAKING else call


def _explain(fn: Callable[..., Any], error: AttributeError, arguments: tuple[Any, ...]) -> None:
    """TypeError, if what lacks the attribute is an argument that should have been a tensor."""
    if not isinstance(error.obj, Handle | Value) and _given(error.obj, arguments):
        raise TypeError(f"{fn.__name__}(): expected a Tensor, got {type(error.obj).__name__}") from None


def _given(what: Any, arguments: Any) -> bool:
    """Whether it is one of the arguments, an element of one, or the truth value of a comparison with one."""
    if isinstance(what, bool):
        return True
    return any(a is what or (isinstance(a, list | tuple | dict | str) and what in list(a)) for a in arguments)
