"""Convolution, pooling, normalisation and fused composites through the checks of the op table."""

import numpy as np
import pytest

import expkit as ek
from tests.ops import checkers
from tests.ops.table_nn import ROWS

NAMED = {f"{row.name}-{i}": row for i, row in enumerate(ROWS)}
CHECKS = {
    name: getattr(checkers, f"check_{name}")
    for name in ("layout", "vjp", "jvp", "second", "vmap", "vmap_grad", "trace", "trace_grad")
}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("check", CHECKS)
def test_check(check, name):
    CHECKS[check](NAMED[name])


@pytest.mark.torch
@pytest.mark.parametrize(("name", "dtype"), [(name, d) for name, row in NAMED.items() for d in row.dtypes.split()])
def test_torch(name, dtype, torch):
    checkers.check_torch(NAMED[name], torch, dtype)


@pytest.mark.torch
@pytest.mark.parametrize("name", NAMED)
def test_torch_grad(name, torch):
    checkers.check_torch_grad(NAMED[name], torch)


@pytest.mark.torch
@pytest.mark.parametrize("name", [name for name, row in NAMED.items() if row.bad()])
def test_refused(name, torch):
    checkers.check_refused(NAMED[name], torch)
