"""What tracing makes: a list of equations over variables; printable, checkable, runnable."""

from collections.abc import Callable, Sequence
from typing import Any

from expkit import tree
from expkit.autograd.handle import ARRAYS, Aval, Value, wrap
from expkit.autograd.mode import MODE
from expkit.autograd.primitive import Primitive
from expkit.errors import TraceError


class Var(Value):
    """A value of a traced function: its abstract value, and where it comes from."""

    __slots__ = ("_device", "_dtype", "_shape", "index", "trace")

    def __init__(self, trace: Any, aval: Aval, index: int) -> None:
        self.trace, self.index = trace, index
        self._shape, self._dtype, self._device = aval

    level = property(lambda self: self.trace.level)
    shape = property(lambda self: self._shape)
    dtype = property(lambda self: self._dtype)
    device = property(lambda self: self._device)

    def process(self, prim: Primitive, raws: tuple[Any, ...], kw: dict[str, Any]) -> Any:
        return self.trace.record(prim, raws, kw)

    def __repr__(self) -> str:
        return f"%{self.index}"


class Equation:
    """outs = prim(*args, **kw); args are Vars and Python numbers."""

    __slots__ = ("args", "kw", "outs", "prim")

    def __init__(self, prim: Primitive, args: tuple[Any, ...], kw: dict[str, Any], outs: tuple[Var, ...]) -> None:
        self.prim, self.args, self.kw, self.outs = prim, args, kw, outs

    def __repr__(self) -> str:
        args = [repr(a) for a in self.args] + [f"{k}={v}" for k, v in self.kw.items()]
        return f"{', '.join(map(_typed, self.outs))} = {self.prim.name}({', '.join(args)})"


def _typed(var: Var) -> str:
    return f"{var!r}: {var.dtype}[{','.join(map(str, var.shape))}]"


class State:
    """A tensor from outside that the function overwrites: its handle, the Var read (or None), the Var written."""

    __slots__ = ("after", "before", "tensor")

    def __init__(self, tensor: Any, before: Var | None, after: Any) -> None:
        self.tensor, self.before, self.after = tensor, before, after


class Graph:
    """inputs -> outputs by equations; `consts` are arrays from outside that were read, `state` what was overwritten."""

    def __init__(self, inputs: list[Var], consts: list[tuple[Var, Any]], equations: list[Equation]) -> None:
        self.inputs, self.consts, self.equations = inputs, consts, equations
        self.outputs: list[Any] = []
        self.structure: Any = None
        self.state: list[State] = []

    def __str__(self) -> str:
        lines = [f"graph({', '.join(map(_typed, self.inputs))}):"]
        lines += [f"  const {_typed(var)}" for var, _ in self.consts]
        lines += [f"  {equation!r}" for equation in self.equations]
        lines += [f"  write {state.after!r} -> tensor{list(state.tensor.raw.shape)}" for state in self.state]
        return "\n".join([*lines, f"  return {', '.join(map(repr, self.outputs))}"])

    __repr__ = __str__

    def check(self) -> None:
        """TraceError when a variable is used before it is made, made twice, or disagrees with its shape rule."""
        known = {id(v) for v in self.inputs} | {id(v) for v, _ in self.consts}
        for eq in self.equations:
            for a in eq.args:
                if isinstance(a, Var) and id(a) not in known:
                    raise TraceError(f"graph: {a!r} is used before it is made, in {eq!r}")
            avals = [Aval(a.shape, a.dtype, a.device) if isinstance(a, Var) else a for a in eq.args]
            expected = eq.prim.shape(*avals, **eq.kw)
            for out, aval in zip(eq.outs, expected if eq.prim.nout != 1 else (expected,), strict=True):
                if id(out) in known or out.shape != tuple(aval.shape) or out.dtype != aval.dtype:
                    raise TraceError(f"graph: {out!r} does not agree with its rule in {eq!r}")
                known.add(id(out))
        for a in [*self.outputs, *(s.after for s in self.state)]:
            if isinstance(a, Var) and id(a) not in known:
                raise TraceError(f"graph: the result {a!r} is never made")

    def run(self, raws: Sequence[Any], visit: Callable[[Equation, tuple[Any, ...]], None] | None = None) -> list[Any]:
        """Evaluates on raw arrays, equation by equation; state is not written. Returns the raw outputs."""
        env = {id(var): raw for var, raw in zip(self.inputs, raws, strict=True)}
        env.update((id(var), raw) for var, raw in self.consts)
        for eq in self.equations:
            args = [env[id(a)] if isinstance(a, Var) else a for a in eq.args]
            r = eq.prim.impl(*args, **eq.kw)
            results = tuple(r) if eq.prim.nout != 1 else (r,)
            results = tuple(x if x.__class__ in ARRAYS.raw_types else ARRAYS.as_raw(x) for x in results)
            if visit is not None:
                visit(eq, results)
            env.update((id(var), x) for var, x in zip(eq.outs, results, strict=True))
        return [env[id(a)] if isinstance(a, Var) else a for a in self.outputs]

    def __call__(self, *args: Any) -> Any:
        """Evaluates on Tensors (the trees that were traced); not recorded for backward. State is not written."""
        if MODE.stack:
            raise TraceError("a graph cannot be called inside a transform; call the function itself")
        leaves = [x for x in tree.flatten(args)[0] if isinstance(x, ARRAYS.tensor)]
        if len(leaves) != len(self.inputs):
            raise TraceError(f"graph: {len(self.inputs)} tensors expected, {len(leaves)} given")
        for var, x in zip(self.inputs, leaves, strict=True):
            if tuple(x.raw.shape) != var.shape or x.raw.dtype != var.dtype:
                raise TraceError(f"graph: {_typed(var)} expected, {x.raw.dtype}{list(x.raw.shape)} given")
        from_raw = iter(self.run([x.raw for x in leaves]))
        return tree.map(lambda slot: wrap(next(from_raw)) if slot is OUT else slot, self.structure)


def live(equations: Sequence[Equation], results: Sequence[Any]) -> list[Equation]:
    """The equations that the results rest on, in order."""
    wanted = {v.index for v in results if isinstance(v, Var)}
    found = []
    for e in reversed(equations):
        if any(v.index in wanted for v in e.outs):
            found.append(e)
            wanted.update(a.index for a in e.args if isinstance(a, Var))
    return found[::-1]


OUT = object()  # marks a tensor's place in Graph.structure
