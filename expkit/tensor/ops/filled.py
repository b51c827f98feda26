"""Tensors of one value: of a given size, like another tensor, or beside it."""

from collections.abc import Sequence
from typing import Any

from expkit.autograd.handle import Aval, Handle
from expkit.autograd.mode import MODE, open_trace
from expkit.errors import ShapeError
from expkit.tensor import devices, dtypes
from expkit.tensor.ops.arguments import require_tensor, sizes
from expkit.tensor.ops.convert import number
from expkit.tensor.ops.create import finished
from expkit.tensor.ops.memory_format import check, inverse, memory_format, preserve_format


def _shape(size: Any) -> tuple[int, ...]:
    shape = sizes(size)
    if any(n < 0 for n in shape):
        raise ShapeError(f"trying to create a tensor with a negative dimension: {list(shape)}")
    return shape


def _made(
    shape: tuple[int, ...], value: Any, d: dtypes.dtype, device: Any, requires_grad: bool, order: Any = None
) -> Any:
    """A tensor of one value; `order`: its axes in memory from slow to fast."""
    where = devices.resolve(device)
    trace = open_trace() if MODE.special else None
    if trace is not None and trace.abstract:
        return finished(trace.make(Aval(shape, d.dtype, where.type)), where, requires_grad)
    xp = devices.xp_for(where)
    dense = shape if order is None else tuple(shape[a] for a in order)
    raw = xp.zeros(dense, d.dtype) if value == 0 else xp.full(dense, value, d.dtype)
    return finished(raw if order is None else raw.transpose(inverse(order)), where, requires_grad)


def full(
    size: Sequence[int], fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    layout: Any = None, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """A tensor of one value; its dtype is the value's unless given."""
    value, d = _value(fill_value, dtype)
    return _made(_shape((size,)), value, d, device, requires_grad)


def _value(fill_value: Any, dtype: Any) -> tuple[Any, dtypes.dtype]:
    """The value as a number, and the dtype: the given one or the value's."""
    if isinstance(fill_value, Handle):
        if fill_value.ndim:
            raise TypeError(f"full(): fill_value must be a number or 0-d tensor, not of {fill_value.ndim} dimensions")
        return fill_value.item(), fill_value.dtype if dtype is None else dtypes.get(dtype)
    value = number(fill_value)
    d = dtypes.get(type(value)) if dtype is None else dtypes.get(dtype)
    if isinstance(value, complex) and not d.is_complex:
        raise RuntimeError(f"full(): the complex value {value} does not fit into {d}")
    if isinstance(value, int) and dtypes.category(d) == 1:
        value %= 2 ** (8 * d.itemsize)  # wraps around, as PyTorch's numbers do
        value -= 2 ** (8 * d.itemsize) if d.is_signed and value > dtypes.iinfo(d).max else 0
    return value, d


def _filled(name: str, value: Any, doc: str) -> Any:
    def fn(
        *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, layout: Any = None,
        pin_memory: bool = False, **kw: Any,
    ) -> Any:  # fmt: skip
        d = dtypes.get_default_dtype() if dtype is None else dtypes.get(dtype)
        return _made(_sized(size, kw, name), value, d, device, requires_grad, _order(kw, name))

    def like(
        input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
        memory_format: memory_format = preserve_format, layout: Any = None, pin_memory: bool = False,
    ) -> Any:  # fmt: skip
        require_tensor(input, like.__name__)
        d = input.dtype if dtype is None else dtypes.get(dtype)
        where = input.device if device is None else device
        return _made(tuple(input.shape), value, d, where, requires_grad, order_like(input, memory_format))

    fn.__name__ = fn.__qualname__ = name
    like.__name__ = like.__qualname__ = f"{name}_like"
    fn.__doc__ = doc
    like.__doc__ = f"{doc[:-1]} with the shape, dtype, device and order in memory of `input`."
    return fn, like


def _sized(size: tuple[Any, ...], kw: dict[str, Any], name: str) -> tuple[int, ...]:
    """The shape from positional sizes or size=."""
    if "size" in kw:
        if size:
            raise TypeError(f"{name}() got multiple values for argument 'size'")
        size = (kw.pop("size"),)
    unknown = kw.keys() - ({"memory_format"} if name == "empty" else set())
    if unknown:
        raise TypeError(f"{name}() got an unexpected keyword argument {min(unknown)!r}")
    return _shape(size)


def _order(kw: dict[str, Any], name: str) -> tuple[int, ...] | None:
    format = kw.get("memory_format")
    return None if format is None else format.order or None


def order_like(x: Any, format: memory_format) -> tuple[int, ...] | None:
    """The order in memory of a tensor like x: that of the format, or of x's own strides."""
    check(format, x)
    if format is not preserve_format:
        return format.order or None
    strides = getattr(x.raw, "strides", None)
    if not isinstance(strides, tuple) or x.raw.flags.c_contiguous:
        return None
    steps = iter(sorted((a for a in range(x.ndim) if strides[a]), key=lambda a: (-strides[a], a)))
    return tuple(next(steps) if strides[a] else a for a in range(x.ndim))  # repeated axes stay


zeros, zeros_like = _filled("zeros", 0, "A tensor of zeros.")
ones, ones_like = _filled("ones", 1, "A tensor of ones.")
empty, empty_like = _filled("empty", 0, "A tensor to be written to (zeros, so that a run can be repeated).")


def full_like(
    input: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    memory_format: memory_format = preserve_format, layout: Any = None, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """A tensor of one value with the shape, dtype and device of `input`."""
    require_tensor(input, "full_like()")
    value, d = _value(fill_value, input.dtype if dtype is None else dtype)
    where = input.device if device is None else device
    return _made(tuple(input.shape), value, d, where, requires_grad, order_like(input, memory_format))


def empty_permuted(
    size: Sequence[int], physical_layout: Sequence[int], *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, layout: Any = None, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """A tensor to be written to, whose axes lie in memory in the given order, from slow to fast."""
    shape, order = _shape((size,)), sizes((physical_layout,))
    if sorted(order) != list(range(len(shape))):
        raise RuntimeError(f"empty_permuted: {list(order)} is no order of the {len(shape)} dimensions")
    d = dtypes.get_default_dtype() if dtype is None else dtypes.get(dtype)
    return _made(shape, 0, d, device, requires_grad, order)


def empty_strided(
    size: Sequence[int], stride: Sequence[int], *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    layout: Any = None, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """A tensor to be written to, with the given sizes and strides."""
    shape, steps = _shape((size,)), sizes((stride,))
    if len(shape) != len(steps):
        raise RuntimeError(f"empty_strided: {len(shape)} sizes and {len(steps)} strides do not fit together")
    if any(s < 0 for s in steps):
        raise RuntimeError(f"empty_strided: strides must not be negative, got {list(steps)}")
    reach = 1 + sum((n - 1) * s for n, s in zip(shape, steps, strict=True)) if 0 not in shape else 0
    storage = empty(reach, dtype=dtype, device=device)
    raw = storage.raw
    strided = devices.xp_of(raw).lib.stride_tricks.as_strided(raw, shape, tuple(s * raw.itemsize for s in steps))
    return finished(strided, device, requires_grad)


def _beside(name: str, fn: Any) -> Any:
    def new(self: Any, *args: Any, dtype: Any = None, device: Any = None, **kw: Any) -> Any:
        d, where = self.dtype if dtype is None else dtype, self.device if device is None else device
        return fn(*args, dtype=d, device=where, **kw)

    new.__name__ = new.__qualname__ = name
    new.__doc__ = f"{fn.__name__}(), with the dtype and device of this tensor unless others are given."
    return new


new_zeros, new_ones, new_empty = _beside("new_zeros", zeros), _beside("new_ones", ones), _beside("new_empty", empty)
new_full, new_empty_strided = _beside("new_full", full), _beside("new_empty_strided", empty_strided)
