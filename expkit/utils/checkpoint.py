"""Activation checkpointing, as torch.utils.checkpoint: what backward needs of a function is computed again, not kept.

    y = ek.utils.checkpoint.checkpoint(block, x)

The function runs with hooks on what its operations save (`autograd.graph.saved_tensors_hooks`): each saved tensor
leaves a number behind. When backward asks for the first of them, the function runs again, the tensors that it saves are
kept by their numbers for this pass, and it stops as soon as all that are still wanted are there. So the tape itself is
an ordinary one: closures, keywords, nested checkpoints, autograd.grad and higher derivatives work as without.
"""

import weakref
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from types import TracebackType
from typing import Any

from expkit.autograd.graph import saved_tensors_hooks
from expkit.autograd.handle import Handle
from expkit.autograd.mode import MODE, enable_grad
from expkit.autograd.saved import Packed
from expkit.autograd.views import root_of
from expkit.errors import AutogradError
from expkit.tensor import default_generator
from expkit.tensor.precision import STATE

Contexts = Callable[[], tuple[AbstractContextManager[Any], AbstractContextManager[Any]]]


class CheckpointError(AutogradError):
    """The function did not do the same again."""


class _Enough(BaseException):
    """Ends a second run, once all that is wanted is there."""


_early_stop = [True]


class set_checkpoint_early_stop:
    """Within this block, whether checkpoints that are made stop their second run as soon as they can (the default)."""

    def __init__(self, enable: bool) -> None:
        self.enable = bool(enable)

    def __enter__(self) -> None:
        _early_stop.append(self.enable)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _early_stop.pop()


def noop_context_fn() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Two contexts that do nothing: checkpoint's default."""
    return nullcontext(), nullcontext()


class _Autocast:
    """Autocast as it is now, to be had again in a with block."""

    def __init__(self) -> None:
        self.then = self._now()

    @staticmethod
    def _now() -> tuple[Any, ...]:
        return dict(STATE.enabled), dict(STATE.dtypes), STATE.cache_enabled

    @staticmethod
    def _set(enabled: dict[str, bool], dtypes: dict[str, Any], cache_enabled: bool) -> None:
        STATE.dtypes.update(dtypes)
        STATE.cache_enabled = cache_enabled
        for device, on in enabled.items():
            STATE.enable(device, on)

    def __enter__(self) -> None:
        self.before = self._now()
        self._set(*self.then)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._set(*self.before)


class _Input:
    """A tensor among the arguments: as it is, or as an outer checkpoint (or other hooks on saved tensors) keeps it."""

    def __init__(self, tensor: Any) -> None:
        self.packed = Packed(tensor, MODE.packing[-1]) if MODE.packing else None
        self.tensor = None if self.packed else tensor
        self.written = root_of(tensor).written

    def value(self) -> Any:
        if self.packed is not None:
            return self.packed.open()
        if root_of(self.tensor).written > self.written:
            raise AutogradError(
                "checkpoint: an argument was modified in place after the function ran, so that it cannot run again. "
                "Give it a clone()."
            )
        return self.tensor


class _Place:
    """What is left in the place of a saved tensor."""

    __slots__ = ("__weakref__", "frame", "number", "what")

    def __init__(self, frame: "_Frame", number: int, what: tuple[Any, ...]) -> None:
        self.frame, self.number, self.what = frame, number, what


def _kind(x: Any) -> tuple[Any, ...]:
    return (tuple(x.raw.shape), x.raw.dtype, x.device)


class _Frame:
    """One call of checkpoint: how to run the function again, and the places of what it saved."""

    def __init__(self, fn: Callable[..., Any], args: Any, kwargs: Any, again: Any, rng: Any, check: bool) -> None:
        self.fn, self.again, self.rng, self.check = fn, again, rng, check
        self.args = [_Input(x) if isinstance(x, Handle) else x for x in args]
        self.kwargs = {k: _Input(x) if isinstance(x, Handle) else x for k, x in kwargs.items()}
        self.early_stop = _early_stop[-1]
        self.autocast = _Autocast()
        self.places: list[weakref.ref[_Place]] = []
        self.found: dict[int, dict[int, Any]] = {}  # of each backward pass: number -> tensor

    def leave(self, x: Any) -> _Place:
        """The pack hook of the first run."""
        place = _Place(self, len(self.places), _kind(x))
        self.places.append(weakref.ref(place))
        return place

    def run_again(self) -> dict[int, Any]:
        """number -> tensor, of all places that are still alive."""
        found: dict[int, Any] = {}
        wanted = {i for i, ref in enumerate(self.places) if ref() is not None}
        count = 0

        def keep(x: Any) -> Any:
            nonlocal count
            if count in wanted:
                found[count] = x
            count += 1
            if self.early_stop and len(found) == len(wanted):
                raise _Enough
            return x

        before = default_generator.get_state()
        try:
            if self.rng is not None:
                default_generator.set_state(self.rng)
            with enable_grad(), saved_tensors_hooks(keep, lambda x: x), self.autocast, self.again:
                self.fn(*map(_value, self.args), **{k: _value(x) for k, x in self.kwargs.items()})
        except _Enough:
            pass
        finally:
            if self.rng is not None:
                default_generator.set_state(before)
        if len(found) != len(wanted) or (not self.early_stop and count != len(self.places)):
            raise CheckpointError(
                f"checkpoint: {len(self.places)} tensors were saved in the forward pass, {count} when the function ran "
                "again. It must do the same operations each time."
            )
        return found

    def fetch(self, place: _Place) -> Any:
        """The unpack hook of the first run."""
        run = MODE.runs[-1] if MODE.runs else None
        found = self.found.get(id(run), {})
        if place.number not in found:
            found = self.run_again()
            if run is not None:
                self.found[id(run)] = found
                run.ends.append(lambda: self.found.pop(id(run), None))
        x = found.pop(place.number)
        if self.check and _kind(x) != place.what:
            raise CheckpointError(
                f"checkpoint: a tensor of {_said(place.what)} was saved in the forward pass, one of {_said(_kind(x))} "
                "in its place when the function ran again. determinism_check='none' lets that pass."
            )
        return x


def _value(x: Any) -> Any:
    return x.value() if isinstance(x, _Input) else x


def _said(kind: tuple[Any, ...]) -> str:
    return f"shape {list(kind[0])}, {kind[1]} on {kind[2]}"


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Contexts = noop_context_fn,
    determinism_check: str = "default",
    preserve_rng_state: bool = True,
    early_stop: bool = True,
    debug: bool = False,
    **kwargs: Any,
) -> Any:
    """function(*args, **kwargs), with what backward needs of it computed again in backward instead of kept.

    context_fn() -> contexts for the first run and for the second. determinism_check: "default" compares shapes, dtypes
    and devices of what is computed again, "none" nothing. preserve_rng_state: the second run draws the same random
    numbers. use_reentrant and debug are PyTorch's; there is one way of doing it here, which has none of the limits of
    the reentrant one. CheckpointError in backward where the function does not do the same again.
    """
    if determinism_check not in ("default", "none"):
        raise ValueError(f"checkpoint: determinism_check must be 'default' or 'none', not {determinism_check!r}")
    if not MODE.grad:
        return function(*args, **kwargs)
    first, again = context_fn()
    rng = default_generator.get_state() if preserve_rng_state else None
    frame = _Frame(function, args, kwargs, again, rng, determinism_check == "default")
    frame.early_stop = frame.early_stop and early_stop
    with saved_tensors_hooks(frame.leave, lambda place: place.frame.fetch(place)), first:
        return function(*args, **kwargs)


def checkpoint_sequential(
    functions: Iterable[Callable[..., Any]] | Any,
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    **options: Any,
) -> Any:
    """The functions (or the modules of a Sequential) one after the other, in `segments` of which all but the last are
    checkpointed. Only preserve_rng_state is taken of checkpoint's options.
    """  # fmt: skip
    unknown = set(options) - {"preserve_rng_state"}
    if unknown:
        raise ValueError(f"checkpoint_sequential: unexpected keywords {sorted(unknown)}")
    steps = list(functions.children()) if hasattr(functions, "children") else list(functions)
    if not 1 <= segments <= max(len(steps), 1):
        raise ValueError(f"checkpoint_sequential: segments must be between 1 and {len(steps)}, not {segments}")
    size = len(steps) // segments

    def of(part: list[Callable[..., Any]]) -> Callable[[Any], Any]:
        return lambda x: reduce(lambda value, step: step(value), part, x)

    for i in range(segments - 1):
        input = checkpoint(of(steps[i * size : (i + 1) * size]), input, use_reentrant=use_reentrant, **options)
    return of(steps[(segments - 1) * size :])(input)
