"""Rewriting by rules: small functions, each for some primitives, that know something simpler for an equation.

    @rule("neg")
    def double_negation(e, known):
        \"\"\"-(-x) is x.\"\"\"
        inner = known.by(e.args[0], "neg")
        return inner and inner.args[0]

A rule gives None where it does not apply; else a value that is the equation's result (a Var of its shape and dtype), an
equation with the same outs, or several equations of which the last has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from expkit.autograd.equations import Equation, Var

Found = Var | Equation | list[Equation] | None
Rule = Callable[[Equation, "Known"], Found]
RULES: dict[str, list[Rule]] = {}
LIMIT = 16  # rewritings of one equation: no chain of rules is as long, rules that undo each other are


class Known:
    """What is known where an equation stands: the equations that make its operands, and fixed constants' values."""

    def __init__(self, fixed: Mapping[int, Any]) -> None:
        self.fixed = fixed
        self.made: dict[int, Equation] = {}

    def by(self, x: Any, *names: str) -> Equation | None:
        """The equation that makes x, if it is of one of these primitives."""
        found = self.made.get(x.index) if isinstance(x, Var) else None
        return found if found is not None and found.prim.name in names else None

    def number(self, x: Any) -> Any:
        """What x is everywhere: a number of the equation, or a fixed constant of one value. None if it is not known."""
        if not isinstance(x, Var):
            return None if hasattr(x, "value") or isinstance(x, complex) else x
        raw = self.fixed.get(x.index)
        if raw is None or not raw.size or raw.dtype.kind not in "fiub":
            return None
        first = raw.flat[0]
        return first.item() if (raw == first).all() else None


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Enters a rule for equations of these primitives."""

    def enter(fn: Rule) -> Rule:
        for name in names:
            RULES.setdefault(name, []).append(fn)
        return fn

    return enter


def same(x: Any, e: Equation) -> Var | None:
    """x, where it can stand for e's result."""
    out = e.outs[0]
    alike = isinstance(x, Var) and (x.shape, x.dtype, x.device) == (out.shape, out.dtype, out.device)
    return x if alike else None


def rewritten(equations: Sequence[Equation], wanted: set[int], fixed: Mapping[int, Any]) -> list[Equation]:
    """The equations after all rules; what is wanted keeps its Vars, though others may read something simpler."""
    known = Known(fixed)
    stands: dict[int, Any] = {}  # what is read instead of a Var
    result: list[Equation] = []
    for old in equations:
        todo, count = [old], 0
        while todo:
            e = substituted(todo.pop(0), stands)
            found = _applied(e, known) if count < LIMIT else None
            count += 1
            if isinstance(found, Equation | list):
                todo[:0] = found if isinstance(found, list) else [found]
                continue
            if found is not None:
                stands[e.outs[0].index] = found
            if found is None or e.outs[0].index in wanted:
                known.made.update((v.index, e) for v in e.outs)
                result.append(e)
    return result


def _applied(e: Equation, known: Known) -> Found:
    found = (fn(e, known) for fn in RULES.get(e.prim.name, ()))
    return next((f for f in found if f is not None), None)


def substituted(e: Equation, stands: Mapping[int, Any]) -> Equation:
    """The equation with other operands."""
    if not any(isinstance(a, Var) and a.index in stands for a in e.args):
        return e
    args = tuple(stands.get(a.index, a) if isinstance(a, Var) else a for a in e.args)
    return Equation(e.prim, args, e.kw, e.outs)
