"""Sorting kernels against NumPy's stable sort and PyTorch: lengths, ties, NaN, dtypes, axes, threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("llvmlite")
import expkit as ek
from expkit.autograd.handle import wrap
from expkit.kernels.cpu.arrays import sort
from expkit.tensor.ops import order
from tests.kernels.guards import Guards

PLAIN = order._ordered  # the implementation without kernels


def values_of(rng, shape, kind, how):
    """Random numbers of a dtype: "wide", "ties" (with NaN, infinities and both zeros), "equal" or "small"."""
    if how == "equal":
        return np.full(shape, 3).astype(kind)
    x = rng.standard_normal(shape) * {"wide": 1e8, "ties": 2, "small": 100}[how]
    x = np.rint(x) if how == "ties" else x
    x = x.astype(kind)
    if how == "ties" and kind[0] == "f":
        special = rng.random(shape)
        x[special < 0.1], x[special > 0.95], x[special > 0.98] = np.nan, np.inf, -np.inf
        x[(x == 0) & (special < 0.5)] = -0.0
        x[(special < 0.05)] = -np.nan
    return x


def check(x, start, stop, descending):
    values, places = sort.ordered(x, start, stop, descending=descending)
    expected, where = PLAIN(x, axis=1, descending=descending, start=start, stop=stop)
    np.testing.assert_array_equal(places, where)
    np.testing.assert_array_equal(values, expected)
    if x.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(values), np.signbit(expected))


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(list(sort.KINDS.values())),
    st.sampled_from([1, 2, 3, 31, 63, 64, 65, 130, 1000]),
    st.integers(1, 9),
    st.sampled_from(["wide", "ties", "equal", "small"]),
    st.booleans(),
    st.integers(0, 99),
    st.data(),
)
def test_rows(kind, n, rows, how, descending, seed, data):
    guards = Guards()
    x = guards.guarded(values_of(np.random.default_rng(seed), (rows, n), kind, how))
    stop = data.draw(st.integers(1, n))
    start = data.draw(st.sampled_from([0, stop - 1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sort.plan, "empty", guards.empty)
        check(x, start, stop, descending)
    guards.check()


@pytest.mark.parametrize("kind", ["f4", "f8", "i8"])
@pytest.mark.parametrize("what", [(0, 20_000), (0, 300), (7_000, 7_001)], ids=["all", "least", "one"])
def test_long_rows_have_memory_of_their_own(what, kind):
    for how in ("wide", "ties", "equal"):
        check(values_of(np.random.default_rng(0), (3, 20_000), kind, how), *what, False)


def test_results_do_not_depend_on_the_number_of_threads(threads):
    x = values_of(np.random.default_rng(1), (70, 900), "f4", "ties")
    results = []
    for n in (1, 2, 5):
        threads(n)
        results.append([*sort.ordered(x, 0, 900, descending=False), *sort.ordered(x, 0, 9, descending=True)])
    for other in results[1:]:
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(results[0], other, strict=True))


def test_several_threads_at_once():
    xs = [values_of(np.random.default_rng(i), (40, 300), "f4", "wide") for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for x, (v, _) in zip(xs, pool.map(lambda x: sort.ordered(x, 0, 300, descending=False), xs), strict=True):
            np.testing.assert_array_equal(v, np.sort(x, 1))


# ---- in the engine ---------------------------------------------------------------------------------------------------

USES = {
    "sort": lambda m, x, dim: x.sort(dim),
    "downward": lambda m, x, dim: m.sort(x, dim=dim, descending=True, stable=True),
    "topk": lambda m, x, dim: x.topk(5, dim),
    "least": lambda m, x, dim: x.topk(30, dim, largest=False),
    "kthvalue": lambda m, x, dim: x.kthvalue(7, dim),
    "median": lambda m, x, dim: x.median(dim, keepdim=True),
}


@pytest.mark.torch
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("name", USES)
def test_values_places_and_gradients_are_pytorchs(name, dim, torch, monkeypatch):
    used = []
    original = sort._bound
    monkeypatch.setattr(sort, "_bound", lambda *args: used.append(1) or original(*args))
    x = np.random.default_rng(2).permutation(36 * 40 * 50).reshape(36, 40, 50).astype("f4").transpose(2, 0, 1)[:, ::-1]
    results = []
    for module, make in ((ek, wrap), (torch, lambda a: torch.from_numpy(a.copy()))):  # from_numpy: no negative strides
        leaf = make(x).clone().requires_grad_()
        values, places = USES[name](module, leaf, dim)
        (values * values).sum().backward()
        results.append([values.detach().numpy(), places.numpy(), leaf.grad.numpy()])
    assert used, "no kernel was used"
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int16", "int8", "uint8", "bool"])
def test_narrow_dtypes_are_sorted_in_wider_ones(dtype):
    x = ek.from_numpy(values_of(np.random.default_rng(3), (20, 40), "f4", "small")).to(getattr(ek, dtype))
    for descending in (False, True):
        got = order.order_p.impl(x.raw, axis=0, descending=descending, start=0, stop=20)
        expected = PLAIN(x.raw, axis=0, descending=descending, start=0, stop=20)
        for a, b in zip(got, expected, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a.astype("f8"), b.astype("f8"))


def test_nan_is_a_median():
    x = np.array([[2.0, np.nan, 1.0, np.nan] * 40, [1.0, 2.0, 3.0, np.inf] * 40])
    values, places = ek.tensor(x).median(1)
    np.testing.assert_array_equal(values.numpy(), [np.nan, 2.0])
    assert places.tolist() == [1, places.tolist()[1]]
    assert x[1, places.tolist()[1]] == 2.0
