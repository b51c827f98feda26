"""What a program runs one after another: equations by themselves, or fused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from expkit.autograd.equations import Equation, Var
from expkit.autograd.handle import ARRAYS
from expkit.autograd.primitive import Primitive
from expkit.tensor.generated import segments
from expkit.tensor.generated.pure import PURE


class Unit(NamedTuple):
    """`run(*values of args)` gives the values of outs, as a sequence.

    pure: it does so by kernel calls alone, or declines by None before it has done anything; then `plain` is run.
    in_place: does the same in the memory of the args whose numbers are in `overwrites` (one for each of outs).
    """

    run: Callable[..., Sequence[Any] | None]
    args: list[Any]
    outs: list[Var]
    name: str
    pure: bool = False
    plain: Callable[..., Sequence[Any]] | None = None
    in_place: Callable[..., Sequence[Any] | None] | None = None
    overwrites: tuple[int, ...] = ()


IN_PLACE = {"update": (segments.in_place, segments.written)}  # (the function, which of the operands it overwrites)


def alone(e: Equation) -> Unit:
    """One equation: by its kernels where it has any."""
    plain = _listed(partial(_explained, e.prim), e.kw, e.prim.nout != 1)
    args, outs, name = list(e.args), list(e.outs), e.prim.name
    pure = name in PURE
    if e.prim.aliases and not pure:
        return Unit(plain, args, outs, name, pure=True, plain=plain)
    unit = Unit(_listed(PURE[name], e.kw, e.prim.nout != 1) if pure else plain, args, outs, name, pure, plain)
    if name not in IN_PLACE:
        return unit
    in_place, overwritten = IN_PLACE[name]
    places = overwritten(range(1, len(args)), **e.kw)
    return unit._replace(in_place=_listed(in_place, e.kw, many=True), overwrites=tuple(places))


def _explained(prim: Primitive, *raws: Any, **kw: Any) -> Any:
    """The primitive's result; what fails because a number lies on another device than the arrays succeeds after all."""
    try:
        return prim.impl(*raws, **kw)
    except Exception as error:  # noqa: BLE001  (explain raises it again, reworded)
        return ARRAYS.explain(prim, raws, kw, error)


def _listed(fn: Callable[..., Any], kw: dict[str, Any], many: bool) -> Callable[..., Any]:
    """`fn` with its keywords; its result is a sequence, or None."""

    def run(*raws: Any) -> Any:
        found = fn(*raws, **kw)
        return found if many or found is None else (found,)

    return run
