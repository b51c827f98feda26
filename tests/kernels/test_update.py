"""Kernels over tables of segments: to the bit what NumPy gives, whatever the sizes, the threads and the callers."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("llvmlite")
from expkit.kernels.cpu.code.elementwise import kind_of
from expkit.kernels.cpu.loops.plan import TILE
from expkit.kernels.cpu.loops.program import Ref, Step
from expkit.kernels.cpu.nets.update import Update, cut, sweep_of, total
from tests.kernels.guards import Guards

SIZES = [(1,), (5, 0, 16, 17), (0,), (40_000, 3, TILE, TILE + 1), (100,) * 50]


def momentum(kind):
    """m = m * c + g;  p = p - m / d"""
    steps = (
        Step("mul", (Ref(2), Ref(3))),
        Step("add", (Ref(5), Ref(1))),
        Step("div", (Ref(6), Ref(4))),
        Step("sub", (Ref(0), Ref(7))),
    )
    return Update(kind, 3, 2, steps, ((0, 8), (2, 6)))


def made(rng, sizes, dtype):
    """(arrays of each operand, numbers of each segment)"""
    arrays = [[rng.standard_normal(n).astype(dtype) for n in sizes] for _ in range(3)]
    return arrays, rng.uniform(0.5, 2, (len(sizes), 2))


def expected(arrays, numbers, dtype):
    out = []
    for p, g, m, (c, d) in zip(*arrays, numbers.astype(dtype), strict=True):
        new = m * c + g
        out.append((p - new / d, new))
    return out


def run(update, arrays, numbers):
    table = sweep_of(update).over([a.size for a in arrays[0]])
    for n, column in enumerate(arrays):
        table.objects[n] = [id(a) for a in column]
    table.numbers[:] = numbers
    table.run()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_segments_are_updated_to_the_bit_and_nothing_else_is(sizes, dtype, threads):
    for count in (1, 2, 5):
        threads(count)
        arrays, numbers = made(np.random.default_rng(0), sizes, dtype)
        guards = Guards()
        arrays = [[guards.guarded(a) if a.size else a for a in column] for column in arrays]
        want = expected(arrays, numbers, dtype)
        gradients = [g.copy() for g in arrays[1]]
        run(momentum(kind_of(dtype)), arrays, numbers)
        guards.check()
        for n, (p, m) in enumerate(want):
            np.testing.assert_array_equal(arrays[0][n], p)
            np.testing.assert_array_equal(arrays[2][n], m)
            np.testing.assert_array_equal(arrays[1][n], gradients[n])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_sums_of_squares(sizes, dtype, threads):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(n).astype(dtype) for n in sizes]
    found = set()
    for count in (1, 2, 5):
        threads(count)
        found.add(total("squares", arrays).item())
    assert len(found) == 1, "the result depends on the number of threads"
    want = sum(np.square(a, dtype="f8").sum() for a in arrays)
    np.testing.assert_allclose(found.pop(), want, rtol=1e-13)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3 * TILE), max_size=20).map(tuple))
def test_pieces_cover_every_element_once(sizes):
    made = cut(sizes)
    at = 0
    for segment, size in enumerate(sizes):
        start = 0
        while start < size:
            assert tuple(made.pieces[at][:2]) == (segment, start)
            start += made.pieces[at][2]
            at += 1
        assert start == size
    assert at == len(made.pieces)
    assert made.total == sum(sizes)
    assert made.first[0] == 0
    assert made.first[-1] == at
    for a, b in zip(made.first, made.first[1:], strict=False):
        assert 0 < made.pieces[a:b, 2].sum() <= TILE


def test_from_several_python_threads_at_once():
    def work(seed):
        arrays, numbers = made(np.random.default_rng(seed), (50_000, 7, 20_000), "f4")
        want = expected(arrays, numbers, "f4")
        run(momentum("f4"), arrays, numbers)
        return all((a == p).all() and (b == m).all() for a, b, (p, m) in zip(arrays[0], arrays[2], want, strict=True))

    with ThreadPoolExecutor(4) as callers:
        assert all(callers.map(work, range(16)))
