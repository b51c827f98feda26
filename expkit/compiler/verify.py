"""What must hold of a graph, and of units in order: tables of rules, looked through after passes and in tests.

A rule is a function that yields what is wrong. `verify` and `verify_units` raise a TraceError with everything found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from expkit.autograd.equations import Equation, Graph, Var
from expkit.autograd.handle import Aval
from expkit.compiler.units import Unit
from expkit.errors import TraceError

Complaints = Iterator[str]
NUMBERS = (bool, int, float, complex, np.number, np.bool_)


def used_before_made(graph: Graph) -> Complaints:
    """Each operand is an input, a constant, or made by an equation above."""
    known = _given(graph)
    for e in graph.equations:
        yield from (f"{a!r} is used before it is made, in {e!r}" for a in _vars(e.args) if a.index not in known)
        known.update(v.index for v in e.outs)


def made_twice(graph: Graph) -> Complaints:
    """Each value has one origin."""
    known: set[int] = set()
    for v in [*graph.inputs, *(v for v, _ in graph.consts), *(v for e in graph.equations for v in e.outs)]:
        if v.index in known:
            yield f"{v!r} is made twice"
        known.add(v.index)


def result_never_made(graph: Graph) -> Complaints:
    """What is returned and what is written is there."""
    known = _given(graph) | {v.index for e in graph.equations for v in e.outs}
    for v in _vars([*graph.outputs, *(s.after for s in graph.state)]):
        if v.index not in known:
            yield f"the result {v!r} is never made"


def shape(graph: Graph) -> Complaints:
    """Values have the shapes that their primitives' rules say."""
    yield from _disagreeing(graph, "shape", lambda x: tuple(x.shape))


def dtype(graph: Graph) -> Complaints:
    """Values have the dtypes that their primitives' rules say."""
    yield from _disagreeing(graph, "dtype", lambda x: np.dtype(x.dtype))


def device(graph: Graph) -> Complaints:
    """Values are on the devices that their primitives' rules say."""
    yield from _disagreeing(graph, "device", lambda x: x.device)


def operand(graph: Graph) -> Complaints:
    """Operands are Vars and numbers: arrays from outside are constants."""
    for e in graph.equations:
        for a in e.args:
            if not isinstance(a, (Var, *NUMBERS)):
                yield f"an operand is neither a Var nor a number but {type(a).__name__}, in {e!r}"


def parameters(graph: Graph) -> Complaints:
    """Parameters can be compared: kernels and common subexpressions are found by them."""
    for e in graph.equations:
        for name, value in e.kw.items():
            try:
                hash(value)
            except TypeError:
                yield f"the parameter {name} cannot be hashed, in {e!r}"


def constant(graph: Graph) -> Complaints:
    """A constant's array is what its Var says."""
    for v, raw in graph.consts:
        if (tuple(raw.shape), np.dtype(raw.dtype)) != (tuple(v.shape), np.dtype(v.dtype)):
            yield f"the constant {v!r} is {v.dtype}{list(v.shape)}, its array {raw.dtype}{list(raw.shape)}"


def written_twice(graph: Graph) -> Complaints:
    """Each tensor from outside is written once, with what is in it at the end."""
    seen: set[int] = set()
    for state in graph.state:
        if id(state.tensor) in seen:
            yield f"a tensor {list(state.tensor.raw.shape)} from outside is written twice"
        seen.add(id(state.tensor))


def written_as_it_is(graph: Graph) -> Complaints:
    """What is written fits into the tensor."""
    for state in graph.state:
        raw, after = state.tensor.raw, state.after
        if (tuple(after.shape), np.dtype(after.dtype)) != (tuple(raw.shape), np.dtype(raw.dtype)):
            yield f"{after!r} is {after.dtype}{list(after.shape)}, the tensor {raw.dtype}{list(raw.shape)}"


RULES: tuple[Callable[[Graph], Complaints], ...] = (
    used_before_made, made_twice, result_never_made, operand, parameters, constant, shape, dtype, device, written_twice,
    written_as_it_is,
)  # fmt: skip


def unit_out_of_order(units: Sequence[Unit]) -> Complaints:
    """A unit reads what units in front of it have made, or what none makes."""
    made = {v.index for u in units for v in u.outs}
    known: set[int] = set()
    for u in units:
        for a in _vars(u.args):
            if a.index in made and a.index not in known:
                yield f"{a!r} is used by {u.name} before a unit makes it"
        known.update(v.index for v in u.outs)


def unit_made_twice(units: Sequence[Unit]) -> Complaints:
    """Each value is made by one unit."""
    known: set[int] = set()
    for u in units:
        yield from (f"{v!r} is made twice, by {u.name} at last" for v in u.outs if v.index in known)
        known.update(v.index for v in u.outs)


def read_after_overwritten(units: Sequence[Unit]) -> Complaints:
    """What a unit may overwrite in place is not read behind it."""
    gone: dict[int, str] = {}
    for u in units:
        yield from (f"{u.name} reads {a!r}, which {gone[a.index]} overwrites" for a in _vars(u.args) if a.index in gone)
        for n in u.overwrites:
            a = u.args[n]
            if isinstance(a, Var):
                gone[a.index] = u.name


UNIT_RULES: tuple[Callable[[Sequence[Unit]], Complaints], ...] = (
    unit_out_of_order, unit_made_twice, read_after_overwritten,
)  # fmt: skip


def verify(graph: Graph) -> None:
    """TraceError with whatever is wrong with a graph."""
    _raise("graph", (complaint for rule in RULES for complaint in rule(graph)))


def verify_units(units: Sequence[Unit]) -> None:
    """TraceError with whatever is wrong with units in the order in which they are to run."""
    _raise("units", (complaint for rule in UNIT_RULES for complaint in rule(units)))


def part(equations: Sequence[Equation], results: Sequence[Any], given: Sequence[Var]) -> Graph:
    """Equations as a graph of their own; given: what may be read without being made."""
    made = {v.index for e in equations for v in e.outs}
    outside = {v.index: v for v in given if v.index not in made}
    graph = Graph(list(outside.values()), [], list(equations))
    graph.outputs = list(results)
    return graph


def _raise(what: str, complaints: Iterator[str]) -> None:
    found = list(dict.fromkeys(complaints))
    if found:
        raise TraceError("\n  ".join([f"{what}: {len(found)} faults", *found]))


def _vars(values: Sequence[Any]) -> list[Var]:
    return [v for v in values if isinstance(v, Var)]


def _given(graph: Graph) -> set[int]:
    return {v.index for v in [*graph.inputs, *(v for v, _ in graph.consts)]}


def _disagreeing(graph: Graph, what: str, of: Callable[[Any], Any]) -> Complaints:
    for e in graph.equations:
        expected = e.prim.shape(*[_aval(a) for a in e.args], **e.kw)
        for out, aval in zip(e.outs, expected if e.prim.nout != 1 else (expected,), strict=True):
            if of(out) != of(aval):
                yield f"{what}: {out!r} has {of(out)}, its rule says {of(aval)}, in {e!r}"


def _aval(a: Any) -> Any:
    return Aval(tuple(a.shape), a.dtype, a.device) if isinstance(a, Var) else a
