"""Function transforms, as torch.func: grad, vjp, jvp, vmap, jacrev, jacfwd, hessian; and `autograd.grad`, `backward`."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from expkit import tree
from expkit.autograd.handle import ARRAYS, Handle, aval_of, wrap
from expkit.autograd.levels import Batched, Dual, Level, Lift, lower
from expkit.autograd.mode import MODE, enable_grad, interpreting, set_grad_enabled
from expkit.autograd.tape import Leaf, apply, raw_of, run
from expkit.errors import AutogradError, ShapeError

# ---- reverse mode on the tape ----------------------------------------------------------------------------------------


def _seed(out: Any, g: Any, create_graph: bool, what: str) -> Any:
    """The gradient to start from: ones for a one-element output, else what the caller gives."""
    if g is None:
        if _numel(out.raw.shape) != 1:
            raise AutogradError(f"{what}: grad can be implicitly created only for scalar outputs; this one has shape {tuple(out.raw.shape)}. Pass the gradient.")
        raw = ARRAYS.ones(aval_of(out.raw))
        return wrap(raw) if create_graph else raw
    if not isinstance(g, Handle):
        raise TypeError(f"{what}: gradients must be Tensors or None, not {type(g).__name__}")
    if tuple(g.raw.shape) != tuple(out.raw.shape):
        raise ShapeError(f"{what}: the gradient has shape {tuple(g.raw.shape)}, the output {tuple(out.raw.shape)}")
    if g.raw.dtype != out.raw.dtype:
        g = ARRAYS.convert(g, out.raw.dtype)
    return g if create_graph else g.raw


def _numel(shape: tuple[int, ...]) -> int:
    n = 1
    for size in shape:
        n *= size
    return n


def _as_list(x: Any) -> list[Any]:
    return list(x) if isinstance(x, list | tuple) else [x]


def _roots(outputs: list[Any], grads: list[Any], create_graph: bool, what: str) -> list[tuple[Any, Any]]:
    if len(grads) != len(outputs):
        raise ValueError(f"{what}: {len(outputs)} outputs but {len(grads)} gradients")
    roots = []
    for out, g in zip(outputs, grads, strict=True):
        if not out.requires_grad:  # brings a stale view up to date as well
            raise AutogradError(f"{what}: an output (shape {tuple(out.raw.shape)}) does not require grad and has no grad_fn")
        roots.append((out.node, _seed(out, g, create_graph, what)))
    return roots


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Adds the gradients of `tensors` to `.grad` of the leaves (or of `inputs` only), as torch.autograd.backward."""
    outputs = _as_list(tensors)
    seeds = [None] * len(outputs) if grad_tensors is None else _as_list(grad_tensors)
    roots = _roots(outputs, seeds, create_graph, "backward()")
    targets = None if inputs is None else [_edge(x, "backward(inputs=...)") for x in _as_list(inputs)]
    found = _run(roots, targets, retain_graph, create_graph)
    held = {id(x.node): x for x in _as_list(inputs)} if inputs is not None else {}
    given: set[int] = {id(raw_of(g)) for _, g in roots}
    for edge, g in found.items():
        target = edge.ref() if edge.__class__ is Leaf else held.get(id(edge))
        if target is not None:
            accumulate(target, g, given)
        for hook in list((getattr(edge, "after", None) or {}).values()):
            hook(target)


def _edge(x: Any, what: str) -> Any:
    if not isinstance(x, Handle) or not x.requires_grad:  # type: ignore[attr-defined]
        raise AutogradError(f"{what}: one of the tensors does not require grad")
    return x.node


def _run(roots: Any, targets: Any, retain_graph: bool | None, create_graph: bool) -> dict[Any, Any]:
    retain = create_graph if retain_graph is None else retain_graph
    with set_grad_enabled(MODE.grad and create_graph or bool(MODE.special)):
        return run(roots, get=(lambda x: x) if create_graph else raw_of, targets=targets, retain=retain)


def accumulate(target: Any, g: Any, given: set[int]) -> None:
    """target.grad += g, without ever sharing memory with another gradient."""
    old = target.grad
    if isinstance(g, Handle):
        target.grad = g if old is None else old + g
        return
    if g.__class__ not in ARRAYS.raw_types and not hasattr(g, "level"):
        g = ARRAYS.as_raw(g)
    if old is None:
        if g.__class__ in ARRAYS.raw_types:
            if id(g) in given:
                g = g.copy()
            g = ARRAYS.owned(g)
            given.add(id(g))
        target.grad = wrap(g)
    elif old.raw.__class__ in ARRAYS.raw_types and g.__class__ in ARRAYS.raw_types and old.node is None:
        ARRAYS.add_into(old.raw, g)
    else:
        target.grad = old + wrap(g)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """Gradients of the sum of `outputs` (weighted by `grad_outputs`) with respect to `inputs`, as torch.autograd.grad."""
    outs, ins = _as_list(outputs), _as_list(inputs)
    if materialize_grads and allow_unused is False:
        raise ValueError("grad(): materialize_grads=True needs allow_unused to be True or left out")
    seeds = [None] * len(outs) if grad_outputs is None else _as_list(grad_outputs)
    roots = _roots(outs, seeds, create_graph, "grad()")
    edges = [_edge(x, "grad()") for x in ins]
    found = _run(roots, edges, retain_graph, create_graph)
    results = []
    for x, edge in zip(ins, edges, strict=True):
        g = found.get(edge)
        if g is None and materialize_grads:
            g = ARRAYS.zeros(aval_of(x.raw))
        elif g is None and not allow_unused:
            raise AutogradError("grad(): one of the inputs was not used in the graph. Set allow_unused=True if that is meant.")
        results.append(_boxed(g))
    return tuple(results)


def _boxed(g: Any) -> Any:
    if g is None or isinstance(g, Handle):
        return g
    return wrap(g if hasattr(g, "level") or g.__class__ in ARRAYS.raw_types else ARRAYS.as_raw(g))


# ---- levels ----------------------------------------------------------------------------------------------------------


def _is_tensor(x: Any) -> bool:
    return isinstance(x, Handle)


def _fresh(x: Any) -> Any:
    """The tensor with its view brought up to date, as any operation would do first."""
    x.requires_grad  # noqa: B018
    return x


def _map_tensors(fn: Callable[[Any], Any], value: Any) -> Any:
    return tree.map(lambda x: fn(x) if _is_tensor(x) else x, value)


def _unlift(level: int) -> Callable[[Any], Any]:
    def get(x: Any) -> Any:
        raw = x.raw if isinstance(x, Handle) else x
        if raw.__class__ is Lift and raw.level == level:
            return raw.value
        return lower(raw) if isinstance(x, Handle) else x

    return get


def vjp(fn: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(fn(*primals), pullback): pullback(cotangents) gives the gradients of all primals, as torch.func.vjp."""
    level = Level("grad")
    get = _unlift(level.level)
    edges: list[Any] = []

    def enter(x: Any) -> Any:
        if not _is_differentiable(x):
            return x
        lifted = wrap(Lift(level.level, _fresh(x)))
        lifted.node = Leaf(lifted)
        edges.append(lifted.node)
        return lifted

    with interpreting(level), enable_grad():
        out = fn(*_map_tensors(enter, primals))
    aux = ()
    if has_aux:
        out, aux = out
        aux = (_map_tensors(get, aux),)
    value = _map_tensors(get, out)
    outs = [x for x in tree.flatten(out)[0] if _is_tensor(x)]

    def pullback(*cotangents: Any) -> Any:
        given = cotangents[0] if len(cotangents) == 1 else cotangents
        gs = [x for x in tree.flatten(given)[0] if _is_tensor(x)]
        if len(gs) != len(outs):
            raise AutogradError(f"vjp: the function has {len(outs)} output tensors, {len(gs)} cotangents were given")
        roots = []
        for o, g in zip(outs, gs, strict=True):
            if tuple(g.raw.shape) != tuple(o.raw.shape):
                raise ShapeError(f"vjp: a cotangent has shape {tuple(g.raw.shape)}, its output {tuple(o.raw.shape)}")
            if o.node is not None:
                roots.append((o.node, g))
        with interpreting(level):
            found = run(roots, get=get, targets=edges, retain=True)
        rest = iter(edges)

        def leave(x: Any) -> Any:
            if not _is_differentiable(x):
                return None if _is_tensor(x) else x
            g = found.get(next(rest))
            return wrap(ARRAYS.zeros(aval_of(x.raw))) if g is None else g

        return _map_tensors(leave, primals)

    return (value, pullback, *aux)


def _is_differentiable(x: Any) -> bool:
    return _is_tensor(x) and (x.dtype.is_floating_point or x.dtype.is_complex)


def grad_and_value(fn: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns (gradient, value) of the scalar function `fn`, as torch.func.grad_and_value."""
    nums = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        def chosen(*some: Any) -> Any:
            full = list(args)
            for n, x in zip(nums, some, strict=True):
                full[n] = x
            return fn(*full, **kwargs)

        value, pullback, *aux = vjp(chosen, *(args[n] for n in nums), has_aux=has_aux)
        if not _is_tensor(value) or _numel(tuple(value.shape)) != 1 or len(value.shape):
            raise AutogradError("grad: the function must return one scalar (0-d) tensor")
        gs = pullback(wrap(ARRAYS.ones(aval_of(value.raw))))
        g = gs[0] if isinstance(argnums, int) else gs
        return g, ((value, *aux) if has_aux else value)

    return wrapped


def func_grad(fn: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the gradient of the scalar function `fn`, as torch.func.grad."""
    both = grad_and_value(fn, argnums, has_aux)

    @wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        g, value = both(*args, **kwargs)
        return (g, value[1]) if has_aux else g

    return wrapped


def jvp(fn: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...], *, has_aux: bool = False) -> Any:
    """(fn(*primals), directional derivative along `tangents`), as torch.func.jvp."""
    level = Level("jvp")
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple):
        raise TypeError("jvp: primals and tangents must be tuples, one entry for each argument")
    directions = iter(tree.flatten(tangents)[0])

    def enter(x: Any) -> Any:
        t = next(directions, None)
        if not _is_tensor(x):
            return x
        if t is None or tuple(t.shape) != tuple(x.shape):
            raise ShapeError(f"jvp: a primal has shape {tuple(x.shape)}, its tangent {None if t is None else tuple(t.shape)}")
        return wrap(Dual(level.level, _fresh(x), _fresh(t)))

    with interpreting(level):
        out = fn(*tree.map(enter, primals))
        aux = ()
        if has_aux:
            out, aux = out
            aux = (_map_tensors(lambda x: _dual(x, level)[0], aux),)
        value = _map_tensors(lambda x: _dual(x, level)[0], out)
        tangent = _map_tensors(lambda x: _dual(x, level)[1], out)
    return (value, tangent, *aux)


def _dual(x: Any, level: Level) -> tuple[Any, Any]:
    raw = _fresh(x).raw
    if raw.__class__ is Dual and raw.level == level.level:
        t = raw.tangent
        return raw.primal, wrap(ARRAYS.zeros(aval_of(raw.primal.raw))) if t is None else t
    return x, wrap(ARRAYS.zeros(aval_of(raw)))


# ---- vmap ------------------------------------------------------------------------------------------------------------


def vmap(
    fn: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *, chunk_size: int | None = None
) -> Callable[..., Any]:
    """Maps `fn` over a batch axis of its arguments, as torch.func.vmap.

    in_dims: an int or None for each argument (nested as the arguments); out_dims likewise for the results.
    randomness: "error", "different" (each element draws its own), "same".
    """
    if randomness not in ("error", "different", "same"):
        raise ValueError(f"vmap: randomness must be 'error', 'different' or 'same', not {randomness!r}")

    @wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = tree.flatten(args)
        dims = _dims(in_dims, args)
        size = _batch_size(leaves, dims)
        if chunk_size is not None and chunk_size < size:
            return _chunked(fn, (in_dims, out_dims, randomness), chunk_size, leaves, structure, dims, size, kwargs)
        level = Level("vmap", size, randomness)
        inner = [x if d is None else wrap(Batched(level.level, _front(_fresh(x), d), size)) for x, d in zip(leaves, dims, strict=True)]
        with interpreting(level):
            out = fn(*tree.unflatten(structure, inner), **kwargs)
            outs, shape = tree.flatten(out)
            out_axes = _dims(out_dims, out)
            results = [_leave(x, d, level) for x, d in zip(outs, out_axes, strict=True)]
        return tree.unflatten(shape, results)

    return wrapped


def _dims(dims: Any, args: Any) -> list[Any]:
    """One entry a leaf of `args`: `dims` spread over its subtrees."""
    if isinstance(args, list | tuple | dict):
        children = list(args.values()) if isinstance(args, dict) else list(args)
        if isinstance(dims, list | tuple | dict):
            parts = [dims[k] for k in args] if isinstance(dims, dict) else list(dims)
            if len(parts) != len(children):
                raise ValueError(f"vmap: {len(parts)} dims are given for {len(children)} values")
        else:
            parts = [dims] * len(children)
        return [d for part, child in zip(parts, children, strict=True) for d in _dims(part, child)]
    if isinstance(dims, list | tuple) and len(dims) == 1:
        dims = dims[0]
    if dims is not None and not isinstance(dims, int):
        raise ValueError(f"vmap: a dim must be an int or None, not {dims!r}")
    return [dims if _is_tensor(args) else None]


def _batch_size(leaves: list[Any], dims: list[Any]) -> int:
    sizes = set()
    for x, d in zip(leaves, dims, strict=True):
        if d is None:
            continue
        if not -len(x.shape) <= d < len(x.shape):
            raise ValueError(f"vmap: in_dim {d} is out of range for a tensor of shape {tuple(x.shape)}")
        sizes.add(x.shape[d])
    if len(sizes) != 1:
        raise ValueError(f"vmap: expected the mapped arguments to have one batch size, got {sorted(sizes) or 'no mapped tensor'}")
    return sizes.pop()


def _front(x: Any, dim: int) -> Any:
    return x if dim % x.ndim == 0 else x.movedim(dim, 0)


def _leave(x: Any, dim: int | None, level: Level) -> Any:
    if not _is_tensor(x):
        if dim is None or x is None:
            return x
        raise ValueError(f"vmap: the function must return Tensors, got {type(x).__name__}")
    raw = _fresh(x).raw
    mine = raw.__class__ is Batched and raw.level == level.level
    if dim is None:
        if mine:
            raise ValueError("vmap: out_dims=None for a result that depends on the mapped arguments")
        return x
    out = raw.value if mine else x.unsqueeze(0).expand(level.size, *x.shape)
    return out if dim % out.ndim == 0 else out.movedim(0, dim)


def _chunked(fn: Any, options: Any, chunk: int, leaves: Any, structure: Any, dims: Any, size: int, kwargs: Any) -> Any:
    if chunk < 1:
        raise ValueError(f"vmap: chunk_size must be positive, not {chunk}")
    mapped = vmap(fn, *options)
    pieces = []
    for start in range(0, size, chunk):
        stop = min(start + chunk, size)
        part = [x if d is None else x.narrow(d, start, stop - start) for x, d in zip(leaves, dims, strict=True)]
        pieces.append(mapped(*tree.unflatten(structure, part), **kwargs))
    axes = _dims(options[1], pieces[0])
    flat = [tree.flatten(p)[0] for p in pieces]
    joined = [column[0] if d is None else ARRAYS.tensor.cat(list(column), d) for column, d in zip(zip(*flat, strict=True), axes, strict=True)]  # type: ignore[attr-defined]
    return tree.unflatten(pieces[0], joined)


# ---- Jacobians -------------------------------------------------------------------------------------------------------


def _basis(x: Any) -> Any:
    """(numel, *shape): the unit tensors of x's shape."""
    return x.new_eye(_numel(tuple(x.shape))).reshape(-1, *x.shape)


def jacrev(fn: Callable[..., Any], argnums: int | tuple[int, ...] = 0, *, chunk_size: int | None = None) -> Callable[..., Any]:
    """The Jacobian of `fn` by reverse mode: (*out.shape, *in.shape) for each output and chosen argument."""
    nums = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @wraps(fn)
    def wrapped(*args: Any) -> Any:
        def chosen(*some: Any) -> Any:
            full = list(args)
            for n, x in zip(nums, some, strict=True):
                full[n] = x
            return fn(*full)

        value, pullback = vjp(chosen, *(args[n] for n in nums))
        outs, structure = tree.flatten(value)
        rows = []
        for i, out in enumerate(outs):
            zeros = [wrap(ARRAYS.zeros(aval_of(o.raw))) for o in outs]

            def pull(g: Any, i: int = i, zeros: list[Any] = zeros) -> Any:
                return pullback(tree.unflatten(structure, [g if k == i else z for k, z in enumerate(zeros)]))

            jac = vmap(pull, chunk_size=chunk_size)(_basis(out))
            shaped = _map_tensors(lambda j, out=out: j.reshape(*out.shape, *j.shape[1:]), jac)
            rows.append(shaped[0] if isinstance(argnums, int) else shaped)
        return tree.unflatten(structure, rows) if isinstance(value, list | tuple | dict) else rows[0]

    return wrapped


def jacfwd(fn: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """The Jacobian of `fn` by forward mode: (*out.shape, *in.shape)."""
    nums = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @wraps(fn)
    def wrapped(*args: Any) -> Any:
        columns = []
        for n in nums:

            def one(x: Any, n: int = n) -> Any:
                return fn(*args[:n], x, *args[n + 1 :])

            def push(t: Any, n: int = n, one: Any = one) -> Any:
                return jvp(one, (args[n],), (t,))[1]

            jac = vmap(push, out_dims=-1)(_basis(args[n]))
            columns.append(_map_tensors(lambda j, n=n: j.reshape(*j.shape[:-1], *args[n].shape), jac))
        if isinstance(argnums, int):
            return columns[0]
        if _is_tensor(columns[0]):
            return tuple(columns)
        return tree.map(lambda *parts: tuple(parts), columns[0], *columns[1:])

    return wrapped


def hessian(fn: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """The Hessian of a scalar function: forward over reverse."""
    return jacfwd(jacrev(fn, argnums), argnums)


__all__ = [
    "Sequence", "apply", "backward", "func_grad", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "vjp", "vmap",
]
