"""vmap: a function mapped over a batch axis, as torch.func.vmap."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from expkit import tree
from expkit.autograd.handle import ARRAYS, Handle, wrap
from expkit.autograd.levels import Batched, Level
from expkit.autograd.mode import interpreting


def is_tensor(x: Any) -> bool:
    return isinstance(x, Handle)


def fresh(x: Any) -> Any:
    """The tensor with its view brought up to date, as any operation would do first."""
    x.requires_grad  # noqa: B018
    return x


def vmap(
    fn: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """Maps `fn` over a batch axis of its arguments, as torch.func.vmap.

    in_dims: an int or None for each argument (nested as the arguments); out_dims likewise for the results.
    randomness: "error", "different" (each element draws its own), "same".
    """
    if randomness not in ("error", "different", "same"):
        raise ValueError(f"vmap: randomness must be 'error', 'different' or 'same', not {randomness!r}")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"vmap: chunk_size must be None or positive, not {chunk_size}")

    @wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = tree.flatten(args)
        dims = _in_dims(in_dims, args, leaves)
        size = _batch_size(leaves, dims)
        if chunk_size is not None and chunk_size < size:
            return _chunked(fn, (in_dims, out_dims, randomness), chunk_size, leaves, structure, dims, size, kwargs)
        level = Level("vmap", size, randomness)
        fronts = [x if d is None else _front(fresh(x), d) for x, d in zip(leaves, dims, strict=True)]
        inner = [x if d is None else wrap(Batched(level.level, x, size)) for x, d in zip(fronts, dims, strict=True)]
        with interpreting(level):
            out = fn(*tree.unflatten(structure, inner), **kwargs)
            outs, shape = tree.flatten(out)
            out_axes = _spread(out_dims, out, "out_dims")
            results = [_leave(x, d, level) for x, d in zip(outs, out_axes, strict=True)]
        for front, x, d in zip(fronts, inner, dims, strict=True):
            if d is not None and x.raw.value is not front:  # the function wrote into its argument
                front.copy_(x.raw.value)
        return tree.unflatten(shape, results)

    return wrapped


def _spread(dims: Any, value: Any, what: str) -> list[Any]:
    """One dim for each leaf of `value`: a dim stands for all leaves below its place."""
    if dims is None or (isinstance(dims, int) and not isinstance(dims, bool)):
        return [dims] * len(tree.flatten(value)[0])
    if not isinstance(dims, list | tuple | dict):
        raise ValueError(f"vmap: {what} must be an int, None, or a container of them, not {type(dims).__name__}")
    if not isinstance(value, list | tuple | dict):
        if len(dims) == 1 and what == "out_dims":
            return _spread(next(iter(dims.values() if isinstance(dims, dict) else dims)), value, what)
        raise ValueError(f"vmap: {what} has {dims!r} where there is one value, a {type(value).__name__}")
    if isinstance(dims, dict) != isinstance(value, dict) or len(dims) != len(value):
        raise ValueError(f"vmap: {what} is not compatible with the structure of the values: {dims!r}")
    if isinstance(dims, dict) and isinstance(value, dict) and dims.keys() != value.keys():
        raise ValueError(f"vmap: {what} has the keys {list(dims)}, the values have {list(value)}")
    pairs = [(dims[k], value[k]) for k in value] if isinstance(dims, dict) else zip(dims, value, strict=True)
    return [d for part, child in pairs for d in _spread(part, child, what)]


def _in_dims(in_dims: Any, args: tuple[Any, ...], leaves: list[Any]) -> list[Any]:
    if not args:
        raise ValueError("vmap: the function got no positional arguments to be mapped over")
    if not isinstance(in_dims, int | tuple | list) or isinstance(in_dims, bool):
        raise ValueError(
            f"vmap: in_dims must be an int or a (nested) tuple like the arguments, not {type(in_dims).__name__}"
        )
    dims = _spread(in_dims if isinstance(in_dims, int) else tuple(in_dims), args, "in_dims")
    for x, d in zip(leaves, dims, strict=True):
        if d is not None and not is_tensor(x):
            raise ValueError(
                f"vmap: in_dim {d} is given for an argument of type {type(x).__name__}; "
                "only Tensors can be mapped over, pass None as its in_dim"
            )
    return dims


def _batch_size(leaves: list[Any], dims: list[Any]) -> int:
    sizes = set()
    for x, d in zip(leaves, dims, strict=True):
        if d is None:
            continue
        if not -len(x.shape) <= d < len(x.shape):
            raise ValueError(f"vmap: in_dim {d} is out of range for a tensor of shape {tuple(x.shape)}")
        sizes.add(x.shape[d])
    if len(sizes) != 1:
        raise ValueError(
            f"vmap: expected the mapped arguments to have one batch size, got {sorted(sizes) or 'no mapped tensor'}"
        )
    return sizes.pop()


def _front(x: Any, dim: int) -> Any:
    return x if dim % x.ndim == 0 else x.movedim(dim, 0)


def _leave(x: Any, dim: int | None, level: Level) -> Any:
    if not is_tensor(x):
        raise ValueError(f"vmap: the function must return Tensors, got {type(x).__name__}")
    raw = fresh(x).raw
    mine = raw.__class__ is Batched and raw.level == level.level
    if dim is None:
        if mine:
            raise ValueError("vmap: out_dims=None for a result that depends on the mapped arguments")
        return x
    out = raw.value if mine else x.unsqueeze(0).expand(level.size, *x.shape)
    return out if dim % out.ndim == 0 else out.movedim(0, dim)


def _chunked(fn: Any, options: Any, chunk: int, leaves: Any, structure: Any, dims: Any, size: int, kwargs: Any) -> Any:
    mapped = vmap(fn, *options)
    pieces = []
    for start in range(0, size, chunk):
        stop = min(start + chunk, size)
        part = [x if d is None else x.narrow(d, start, stop - start) for x, d in zip(leaves, dims, strict=True)]
        pieces.append(mapped(*tree.unflatten(structure, part), **kwargs))
    axes = _spread(options[1], pieces[0], "out_dims")
    flat = [tree.flatten(p)[0] for p in pieces]
    joined = [
        column[0] if d is None else ARRAYS.tensor.cat(list(column), d)
        for column, d in zip(zip(*flat, strict=True), axes, strict=True)
    ]
    return tree.unflatten(pieces[0], joined)


def by_element(fn: Callable[..., Any]) -> Callable[..., Any]:
    """fn, which must look at values of its tensors: under vmap it runs for each element of the batch by itself.

    For functions of whole numbers, with one tensor as result, of one shape for all elements.
    """

    @wraps(fn)
    def call(*args: Any) -> Any:
        mapped = [fresh(x).raw for x in args if is_tensor(x)]
        top = max((raw for raw in mapped if raw.__class__ is Batched), key=lambda raw: raw.level, default=None)
        if top is None:
            return fn(*args)

        def element(x: Any, i: int) -> Any:
            mine = is_tensor(x) and x.raw.__class__ is Batched and x.raw.level == top.level
            return x.raw.value.select(0, i) if mine else x

        parts = [call(*(element(x, i) for x in args)).unsqueeze(0) for i in range(top.extent)]
        return wrap(Batched(top.level, ARRAYS.tensor.cat(parts, 0), top.extent))

    return call
