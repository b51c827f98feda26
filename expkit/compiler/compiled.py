"""compile(fn): one program for each signature that fn is called with."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import partial, update_wrapper
from math import copysign
from pathlib import Path
from typing import Any

from expkit import flags, tree
from expkit.autograd.mode import MODE
from expkit.autograd.pictures import SIMPLE
from expkit.compiler.capture import Call, shown, tensors
from expkit.compiler.dynamic import Recent, marked
from expkit.compiler.replay import Differentiated, Replay
from expkit.errors import TraceError
from expkit.tensor import Tensor, empty, get_default_dtype
from expkit.tensor.precision import STATE

LIMIT = 8  # programs of one signature; more of them mean that something changes at each call
SIGNATURES = 64
PACKAGE = str(Path(__file__).resolve().parents[1])
LIBRARY = str(Path(traceback.__file__).parent / "contextlib.py")


class Entry:
    """The programs of one signature."""

    def __init__(self) -> None:
        self.replays: list[Replay] = []
        self.eager = False


class Compiled:
    """A compiled function, traced in the first call with a signature, or, where that runs for the first time what can
    run but once (a lazy layer, say), in the second.

    The signature: containers, shapes, dtypes, devices and requires_grad of the tensors among the arguments, the values
    of everything else, and whether gradients are recorded.

    What a loop that compiles its own steps may ask for beside fullgraph: `ready`: everything that a first call would
    make is there, so it is an error already where that one cannot be traced. `check(result)`
    is called before a program writes anything outside; if it raises, nothing is written. `warn(message)` takes the
    warnings.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        fullgraph: bool = False,
        ready: bool = False,
        check: Callable[[Any], None] | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"compile: a function or Module was expected, not {type(fn).__name__}")
        self.fn = fn
        self.options: dict[str, Any] = {"fullgraph": fullgraph, "ready": ready, "check": check, "warn": warn}
        self.fullgraph, self.ready, self.check, self.warn = fullgraph, ready, check, warn
        self.entries: dict[Any, Entry] = {}
        self.recent = Recent()
        update_wrapper(self, fn, updated=())

    def __getattr__(self, name: str) -> Any:
        """Of a compiled Module, what the Module has."""
        if "fn" not in self.__dict__:  # while it is being copied
            raise AttributeError(name)
        return getattr(self.fn, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        """A copy of the function, with programs of its own to come."""
        return Compiled(deepcopy(self.fn, memo), **self.options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if MODE.special:  # inside a transform: part of what is transformed
            return self.fn(*args, **kwargs)
        leaves, structure = tree.flatten((args, kwargs))
        key = signature(leaves, structure)
        entry = self.entries.get(key)
        if entry is None:
            entry = self._meet(key)
            if not self.ready and not entry.eager and not self._first(entry, leaves, structure):
                return self.fn(*args, **kwargs)
        if entry.eager:
            return self.fn(*args, **kwargs)
        if key[1]:
            self.recent.use(key)
        for replay in entry.replays:
            if replay.holds(leaves):
                return replay(leaves)
        return self._trace(entry, leaves, structure)

    def _meet(self, key: Any) -> Entry:
        met = self.entries[key] = Entry()
        dropped = self.recent.use(key)
        if dropped is not None:
            del self.entries[dropped]
        if len(self.recent) > SIGNATURES:
            met.eager = True
            if len(self.recent) == SIGNATURES + 1:
                self._tell(
                    f"compile: {self._name()} has been called with {SIGNATURES} signatures (shapes, dtypes, values of "
                    "arguments); further ones run eagerly. Pass changing numbers as tensors, and name dimensions that "
                    "change: mark_dynamic(x, dim)."
                )
        return met

    def _first(self, entry: Entry, leaves: Sequence[Any], structure: Any) -> bool:
        """Whether the first call could be traced. Where not, it may have been the first one of what it calls, too."""
        with suppress(Exception):
            entry.replays.append(make(self._call(structure), leaves, self.fn, self.check))
        return bool(entry.replays)

    def _call(self, structure: Any) -> Callable[[Sequence[Any]], Any]:
        """The function, of the leaves of its arguments."""

        def call(values: Sequence[Any]) -> Any:
            args, kwargs = tree.unflatten(structure, list(values))
            return self.fn(*args, **kwargs)

        return call

    def _trace(self, entry: Entry, leaves: Sequence[Any], structure: Any) -> Any:
        call = self._call(structure)
        if len(entry.replays) == LIMIT:
            return self._give_up(
                entry, f"it was traced {LIMIT} times, and each time something it rests on changed", call, leaves
            )
        try:
            replay = make(call, leaves, self.fn, self.check)
        except Exception as error:  # not only TraceError: under a trace any library may refuse a tensor without values
            if self.fullgraph:
                raise
            kind = "" if isinstance(error, TraceError) else f"{type(error).__name__}: "
            return self._give_up(entry, f"{kind}{error}{where(error)}", call, leaves)
        entry.replays.append(replay)
        return replay(leaves)

    def _give_up(self, entry: Entry, why: str, call: Callable[..., Any], leaves: Sequence[Any]) -> Any:
        if self.fullgraph:
            raise TraceError(f"compile: {self._name()}: {why}")
        entry.eager = True
        result = call(leaves)  # first: what is wrong in any case is told by itself
        self._tell(f"compile: {self._name()} runs eagerly from now on: {why}")
        return result

    def _tell(self, message: str) -> None:
        if self.warn is None:
            warnings.warn(message, stacklevel=5)
        else:
            self.warn(message)

    def _name(self) -> str:
        return getattr(self.fn, "__qualname__", type(self.fn).__name__)


def make(
    call: Callable[[Sequence[Any]], Any], leaves: Sequence[Any], fn: Any, check: Callable[[Any], None] | None = None
) -> Replay:
    """The call traced, with its gradient where somebody may ask for it."""
    plain = Call(call, leaves, fn)
    if flags.DEBUG >= 3:  # type: ignore[operator]
        print(plain.graph)
    outs = [tensors(plain.result)[i] for i in plain.differentiable] if MODE.grad else []
    if not outs:
        return Replay(plain, check)
    seeds = [empty(tuple(x.shape), dtype=x.dtype, device=x.device) for x in outs]
    return Differentiated(Call(call, leaves, fn, seeds, plain.differentiable_sources()), check)


def signature(leaves: Sequence[Any], structure: Any) -> Any:
    """What a program depends on, of the arguments and of the modes that are on; the sizes of marked dims apart."""
    kinds: list[Any] = []
    sizes: list[int] = []
    for x in leaves:
        if isinstance(x, Tensor):
            shape, dims = x.raw.shape, marked(x)
            if dims:
                sizes += [shape[d] for d in dims]
                shape = tuple(None if d in dims else n for d, n in enumerate(shape))
            kinds.append((shape, x.raw.dtype, str(x.device), x.requires_grad, type(x)))
        else:
            kinds.append(_static(x))
    about = (_shape_of(structure), tuple(kinds), MODE.grad, MODE.inference, get_default_dtype(), precision())
    return about, tuple(sizes)


def precision() -> Any:
    """Autocast as it is now; None where it is off."""
    return None if MODE.autocast is None else (tuple(STATE.enabled.items()), tuple(STATE.dtypes.items()))


def _static(x: Any) -> Any:
    """A value that is fixed: by itself, or by its picture."""
    kind = x.__class__
    if kind in SIMPLE:
        return kind, x
    return (kind, x, copysign(1, x)) if kind is float else shown(x)


def _shape_of(structure: Any) -> Any:
    return tuple((path, type(leaf) is Tensor) for path, leaf in tree.items(structure))


def where(error: BaseException) -> str:
    """The user's line that an error comes from."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((PACKAGE, LIBRARY))]
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
