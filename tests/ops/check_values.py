"""Checks of values, dtypes, refusals, shared memory and layouts."""

from typing import Any

import numpy as np

import expkit as ek
from tests.ops.case import attempt
from tests.ops.rows import TOLERANCE, Row, assert_close, dtype_name, strided, tensors, to_ek, to_torch


def check_value(row: Row) -> None:
    """float64, and float32 within its rounding, against the NumPy oracle."""
    fn = row.function()
    for sample in row.make():
        expected = tensors_of_arrays(row.numpy(*sample.args, **sample.kw))
        for dtype in ("float64", "float32"):
            s = to_ek(sample, dtype)
            got = tensors(fn(*s.args, **s.kw))
            what = f"{row.name}{sample!r} in {dtype}"
            assert len(got) == len(expected), f"{what}: {len(got)} results, expected {len(expected)}"
            for y, e in zip(got, expected, strict=True):
                assert_close(y, e, dtype, what, row.tolerance)


def tensors_of_arrays(result: Any) -> list[np.ndarray]:
    return [np.asarray(r) for r in result] if isinstance(result, list | tuple) else [np.asarray(result)]


def check_torch(row: Row, torch: Any, dtype: str) -> None:
    """Shape, dtype and value as PyTorch has them; an error where PyTorch raises one."""
    fn, oracle = row.function(), row.torch_function(torch)
    for sample in row.make():
        what = f"{row.name}{sample!r} in {dtype}"
        t, s = to_torch(sample, torch, dtype), to_ek(sample, dtype)
        expected, refused = attempt(lambda: oracle(*t.args, **t.kw))  # noqa: B023
        got, error = attempt(lambda: fn(*s.args, **s.kw))  # noqa: B023
        if refused is not None:  # a kernel that PyTorch lacks for a dtype may exist here
            lacking = isinstance(refused, NotImplementedError) or "not implemented for" in str(refused)
            assert error is not None or lacking, f"{what}: PyTorch refuses ({refused}), expkit returns {got}"
            continue
        assert error is None, f"{what}: {type(error).__name__}: {error}"
        got, expected = tensors(got), tensors(expected)
        assert len(got) == len(expected), f"{what}: {len(got)} results, expected {len(expected)}"
        for y, e in zip(got, expected, strict=True):
            assert dtype_name(y) == dtype_name(e), f"{what}: {y.dtype}, PyTorch has {e.dtype}"
            assert_close(y, e, dtype if dtype in TOLERANCE else dtype_name(y), what, row.tolerance)


def check_refused(row: Row, torch: Any) -> None:
    """Wrong arguments raise an error that names what is wrong, here and in PyTorch."""
    for sample in row.bad():
        s, t = to_ek(sample), to_torch(sample, torch)
        _, theirs = attempt(lambda: row.torch_function(torch)(*t.args, **t.kw))  # noqa: B023
        assert theirs is not None, f"{row.name}{sample!r}: PyTorch accepts this"
        got, error = attempt(lambda: row.function()(*s.args, **s.kw))  # noqa: B023
        assert error is not None, f"{row.name}{sample!r}: accepted, gave {got!r}"
        assert str(error), f"{row.name}{sample!r}: an error without a message"


def check_alias(row: Row, torch: Any) -> None:
    """A result looks into an argument's memory where PyTorch's does, and nowhere else."""
    for sample in row.make():
        t, s = to_torch(sample, torch), to_ek(sample)
        expected, refused = attempt(lambda: row.torch_function(torch)(*t.args, **t.kw))  # noqa: B023
        if refused is not None:
            continue
        got = tensors(row.function()(*s.args, **s.kw))
        for i, (y, e) in enumerate(zip(got, tensors(expected), strict=True)):
            for j, (x, z) in enumerate(zip(s.arrays(), t.arrays(), strict=True)):
                shares = np.shares_memory(y.numpy(), x.numpy())
                looks_in = bool(e.numel()) and e.untyped_storage().data_ptr() == z.untyped_storage().data_ptr()
                what = f"{row.name}{sample!r}: result {i} shares memory with argument {j}"
                assert shares == looks_in, f"{what}: {shares}, in PyTorch {looks_in}"


def check_layout(row: Row) -> None:
    """The result does not depend on how the arguments lie in memory, and the arguments are not written to."""
    fn = row.function()
    for sample in row.make():
        plain = to_ek(sample)
        held = [strided(x) for x in sample.arrays()]
        odd = sample.fill(held).map(lambda a: ek.from_numpy(a) if a.ndim and a.dtype == np.float64 else ek.tensor(a))
        expected = tensors(fn(*plain.args, **plain.kw))
        for y, e in zip(tensors(fn(*odd.args, **odd.kw)), expected, strict=True):
            assert_close(y, e, "float64", f"{row.name}{sample!r}, strided")
        for before, after in zip(sample.arrays(), held, strict=True):
            assert np.array_equal(before, after, equal_nan=True), f"{row.name}{sample!r}: an argument was overwritten"
