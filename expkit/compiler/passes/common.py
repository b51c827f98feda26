"""Common subexpressions: what was computed before from the same operands is not computed again."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from expkit.autograd.equations import Equation, Var
from expkit.compiler.passes.rewrite import substituted

SMALL = 1 << 14  # bytes of a value that is kept for however long
NEAR = 64  # equations for which a larger one is


def common(equations: Sequence[Equation], wanted: set[int]) -> list[Equation]:
    """Equations of the same primitive, operands and parameters become one, where this keeps no large value for longer.

    So what is recomputed on purpose (activation checkpoints) stays. Random numbers are equal only where their seed and
    offset are: these are operands. What is wanted keeps its Vars.
    """
    last = {a.index: n for n, e in enumerate(equations) for a in e.args if isinstance(a, Var)}
    last.update(dict.fromkeys(wanted, len(equations)))
    seen: dict[Any, tuple[int, Equation]] = {}
    stands: dict[int, Any] = {}
    result = []
    for n, old in enumerate(equations):
        e = substituted(old, stands)
        key = _key(e)
        at, first = seen.setdefault(key, (n, e)) if key is not None else (n, e)
        if first is e or not _kept(first, at, n, last):
            if first is not e:
                seen[key] = n, e
            result.append(e)
            continue
        for v, twin in zip(first.outs, e.outs, strict=True):
            stands[twin.index] = v
            last[v.index] = max(last.get(v.index, n), last.get(twin.index, n))
        if any(v.index in wanted for v in e.outs):
            result.append(e)
    return result


def _kept(e: Equation, at: int, now: int, last: dict[int, int]) -> bool:
    """Whether the results of an equation are there at a later one, or may as well be."""
    if now - at <= NEAR or e.prim.aliases:
        return True
    return all(last.get(v.index, at) >= now or prod(v.shape) * v.dtype.itemsize <= SMALL for v in e.outs)


def _key(e: Equation) -> Any:
    """Equal for equations that compute the same. None where that cannot be told."""
    key = (e.prim.name, tuple(map(_operand, e.args)), tuple(sorted(e.kw.items(), key=lambda item: item[0])))
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _operand(a: Any) -> Any:
    if isinstance(a, Var):
        return a.index
    return (type(a), id(a)) if hasattr(a, "value") else (type(a), repr(a))
