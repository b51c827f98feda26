"""compile(fn): one program for each signature that fn is called with."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial, update_wrapper
from math import copysign
from pathlib import Path
from typing import Any

from expkit import flags, tree
from expkit.autograd.mode import MODE
from expkit.compiler.capture import Call, tensors
from expkit.compiler.replay import Differentiated, Replay
from expkit.errors import TraceError
from expkit.tensor import Tensor, empty, get_default_dtype
from expkit.tensor.precision import STATE

LIMIT = 8  # programs of one signature; more of them mean that something changes at each call
SIGNATURES = 64
PACKAGE = str(Path(__file__).resolve().parents[1])


class Entry:
    """The programs of one signature."""

    def __init__(self) -> None:
        self.replays: list[Replay] = []
        self.eager = False


class Compiled:
    """A compiled function. The first call with a signature runs as it is written, the second is traced.

    The signature: containers, shapes, dtypes, devices and requires_grad of the tensors among the arguments, the values
    of everything else, and whether gradients are recorded.
    """

    def __init__(self, fn: Callable[..., Any], *, fullgraph: bool = False) -> None:
        if not callable(fn):
            raise TypeError(f"compile: a function or Module was expected, not {type(fn).__name__}")
        self.fn, self.fullgraph = fn, fullgraph
        self.entries: dict[Any, Entry] = {}
        update_wrapper(self, fn, updated=())

    def __getattr__(self, name: str) -> Any:
        """Of a compiled Module, what the Module has."""
        if "fn" not in self.__dict__:  # while it is being copied
            raise AttributeError(name)
        return getattr(self.fn, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        """A copy of the function, with programs of its own to come."""
        return Compiled(deepcopy(self.fn, memo), fullgraph=self.fullgraph)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if MODE.special:  # inside a transform: part of what is transformed
            return self.fn(*args, **kwargs)
        leaves, structure = tree.flatten((args, kwargs))
        key = signature(leaves, structure)
        entry = self.entries.get(key)
        if entry is None or entry.eager:
            self._meet(key, entry)
            return self.fn(*args, **kwargs)
        for replay in entry.replays:
            if replay.holds():
                return replay(leaves)
        return self._trace(entry, leaves, structure)

    def _meet(self, key: Any, entry: Entry | None) -> None:
        if entry is not None:
            return
        self.entries[key] = met = Entry()
        if len(self.entries) > SIGNATURES:
            met.eager = True
            if len(self.entries) == SIGNATURES + 1:
                warnings.warn(
                    f"compile: {self._name()} has been called with {SIGNATURES} signatures (shapes, dtypes, values of "
                    "arguments); further ones run eagerly. Pass changing numbers as tensors.",
                    stacklevel=3,
                )

    def _trace(self, entry: Entry, leaves: Sequence[Any], structure: Any) -> Any:
        def call(values: Sequence[Any]) -> Any:
            args, kwargs = tree.unflatten(structure, list(values))
            return self.fn(*args, **kwargs)

        if len(entry.replays) == LIMIT:
            return self._give_up(
                entry, f"it was traced {LIMIT} times, and each time something it rests on changed", call, leaves
            )
        try:
            replay = make(call, leaves, self.fn)
        except TraceError as error:
            if self.fullgraph:
                raise
            return self._give_up(entry, f"{error}{where(error)}", call, leaves)
        entry.replays.append(replay)
        return replay(leaves)

    def _give_up(self, entry: Entry, why: str, call: Callable[..., Any], leaves: Sequence[Any]) -> Any:
        if self.fullgraph:
            raise TraceError(f"compile: {self._name()}: {why}")
        entry.eager = True
        warnings.warn(f"compile: {self._name()} runs eagerly from now on: {why}", stacklevel=4)
        return call(leaves)

    def _name(self) -> str:
        return getattr(self.fn, "__qualname__", type(self.fn).__name__)


def make(call: Callable[[Sequence[Any]], Any], leaves: Sequence[Any], fn: Any) -> Replay:
    """The call traced, with its gradient where somebody may ask for it."""
    plain = Call(call, leaves, fn)
    if flags.DEBUG >= 3:  # type: ignore[operator]
        print(plain.graph)
    outs = [tensors(plain.result)[i] for i in plain.differentiable] if MODE.grad else []
    if not outs:
        return Replay(plain)
    seeds = [empty(tuple(x.shape), dtype=x.dtype, device=x.device) for x in outs]
    return Differentiated(Call(call, leaves, fn, seeds, plain.differentiable_sources()))


def signature(leaves: Sequence[Any], structure: Any) -> Any:
    """What a program depends on, of the arguments and of the modes that are on."""
    kinds = []
    for x in leaves:
        if isinstance(x, Tensor):
            kinds.append((x.raw.shape, x.raw.dtype, str(x.device), x.requires_grad, type(x)))
        else:
            kinds.append(_static(x))
    return _shape_of(structure), tuple(kinds), MODE.grad, MODE.inference, get_default_dtype(), precision()


def precision() -> Any:
    """Autocast as it is now; None where it is off."""
    return None if MODE.autocast is None else (tuple(STATE.enabled.items()), tuple(STATE.dtypes.items()))


def _static(x: Any) -> Any:
    """A value that is fixed: by itself, or by its identity where it cannot be compared."""
    try:
        hash(x)
    except TypeError:
        return (type(x), id(x))
    return (type(x), x, copysign(1, x)) if isinstance(x, float) else (type(x), x)


def _shape_of(structure: Any) -> Any:
    return tuple((path, type(leaf) is Tensor) for path, leaf in tree.items(structure))


def where(error: BaseException) -> str:
    """The user's line that an error comes from."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(PACKAGE)]
    if not frames:
        return ""
    return f"\n  {frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}"


def compile(fn: Callable[..., Any] | None = None, *, fullgraph: bool = False) -> Any:
    """fn (a function or a Module) as one program for each signature it is called with. Works as a decorator.

    Parameters, buffers, optimizer states, options and generators that fn uses are state: read at each call, written
    back after it. Numbers, strings and containers that fn reads around it, and the attributes of its modules, are
    looked at before each call; what fn itself changes of them makes it run eagerly. Results are memory of their own,
    views of arguments too, unless an argument itself is returned.

    fullgraph=True: what cannot be traced (Python control flow on values, shapes that depend on values)
    is a TraceError that names the line; else the function then runs eagerly, with one warning.
    """
    made = partial(Compiled, fullgraph=fullgraph)
    return made if fn is None else made(fn)
