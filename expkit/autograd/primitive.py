"""A primitive is an object with a name to which its rules are attached.

    Primitive(name, impl, shape, vjp, jvp, batch, ...)
      impl(*raw, **kw) -> raw array                       the computation
      shape(*avals, **kw) -> Aval                         the same, abstractly (a tuple of Avals where nout > 1)
      vjp[i](g, out, *args, **kw) -> gradient of args[i]  None: not differentiable in that argument
      joint(g, out, *args, **kw) -> all gradients         instead of vjp, where they are computed together
      jvp(tangents, out, primals, kw) -> tangent          tangents may hold None
      batch(size, values, mapped, kw) -> value            mapped values have the batch at axis 0, so has the result

Gradient rules are transposes of the Jacobian: `g * y` for a product, complex or not (see engine.py on complex numbers).
A leading `_` in a gradient rule's parameter says that the value is not needed: it is not kept on the tape, and only an
abstract value (shape and dtype) arrives. This is read once, here.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from expkit.autograd.handle import Handle, Value
from expkit.autograd.mode import MODE, open_trace

PRIMITIVES: dict[str, "Primitive"] = {}

Rule = Callable[..., Any]


def _needs(rule: Rule) -> tuple[bool, Callable[[int], bool]]:
    """(is `out` needed, is argument i needed) as the names of the rule's parameters say it."""
    kinds = inspect.Parameter
    named: list[str] = []
    rest: str | None = None
    for p in inspect.signature(rule).parameters.values():
        if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD):
            named.append(p.name)
        elif p.kind == kinds.VAR_POSITIONAL:
            rest = p.name
    fixed = [not name.startswith("_") for name in named]
    others = rest is not None and not rest.startswith("_")

    def needed(i: int) -> bool:
        return fixed[i + 2] if i + 2 < len(fixed) else others

    return (fixed[1] if len(fixed) > 1 else others), needed


def _is_open(x: Any) -> bool:
    """Whether x is a number that is left open: told when a program runs."""
    return isinstance(x, float) and hasattr(x, "value")


class Primitive:
    """One operation and all its rules. Calling it takes Tensors (recorded) or raw values (not recorded)."""

    __slots__ = (
        "_masks", "aliases", "batch", "dynamic", "impl", "joint", "jvp", "materialize", "name", "nout", "put",
        "saves", "shape", "vjp",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        impl: Callable[..., Any],
        shape: Callable[..., Any],
        vjp: Sequence[Rule | None] | Rule | None = None,
        *,
        joint: Rule | None = None,
        jvp: Callable[..., Any] | None = None,
        batch: Callable[..., Any] | None = None,
        nout: int = 1,
        aliases: bool = False,
        dynamic: bool = False,
        saves: Sequence[int] | None = None,
        materialize: bool = True,
    ) -> None:
        if name in PRIMITIVES:
            raise ValueError(f"primitive {name!r} is defined twice")
        self.name, self.impl, self.shape, self.joint = name, impl, shape, joint
        self.vjp: tuple[Rule | None, ...] | None = (vjp,) if callable(vjp) else None if vjp is None else tuple(vjp)
        self.jvp, self.batch, self.nout = jvp, batch, nout
        self.aliases = aliases  # the result may look into the first argument's memory (a view)
        self.dynamic = dynamic  # the result's shape depends on values
        self.saves = range(nout) if saves is None else tuple(saves)  # which outputs the rules need, if any
        self.materialize = materialize  # an output that was not used has gradient zero for the rules, else None
        self.put: Any = None  # for views: put(base, value, **kw) = base with the viewed part replaced
        self._masks: dict[tuple[bool, ...], tuple[bool, tuple[bool, ...]]] = {}
        PRIMITIVES[name] = self

    if TYPE_CHECKING:  # set by expkit.autograd.tape, which knows how to record

        def __call__(self, *args: Any, **kw: Any) -> Any: ...

    @property
    def differentiable(self) -> bool:
        return self.vjp is not None or self.joint is not None

    def mask(self, wanted: tuple[bool, ...]) -> tuple[bool, tuple[bool, ...]]:
        """(keep out?, keep argument i?) for the gradients of the wanted arguments; worked out once per pattern."""
        found = self._masks.get(wanted)
        if found is None:
            found = self._masks[wanted] = self._mask(wanted)
        return found

    def _mask(self, wanted: tuple[bool, ...]) -> tuple[bool, tuple[bool, ...]]:
        if self.joint is not None:
            rules: list[Rule] = [self.joint]
        else:
            rules = [r for r, w in zip(self.vjp or (), wanted, strict=False) if w and r is not None]
        needs = [_needs(rule) for rule in rules]
        return any(n[0] for n in needs), tuple(any(n[1](i) for n in needs) for i in range(len(wanted)))

    def bind(self, *raws: Any, **kw: Any) -> Any:
        """Applies to raw values: the array library where they are arrays, the topmost interpreter otherwise."""
        if MODE.special:
            top = None
            for x in raws:
                if isinstance(x, Value) and (top is None or x.level > top.level):
                    top = x
            if top is not None:
                return top.process(self, raws, kw)
        return self.impl(*raws, **kw)

    def interpret(self, args: Sequence[Any], raws: Sequence[Any], kw: dict[str, Any]) -> Any:
        """As bind, for the raw values of `args`: a Tensor from below the topmost level goes there as it is.

        So the tapes below see it, with its history and its version.
        """
        level = max((r.level for r in raws if isinstance(r, Value)), default=None)
        if level is None:
            trace = open_trace()
            if trace is not None and any(trace.is_outside(a) or _is_open(a) for a in args):
                return trace.record(self, tuple(args), kw)
            return self.impl(*raws, **kw)
        top = next(r for r in raws if isinstance(r, Value) and r.level == level)
        seen = tuple(
            a if isinstance(a, Handle) and not (isinstance(r, Value) and r.level == level) else r
            for a, r in zip(args, raws, strict=True)
        )
        return top.process(self, seen, kw)

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"
