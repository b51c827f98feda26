"""Jacobians and Hessians of functions, as torch.func: jacrev, jacfwd, hessian.

Each output tensor of the function is replaced by its derivatives: one tensor of shape (*output.shape, *input.shape) for
each tensor in the chosen arguments, in containers like those of the arguments.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from expkit import tree
from expkit.autograd.handle import ARRAYS, aval_of, wrap
from expkit.autograd.reverse import numel
from expkit.autograd.transforms import jvp, select, vjp
from expkit.autograd.vmap import is_tensor, vmap
from expkit.errors import AutogradError


def _basis(x: Any) -> Any:
    """(numel, *shape): the unit tensors of x's shape."""
    return x.new_eye(numel(tuple(x.shape))).reshape(-1, *x.shape)


def _zeros(x: Any) -> Any:
    return wrap(ARRAYS.zeros(aval_of(x.raw)))


def _tensors(value: Any, what: str) -> list[Any]:
    leaves = tree.flatten(value)[0]
    if not leaves or not all(is_tensor(x) for x in leaves):
        raise AutogradError(f"{what} must be Tensors, and at least one")
    if any(x.dtype.is_complex for x in leaves):
        raise AutogradError(
            f"{what} must be real: a complex number has two derivatives. Use view_as_real, or vjp or jvp"
        )
    return leaves


def _nested(rows: list[list[Any]], value: Any, args: Any, single: bool) -> Any:
    """rows[output][input] in the containers of the outputs, each entry in those of the inputs."""
    each = [tree.unflatten(args, row) for row in rows]
    return tree.unflatten(value, [e[0] if single else e for e in each])


def jacrev(
    fn: Callable[..., Any],
    argnums: int | tuple[int, ...] = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """The Jacobian of `fn` by reverse mode: (*out.shape, *in.shape) for each output and chosen argument.

    has_aux: fn returns (output, anything else), and so does the result. chunk_size: how many rows at a time.
    """
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"jacrev: chunk_size must be None or positive, not {chunk_size}")

    @wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        chosen, some = select(fn, argnums, args, kwargs, "jacrev")
        _tensors(some, "jacrev: what is differentiated by")
        value, pullback, *aux = vjp(chosen, *some, has_aux=has_aux)
        outs = _tensors(value, "jacrev: what the function returns")
        rows = []
        for i, out in enumerate(outs):

            def pull(g: Any, i: int = i) -> Any:
                return pullback(tree.unflatten(value, [g if k == i else _zeros(o) for k, o in enumerate(outs)]))

            flat = tree.flatten(vmap(pull, chunk_size=chunk_size)(_basis(out)))[0]
            rows.append([j.reshape(*out.shape, *j.shape[1:]) for j in flat])
        made = _nested(rows, value, some, isinstance(argnums, int))
        return (made, *aux) if has_aux else made

    return wrapped


def jacfwd(
    fn: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False, *, randomness: str = "error"
) -> Callable[..., Any]:
    """The Jacobian of `fn` by forward mode; otherwise as jacrev. randomness: vmap's, for draws in `fn`."""

    @wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        chosen, some = select(fn, argnums, args, kwargs, "jacfwd")
        leaves = _tensors(some, "jacfwd: what is differentiated by")
        dims: Any = (-1, 0) if has_aux else -1
        columns: list[list[Any]] = []
        aux: Any = ()
        for i, x in enumerate(leaves):

            def push(t: Any, i: int = i) -> Any:
                tangents = [t if k == i else _zeros(v) for k, v in enumerate(leaves)]
                _, *made = jvp(chosen, some, tree.unflatten(some, tangents), has_aux=has_aux)
                return tuple(made) if has_aux else made[0]

            pushed = vmap(push, out_dims=dims, randomness=randomness)(_basis(x))
            tangent, *aux = pushed if has_aux else (pushed,)
            columns.append([j.reshape(*j.shape[:-1], *x.shape) for j in _tensors(tangent, "jacfwd: the results")])
        rows = [list(row) for row in zip(*columns, strict=True)]
        made = _nested(rows, tangent, some, isinstance(argnums, int))
        return (made, *(tree.map(lambda a: a[0], a) for a in aux)) if has_aux else made

    return wrapped


def hessian(fn: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """The second derivatives of a function: forward over reverse."""
    return jacfwd(jacrev(fn, argnums), argnums)
