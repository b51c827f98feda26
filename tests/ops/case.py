"""One sample of a row as a differentiable function, and how results are compared."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import expkit as ek
from tests.ops.rows import Row, Sample, array_of, tensors, to_ek

# A rule that is wrong anywhere is far off: this only has to cover the error of central differences.
NUMERIC = {"rtol": 2e-6, "atol": 2e-7}
# What a wrong argument may raise: never AttributeError, KeyError, AssertionError, ...
REFUSALS = (TypeError, ValueError, RuntimeError, IndexError, OverflowError, ZeroDivisionError, NotImplementedError)


def attempt(fn: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """(fn(), None), or (None, the error) where it refuses."""
    try:
        return fn(), None
    except REFUSALS as error:
        return None, error


def smooth(x: Any) -> bool:
    return isinstance(x, ek.Tensor) and x.dtype.is_floating_point


def close(got: Any, expected: Any, what: str, **tolerance: float) -> None:
    got, expected = np.asarray(array_of(got)), np.asarray(array_of(expected))
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    np.testing.assert_allclose(got, expected, err_msg=what, equal_nan=True, **(tolerance or NUMERIC))


class Case:
    """One sample of a row as a function of its differentiable arrays only: f(xs) -> list of float64 results."""

    def __init__(self, row: Row, sample: Sample) -> None:
        self.row, self.sample, self.fn = row, to_ek(sample), row.function()
        self.every = self.sample.arrays()
        self.places = [i for i, x in enumerate(self.every) if smooth(x)]
        self.xs = [self.every[i] for i in self.places]
        self.what = f"{row.name}{sample!r}"
        self.rng = np.random.default_rng(1)
        self.cots = [ek.tensor(self.rng.standard_normal(y.shape)) for y in self.f(self.xs)]

    def call(self, xs: list[Any]) -> Any:
        values = list(self.every)
        for i, x in zip(self.places, xs, strict=True):
            values[i] = x
        s = self.sample.fill(values)
        return self.fn(*s.args, **s.kw)

    def f(self, xs: list[Any]) -> list[Any]:
        return [y for y in tensors(self.call(list(xs))) if smooth(y)]

    def scalar(self, *xs: Any) -> Any:
        """A scalar that depends on each result with a weight of its own."""
        total = None
        for y, c in zip(self.f(list(xs)), self.cots, strict=True):
            part = (y * c).sum()
            total = part if total is None else total + part
        return total

    def directions(self) -> list[Any]:
        return [ek.tensor(self.rng.standard_normal(x.shape)) for x in self.xs]


def cases(row: Row) -> Iterator[Case]:
    """The samples that can be differentiated; there must be one."""
    found = False
    for sample in row.make():
        case = Case(row, sample)
        if case.xs and case.cots:
            found = True
            yield case
    assert found, f"row {row.name}: no sample has a floating-point argument and result"
