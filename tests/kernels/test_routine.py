"""Routines and the builder: loops, branches, cells, vectors with masks, tasks."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")
from expkit.kernels.cpu.code.builder import least
from expkit.kernels.cpu.code.elementwise import emit
from expkit.kernels.cpu.code.routine import Routine
from tests.kernels.guards import Guards


def relu_rows(f):
    """Each task: one row of x (rows, n) -> y, and its sum -> s."""
    x, y, s = f.arrays
    at = f.index * f["n"]
    total = f.cell(f.constant("f4", 0.0))
    for i in f.range(f["n"]):
        v = x.at(at).load(i)
        for positive in f.either(v.compare("gt", 0.0)):
            y.at(at).store(v if positive else 0.0, i)
        with f.when(v.compare("gt", 0.0)):
            total.value = total.value + v
    s.store(total.value, f.index)


def tanh_in_vectors(f):
    """y = tanh(x), 16 at a time, the rest under a mask."""
    x, y = f.arrays
    for i in f.range(f["n"], step=16):
        mask = f.first(least(f["n"] - i, 16), 16)
        y.store_some(mask, emit("tanh", [x.load_some(mask, i)], {}), i)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("n", [1, 5, 64, 1000])
def test_loops_branches_and_cells(n, parallel):
    x = np.random.default_rng(n).standard_normal((7, n)).astype("f4")
    y, s = np.empty_like(x), np.empty(7, "f4")
    routine = Routine("relu_rows", ("f4", "f4", "f4"), ("n",), relu_rows)
    routine.bind(7, parallel=parallel, n=n)(x, y, s)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_allclose(s, np.maximum(x, 0).sum(1, dtype="f8"), rtol=1e-5)


@pytest.mark.parametrize("n", [1, 15, 16, 17, 100])
def test_vectors_and_masks_stay_inside(n):
    x = np.linspace(-3, 3, n, dtype="f4")
    guards = Guards()
    x, y = guards.guarded(x), guards.empty((n,), np.dtype("f4"))
    Routine("tanh", ("f4", "f4"), ("n",), tanh_in_vectors).bind(1, n=n)(x, y)
    guards.check()
    np.testing.assert_allclose(y, np.tanh(x, dtype="f8"), rtol=3e-7)


def test_missing_numbers_are_named():
    with pytest.raises(TypeError, match="needs the numbers"):
        Routine("tanh", ("f4", "f4"), ("n",), tanh_in_vectors).bind(1)
