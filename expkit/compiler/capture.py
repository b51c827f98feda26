"""A traced call: its graph, what it takes from outside at each run, what it leaves behind, what it took for granted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from expkit import tree
from expkit.autograd.handle import Handle, Value
from expkit.autograd.hooks import Hooks
from expkit.autograd.outside import keep, rely_on
from expkit.autograd.pictures import OPAQUE, SIMPLE, is_complete, parts, picture
from expkit.autograd.reverse import grad
from expkit.autograd.trace import Trace, capture
from expkit.compiler.apart import Apart
from expkit.errors import TraceError
from expkit.tensor import Tensor

ARGUMENTS = 6  # how deep arguments and results are looked into
Fn = Callable[[Sequence[Any]], Any]


class Call:
    """`fn` of a list of arguments, traced. Tensors among them are the graph's inputs.

    `about` is what the user wrote: the variables that it reads are taken for granted.
    With `seeds` (gradients of the differentiable results) the graph goes on, from `border` on, with the gradients of
    the arguments and outside tensors in `targets`.
    """

    def __init__(
        self, fn: Fn, leaves: Sequence[Any], about: Any, seeds: Sequence[Tensor] = (), outer: Sequence[Any] = ()
    ) -> None:
        self.fn, self.leaves, self.outer = fn, list(leaves), list(outer)
        self.tensors = tensors(leaves)
        self.trace = Trace(live=True)
        rely_on(self.trace, about)
        self._rely_on_arguments()
        self.inner: list[Tensor] = []
        self.result: Any = None
        self.border = 0
        self.reached: list[bool] = []  # which targets have a gradient
        self.differentiable: list[int] = []  # results that gradients can flow into: no backward inside has freed them
        self.graph = capture(self.trace, self._run, (*self.tensors, *seeds))
        if self.trace.changed:
            names = ", ".join(dict.fromkeys(self.trace.changed))
            raise TraceError(f"a compiled function changes what it reads: {names}")
        self.graph.check()
        states = [x.tensor for x in self.graph.state if isinstance(x.tensor, Handle)]
        self.apart = Apart(states, self.trace.sources.values(), [n for n, _ in self.written])
        self._refuse_aliases()
        self._forget()

    def _rely_on_arguments(self) -> None:
        """The signature shows what arguments are; what functions among them read is guarded."""
        for x in self.leaves:
            if isinstance(x, Tensor):
                continue
            if not is_complete(shown(x)):
                raise TraceError(
                    f"a compiled function takes an object ({type(x).__name__}) of which it cannot be seen whether it "
                    "changes between calls. Pass tensors, numbers or plain objects."
                )
            keep(self.trace, f"an argument ({type(x).__name__})", partial(_given, x), _given, ARGUMENTS)
            if callable(x):
                rely_on(self.trace, x)

    def _forget(self) -> None:
        """Lets go of the arguments that the function was traced with."""
        del self.fn, self.leaves, self.tensors

    def _run(self, *inner: Any) -> Any:
        self.inner, seeds = list(inner[: len(self.tensors)]), inner[len(self.tensors) :]
        rest = iter(self.inner)
        self.result = self.fn([next(rest) if isinstance(x, Tensor) else x for x in self.leaves])
        _refuse_hidden(self.result)
        self.after = [x.raw for x in self.inner]
        self.border = len(self.trace.equations)
        self.differentiable = [i for i, x in enumerate(tensors(self.result)) if x.requires_grad and not _freed(x)]
        found: tuple[Any, ...] = ()
        if seeds:
            targets = [*(x for x in self.inner if x.requires_grad), *self.outer]
            outs = [tensors(self.result)[i] for i in self.differentiable]
            with _hooks_set_aside(self.outer):
                found = grad(outs, targets, list(seeds), allow_unused=True) if targets else ()
        self.reached = [x is not None for x in found]
        return [*tensors(self.result), *found]

    @property
    def written(self) -> list[tuple[int, Any]]:
        """(number of an argument, the Var of what the call wrote into it)"""
        pairs = enumerate(zip(self.after, self.graph.inputs, strict=False))
        return [(i, raw) for i, (raw, var) in pairs if raw is not var]

    def differentiable_sources(self) -> list[Any]:
        """Tensors from outside that gradients may flow into, each once."""
        return list({id(x): x for x in self.trace.sources.values() if x.node is not None}.values())

    def _refuse_aliases(self) -> None:
        """Two ways to one tensor are all right as long as nothing is written."""
        if not self.apart.holds(self.tensors):
            raise TraceError(
                "a compiled function writes in place while a tensor comes to it in two ways (as two arguments, or as "
                "an argument and from outside, or by arrays that share memory). Pass it once."
            )


def shown(x: Any) -> Any:
    """The picture of an argument; where it has none, which object it is."""
    try:
        return picture(x, ARGUMENTS)
    except (TraceError, TypeError):
        return OPAQUE, x.__class__, id(x)


def _given(x: Any) -> Any:
    return x


def _refuse_hidden(result: Any) -> None:
    """Tensors of the trace that are no leaves of the result would come out without values."""
    for x in tree.flatten(result)[0]:
        if isinstance(x, Iterator):
            raise TraceError(f"a compiled function returns a {type(x).__name__}: return a tuple or dict of tensors")
        if not isinstance(x, Tensor) and _hides(x, ARGUMENTS):
            raise TraceError(
                f"a compiled function returns an object ({type(x).__name__}) that holds tensors: return a tuple or dict"
            )


def _hides(x: Any, depth: int) -> bool:
    if isinstance(x, Handle):
        return isinstance(x.raw, Value)
    return depth > 0 and x.__class__ not in SIMPLE and any(_hides(v, depth - 1) for v in parts(x))


@contextmanager
def _hooks_set_aside(outer: Sequence[Any]) -> Iterator[None]:
    """The hooks of tensors from outside run when their gradients arrive, at each backward pass; they are not traced."""
    edges = [x.node for x in outer]
    held: list[Hooks | None] = [edge.hooks for edge in edges]
    try:
        for edge in edges:
            edge.hooks = None
        yield
    finally:
        for edge, hooks in zip(edges, held, strict=True):
            edge.hooks = hooks


def tensors(result: Any) -> list[Tensor]:
    return [x for x in tree.flatten(result)[0] if isinstance(x, Tensor)]


def _freed(x: Handle) -> bool:
    """Whether something on the way from x back to the leaves has been freed."""
    stack, seen = [x.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or id(node) in seen or not hasattr(node, "edges"):
            continue
        seen.add(id(node))
        if node.saved is None:
            return True
        stack += [found for found, _ in node.next_functions]
    return False
