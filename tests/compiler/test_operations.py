"""Every row of the table of operations, compiled: in its first run, which is recorded, and replayed."""

import numpy as np
import pytest

import expkit as ek
from expkit import tree
from tests.ops.case import attempt
from tests.ops.rows import array_of, tensors, to_ek
from tests.ops.table import ROWS


def reversed_values(x):
    """A tensor of the same shape and order of memory with its values in reverse."""
    if not isinstance(x, ek.Tensor):
        return x
    raw = x.detach().numpy()
    made = np.empty_like(raw)
    made[...] = raw.ravel()[::-1].reshape(raw.shape)
    return ek.tensor(made).requires_grad_(x.requires_grad)


@pytest.mark.parametrize("number", range(len(ROWS)), ids=[row.name for row in ROWS])
def test_every_operation_compiled_is_the_operation(number):
    """In its first run, which is recorded, and replayed with other values and with the first ones again."""
    row = ROWS[number]
    for sample in row.make():
        s = to_ek(sample, "float32")
        if not row.trace or attempt(lambda: tensors(row.function()(*s.args, **s.kw)))[1] is not None:  # noqa: B023
            continue
        compiled = ek.compile(lambda *a, **k: tensors(row.function()(*a, **k)), fullgraph=True)
        compiled(*s.args, **s.kw)
        for change in (lambda x: x, reversed_values, lambda x: x):
            args, kw = tree.map(change, (s.args, s.kw))
            expected, refused = attempt(lambda: tensors(row.function()(*args, **kw)))  # noqa: B023
            if refused is not None:
                continue
            for got, e in zip(compiled(*args, **kw), expected, strict=True):
                assert got.dtype == e.dtype
                np.testing.assert_allclose(
                    np.asarray(array_of(got), np.complex128), np.asarray(array_of(e), np.complex128), rtol=1e-5,
                    atol=1e-6, err_msg=f"{row.name}{sample!r}",
                )  # fmt: skip
