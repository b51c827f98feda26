"""Reductions and row programs against float64, over shapes, axes, strides and threads."""

from itertools import combinations, cycle

import numpy as np
import pytest

import expkit as ek
from expkit.kernels.cpu.loops.arguments import Place
from expkit.kernels.cpu.loops.program import Program, Ref, Step
from expkit.kernels.cpu.loops.reduce import Reduction
from tests.kernels.guards import install, layouts

pytest.importorskip("llvmlite")
NUMPY = {"sum": np.sum, "amax": np.max, "amin": np.min}  # products are tested apart: they overflow
SHAPES = [(40_003,), (3, 7), (200, 300), (2, 40_000), (40_000, 2), (1, 7, 1, 9), (9, 700, 3)]


def single(name: str, kind: str) -> Reduction:
    return Reduction(Program((kind,), (Step(name, (Ref(0),)),), (1,)))


@pytest.mark.parametrize("kind", ["f4", "f8", "i8"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_reductions_along_all_axes(shape, kind, monkeypatch):
    rng, guards = np.random.default_rng(0), install(monkeypatch)
    x = (rng.standard_normal(shape) * 100).astype(kind)
    kernels = {name: single(name, kind) for name in NUMPY}
    turns = cycle(NUMPY)  # each combination of layout and axes with one of them
    for a in layouts(x, rng):
        a = guards.guarded(a) if 0 not in a.strides else a
        for axes in (axes for r in range(1, a.ndim + 1) for axes in combinations(range(a.ndim), r)):
            name = next(turns)
            got, want = kernels[name]((a,), axes), NUMPY[name](a.astype("f8" if kind != "i8" else "i8"), axis=axes)
            assert got.shape == want.shape
            if name == "sum" and kind != "i8":
                scale = np.abs(a.astype("f8")).sum(axes)
                assert (np.abs(got - want) <= (1e-6 if kind == "f4" else 1e-13) * scale).all()
            else:
                assert np.array_equal(got, want)
    guards.check()


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)], ids=str)
def test_nan_and_infinity(axes):
    x = np.random.default_rng(0).standard_normal((37, 53)).astype("f4")
    x[3, 4], x[5, 6], x[7, 8] = np.nan, np.inf, -np.inf
    for name, plain in NUMPY.items():
        np.testing.assert_allclose(single(name, "f4")((x,), axes), plain(x, axis=axes), rtol=1e-4, atol=1e-4)
    low = np.full((37, 53), -np.inf, "f4")
    assert (single("amax", "f4")((low,), axes) == -np.inf).all()


@pytest.mark.parametrize("shape", [(1_000_003,), (3, 100_001), (100_001, 3), (700, 800), (40, 50, 60)], ids=str)
def test_sums_do_not_depend_on_the_number_of_threads(shape, threads):
    x = np.random.default_rng(1).standard_normal(shape).astype("f4")
    for axes in (axes for r in range(1, x.ndim + 1) for axes in combinations(range(x.ndim), r)):
        results = []
        for n in (1, 2, 4):
            threads(n)
            results.append(single("sum", "f4")((x,), axes))
        assert all(np.array_equal(results[0], r) for r in results)


def test_what_lies_in_pieces_is_shared_out_too(threads):
    wide = np.random.default_rng(4).standard_normal((500, 12, 90)).astype("f4")
    for x in (wide[:, :, :70], wide[::2, ::3], wide[:, 1:].transpose(2, 0, 1), wide[:, ::-1, ::2]):
        for axes in ((0, 1, 2), (0, 2), (1, 2), (0, 1)):
            results = []
            for n in (1, 2, 3):
                threads(n)
                results.append(single("sum", "f4")((x,), axes))
            assert all(np.array_equal(results[0], r) for r in results)
            scale = np.abs(x.astype("f8")).sum(axes)
            assert (np.abs(results[0] - x.astype("f8").sum(axes)) <= 1e-6 * scale).all()


def test_a_long_sum_is_accurate():
    x = np.full(10_000_000, 0.1, "f4")
    assert abs(float(single("sum", "f4")((x,), (0,))) / (float(x[0]) * x.size) - 1) < 4e-6
    columns = np.broadcast_to(x.reshape(-1, 1)[:1_000_000], (1_000_000, 4))
    assert np.abs(single("sum", "f4")((columns,), (0,)) / (float(x[0]) * 1_000_000) - 1).max() < 1e-5


def test_a_reduction_of_an_expression():
    steps = (Step("sub", (Ref(0), Ref(1))), Step("square", (Ref(2),)), Step("sum", (Ref(3),)))
    program = Program(("f8", "f8"), steps, (4,))
    x, y = np.random.default_rng(2).standard_normal((2, 60, 70))
    for axes in ((0,), (1,), (0, 1)):
        np.testing.assert_allclose(Reduction(program)((x, y), axes), ((x - y) ** 2).sum(axes), rtol=1e-13)
        np.testing.assert_allclose(Reduction(program)((x, y[0]), axes), ((x - y[0]) ** 2).sum(axes), rtol=1e-13)


@pytest.mark.parametrize("shape", [(30_011,), (120, 90), (9, 700, 3), (40_000, 2)], ids=str)
def test_products(shape):
    x = 1 + np.random.default_rng(6).standard_normal(shape) / 1000
    whole = np.random.default_rng(7).integers(-1, 3, shape)
    for axes in (axes for r in range(1, x.ndim + 1) for axes in combinations(range(x.ndim), r)):
        np.testing.assert_allclose(single("prod", "f8")((x,), axes), x.prod(axes), rtol=1e-11)
        assert np.array_equal(single("prod", "i8")((whole,), axes), whole.prod(axes))


@pytest.mark.parametrize("kind", ["f4", "f8", "i4", "u1", "i8"])
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_places_of_extrema_in_columns(name, kind, monkeypatch, threads):
    rng, guards, made = np.random.default_rng(8), install(monkeypatch), 0
    kernel = Place(name, kind)
    for shape in [(7, 5), (300, 700), (3, 40, 50), (2, 3, 40, 50), (50, 3), (1, 9), (2, 70_000)]:
        x = (rng.standard_normal(shape) * 20).astype(kind)
        if kind[0] == "f":
            x.flat[::37], x.flat[::11], x.flat[::13] = np.nan, np.inf, -np.inf
        for axis in range(x.ndim):
            for a in (x, x[::-1], x.swapaxes(0, -1), x[..., ::2], x[:, 1:]):
                threads(1 + made % 3)
                got = kernel(a, axis)
                if got is not None:
                    assert np.array_equal(got, getattr(a, name)(axis))
                    made += 1
    assert made > 10
    guards.check()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "int32", "int64"])
def test_whole_numbers_are_summed_in_64_bits(dtype):
    x = (np.random.default_rng(9).integers(0, 250, (90, 301)) % (2 if dtype == "bool" else 125)).astype(dtype)
    for dim in (None, 0, 1):
        got = ek.from_numpy(x).sum(dim)
        assert got.dtype is ek.int64
        assert np.array_equal(got.numpy(), x.sum(dim, dtype="i8"))
