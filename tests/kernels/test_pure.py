"""Copies, conversions and writes by kernels alone: the values of the primitives, and replayed with other ones."""

from functools import partial

import numpy as np
import pytest

pytest.importorskip("llvmlite")
from expkit.autograd.primitive import PRIMITIVES
from expkit.kernels.cpu.arrays import write
from expkit.tensor.generated.pure import PURE
from tests.kernels.replayable import assert_replayable

RNG = np.random.default_rng(0)
SHAPES = [(1, 1), (2, 3), (5, 1, 7), (40, 30, 20), (3, 0)]
DTYPES = ["f4", "f8", "i8", "u1", "?", "c8", "c16", "f2"]


def some(shape, dtype="f4"):
    return np.asarray(RNG.standard_normal(shape) * 50).astype(dtype)


def check(name, *arrays, **kw):
    """The row agrees with the primitive, and can be replayed."""
    wanted, found = PRIMITIVES[name].impl(*arrays, **kw), PURE[name](*arrays, **kw)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)
    assert_replayable(partial(PURE[name], **kw), *arrays)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_copies(shape, dtype):
    x, n = some(shape, dtype), len(shape)
    for y in (x, np.asfortranarray(x), x[::-1], some(tuple(2 * k for k in shape), dtype)[(slice(None, None, 2),) * n]):
        check("contiguous", y)
        check("copy", y)
        check("reshape", y, shape=(x.size,))
        check("layout", y, order=tuple(range(n))[::-1])
        check("flip", y, axes=(0, n - 1))
        check("pad", y, widths=((1, 2), *[(0, 3)] * (n - 1)), value=3)
        check("cat", y, x, y, axis=n - 1)
        check("overwrite", x, y)
        check("put_slice", x, y[:1], spans=((0, 1, 1), *((0, k, 1) for k in shape[1:])))
        check("put_permute", x, y.T, axes=tuple(range(n))[::-1])
        check("put_reshape", x, some((x.size,), dtype), shape=(x.size,))
        check("put_alias", x, y)
        if x.itemsize <= 8 and x.size:
            check("trimmed", y, diagonal=1, lower=True)
    if n == 2:
        check("put_diagonal", x, x.diagonal(1, 0, 1).copy(), offset=1, axes=(0, 1))


@pytest.mark.parametrize("old", ["f4", "f8", "i8", "i4", "u1", "?"])
@pytest.mark.parametrize("new", ["f4", "f8", "i8", "i4", "u1", "?"])
def test_conversions(old, new):
    for shape in ((), (1,), (3, 5), (700, 9)):
        x = np.asarray(np.abs(some(shape)).astype(old))
        if (old[0], new) == ("f", "u1"):  # what NumPy makes of large ones has no instruction
            assert PURE["cast"](x, dtype=np.dtype(new)) is None
            continue
        check("cast", x, dtype=np.dtype(new))
        check("convert", x.T, dtype=np.dtype(new))


@pytest.mark.parametrize("dtypes", [("f4", "f4"), ("f4", "f8"), ("i8", "f4"), ("f8", "i4")])
@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 2), (70, 80), (0, 4)])
def test_writes(shape, dtypes):
    target, value = some(shape, dtypes[0]), some(shape, dtypes[1])

    def written(into, x):
        out = write.filled(into.shape, into.dtype)
        assert write.write(out, x)
        return out

    np.testing.assert_array_equal(written(target, value), value.astype(dtypes[0]))
    assert_replayable(written, target, value)
    if target.ndim:
        assert_replayable(written, target, value[:1])
        assert_replayable(written, target.T, some((), dtypes[1]))
        wide = np.zeros(tuple(2 * n for n in shape), dtypes[0])[(slice(None, None, 2),) * len(shape)]
        assert write.write(wide, value)
        np.testing.assert_array_equal(wide, value.astype(dtypes[0]))


def test_what_has_no_kernel_declines():
    assert PURE["cast"](some((3,), "c8"), dtype=np.dtype("f4")) is None
    assert PURE["cat"](some((3,)), some((3,), "f8"), axis=0) is None
    assert not write.write(some((3,), "c8"), some((3,)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers(dtype):
    for shape in ((), (3,), (50, 60)):
        found = write.filled(shape, np.dtype(dtype), 3)
        np.testing.assert_array_equal(found, np.full(shape, 3, dtype))
    assert write.number(-0.0, "f4").tobytes() != write.number(0.0, "f4").tobytes()


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (4, 3, 6), (70000,), (300, 40), (2, 40000)])
def test_scans(shape):
    x, axes = RNG.integers(-9, 9, shape).astype("f4"), {0, len(shape) - 1}
    for axis in axes:
        for back in (False, True):
            check("cumsum", x, axis=axis, back=back)
            check("cumsum", x.astype("i8"), axis=axis, back=back)
            check("states", np.sign(x), x, axis=axis, back=back)
        check("cumprod", np.sign(x), axis=axis)


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (4, 3, 6), (9000,), (100, 40)])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "i4", "u1", "?"])
def test_orders_and_places(shape, dtype):
    x = RNG.permutation(np.prod(shape)).reshape(shape).astype(dtype)
    for axis in {0, len(shape) - 1}:
        n = shape[axis]
        for name in ("argmax", "argmin"):
            check(name, x, axis=axis)
        for descending, (start, stop) in ((False, (0, n)), (True, (0, -(-n // 5))), (True, (n // 2, n // 2 + 1))):
            kw = {"axis": axis, "descending": descending, "start": start, "stop": stop}
            for a, b in zip(PURE["order"](x, **kw), PRIMITIVES["order"].impl(x, **kw), strict=True):
                np.testing.assert_array_equal(a, b)
            assert_replayable(partial(PURE["order"], **kw), x)


@pytest.mark.parametrize("shape", [(1,), (9,), (3, 5), (2, 3, 4), (300, 40), (70, 7, 9)])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(shape, name):
    for x in (some(shape), some(shape, "f8"), some(shape[::-1]).T):
        for axis in range(len(shape)):
            wanted = PRIMITIVES[name].impl(x, axis=axis)
            np.testing.assert_allclose(PURE[name](x, axis=axis), wanted, rtol=1e-5, atol=1e-7)
            assert_replayable(partial(PURE[name], axis=axis), x)


@pytest.mark.parametrize("shape", [(1,), (3, 5), (4, 3, 6), (70000,), (300, 400)])
@pytest.mark.parametrize("name", ["any", "all", "total"])
@pytest.mark.parametrize("dtype", ["?", "i4", "u1"])
def test_truth_and_sums_of_whole_numbers(name, shape, dtype):
    for x in (RNG.integers(0, 2, shape).astype(dtype), np.ones(shape, dtype), np.zeros(shape, dtype)):
        for axes in {(0,), (len(shape) - 1,), tuple(range(len(shape)))}:
            check(name, x, axes=axes)
