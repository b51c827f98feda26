"""Passes: equations -> equations that compute the same results with less work.

Each is a pure function of the equations and of what is wanted of them; what is wanted keeps its Vars. Under
EXPKIT_DEBUG what comes out of each is verified.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from expkit import flags
from expkit.autograd.equations import Equation, Graph, Var, live
from expkit.compiler.passes import algebra, pieces, views  # they fill the table of rules
from expkit.compiler.passes.common import common
from expkit.compiler.passes.constants import fixed_of
from expkit.compiler.passes.narrow import widened
from expkit.compiler.passes.rewrite import rewritten
from expkit.compiler.verify import part, verify
from expkit.errors import TraceError


def optimized(graph: Graph, equations: Sequence[Equation], results: Sequence[Any]) -> list[Equation]:
    """What `results` rest on, of some equations of the graph."""
    wanted = {v.index for v in results if isinstance(v, Var)}
    found = live(equations, results)
    for name, run in PASSES.items():
        found = run(found, wanted, graph)
        if flags.read("DEBUG"):
            _check(name, part(found, results, _given(equations, results)))
    return live(found, results)


PASSES: dict[str, Callable[[list[Equation], set[int], Graph], list[Equation]]] = {
    "two-byte floats": lambda equations, _wanted, _graph: widened(equations),
    "rewriting": lambda equations, wanted, graph: rewritten(equations, wanted, fixed_of(graph)),
    "common subexpressions": lambda equations, wanted, _graph: common(equations, wanted),
}


def _check(name: str, graph: Graph) -> None:
    try:
        verify(graph)
    except TraceError as error:
        raise TraceError(f"after {name}: {error}") from None


def _given(equations: Sequence[Equation], results: Sequence[Any]) -> list[Var]:
    """What is read and not made here."""
    made = {v.index for e in equations for v in e.outs}
    read = [a for e in equations for a in e.args if isinstance(a, Var)]
    read += [v for v in results if isinstance(v, Var)]
    return list({v.index: v for v in read if v.index not in made}.values())
