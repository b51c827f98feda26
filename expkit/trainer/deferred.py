"""What a step does besides computing, put off while the step is traced.

In a trace tensors have no values. So what is logged there, and what metrics take in, is noted with its tensors; a
program hands the notes out with its results, and they are carried out when the values are there.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, Self

import numpy as np

from expkit.errors import TraceError
from expkit.optim.traced import live_trace
from expkit.tensor import Tensor

_OPEN: list["Notes"] = []  # of the steps that are being traced, innermost last


class Notes:
    """The calls that are put off while it is open as a context; `tensors` are those among their arguments."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self._calls: list[tuple[Callable[..., Any], list[tuple[int, Any]], dict[str, Any]]] = []

    def __enter__(self) -> Self:
        _OPEN.append(self)
        return self

    def __exit__(self, *_exc: object) -> None:
        _OPEN.pop()

    def add(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Notes a call."""
        places = []
        for x in args:
            places.append((len(self.tensors), None) if isinstance(x, Tensor) else (-1, x))
            self.tensors += [x] if isinstance(x, Tensor) else []
        self._calls.append((fn, places, kwargs))

    def carry_out(self, tensors: Sequence[Tensor]) -> None:
        """Makes the calls, with these tensors in place of the traced ones."""
        for fn, places, kwargs in self._calls:
            fn(*[x if n < 0 else tensors[n] for n, x in places], **kwargs)


def later(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    """Puts a call off if a step is being traced; tensors stand among `args`. False: it is to be made now."""
    if not _OPEN or live_trace() is None:
        return False
    _OPEN[-1].add(fn, args, kwargs)
    return True


def refuse_traced(what: str, why: str) -> None:
    """TraceError if a step is being traced: it may not do `what`."""
    if _OPEN and live_trace() is not None:
        raise TraceError(f"{what}: {why}")


@contextmanager
def no_foreign_draws() -> Iterator[None]:
    """TraceError for random numbers of Python or NumPy drawn within it: a program would repeat those of the trace."""
    pythons, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    yield
    now = np.random.get_state()  # noqa: NPY002
    if random.getstate() != pythons or any(np.any(a != b) for a, b in zip(numpys, now, strict=True)):
        random.setstate(pythons)
        np.random.set_state(numpys)  # noqa: NPY002
        raise TraceError(
            "the step draws random numbers from Python's or NumPy's generator, which a program cannot draw anew. "
            "Use expkit's (ek.rand, ek.randn, ek.randint), or draw them in the data set."
        )


class Changing:
    """Stands for a value that is another one at each step: every use of it in a trace is a TraceError."""

    __slots__ = ("name",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        self.name = name

    def _refuse(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise TraceError(
            f"the step uses {self.name}, which is another one at each step, so that no program can stand for it."
        )

    def __getattr__(self, name: str) -> NoReturn:
        self._refuse()


_USES = (
    "abs add and array bool ceil complex divmod eq float floor floordiv format ge gt index int invert iter le len "
    "lshift lt mod mul ne neg or pos pow radd rand rdivmod repr rfloordiv rlshift rmod rmul ror round rpow rrshift "
    "rshift rsub rtruediv rxor str sub truediv trunc xor"
)
for _name in _USES.split():
    setattr(Changing, f"__{_name}__", Changing._refuse)
