"""`Function`: an operation with a derivative of one's own, as torch.autograd.Function.

    class Exp(Function):
        @staticmethod
        def forward(x):
            return x.exp()

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(output)

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0]

    y = Exp.apply(x)

`forward(ctx, ...)` without setup_context works as well, but not inside func.grad, jvp and vmap.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import Any, NamedTuple

from expkit.autograd.function_node import context_of, recorded
from expkit.autograd.handle import Handle, wrap
from expkit.autograd.levels import Batched, Dual, Lift
from expkit.autograd.mode import MODE, no_grad
from expkit.autograd.vmap import vmap
from expkit.errors import AutogradError


class _VmapInfo(NamedTuple):
    batch_size: int
    randomness: str


class Function:
    """The base of operations with derivatives of their own: static methods, called by `apply`.

    forward(ctx, *args), or forward(*args) with setup_context(ctx, inputs, output)
    backward(ctx, *grads) -> a gradient (or None) for each argument of forward; also under the name vjp
    jvp(ctx, *tangents) -> a tangent for each result
    vmap(info, in_dims, *args) -> (results, their batch dimensions); or generate_vmap_rule = True
    """

    generate_vmap_rule = False

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Computes the result."""
        raise NotImplementedError("a Function needs a static method forward")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Keeps what backward needs, where forward takes no ctx."""
        raise NotImplementedError("setup_context is not implemented")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """The gradients of forward's arguments."""
        raise NotImplementedError("a Function needs a static method backward to be differentiated")

    vjp = backward

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """The tangents of forward's results."""
        raise NotImplementedError("a Function needs a static method jvp for forward-mode differentiation")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
        """(results, batch dimensions) for arguments with batch dimensions."""
        raise NotImplementedError("a Function needs a static method vmap, or generate_vmap_rule = True, to be mapped")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise AutogradError(f"a Function is not called as an object: use {type(self).__name__}.apply(...)")

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Runs forward, and records what leads back through it. Keywords are taken as the arguments that they name."""
        if kwargs or _splits(cls):
            args = _bound(cls, args, kwargs)
        handles = [x for x in args if isinstance(x, Handle)]
        for x in handles:
            x.requires_grad  # noqa: B018  (brings a view up to date)
        top = max((x.raw for x in handles if type(x.raw) in _LEVELS), key=lambda raw: raw.level, default=None)
        if top is None:
            return _plain(cls, args)
        if not _splits(cls) and getattr(_level(top), "kind", "") != "forward_ad":
            raise AutogradError(
                f"{cls.__name__}.apply inside func.grad, jvp or vmap: give {cls.__name__} a setup_context, and a "
                "forward without ctx."
            )
        return _LEVELS[type(top)](cls, args, top)


def _bound(cls: type[Function], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """All arguments of forward by position, those left out at their defaults."""
    places = _signature(cls.forward)
    before = () if _splits(cls) else (None,)  # ctx
    given = places.bind(*before, *args, **kwargs)
    given.apply_defaults()
    named = [name for name in given.kwargs if name in kwargs]
    if named:
        raise TypeError(f"{cls.__name__}.apply: keyword-only arguments of forward stay at their defaults, got {named}")
    return given.args[len(before) :]


@lru_cache(maxsize=256)
def _signature(forward: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(forward)


def _splits(cls: type[Function]) -> bool:
    """Whether forward and setup_context are apart."""
    return cls.setup_context is not Function.setup_context


def _overrides(cls: type[Function], name: str) -> bool:
    return getattr(cls, name) is not getattr(Function, name)


def _backward_of(cls: type[Function]) -> Callable[..., Any]:
    return cls.vjp if _overrides(cls, "vjp") else cls.backward


def _plain(cls: type[Function], args: tuple[Any, ...]) -> Any:
    ctx = context_of(args)
    with no_grad():
        if _splits(cls):
            out = cls.forward(*args)
            cls.setup_context(ctx, args, out)
        else:
            out = cls.forward(ctx, *args)
    return recorded(cls.__name__, _backward_of(cls), ctx, args, out)


def once_differentiable(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a backward that is not to be differentiated itself: trying to is an error instead of a wrong result."""

    @wraps(fn)
    def wrapper(ctx: Any, *grads: Any) -> Any:
        with no_grad():
            result = fn(ctx, *grads)
        sources = tuple(g for g in (*grads, *ctx.saved_tensors) if isinstance(g, Handle) and g.node is not None)
        if not MODE.grad or not sources:
            return result
        items = result if isinstance(result, tuple) else (result,)
        barred = tuple(_Once.apply(r, *sources) if isinstance(r, Handle) else r for r in items)
        return barred if isinstance(result, tuple) else barred[0]

    return wrapper


class _Once(Function):
    @staticmethod
    def forward(ctx: Any, result: Any, *_sources: Any) -> Any:
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise AutogradError("trying to differentiate twice a function that was marked with @once_differentiable")


# ---- under transforms ------------------------------------------------------------------------------------------------


def _mine(x: Any, top: Any) -> bool:
    return isinstance(x, Handle) and x.raw.__class__ is top.__class__ and x.raw.level == top.level


def _inside(args: Sequence[Any], top: Any) -> list[Any]:
    return [x.raw.value if _mine(x, top) else x for x in args]


def _each(fn: Callable[[Any], Any], out: Any) -> Any:
    """fn of the tensors among a function's results."""
    if isinstance(out, tuple):
        return tuple(fn(o) if isinstance(o, Handle) else o for o in out)
    return fn(out) if isinstance(out, Handle) else out


def _lifted(cls: type[Function], args: tuple[Any, ...], top: Any) -> Any:
    out = _each(lambda o: wrap(Lift(top.level, o)), cls.apply(*_inside(args, top)))
    ctx = context_of(args)
    with no_grad():
        cls.setup_context(ctx, args, out)
    return recorded(cls.__name__, _backward_of(cls), ctx, args, out)


def _dual(cls: type[Function], args: tuple[Any, ...], top: Any) -> Any:
    primals = _inside(args, top)
    ctx = context_of(primals)
    if _splits(cls):
        out = cls.apply(*primals)
        cls.setup_context(ctx, tuple(primals), out)
    else:
        with no_grad():
            out = cls.forward(ctx, *primals)
        saved = ctx._saved
        out = recorded(cls.__name__, _backward_of(cls), ctx, tuple(primals), out)
        ctx._saved = saved
    if ctx._for_forward is not None:
        ctx._saved = ctx._for_forward
    pushed = cls.jvp(ctx, *(x.raw.tangent if _mine(x, top) else None for x in args))
    tangents = iter(pushed if isinstance(pushed, tuple) else (pushed,))
    return _each(lambda o: wrap(Dual(top.level, o, next(tangents))), out)


def _batched(cls: type[Function], args: tuple[Any, ...], top: Any) -> Any:
    dims = tuple(0 if _mine(x, top) else None for x in args)
    if cls.generate_vmap_rule and _overrides(cls, "vmap"):
        raise AutogradError(f"vmap over {cls.__name__}: it has generate_vmap_rule=True and a vmap of its own; keep one")
    if cls.generate_vmap_rule:
        out = _mapped(cls, dims).apply(*_inside(args, top))
        axes: Any = 0
    else:
        info = _VmapInfo(top.extent, getattr(_level(top), "randomness", "error"))
        out, axes = cls.vmap(info, dims, *_inside(args, top))
    found = iter(axes if isinstance(axes, tuple) else (axes,) * (len(out) if isinstance(out, tuple) else 1))

    def enter(o: Any) -> Any:
        axis = next(found)
        return o if axis is None else wrap(Batched(top.level, o if axis == 0 else o.movedim(axis, 0), top.extent))

    return _each(enter, out)


def _level(top: Any) -> Any:
    return next((level for level in MODE.stack if level.level == top.level), None)


_LEVELS: dict[type, Callable[..., Any]] = {Lift: _lifted, Dual: _dual, Batched: _batched}


def _mapped(cls: type[Function], dims: tuple[Any, ...]) -> type[Function]:
    """The function over batches, made of the one over elements: forward, backward and jvp are mapped themselves."""

    def forward(*args: Any) -> Any:
        return vmap(cls.forward, in_dims=dims, randomness="different")(*args)

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        def run(ins: Any, outs: Any) -> Any:
            ctx.inner = context_of(ins)
            cls.setup_context(ctx.inner, tuple(ins), outs)
            ctx.places = [i for i, s in enumerate(ctx.inner._saved) if s is not None]
            ctx.constant = [any(o is c for c in ctx.inner._constant) for o in _listed(outs)]
            return [ctx.inner._saved[i] for i in ctx.places] or [_listed(outs)[0]]

        ctx.save_for_backward(*vmap(run, in_dims=(dims, 0))(tuple(inputs), output))
        ctx.mark_non_differentiable(*(o for o, c in zip(_listed(output), ctx.constant, strict=True) if c))

    def mapped(ctx: Any, rule: Callable[..., Any], values: tuple[Any, ...], axes: tuple[Any, ...]) -> list[Any]:
        """rule(inner ctx, *values) over the batch: one entry a result, None where there is none."""
        present: list[int] = []
        count = 0

        def run(saved: Any, given: Any) -> Any:
            nonlocal count
            inner: list[Any] = [None] * (max(ctx.places, default=-1) + 1)
            for i, s in zip(ctx.places, saved, strict=False):
                inner[i] = s
            ctx.inner._saved = tuple(inner)
            results = _listed(rule(ctx.inner, *given))
            present[:] = [i for i, r in enumerate(results) if r is not None]
            count = len(results)
            return [results[i] for i in present]

        found = vmap(run, in_dims=(0, axes))(tuple(ctx.saved_tensors), values)
        out: list[Any] = [None] * count
        for i, r in zip(present, found, strict=True):
            out[i] = r
        return out

    def backward(ctx: Any, *grads: Any) -> Any:
        found = mapped(ctx, _backward_of(cls), grads, (0,) * len(grads))
        return tuple(g if g is None or d is not None else g.sum(0) for g, d in zip(found, dims, strict=True))

    def jvp(ctx: Any, *tangents: Any) -> Any:
        along = tuple(None if t is None else d for t, d in zip(tangents, dims, strict=True))
        return tuple(mapped(ctx, cls.jvp, tangents, along))

    body = {"forward": forward, "setup_context": setup_context, "backward": backward, "jvp": jvp}
    methods = {name: staticmethod(fn) for name, fn in body.items()}
    return type(cls.__name__, (Function,), {**methods, "generate_vmap_rule": True})


def _listed(out: Any) -> list[Any]:
    return list(out) if isinstance(out, tuple | list) else [out]
