"""Reading and writing by index, beside NumPy: values, order of sums, bounds, strides, threads."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("llvmlite")
import expkit as ek
from expkit.errors import RangeError
from expkit.kernels.cpu.arrays import gather as kernels
from expkit.kernels.cpu.record.arena import Arena, reserved
from expkit.kernels.cpu.record.driver import Script
from expkit.kernels.cpu.record.recording import Recording
from expkit.nn import functional as F
from expkit.tensor.generated import index as hooks
from expkit.tensor.generated.pure import PURE
from expkit.tensor.ops import index as ops
from tests.kernels.guards import install
from tests.kernels.replayable import assert_replayable
from tests.kernels.together import at_once

RNG = np.random.default_rng(0)
DTYPES = ["f2", "i1", "f8", "?"]
INDEX_DTYPES = ["i1", "u1", "i2", "i4", "i8"]


def refused(*_args, **_kw):
    raise AssertionError("the plain implementation was called")


TAKE, PLACED = hooks.take(refused), hooks.placed(refused)
GATHER = hooks.gather(refused)
SCATTER, SCATTER_ADD = hooks.scatter(kernels.PUT, refused), hooks.scatter(kernels.ADD, refused)


def some(shape, dtype="f4"):
    return (RNG.standard_normal(shape) * 50).astype(dtype)


@pytest.fixture
def guards(monkeypatch):
    guards = install(monkeypatch)
    yield guards
    guards.check()


@pytest.mark.parametrize(("dtype", "index_dtype"), [*(("f4", i) for i in INDEX_DTYPES), *((d, "i8") for d in DTYPES)])
def test_rows_of_a_table(dtype, index_dtype, guards):
    x = guards.guarded(some((100, 77), dtype))
    i = RNG.integers(0 if index_dtype == "u1" else -100, 100, (30, 5)).astype(index_dtype)
    np.testing.assert_array_equal(TAKE(x, i, axes=(0,)), x[i])
    if kernels.kind_of(x.dtype, kernels.ADD):
        expected = np.zeros_like(x)
        np.add.at(expected, i, x[i])
        np.testing.assert_array_equal(PLACED(x[i], i, axes=(0,), shape=x.shape), expected)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_index_arrays_on_any_axes(data):
    rank = data.draw(st.integers(1, 4))
    shape = data.draw(st.tuples(*[st.integers(1, (4000, 60, 25, 12)[rank - 1])] * rank))
    axes = tuple(sorted(data.draw(st.sets(st.integers(0, rank - 1), min_size=1, max_size=3))))
    x = some(shape)
    order = data.draw(st.permutations(range(rank)))
    x = x.transpose(order) if data.draw(st.booleans()) else x[tuple(slice(None, None, -1) for _ in shape)]
    places = data.draw(st.sampled_from([(5000,), (70, 80)]))
    indices = [RNG.integers(-x.shape[a], x.shape[a], places) for a in axes]
    if data.draw(st.booleans()):
        indices = [i[::-1] for i in indices]
    got = hooks.take(ops._take)(x, *indices, axes=axes)
    np.testing.assert_array_equal(got, ops._take(x, *indices, axes=axes))
    value = ops._take(some(x.shape), *indices, axes=axes)  # repeated places are given the same value
    put = hooks.put(kernels.PUT, ops._put)
    np.testing.assert_array_equal(put(x, value, *indices, axes=axes), ops._put(x, value, *indices, axes=axes))
    value = np.broadcast_to(value[:1], got.shape)
    put_add, expected = hooks.put(kernels.ADD, ops._put_add), ops._put_add(x, value, *indices, axes=axes)
    np.testing.assert_allclose(put_add(x, value, *indices, axes=axes), expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_along_an_axis(axis, dtype, guards):
    x = guards.guarded(some((9, 31, 40), dtype))
    shape = tuple(50 if a == axis else n for a, n in enumerate(x.shape))
    for i in (RNG.integers(0, x.shape[axis], shape), RNG.integers(0, x.shape[axis], shape[::-1]).T):
        grid = ops.grid(np, i, axis)
        np.testing.assert_array_equal(GATHER(x, i, axis=axis), x[grid])
        value = some(shape, dtype)
        for scatter, add in ((SCATTER, False), (SCATTER_ADD, True)):
            expected = x.copy()
            if add:
                np.add.at(expected, grid, value)
            else:
                value = some(x.shape, dtype)[grid]
                expected[grid] = value
            np.testing.assert_array_equal(scatter(x, i, value, axis=axis), expected)


@pytest.mark.parametrize("wrong", [70, -1, 1 << 40, -(1 << 62)])
def test_indices_out_of_bounds_touch_nothing(wrong, guards):
    x, i = guards.guarded(some((70, 90))), RNG.integers(0, 70, (70, 90))
    i[33, 44] = wrong
    text = f"index {wrong} is out of bounds for dimension 0 with size 70"
    calls = [
        lambda: GATHER(x, i, axis=0), lambda: SCATTER(x, i, x, axis=0), lambda: SCATTER_ADD(x, i, x, axis=0),
    ]  # fmt: skip
    if wrong != -1:  # counts from the end here
        calls.append(lambda: TAKE(x, i, axes=(0,)))
    for call in calls:
        with pytest.raises(RangeError, match=text):
            call()


@pytest.mark.parametrize("n", [10, 5000])
def test_errors_are_the_same_for_few_and_many_indices(n):
    x = ek.randn(20, 7)
    bad = ek.full((n, 7), 3, dtype=ek.int64)
    bad[n - 1, 2] = 20
    message = r"index 20 is out of bounds for dimension 0 with size 20"
    for call in (
        lambda: ek.gather(x, 0, bad), lambda: ek.scatter_add(x, 0, bad, ek.ones(n, 7)), lambda: x[bad],
        lambda: ek.index_select(x, 0, bad[:, 2]), lambda: F.embedding(bad, x), lambda: x.__setitem__(bad, 0.0),
    ):  # fmt: skip
        with pytest.raises(IndexError, match=message):
            call()


def test_negative_indices_count_from_the_end_for_few_and_many():
    x = ek.randn(20, 7, requires_grad=True)
    few = ek.tensor([-1, 3, -20])
    out = x[few.repeat(2000)]
    np.testing.assert_array_equal(out.detach().numpy(), x.detach().numpy()[np.tile([-1, 3, -20], 2000)])
    out.sum().backward()
    expected = np.zeros((20, 7), "f4")
    expected[[19, 3, 0]] = 2000
    np.testing.assert_array_equal(x.grad.numpy(), expected)


@pytest.mark.parametrize("shape", [(70, 90), (6, 50, 31), (40, 7, 9, 5), (9000,)])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 1])
def test_masks(shape, share, guards):
    x, mask = ek.from_numpy(guards.guarded(some(shape))), RNG.random(shape) < share
    np.testing.assert_array_equal(hooks.nonzero(refused)(guards.guarded(mask)), np.stack(np.nonzero(mask), 1))
    np.testing.assert_array_equal(x[ek.tensor(mask)].numpy(), x.numpy()[mask])
    np.testing.assert_array_equal(x.permute(*range(x.ndim)[::-1])[ek.tensor(mask.T)].numpy(), x.numpy().T[mask.T])
    expected = x.numpy().copy()
    expected[mask] = 3
    x[ek.tensor(mask)] = 3.0
    np.testing.assert_array_equal(x.numpy(), expected)
    values = some(int(mask.sum()))
    x[ek.tensor(mask)] = ek.tensor(values)
    expected[mask] = values
    np.testing.assert_array_equal(x.numpy(), expected)


def test_writes_into_a_view_and_from_the_same_memory():
    x, i, j = ek.randn(60, 200), RNG.permutation(50), RNG.integers(-200, 200, (50, 100))
    expected = x.numpy().copy()
    x[5:55][ek.tensor(i)] = x[:50]
    expected[5:55][i] = expected[:50].copy()
    np.testing.assert_array_equal(x.numpy(), expected)
    x.t()[ek.tensor(j), ek.tensor(i[:, None])] = 7.0
    expected.T[j, i[:, None]] = 7
    np.testing.assert_array_equal(x.numpy(), expected)
    with pytest.raises(IndexError, match="index 60 is out of bounds for dimension 0 with size 60"):
        x[ek.tensor([*range(61)])] = 0.0
    np.testing.assert_array_equal(x.numpy(), expected)


@pytest.mark.parametrize("recorded", [False, True])
def test_additions_in_place(recorded):
    x, i, g = ek.randn(300, 40), RNG.integers(0, 300, 2000), ek.randn(2000, 40, requires_grad=recorded)
    expected, place = x.numpy().copy(), x.raw
    for write in (
        lambda: x.index_add_(0, ek.tensor(i), g), lambda: x.index_put_((ek.tensor(i),), g, accumulate=True),
        lambda: x[10:].index_add_(0, ek.tensor(i % 290), g),
    ):  # fmt: skip
        offset = write() is not x
        np.add.at(expected[10 * offset :], i % (290 if offset else 300), g.detach().numpy())
        assert x.requires_grad is recorded
    assert x.raw is place
    np.testing.assert_allclose(x.detach().numpy(), expected, rtol=1e-5, atol=1e-5)
    if recorded:
        (grad,) = ek.autograd.grad(x.sum(), g)
        np.testing.assert_array_equal(grad.numpy(), np.full(g.shape, 3, "f4"))
    with pytest.raises(IndexError, match="index 300 is out of bounds"):
        x.detach().index_add_(0, ek.tensor(i + 1).clamp(299, 300), g.detach())


@pytest.mark.parametrize("columns", [1, 3, 64, 300])
def test_sums_do_not_depend_on_the_threads(columns, threads):
    g, i = some((5000, columns)), RNG.integers(0, 40, 5000)
    found = []
    for count in (1, 2, 5):
        threads(count)
        found.append(PLACED(g, i, axes=(0,), shape=(40, columns)))
    expected = np.zeros((40, columns), "f4")
    np.add.at(expected, i, g)
    for x in found:
        np.testing.assert_array_equal(x, expected)


def test_from_several_python_threads():
    x, i = some((500, 64)), RNG.integers(0, 500, 3000)

    def work(_):
        for _ in range(20):
            np.testing.assert_array_equal(TAKE(x, i, axes=(0,)), x[i])

    at_once(work, range(4))


def test_gradients_of_large_look_ups():
    table = ek.randn(50, 40, dtype=ek.float64, requires_grad=True)
    index = ek.tensor(RNG.integers(0, 50, (10, 30)))
    seed = ek.randn(10, 30, 40, dtype=ek.float64)
    (grad,) = ek.autograd.grad(F.embedding(index, table, padding_idx=3), table, seed)
    expected = np.zeros((50, 40))
    np.add.at(expected, index.numpy(), seed.numpy())
    expected[3] = 0
    np.testing.assert_allclose(grad.numpy(), expected, rtol=1e-12)


def test_an_index_in_the_memory_that_is_written():
    places = RNG.permutation(8192)
    x, expected = ek.tensor(places), places.copy()
    expected[places] = np.arange(8192)
    x[x] = ek.arange(8192)
    np.testing.assert_array_equal(x.numpy(), expected)


@pytest.mark.parametrize(
    ("shape", "places"), [((3, 2), (1,)), ((5, 4, 3), (2, 3)), ((300, 40), (700,)), ((9, 2), (0,))]
)
@pytest.mark.parametrize("dtype", ["f4", "i8", "?"])
def test_replayed_on_axes(shape, places, dtype):
    x = some(shape, dtype)
    for axes in {(0,), (len(shape) - 1,), (0, 1)}:
        indices = [RNG.permutation(10**4)[: np.prod(places)].reshape(places) % shape[a] for a in axes]
        value = PURE["take"](x, *indices, axes=axes)
        np.testing.assert_array_equal(value, ops._take(x, *indices, axes=axes))
        assert_replayable(partial(PURE["take"], axes=axes), x, *indices)
        assert_replayable(partial(PURE["take"], axes=axes), np.asfortranarray(x), *indices)
        if dtype == "?":
            continue
        value = some(value.shape, dtype)
        assert_replayable(partial(PURE["put"], axes=axes), x, value, *indices)
        assert_replayable(partial(PURE["put_add"], axes=axes), x, value, *indices)
        if value.size:
            assert_replayable(partial(PURE["placed"], axes=axes, shape=shape), value, *indices)
    assert_replayable(PURE["lookup"], some((7, 5)), np.array([[3, 0], [-1, 3]]), np.zeros((2, 2), bool))


@pytest.mark.parametrize("shape", [(1, 1), (4, 3, 2), (60, 80)])
@pytest.mark.parametrize("axis", [0, 1])
def test_replayed_along_an_axis(shape, axis):
    x, index = some(shape), RNG.integers(0, shape[axis], shape)
    np.testing.assert_array_equal(PURE["gather"](x, index, axis=axis), ops._gather(x, index, axis=axis))
    assert_replayable(partial(PURE["gather"], axis=axis), x, index)
    assert_replayable(partial(PURE["scatter"], axis=axis), x, index, some(shape))
    assert_replayable(partial(PURE["scatter_add"], axis=axis), x, index, some(shape))


def test_recordings_have_flags_for_indices():
    x, index = some((4, 3)), np.array([0, 3])
    with Recording(Arena(reserved(1 << 20))) as tape:
        tape.know([x, index])
        PURE["take"](x, index, axes=(0,))
        PURE["gather"](x, index.reshape(1, 2)[:, :1].repeat(3, 1) * 0, axis=0)
    cells = [cell for cell, _ in tape.flags]
    assert "dimension 0 with size 4" in tape.flags[0][1]
    assert [c[0] for c in cells] == [0, 0]
    index[1] = 4
    Script(tape.calls).run()
    assert [c[0] for c in cells] == [1, 0]
