"""An optimizer's step in a trace that is going to be replayed: numbers stay open, its state is there beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from expkit import tree
from expkit.autograd.handle import Value, wrap
from expkit.autograd.mode import MODE, open_trace
from expkit.errors import TraceError
from expkit.optim.symbols import Unknown, split, unknown
from expkit.tensor import Tensor, zeros

State = dict[str, Any]


def live_trace() -> Any:
    """The trace that is open and is going to be replayed, or None."""
    trace = open_trace() if MODE.special else None
    return trace if trace is not None and trace.live else None


def open_options(trace: Any, now: Callable[[], dict[str, Any]], granted: Sequence[str]) -> dict[str, Any]:
    """The options with their numbers left open, but for those in `granted` and whole numbers (how often something is
    done), which are taken for granted."""

    def parts() -> tuple[dict[str, Any], Any, list[float]]:
        options = {name: value for name, value in now().items() if not isinstance(value, Tensor)}
        fixed = {name: value for name, value in options.items() if value.__class__ is int or name in granted}
        return fixed, *split({name: value for name, value in options.items() if name not in fixed})

    trace.guard(lambda: parts()[:2])
    return now() | unknown(parts()[1], trace.count(lambda: parts()[2]))


def made_before(trace: Any, p: Tensor, make: Callable[[], State]) -> State:
    """The state of a parameter that has none yet: made outside of the trace, as if it had been there before."""
    raw, special, stack = p.raw, MODE.special, MODE.stack
    p.raw = trace.touched.get(id(p), (p, raw))[1]
    MODE.special, MODE.stack = 0, []
    try:
        return make()
    finally:
        p.raw, MODE.special, MODE.stack = raw, special, stack


def zeros_beside(trace: Any, x: Tensor) -> Tensor:
    """A tensor of zeros like x, as a value of the trace that takes no memory."""
    raw = zeros((), dtype=x.dtype, device=x.device).expand(x.shape).raw
    return wrap(raw if isinstance(raw, Value) else trace.const(raw))


@contextmanager
def settled(trace: Any, who: str, states: Sequence[State]) -> Iterator[None]:
    """Around updates that are traced. TraceError where one could not be replayed: it puts something new into its state,
    or an option becomes a constant or a parameter of an operation, where no number can be left open."""
    before, constants = [dict(state) for state in states], set(trace.consts)
    first = len(trace.equations)
    try:
        yield
        for state, was in zip(states, before, strict=True):
            fresh = [name for name, value in state.items() if value is not was.get(name)]
            if fresh:
                raise TraceError(f"a step of {who} puts something new into its state: {', '.join(fresh)}")
        for place, (_, raw) in trace.consts.items():
            if place not in constants and raw.ndim == 0 and raw != raw:
                raise TraceError(f"a step of {who} makes a tensor of an option that may change")
        for equation in trace.equations[first:]:
            if any(isinstance(value, Unknown) for value in tree.flatten(equation.kw)[0]):
                raise TraceError(f"{who}: {equation.prim.name} takes an option that may change as a fixed number")
    finally:
        for state, was in zip(states, before, strict=True):
            state.clear()
            state.update(was)
