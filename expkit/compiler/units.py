"""What a program runs one after another: equations by themselves, or fused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from expkit.autograd.equations import Equation, Var
from expkit.tensor.generated.pure import PURE


class Unit(NamedTuple):
    """`run(*values of args)` gives the values of outs, as a sequence.

    pure: it does so by kernel calls alone, or declines by None before it has done anything; then `plain` is run.
    """

    run: Callable[..., Sequence[Any] | None]
    args: list[Any]
    outs: list[Var]
    name: str
    pure: bool = False
    plain: Callable[..., Sequence[Any]] | None = None


def alone(e: Equation) -> Unit:
    """One equation: by its kernels where it has any."""
    plain = _listed(e.prim.impl, e.kw, e.prim.nout != 1)
    args, outs, name = list(e.args), list(e.outs), e.prim.name
    if e.prim.aliases:
        return Unit(plain, args, outs, name, pure=True, plain=plain)
    if name in PURE:
        return Unit(_listed(PURE[name], e.kw, e.prim.nout != 1), args, outs, name, pure=True, plain=plain)
    return Unit(plain, args, outs, name)


def _listed(fn: Callable[..., Any], kw: dict[str, Any], many: bool) -> Callable[..., Any]:
    """`fn` with its keywords; its result is a sequence, or None."""

    def run(*raws: Any) -> Any:
        found = fn(*raws, **kw)
        return found if many or found is None else (found,)

    return run
