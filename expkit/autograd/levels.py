"""The level interpreters: Lift (functional gradients), Dual (forward mode), Batched (vmap).

Each wraps Tensors of the levels below, so an operation on it becomes operations on them: any nesting works, and each
level's tape sees only its own. Levels are numbered by the clock: what was opened later lies above.
"""

from typing import Any

from expkit.autograd.handle import ARRAYS, Handle, Value, wrap
from expkit.autograd.mode import tick
from expkit.autograd.tape import apply
from expkit.errors import AutogradError


class Level:
    """One opened interpreter; `size` and `randomness` are vmap's."""

    def __init__(self, kind: str, size: int = 0, randomness: str = "error") -> None:
        self.level = tick()
        self.kind, self.size, self.randomness = kind, size, randomness


class Wrapped(Value):
    """A Tensor of the levels below, seen from a level above."""

    __slots__ = ("level", "value")

    def __init__(self, level: int, value: Handle) -> None:
        self.level, self.value = level, value

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.raw.shape

    @property
    def dtype(self) -> Any:
        return self.value.raw.dtype

    @property
    def device(self) -> Any:
        return getattr(self.value.raw, "device", None)


class Lift(Wrapped):
    """A Tensor seen from one gradient level above."""

    __slots__ = ()

    def process(self, prim: Any, raws: tuple[Any, ...], kw: dict[str, Any]) -> Any:
        level = self.level
        args = [r.value if r.__class__ is Lift and r.level == level else lower(r) for r in raws]
        out = apply(prim, *args, **kw)
        return tuple(Lift(level, o) for o in out) if prim.nout != 1 else Lift(level, out)

    def stopped(self) -> Any:
        return Lift(self.level, stop(self.value))

    def carrying(self, new: Any) -> Any:
        same = new.__class__ is Lift and new.level == self.level
        return Lift(self.level, carry(self.value, new.value)) if same else new


def stop(x: Handle) -> Any:
    """x.detach(), for a Tensor of the level below."""
    return ARRAYS.tensor.alias(x)


def carry(old: Handle, new: Handle) -> Handle:
    """The value of `new` with the history and derivatives of `old`."""
    return wrap(old.raw.carrying(new.raw) if isinstance(old.raw, Value) else new.raw, old.node)


def lower(raw: Any) -> Any:
    """An operand from below as an operand there: arrays and Values become Tensors; Tensors and numbers stay."""
    return wrap(raw) if isinstance(raw, Value) or raw.__class__ in ARRAYS.raw_types else raw


class Dual(Wrapped):
    """A primal value with its tangent (None: zero)."""

    __slots__ = ("tangent",)

    def __init__(self, level: int, value: Handle, tangent: Handle | None) -> None:
        super().__init__(level, value)
        self.tangent = tangent

    def process(self, prim: Any, raws: tuple[Any, ...], kw: dict[str, Any]) -> Any:
        level = self.level
        primals: list[Any] = []
        tangents: list[Any] = []
        for r in raws:
            mine = r.__class__ is Dual and r.level == level
            primals.append(r.value if mine else lower(r))
            tangents.append(r.tangent if mine else None)
        out = apply(prim, *primals, **kw)
        t: Any = None
        if prim.differentiable and any(x is not None for x in tangents):
            t = push(prim, tangents, out, primals, kw)
        if prim.nout == 1:
            return Dual(level, out, t)
        return tuple(Dual(level, o, ti) for o, ti in zip(out, t or (None,) * prim.nout, strict=True))

    def stopped(self) -> Any:
        return Dual(self.level, stop(self.value), None)

    def carrying(self, new: Any) -> Any:
        same = new.__class__ is Dual and new.level == self.level
        return Dual(self.level, carry(self.value, new.value), self.tangent) if same else new


def push(prim: Any, tangents: list[Any], out: Any, primals: list[Any], kw: dict[str, Any]) -> Any:
    """The tangent(s) of prim's output(s)."""
    if prim.jvp is None:
        raise AutogradError(f"{prim.name} has no forward-mode rule")
    return prim.jvp(tangents, out, primals, kw)


class Batched(Wrapped):
    """A Tensor whose axis 0 is the batch of one vmap; its own shape is that of one element."""

    __slots__ = ("extent",)

    def __init__(self, level: int, value: Handle, extent: int) -> None:
        super().__init__(level, value)
        self.extent = extent  # of the batch

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.raw.shape[1:]

    def process(self, prim: Any, raws: tuple[Any, ...], kw: dict[str, Any]) -> Any:
        level = self.level
        mapped = [r.__class__ is Batched and r.level == level for r in raws]
        values = [r.value if m else lower(r) for r, m in zip(raws, mapped, strict=True)]
        if prim.dynamic:
            raise AutogradError(
                f"vmap over {prim.name}: its result's shape depends on values; use a mask (where) instead"
            )
        if prim.batch is None:
            raise AutogradError(f"{prim.name} has no vmap rule")
        out = prim.batch(self.extent, values, mapped, kw)
        if prim.nout == 1:
            return Batched(level, out, self.extent)
        return tuple(Batched(level, o, self.extent) for o in out)

    def stopped(self) -> Any:
        return Batched(self.level, stop(self.value), self.extent)

    def carrying(self, new: Any) -> Any:
        same = new.__class__ is Batched and new.level == self.level
        return Batched(self.level, carry(self.value, new.value), self.extent) if same else new
