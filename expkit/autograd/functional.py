"""Function transforms, as torch.func: grad, vjp, jvp, jacrev, jacfwd, hessian."""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from expkit import tree
from expkit.autograd.engine import run
from expkit.autograd.handle import ARRAYS, Handle, aval_of, wrap
from expkit.autograd.levels import Dual, Level, Lift
from expkit.autograd.mode import enable_grad, interpreting
from expkit.autograd.node import Leaf
from expkit.autograd.reverse import numel
from expkit.autograd.vmap import fresh, is_tensor, vmap
from expkit.errors import AutogradError, ShapeError


def _map_tensors(fn: Callable[[Any], Any], value: Any) -> Any:
    return tree.map(lambda x: fn(x) if is_tensor(x) else x, value)


def _unlift(level: int) -> Callable[[Any], Any]:
    def get(x: Any) -> Any:
        raw = x.raw if isinstance(x, Handle) else x
        return raw.value if raw.__class__ is Lift and raw.level == level else x

    return get


def vjp(fn: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(fn(*primals), pullback): pullback(cotangents) gives the gradients of all primals, as torch.func.vjp."""
    level = Level("grad")
    get = _unlift(level.level)
    edges: list[Any] = []

    def enter(x: Any) -> Any:
        if not _is_differentiable(x):
            return x
        lifted = wrap(Lift(level.level, fresh(x)))
        lifted.node = Leaf(lifted)
        edges.append(lifted.node)
        return lifted

    with interpreting(level), enable_grad():
        out = fn(*_map_tensors(enter, primals))
    aux: tuple[Any, ...] = ()
    if has_aux:
        out, aux = out
        aux = (_map_tensors(get, aux),)
    value = _map_tensors(get, out)
    outs = [x for x in tree.flatten(out)[0] if is_tensor(x)]

    def pullback(*cotangents: Any) -> Any:
        given = cotangents[0] if len(cotangents) == 1 else cotangents
        gs = [x for x in tree.flatten(given)[0] if is_tensor(x)]
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
                return None if is_tensor(x) else x
            g = found.get(next(rest))
            return wrap(ARRAYS.zeros(aval_of(x.raw))) if g is None else g

        return _map_tensors(leave, primals)

    return (value, pullback, *aux)


def _is_differentiable(x: Any) -> bool:
    return is_tensor(x) and (x.dtype.is_floating_point or x.dtype.is_complex)


def grad_and_value(
    fn: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
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
        if not is_tensor(value) or numel(tuple(value.shape)) != 1 or len(value.shape):
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
    along = tree.flatten(tangents)[0]
    if not along or len(along) != len(tree.flatten(primals)[0]):
        raise ValueError("jvp: primals and tangents must have the same structure, with at least one tensor")
    directions = iter(along)

    def enter(x: Any) -> Any:
        t = next(directions, None)
        if not is_tensor(x):
            return x
        if t is None or tuple(t.shape) != tuple(x.shape):
            raise ShapeError(
                f"jvp: a primal has shape {tuple(x.shape)}, its tangent {None if t is None else tuple(t.shape)}"
            )
        return wrap(Dual(level.level, fresh(x), fresh(t)))

    with interpreting(level):
        out = fn(*tree.map(enter, primals))
        aux: tuple[Any, ...] = ()
        if has_aux:
            out, aux = out
            aux = (_map_tensors(lambda x: _dual(x, level)[0], aux),)
        value = _map_tensors(lambda x: _dual(x, level)[0], out)
        tangent = _map_tensors(lambda x: _dual(x, level)[1], out)
    return (value, tangent, *aux)


def _dual(x: Any, level: Level) -> tuple[Any, Any]:
    raw = fresh(x).raw
    if raw.__class__ is Dual and raw.level == level.level:
        t = raw.tangent
        return raw.value, wrap(ARRAYS.zeros(aval_of(raw.value.raw))) if t is None else t
    return x, wrap(ARRAYS.zeros(aval_of(raw)))


# ---- Jacobians -------------------------------------------------------------------------------------------------------


def _basis(x: Any) -> Any:
    """(numel, *shape): the unit tensors of x's shape."""
    return x.new_eye(numel(tuple(x.shape))).reshape(-1, *x.shape)


def _split_first(j: Any, shape: tuple[int, ...]) -> Any:
    return j.reshape(*shape, *j.shape[1:])


def _split_last(j: Any, shape: tuple[int, ...]) -> Any:
    return j.reshape(*j.shape[:-1], *shape)


def jacrev(
    fn: Callable[..., Any], argnums: int | tuple[int, ...] = 0, *, chunk_size: int | None = None
) -> Callable[..., Any]:
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
            shaped = _map_tensors(partial(_split_first, shape=tuple(out.shape)), jac)
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
            columns.append(_map_tensors(partial(_split_last, shape=tuple(args[n].shape)), jac))
        if isinstance(argnums, int):
            return columns[0]
        if is_tensor(columns[0]):
            return tuple(columns)
        return tree.map(lambda *parts: tuple(parts), columns[0], *columns[1:])

    return wrapped


def hessian(fn: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """The Hessian of a scalar function: forward over reverse."""
    return jacfwd(jacrev(fn, argnums), argnums)
