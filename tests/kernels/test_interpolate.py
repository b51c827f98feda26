"""Resampling kernels against dense matrices and PyTorch: sizes, modes, both orders in memory, gradients, threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("llvmlite")
import expkit as ek
from expkit.kernels.cpu.arrays import images, interpolate
from expkit.kernels.cpu.arrays.interpolate import resample
from expkit.kernels.cpu.arrays.taps import Taps
from expkit.kernels.cpu.loops import plan
from expkit.nn import functional as F
from expkit.tensor.ops.interpolate import _taps, resample_p
from tests.kernels.guards import Guards

MODES = ["nearest", "nearest-exact", "area", "linear", "bicubic"]


def taps_of(mode, n, out):
    return _taps(mode, n, out, None, False, np.float32)


def dense(taps):
    matrix = np.zeros((taps.n_out, taps.n_in))
    for i, (start, count) in enumerate(zip(taps.starts, taps.counts, strict=True)):
        matrix[i, start : start + count] = taps.weights[i, :count]
    return matrix


def applied(x, taps):
    """The matrices along the last axes, in float64."""
    out = x.astype("f8")
    for axis, t in enumerate(taps, x.ndim - len(taps)):
        out = np.moveaxis(np.tensordot(out, dense(t), (axis, 1)), -1, axis)
    return out


def image(rng, shape, kind, order, spatial):
    x = rng.standard_normal(shape).astype(kind)
    if order == "odd":
        return x[..., ::-1]
    if order == "first":
        return x
    to, back = images.order_of(x.ndim, spatial)
    return np.ascontiguousarray(x.transpose(to)).transpose(back)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sizes", [(1, 1), (1, 7), (7, 1), (5, 12), (12, 5), (30, 31), (9, 9)], ids=str)
def test_a_transpose_is_a_transpose(mode, sizes):
    taps = taps_of(mode, *sizes)
    np.testing.assert_allclose(dense(taps.T), dense(taps).T, rtol=1e-15)
    assert taps.T.T is taps
    np.testing.assert_allclose(dense(taps).sum(1), 1, rtol=1e-12)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(MODES), st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=3),
    st.sampled_from([(2, 3), (1, 20), (3, 70), (5,), (2, 1), (1, 6)]),
    st.sampled_from(["first", "last", "odd"]),
    st.sampled_from(["f4", "f8"]),
    st.booleans(),
    st.integers(0, 99),
)
def test_resampling(axes, lead, order, kind, transposed, seed):
    if len(axes) == 3:
        axes = [(mode, -(-n // 4), -(-m // 4)) for mode, n, m in axes]
    taps = tuple(taps_of(*axis) for axis in axes)
    taps = tuple(t.T for t in taps) if transposed else taps
    rng, guards = np.random.default_rng(seed), Guards()
    x = guards.guarded(image(rng, (*lead, *(t.n_in for t in taps)), kind, order, len(taps)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "empty", guards.empty)
        y = resample(x, taps)
    guards.check()
    tight = {"rtol": 1e-4, "atol": 2e-5} if kind == "f4" else {"rtol": 1e-10, "atol": 1e-12}
    np.testing.assert_allclose(y, applied(x, taps), **tight)
    np.testing.assert_allclose(resample_p.impl.__wrapped__(x, taps=taps), applied(x, taps), **tight)
    assert y.dtype == x.dtype
    if order == "last" and not x.flags.c_contiguous:
        assert y.transpose(images.order_of(y.ndim, len(taps))[0]).flags.c_contiguous


@pytest.mark.parametrize("order", ["first", "last"])
def test_wide_rows(order):
    """Rows that do not fit on the stack, and taps that lie far apart."""
    rng = np.random.default_rng(0)
    line = image(rng, (2, 3, 50_000), "f4", order, 1)
    for out in (99_999, 1_000):
        taps = (taps_of("linear", 50_000, out),)
        np.testing.assert_allclose(resample(line, taps), resample_p.impl.__wrapped__(line, taps=taps), atol=1e-5)
    wide = image(rng, (1, 2, 4, 20_000), "f4", order, 2)
    taps = (taps_of("linear", 4, 7), taps_of("bicubic", 20_000, 15_000))
    np.testing.assert_allclose(
        resample_p.impl(wide, taps=taps), resample_p.impl.__wrapped__(wide, taps=taps), atol=1e-5
    )


def test_what_is_not_a_tap_is_not_touched():
    """NaN and infinities reach only the places whose taps they are."""
    x = np.zeros((1, 1, 40, 40), "f4")
    x[0, 0, 20, 20], x[0, 0, 39, 39] = np.nan, np.inf
    taps = (taps_of("linear", 40, 100),) * 2
    bad = applied(np.isnan(x).astype("f4"), taps) > 0
    y = resample(x, taps)
    assert not np.isnan(y[~bad & (applied(np.isinf(x).astype("f4"), taps) == 0)]).any()
    assert np.isnan(y[bad]).all()
    assert y[0, 0, 99, 99] == np.inf


def test_results_do_not_depend_on_the_number_of_threads(threads):
    for order in ("first", "last"):
        x = image(np.random.default_rng(0), (3, 20, 50, 60), "f4", order, 2)
        taps = (taps_of("bicubic", 50, 70), taps_of("linear", 60, 130))
        results = []
        for n in (1, 2, 5):
            threads(n)
            results.append(resample(x, taps))
        assert all(np.array_equal(results[0], r) for r in results[1:])


def test_several_threads_at_once():
    xs = [image(np.random.default_rng(i), (2, 8, 40, 40), "f4", "first", 2) for i in range(8)]
    taps = (taps_of("linear", 40, 80),) * 2
    with ThreadPoolExecutor(4) as pool:
        for x, y in zip(xs, pool.map(lambda x: resample(x, taps), xs), strict=True):
            np.testing.assert_allclose(y, applied(x, taps), atol=1e-5)


# ---- in the engine ---------------------------------------------------------------------------------------------------

CALLS = [
    {"size": (37, 50), "mode": "bilinear"},
    {"size": (37, 50), "mode": "bilinear", "align_corners": True},
    {"scale_factor": 2, "mode": "nearest"},
    {"scale_factor": (1.7, 0.45), "mode": "bicubic"},
    {"scale_factor": 1.7, "mode": "bilinear", "recompute_scale_factor": True},
    {"size": (7, 9), "mode": "area"},
    {"size": (45, 3), "mode": "nearest-exact"},
]


@pytest.mark.torch
@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("kw", CALLS, ids=str)
def test_values_and_gradients_are_pytorchs(kw, order, torch, monkeypatch):
    used = []
    original = interpolate._passes
    monkeypatch.setattr(interpolate, "_passes", lambda *args: used.append(1) or original(*args))
    x = image(np.random.default_rng(3), (2, 20, 21, 28), "f4", order, 2)
    results = []
    for module, functions in ((ek, F), (torch, torch.nn.functional)):
        leaf = (ek.from_numpy if module is ek else torch.from_numpy)(x.copy(order="K")).requires_grad_()
        y = functions.interpolate(leaf, **kw)
        (y * y).sum().backward()
        results.append((y.detach().numpy(), leaf.grad.numpy()))
    assert len(used) == 2, "no kernel was used"
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_bands_say_what_they_are():
    assert repr(Taps(4, [0, 2], [2, 2], np.full((2, 2), 0.5))) == "4->2"
