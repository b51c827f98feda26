"""Function transforms, as torch.func: grad, vjp, jvp, linearize."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from expkit import tree
from expkit.autograd.engine import run
from expkit.autograd.handle import ARRAYS, Handle, aval_of, wrap
from expkit.autograd.levels import Dual, Level, Lift
from expkit.autograd.mode import enable_grad, interpreting
from expkit.autograd.node import Leaf
from expkit.autograd.vmap import fresh, is_tensor
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
        if not is_tensor(x):
            return x
        _require_differentiable(x, "vjp: an argument")
        lifted = wrap(Lift(level.level, fresh(x)))
        lifted.node = Leaf(lifted)
        edges.append(lifted.node)
        return lifted

    with interpreting(level), enable_grad():
        out, *aux = _parted(fn(*_map_tensors(enter, primals)), has_aux, "vjp")
    aux = [_map_tensors(get, a) for a in aux]
    value = _map_tensors(get, out)
    outs = [x for x in tree.flatten(out)[0] if is_tensor(x)]
    for x in outs:
        _require_differentiable(x, "vjp: an output of the function")

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
            if not is_tensor(x):
                return x
            g = found.get(next(rest))
            return wrap(ARRAYS.zeros(aval_of(x.raw))) if g is None else g

        return _map_tensors(leave, primals)

    return (value, pullback, *aux)


def _parted(out: Any, has_aux: bool, what: str) -> tuple[Any, ...]:
    """(the output,) or (the output, what comes beside it), as has_aux says."""
    if not has_aux:
        return (out,)
    if not isinstance(out, tuple) or len(out) != 2:
        raise AutogradError(f"{what}: with has_aux=True the function must return a tuple (output, aux)")
    return out


def _require_differentiable(x: Any, what: str) -> None:
    if not (x.dtype.is_floating_point or x.dtype.is_complex):
        raise AutogradError(f"{what} must be of floating point or complex dtype to be differentiated, not {x.dtype}")


def select(fn: Callable[..., Any], argnums: Any, args: tuple[Any, ...], kwargs: dict[str, Any], what: str) -> Any:
    """(fn of the chosen arguments alone, the chosen arguments). argnums: an int, or a tuple of ints that differ."""
    nums = (argnums,) if isinstance(argnums, int) else argnums
    if not isinstance(nums, tuple) or not nums or not all(isinstance(n, int) for n in nums):
        raise AutogradError(f"{what}: argnums must be an int or a tuple of ints with at least one, not {argnums!r}")
    for n in nums:
        if not -len(args) <= n < len(args):
            raise AutogradError(f"{what}: argnums={n} is out of range, {len(args)} positional arguments are given")
    places = [n % len(args) for n in nums]
    if len(set(places)) != len(places):
        raise AutogradError(f"{what}: argnums must be unique, got {argnums}")

    def chosen(*some: Any) -> Any:
        full = list(args)
        for n, x in zip(places, some, strict=True):
            full[n] = x
        return fn(*full, **kwargs)

    return chosen, tuple(args[n] for n in places)


def grad_and_value(
    fn: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns (gradient, value) of the scalar function `fn`, as torch.func.grad_and_value.

    has_aux: fn returns (value, anything else); then (gradient, (value, anything else)) is returned.
    """

    @wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        chosen, some = select(fn, argnums, args, kwargs, "grad")
        value, pullback, *aux = vjp(chosen, *some, has_aux=has_aux)
        if not is_tensor(value):
            raise AutogradError(f"grad: the function must return a Tensor, got {type(value).__name__}")
        if len(value.shape):
            raise AutogradError(
                f"grad: the function must return one scalar (0-d tensor), got shape {tuple(value.shape)}. "
                "Reduce it, or use jacrev or vjp."
            )
        if value.dtype.is_complex:
            raise AutogradError("grad: the function must return a real number; take .real or .abs() of it, or use vjp")
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
    entered: list[tuple[Any, Any]] = []

    def enter(x: Any) -> Any:
        t = next(directions, None)
        if not is_tensor(x):
            return x
        if t is not None and not is_tensor(t):
            raise TypeError(f"jvp: tangents must be Tensors, not {type(t).__name__}")
        if t is None or tuple(t.shape) != tuple(x.shape):
            raise ShapeError(
                f"jvp: a primal has shape {tuple(x.shape)}, its tangent {None if t is None else tuple(t.shape)}"
            )
        entered.append((x, wrap(Dual(level.level, fresh(x), fresh(t)))))
        return entered[-1][1]

    with interpreting(level):
        out, *aux = _parted(fn(*tree.map(enter, primals)), has_aux, "jvp")
        aux = [_map_tensors(lambda x: _dual(x, level)[0], a) for a in aux]
        value = _map_tensors(lambda x: _dual(x, level)[0], out)
        tangent = _map_tensors(lambda x: _dual(x, level)[1], out)
    for x, inner in entered:
        if inner.raw.value is not x:  # the function wrote into its argument
            x.copy_(inner.raw.value)
    return (value, tangent, *aux)


def _dual(x: Any, level: Level) -> tuple[Any, Any]:
    raw = fresh(x).raw
    if raw.__class__ is Dual and raw.level == level.level:
        t = raw.tangent
        return raw.value, wrap(ARRAYS.zeros(aval_of(raw.value.raw))) if t is None else t
    return x, wrap(ARRAYS.zeros(aval_of(raw)))


def linearize(fn: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """(fn(*primals), push): push(*tangents) is the derivative along tangents, as torch.func.linearize.

    Here `push` runs `fn` again, in forward mode; what is fixed is the point.
    """
    value = fn(*primals)

    def push(*tangents: Any) -> Any:
        return jvp(fn, primals, tangents)[1]

    return value, push
