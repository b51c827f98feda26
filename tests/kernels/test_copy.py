"""Copies between arrays of any strides, beside NumPy's."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("llvmlite")
from expkit.kernels.cpu.arrays import copy
from expkit.kernels.cpu.arrays.triangle import triangle
from tests.kernels.guards import Guards, install, layouts
from tests.kernels.together import at_once

DTYPES = ["i1", "?", "f2", "i4", "f4", "f8", "c8", "c16"]


def some(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) * 100).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(37, 50), (3, 70, 33), (18, 3, 17, 19)])
def test_every_permutation(shape, dtype, monkeypatch):
    guards = install(monkeypatch)
    x = some(shape, dtype)
    for axes in itertools.permutations(range(len(shape))):
        np.testing.assert_array_equal(copy.contiguous(x.transpose(axes)), x.transpose(axes))
    guards.check()


def strided(base_shape, axes, steps, offsets):
    """A view of a bigger array: permuted, with steps (negative ones too) and offsets."""
    view = some([(n * abs(s)) + o for n, s, o in zip(base_shape, steps, offsets, strict=True)], "f4")
    view = view[tuple(slice(o, None) for o in offsets)]
    view = view[tuple(slice(None, None, s) for s in steps)]
    return view.transpose(axes)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_strides_to_any_strides(data):
    rank = data.draw(st.integers(1, 5))
    shape = data.draw(st.tuples(*[st.integers(1, (2000, 90, 40, 12, 7)[rank - 1])] * rank))
    views = []
    for _ in range(2):
        axes = data.draw(st.permutations(range(rank)))
        base = [0] * rank
        for n, axis in zip(shape, axes, strict=True):
            base[axis] = n
        steps = data.draw(st.tuples(*[st.sampled_from([1, 1, -1, 2, -3])] * rank))
        offsets = data.draw(st.tuples(*[st.integers(0, 2)] * rank))
        views.append(strided(base, axes, steps, offsets))
    dst, src = views
    whole = dst.base
    expected = whole.copy()
    place = np.lib.stride_tricks.as_strided
    offset = (dst.ctypes.data - whole.ctypes.data) // 4
    place(expected.reshape(-1)[offset:], dst.shape, dst.strides)[...] = src if min(dst.strides) >= 0 else 0
    copy.copy(dst, src)
    np.testing.assert_array_equal(dst, src)
    if min(dst.strides) >= 0:  # what lies between the elements is as it was
        np.testing.assert_array_equal(whole, expected)


@pytest.mark.parametrize("dtype", ["f4", "i1"])
def test_other_layouts_and_broadcast_sources(dtype, monkeypatch):
    guards = install(monkeypatch)
    rng = np.random.default_rng(0)
    for shape in [(1,), (257,), (40, 300), (3, 5, 90)]:
        for x in layouts(some(shape, dtype), rng):
            np.testing.assert_array_equal(copy.contiguous(guards.guarded(x) if x.strides[0] else x), x)
            spread = np.broadcast_to(x[..., None], (*x.shape, 3))
            np.testing.assert_array_equal(copy.contiguous(spread), spread)
    out = copy.plan.empty((70, 200), np.dtype(dtype))
    copy.copy(out, np.array(7, dtype))
    assert (out == 7).all()
    copy.copy(np.empty((0, 4)), np.empty((0, 4)))
    guards.check()


def test_like_keeps_the_order_in_memory():
    x = some((2, 5, 6, 3), "f4").transpose(0, 3, 1, 2)
    y = copy.like(x)
    assert (y.shape, y.strides) == (x.shape, x.strides)
    assert copy.like(x, (2, 4, 5, 6)).transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("count", [1, 2, 5])
def test_large_copies_over_threads(count, threads):
    threads(count)
    x = some((700, 900), "f4")
    for view in (x, x.T, x[::-1], x[:, ::-1], x[::2, 1::3], np.broadcast_to(x[:, None], (700, 2, 900))):
        np.testing.assert_array_equal(copy.contiguous(view), view)


def test_copies_from_several_python_threads():
    x = some((500, 800), "f4")

    def work(_):
        for _ in range(20):
            np.testing.assert_array_equal(copy.contiguous(x.T), x.T)

    at_once(work, range(4))


def test_guards_notice_the_edges():
    guards = Guards()
    x = guards.guarded(some((33, 65), "f4"))
    y = guards.empty((65, 33), np.dtype("f4"))
    copy.copy(y, x.T)
    guards.check()
    np.testing.assert_array_equal(y, x.T)


@pytest.mark.parametrize("shape", [(150, 90), (90, 150), (3, 40, 130), (2, 3, 1, 9000)])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i1"])
def test_triangles(shape, dtype, monkeypatch):
    guards = install(monkeypatch)
    x = guards.guarded(some(shape, dtype))
    x[..., -1] = np.nan if dtype[0] == "f" else 1  # what is cut away is zero whatever it was
    for diagonal in (0, 3, -2, 10_000, -10_000):
        np.testing.assert_array_equal(triangle(x, diagonal, True), np.tril(x, diagonal))
        np.testing.assert_array_equal(triangle(x, diagonal, False), np.triu(x, diagonal))
    guards.check()
