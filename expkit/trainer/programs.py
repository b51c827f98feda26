"""The parts of a task's steps as programs, as trainer.compile says."""

from collections.abc import Callable
from functools import partial
from types import FunctionType, MethodType, NoneType
from typing import TYPE_CHECKING, Any

from expkit import tree
from expkit.autograd.outside import rely_on
from expkit.compiler import Compiled
from expkit.compiler.compiled import where
from expkit.errors import TraceError
from expkit.nn.module import rely_on_module
from expkit.optim.traced import live_trace
from expkit.tensor import Tensor
from expkit.trainer.console import warn
from expkit.trainer.deferred import Changing, Notes, no_foreign_draws

if TYPE_CHECKING:
    from expkit.trainer.runtime import Runtime


FIXED = (Tensor, int, NoneType)  # what programs may be made for, among the values of a batch
VALUE = Changing("a value of the batch that is no tensor")


class Programs:
    """What one call of fit, validate, ... has compiled.

    While fitting, a part is traced when it is first called: were first calls made eagerly, a resumed run would round
    otherwise than one that went through. Elsewhere a signature that comes once is not worth a trace.
    """

    def __init__(self, t: "Runtime") -> None:
        self.t = t
        self.on = t.compile is True or (t.compile == "auto" and t.device.type == "cpu")
        self.by_epoch = False  # whether a trace took the number of the epoch for granted
        self.made: list[Program] = []
        self.said: set[str] = set()

    def make(
        self, name: str, fn: Callable[..., Any], step: Any = None, check: Callable[[Any], None] | None = None
    ) -> "Program":
        """`fn` as a program. name: for messages; step: the user's method that it calls, if it does; check: of its
        result, before anything is written."""
        self.made.append(Program(self, name, fn, step, check))
        return self.made[-1]

    def say(self, message: str) -> None:
        """Warns, once for each message."""
        if message not in self.said:
            self.said.add(message)
            warn(message)

    def begin_epoch(self) -> None:
        """Forgets programs that hold for one epoch alone."""
        if self.by_epoch:
            self.by_epoch = False
            for program in self.made:
                program.forget()


class Program:
    """A part of a step; called with tensors (in containers) and values that a program is made for."""

    def __init__(
        self, owner: Programs, name: str, fn: Callable[..., Any], step: Any, check: Callable[[Any], None] | None
    ) -> None:
        self.owner, self.name, self.fn, self.step, self.check = owner, name, fn, step, check
        self.batch: Any = None  # that of the call, which a trace sees without its values
        self.forget()

    def forget(self) -> None:
        """Starts anew."""
        t = self.owner.t
        traced = partial(self._traced)
        traced.__qualname__ = f"{self.name} of {type(t.task).__name__}"  # type: ignore[attr-defined]
        check = None if self.check is None else self._checked
        self.compiled = Compiled(
            traced, fullgraph=t.compile is True, ready=t.fitting, check=check, warn=self.owner.say
        )  # fmt: skip

    def __call__(self, *args: Any, **values: Any) -> Any:
        if not self.owner.on:
            return self.fn(*args, **values)
        if self.step is not None:
            self.batch = args[0]
            args = (without_values(self.batch), *args[1:])
        try:
            result, put_off, tensors = self.compiled(*args, **values)
        except TraceError as error:
            if self.owner.t.compile != "auto":
                what = f"trainer.compile=true: {self.name} cannot be compiled"
                raise TraceError(f"{what}: {error}{where(error)}") from error
            raise
        if put_off is not None:
            put_off.carry_out(tensors)
        return result

    def _traced(self, *args: Any, **values: Any) -> Any:
        """(result, what it put off, the tensors of that)"""
        trace = live_trace()
        if trace is None:
            args = args if self.step is None else (self.batch, *args[1:])
            return self.fn(*args, **values), None, ()
        if self.step is not None:
            self._rely_on_task(trace)
        with Notes() as put_off, no_foreign_draws():
            result = self.fn(*args, **values)
        return result, put_off, put_off.tensors

    def _rely_on_task(self, trace: Any) -> None:
        """What the user's step reads is taken for granted."""
        task = self.owner.t.task
        rely_on(trace, self.step)
        rely_on_module(task)
        for value in vars(task).values():
            if isinstance(value, FunctionType | MethodType):
                rely_on(trace, value)

    def _checked(self, outcome: Any) -> None:
        assert self.check is not None
        self.check(outcome[0])


def without_values(batch: Any) -> Any:
    """A batch whose texts, floats and other objects have gone: they differ from batch to batch, and nobody may need
    them. Whole numbers stay, as sizes do."""
    leaves, structure = tree.flatten(batch)
    if all(isinstance(x, FIXED) for x in leaves):
        return batch
    return tree.unflatten(structure, [x if isinstance(x, FIXED) else VALUE for x in leaves])


def detached(outputs: Any) -> Any:
    """What a step returned, without its history."""
    return tree.map(lambda x: x.detach() if isinstance(x, Tensor) else x, outputs)
