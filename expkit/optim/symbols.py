"""Options of an optimizer as unknown numbers, so that tracing an update leaves them open."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from expkit.kernels.cpu.code.elementwise import Gap

Structure = tuple[Any, ...]


class Unknown(float):
    """A number to be told later; `a * b` of one is another. What bakes its value in gets NaN, which is noticed.

    Unknown(place): the number at that place of a list. Unknown(operator, operands): what is made of others.
    It equals nothing, so that code which takes 0 or 1 apart goes the general way; true or false it is as `truth` says.
    """

    __slots__ = ("args", "fn", "place", "truth")

    def __new__(cls, *_: Any, **__: Any) -> Unknown:
        return super().__new__(cls, "nan")

    def __init__(
        self, place: int = -1, *, fn: Any = None, args: tuple[Any, ...] = (), truth: bool | None = None
    ) -> None:
        self.place, self.fn, self.args, self.truth = place, fn, args, truth

    def __bool__(self) -> bool:
        if self.truth is None:
            raise Gap("a decision about a number that is computed from options")
        return self.truth

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = object.__hash__

    def value(self, numbers: Sequence[float]) -> float:
        """What it is when the numbers are known."""
        if self.fn is None:
            return numbers[self.place]
        return self.fn(*[a.value(numbers) if isinstance(a, Unknown) else a for a in self.args])

    def __neg__(self) -> Unknown:
        return Unknown(fn=operator.neg, args=(self,))

    def _order(self, other: Any) -> bool:
        raise Gap("a comparison of options")

    __lt__ = __le__ = __gt__ = __ge__ = _order


def _operators(fn: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
    def forward(self: Unknown, other: Any) -> Any:
        return Unknown(fn=fn, args=(self, other)) if isinstance(other, int | float) else NotImplemented

    def reflected(self: Unknown, other: Any) -> Any:
        return Unknown(fn=fn, args=(other, self)) if isinstance(other, int | float) else NotImplemented

    return forward, reflected


for _name in ("add", "sub", "mul", "truediv", "pow"):
    _forward, _reflected = _operators(getattr(operator, _name))
    setattr(Unknown, f"__{_name}__", _forward)
    setattr(Unknown, f"__r{_name}__", _reflected)


def is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool)


def split(options: dict[str, Any]) -> tuple[Structure, list[float]]:
    """(what a trace depends on, the numbers that it leaves open). Gap for an option that is neither."""
    structure: list[Any] = []
    numbers: list[float] = []
    for name, value in options.items():
        if is_number(value):
            structure.append((name, bool(value), "number"))
            numbers.append(float(value))
        elif isinstance(value, tuple) and all(is_number(x) for x in value):
            structure.append((name, tuple(map(bool, value)), "numbers"))
            numbers += map(float, value)
        elif value is None or isinstance(value, bool | str):
            structure.append((name, value, ""))
        else:
            raise Gap(f"the option {name} is a {type(value).__name__}")
    return tuple(structure), numbers


def unknown(structure: Structure, first: int = 0) -> dict[str, Any]:
    """The options of that structure with their numbers left open: those at the places from `first` on."""
    places: Iterable[int] = iter(range(first, 1 << 20))

    def made(value: Any, kind: str) -> Any:
        if kind == "numbers":
            return tuple(made(truth, "number") for truth in value)
        return Unknown(next(iter(places)), truth=value) if kind else value

    return {name: made(value, kind) for name, value, kind in structure}
