"""Scenarios: short programs written once for `m`, run with m = expkit and m = torch, and compared.

A scenario returns tensors, numbers, strings, None, or lists of these. `raises(fn)` stands for the kind of an error.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import expkit as ek

Scenario = Callable[[Any], Any]


class Table(dict):
    """name -> scenario; used as a decorator."""

    def __call__(self, fn: Scenario) -> Scenario:
        assert fn.__name__ not in self
        self[fn.__name__] = fn
        return fn


def raises(fn: Callable[[], Any]) -> str:
    """ "error" where fn() raises one of the errors that PyTorch raises too, else "no error"."""
    try:
        fn()
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        return "error" if str(error) else "an error without a message"
    return "no error"


def x64(m: Any, *values: float, grad: bool = True) -> Any:
    """A float64 leaf."""
    return m.tensor(list(values), dtype=m.float64, requires_grad=grad)


def grid(m: Any, *shape: int, grad: bool = True, start: float = 0.5) -> Any:
    """A float64 leaf of distinct values that are no whole numbers."""
    n = int(np.prod(shape))
    return m.tensor((np.arange(n) * 0.7 - 0.3 * n + start).reshape(shape).tolist(), dtype=m.float64, requires_grad=grad)


def plain(value: Any) -> Any:
    """A result in terms that can be compared across libraries."""
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    array = value.detach().float() if "bfloat16" in str(value.dtype) else value.detach()
    return (str(value.dtype).rpartition(".")[2], np.array(array.numpy()))


def assert_same(got: Any, expected: Any, where: str = "result") -> None:
    if isinstance(expected, list) and isinstance(got, list):
        assert len(got) == len(expected), f"{where}: {len(got)} parts, PyTorch has {len(expected)}"
        for i, (g, e) in enumerate(zip(got, expected, strict=True)):
            assert_same(g, e, f"{where}[{i}]")
    elif isinstance(expected, dict):
        assert list(got) == list(expected)
        for key in expected:
            assert_same(got[key], expected[key], f"{where}[{key!r}]")
    elif isinstance(expected, tuple):
        assert isinstance(got, tuple), f"{where}: {got}, PyTorch has {expected}"
        assert got[0] == expected[0], f"{where}: dtype {got[0]}, PyTorch has {expected[0]}"
        assert got[1].shape == expected[1].shape, f"{where}: shape {got[1].shape}, PyTorch has {expected[1].shape}"
        rtol, atol = (1e-10, 1e-12) if got[0] in ("float64", "complex128") else (1e-6, 1e-7)
        np.testing.assert_allclose(got[1], expected[1], rtol=rtol, atol=atol, err_msg=where)
    else:
        assert got == expected or (got != got and expected != expected), f"{where}: {got!r}, PyTorch has {expected!r}"


def compare(scenario: Scenario, torch: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's advice
        expected = plain(scenario(torch))
    assert_same(plain(scenario(ek)), expected)


def both_ways(table: Table) -> tuple[Callable[..., None], Callable[..., None]]:
    """The tests of a table: each scenario compared with PyTorch; and alone, where that is missing."""

    @pytest.mark.torch
    @pytest.mark.parametrize("name", table)
    def test_as_in_pytorch(name: str, torch: Any) -> None:
        compare(table[name], torch)

    @pytest.mark.parametrize("name", table)
    def test_it_runs(name: str) -> None:
        """No scenario crashes with an error that is not a deliberate one."""
        table[name](ek)

    return test_as_in_pytorch, test_it_runs
