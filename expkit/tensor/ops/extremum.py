"""max, min and aminmax: the functions of many faces."""

from collections import namedtuple
from typing import Any

from expkit.autograd.handle import Handle
from expkit.autograd.tape import apply, apply1
from expkit.tensor.ops.arguments import COMPLEX, dim_of, refuse, require_tensor
from expkit.tensor.ops.elementwise import maximum, minimum
from expkit.tensor.ops.index import gather_p
from expkit.tensor.ops.movement import flatten, squeeze
from expkit.tensor.ops.reduce import all_axes, amax, amin, argmax_p, argmin_p, max_p, min_p, require_elements

_MinMax = namedtuple("aminmax", ["min", "max"])


def along(input: Any, index: Any, axis: int, keepdim: bool) -> tuple[Any, Any]:
    """(values, index) of an index with one place along the axis, which stays with keepdim."""
    values = apply(gather_p, input, index, axis=axis)
    return (values, index) if keepdim else (squeeze(values, axis), squeeze(index, axis))


def _three_ways(name: str, whole: Any, arg: Any, pair: Any) -> Any:
    result = namedtuple(name, ["values", "indices"])

    def of_dim(input: Any, dim: Any, keepdim: bool) -> Any:
        refuse(input, name, COMPLEX)
        at = dim_of(dim, input.ndim)
        if input.ndim == 0:
            return result(input.clone(), apply1(arg, flatten(input), axis=0).reshape(()))
        require_elements(input, (at,), name)
        index = apply1(arg, input, axis=at)
        index = index.reshape(*input.shape[:at], 1, *input.shape[at + 1 :])
        return result(*along(input, index, at, keepdim))

    def fn(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        require_tensor(input, name)
        if other is None and isinstance(dim, Handle):
            dim, other = None, dim
        if other is not None:
            if dim is not None:
                raise TypeError(f"{name}(): either a dim or another tensor, not both")
            return pair(input, other)
        if dim is not None:
            return of_dim(input, dim, keepdim)
        refuse(input, name, COMPLEX)
        require_elements(input, all_axes(input.ndim), name)
        return apply1(whole, input, axes=all_axes(input.ndim))

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = (
        f"{name}(input): of all elements; {name}(input, dim): (values, indices); {name}(input, other): elementwise."
    )
    return fn


max = _three_ways("max", max_p, argmax_p, maximum)
min = _three_ways("min", min_p, argmin_p, minimum)


def aminmax(input: Any, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """(min, max) of all elements, or over `dim`."""
    dims = () if dim is None else (dim_of(dim, input.ndim),)
    return _MinMax(amin(input, dims, keepdim), amax(input, dims, keepdim))
