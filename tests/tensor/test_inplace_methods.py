"""The in-place form of every operation that has one does what the operation does, in the tensor's own memory."""

from typing import Any

import numpy as np
import pytest

import expkit as ek
from expkit.tensor import methods
from tests.ops.case import attempt
from tests.ops.rows import Row, Sample, to_ek
from tests.ops.table import ROWS

OF_COMPLEX = {"conj_physical"}  # its rows are by real and imaginary parts; tests/ops/test_elementwise.py
NAMES = sorted({name for names in methods.INPLACE.values() for name in names.split()} - OF_COMPLEX)
ROWS_OF = {name: [row for row in ROWS if row.name == name and row.call is None] for name in NAMES}


def fitting(row: Row, dtype: str) -> list[tuple[Sample, Any]]:
    """Samples whose result fits into the first argument, with that result."""
    found = []
    for sample in row.make():
        s = to_ek(sample, dtype)
        if not s.args or not isinstance(s.args[0], ek.Tensor):
            continue
        result, error = attempt(lambda: row.function()(*s.args, **s.kw))  # noqa: B023
        x = s.args[0]
        if (
            error is None
            and isinstance(result, ek.Tensor)
            and result.shape == x.shape
            and ek.can_cast(result.dtype, x.dtype)
        ):
            found.append((s, result))
    return found


def test_every_in_place_operation_has_samples():
    assert [
        name for name in NAMES if not any(fitting(row, d) for row in ROWS_OF[name] for d in ("float64", "int64"))
    ] == []


@pytest.mark.parametrize("name", NAMES)
def test_same_as_out_of_place(name):
    for row in ROWS_OF[name]:
        for dtype in ("float64", "float32", "int64"):
            for s, expected in fitting(row, dtype):
                for x in (s.args[0].clone(), _strided(s.args[0])):
                    memory = x.numpy()
                    out = getattr(x, f"{name}_")(*s.args[1:], **s.kw)
                    assert out is x
                    assert x.numpy() is not None
                    assert np.shares_memory(memory, x.numpy()) or not x.numel()
                    assert x.dtype == s.args[0].dtype
                    np.testing.assert_array_equal(memory, expected.to(x.dtype).numpy(), err_msg=f"{name}_{s}")


def _strided(x: Any) -> Any:
    if x.ndim == 0:
        return x.clone()
    wide = ek.zeros(*x.shape[:-1], 2 * x.shape[-1], dtype=x.dtype)
    view = wide[..., ::2]
    view.copy_(x)
    return view


@pytest.mark.parametrize("name", [n for n in NAMES if any(row.grad for row in ROWS_OF[n])])
def test_gradients_are_those_of_the_out_of_place_form(name):
    for row in ROWS_OF[name]:
        for s, result in fitting(row, "float64") if row.grad else []:
            if not result.is_floating_point():
                continue
            expected = _gradients(s, lambda x, *a, row=row, **k: row.function()(x, *a, **k))
            got = _gradients(s, lambda x, *a, **k: getattr(x.clone(), f"{name}_")(*a, **k))
            for g, e in zip(got, expected, strict=True):
                np.testing.assert_allclose(g.numpy(), e.numpy(), rtol=1e-12, err_msg=f"{name}_{s}")


def _gradients(s: Sample, fn: Any) -> list[Any]:
    leaves = s.map(lambda x: x.clone().requires_grad_() if x.is_floating_point() else x)
    out = fn(*leaves.args, **leaves.kw)
    xs = [x for x in leaves.arrays() if x.requires_grad]
    return ek.autograd.grad(
        (out * ek.arange(1.0, out.numel() + 1, dtype=out.dtype).reshape(out.shape)).sum(), xs, materialize_grads=True
    )


@pytest.mark.parametrize("name", ["add", "mul", "exp", "clamp", "zero", "fill", "copy", "normal", "uniform"])
def test_a_write_is_seen_by_all_views(name):
    x = ek.ones(2, 3)
    row, flat = x[1], x.view(-1)
    arguments = {"add": (1.0,), "mul": (2.0,), "clamp": (0.0, 0.5), "fill": (3.0,), "copy": (ek.zeros(3),)}.get(
        name, ()
    )
    getattr(row, f"{name}_")(*arguments)
    assert (flat[3:] == row).all()
    assert x[0].tolist() == [1.0, 1.0, 1.0]
