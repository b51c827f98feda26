"""What the current thread is doing: recording, interpreting, drawing random numbers under vmap."""

import inspect
import itertools
import threading
from collections.abc import Callable
from functools import partial, wraps
from types import TracebackType
from typing import Any, Self


class _Mode(threading.local):
    grad: bool = True
    inference: bool = False
    special: int = 0  # interpreters, hooks on saved tensors, ... at work in this thread; 0: operations may be short
    anomaly: bool = False
    autocast: Any = None  # tensor.precision's state, while it is on
    check_nan: bool = True  # in anomaly mode: look for NaN in gradients
    packing: tuple[Any, ...] = ()  # (pack, unpack) hooks on what nodes save, outermost first
    packing_refused: str | None = None  # why such hooks are not allowed now
    duals: list[Any] | None = None  # weak references to what was made while forward_ad's level is open

    def __init__(self) -> None:
        self.stack: list[Any] = []  # the interpreters, outermost first
        self.runs: list[Any] = []  # the backward passes under way, outermost first


MODE = _Mode()
tick = itertools.count(1).__next__  # one clock for nodes, writes and levels: it is the topological order too


class _Context:
    """A context manager that is a decorator as well, as PyTorch's grad modes are."""

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(fn):
            return self._around_generator(fn)

        @wraps(fn)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return fn(*args, **kwargs)

        return wrapped

    def _around_generator(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """The mode holds while the generator runs, not between its values."""

        @wraps(fn)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            running = fn(*args, **kwargs)
            step: Callable[[], Any] = partial(next, running)
            while True:
                try:
                    with self._again():
                        value = step()
                except StopIteration as stop:
                    return stop.value
                try:
                    step = partial(running.send, (yield value))
                except GeneratorExit:
                    running.close()
                    raise
                except BaseException as error:  # noqa: BLE001  (thrown in by the caller: the generator's to handle)
                    step = partial(running.throw, error)

        return wrapped

    def _again(self) -> Self:
        return type(self)()

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        raise NotImplementedError


class set_grad_enabled(_Context):
    """Record operations for backward (True) or not (False). Works at once, as a context manager, and as a decorator."""

    def __init__(self, mode: bool) -> None:
        self.mode = bool(mode)
        self.before = MODE.grad
        MODE.grad = self.mode

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        MODE.grad = self.before  # used as a decorator: only calls of `fn` are meant
        return super().__call__(fn)

    def _again(self) -> "set_grad_enabled":
        return set_grad_enabled(self.mode)

    def __enter__(self) -> Self:
        MODE.grad = self.mode
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        MODE.grad = self.before


class _fixed(_Context):
    grad = False
    inference = False

    def __new__(cls, fn: Callable[..., Any] | None = None) -> Any:
        self = super().__new__(cls)
        return self(fn) if callable(fn) else self  # @no_grad without parentheses

    def __enter__(self) -> Self:
        self.before = (MODE.grad, MODE.inference)
        MODE.grad, MODE.inference = self.grad, self.inference or MODE.inference
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        MODE.grad, MODE.inference = self.before


class no_grad(_fixed):
    """Operations are not recorded for backward inside."""


class enable_grad(_fixed):
    """Operations are recorded for backward inside, even within no_grad."""

    grad = True


class inference_mode(_fixed):
    """As no_grad. (PyTorch also forbids later use of the results in recorded code; here that stays legal.)"""

    inference = True

    def __new__(cls, mode: Any = True) -> Any:
        if callable(mode):
            return super().__new__(cls, mode)
        return super().__new__(cls) if mode else enable_grad()


class set_multithreading_enabled(_Context):
    """Accepted for PyTorch's sake, and without effect: backward always runs in the thread that calls it."""

    def __init__(self, mode: bool) -> None:
        self.mode = bool(mode)

    def _again(self) -> "set_multithreading_enabled":
        return set_multithreading_enabled(self.mode)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return MODE.grad


def is_inference_mode_enabled() -> bool:
    """Whether this thread is inside inference_mode."""
    return MODE.inference


def open_trace() -> Any:
    """The innermost trace that is open in this thread, or None."""
    return next((i for i in reversed(MODE.stack) if i.kind == "trace"), None)


def taken_apart() -> bool:
    """Whether what runs eagerly as one operation must be written in smaller ones, for an interpreter's sake."""
    return MODE.special > 0 and not getattr(open_trace(), "whole", False)


class interpreting:
    """Context of one interpreter (a level or a trace): switches the short way off while it is open."""

    def __init__(self, interpreter: Any) -> None:
        self.interpreter = interpreter

    def __enter__(self) -> Any:
        MODE.special += 1
        MODE.stack.append(self.interpreter)
        return self.interpreter

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        MODE.stack.pop()
        MODE.special -= 1
