"""Pooling kernels against the plain implementation and PyTorch: windows, orders in memory, ties and NaN, threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("llvmlite")
import expkit as ek
from expkit.kernels.cpu import pooling
from expkit.kernels.cpu.arrays import images
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.pooling import Window
from expkit.tensor.generated import interpolate as resampling
from expkit.tensor.generated import pooling as generated
from expkit.tensor.ops import interpolate
from expkit.tensor.ops import pool_arrays as plain
from expkit.tensor.ops.windows import out_sizes
from tests.kernels.guards import Guards
from tests.kernels.replayable import assert_replayable


def channels_last(x, spatial):
    return np.ascontiguousarray(np.moveaxis(x, -1 - spatial, -1)).transpose(images.order_of(x.ndim, spatial)[1])


def is_last(x, spatial):
    return np.moveaxis(x, -1 - spatial, -1).flags.c_contiguous


def window_of(x, *, kernel, stride, padding, dilation=None, scale=1.0):
    n = len(kernel)
    step, size = dilation or (1,) * n, x.shape[x.ndim - n :]
    pad = tuple(lo for lo, _ in padding)
    return Window(size, out_sizes(size, kernel, stride, padding, step), kernel, stride, pad, step, scale)


@st.composite
def poolings(draw):
    """(shape, kernel, stride, padding, dilation)"""
    spatial = draw(st.integers(1, 3))
    shape, kernel, stride, padding, dilation = [], [], [], [], []
    for axis in range(spatial):
        k, e = draw(st.integers(1, 9 if axis == spatial - 1 else 3)), draw(st.sampled_from([1, 1, 1, 2, 3]))
        reach = e * (k - 1) + 1
        lo, hi = (draw(st.integers(0, k // 2)) for _ in range(2))
        shape.append(draw(st.integers(max(reach, 1), 40 if axis == spatial - 1 else reach + 6)))
        kernel.append(k)
        stride.append(draw(st.integers(1, pooling.SHUFFLED + 1)))
        padding.append((lo, hi))
        dilation.append(e)
    lead = draw(st.sampled_from([(), (3,), (2, 5), (1, 70), (2, 33), (2, 2, 3), (1, 600)]))
    return (*lead, *shape), tuple(kernel), tuple(stride), tuple(padding), tuple(dilation)


def image(rng, shape, kind, odd, spatial, order):
    x = rng.standard_normal(shape)
    if odd:
        x = rng.choice([0.0, -0.0, 1.0, 2.0, np.nan, -np.inf], shape, p=[0.2, 0.1, 0.3, 0.2, 0.1, 0.1])
    x = x.astype(kind)
    if order == "odd":  # neither order: it is copied
        return x[..., ::-1]
    return channels_last(x, spatial) if order == "last" and len(shape) > spatial else x


ORDERS = st.sampled_from(["first", "last", "odd"])
MANY = settings(max_examples=12, deadline=None)


@MANY
@given(poolings(), ORDERS, st.sampled_from(["f4", "f8"]), st.booleans(), st.integers(0, 99))
def test_maxima(case, order, kind, odd, seed):
    shape, kernel, stride, padding, dilation = case
    rng, guards, n = np.random.default_rng(seed), Guards(), len(kernel)
    kw = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    x = guards.guarded(image(rng, shape, kind, odd, n, order))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "empty", guards.empty)
        window = window_of(x, **kw)
        top, (again, places) = pooling.forward("max", x, window), pooling.forward("place", x, window)
        expected, flat = plain.max_and_place(x, **kw)
        np.testing.assert_array_equal(top, plain.max_pool(x, **kw))
        np.testing.assert_array_equal(again, expected)
        np.testing.assert_array_equal(places, flat)
        g = image(rng, top.shape, kind, False, n, order)
        back = pooling.backward(g, window, places)
        loose = pooling.scattered(g, flat.astype("i8"), window.size)
    guards.check()
    for got in (back, loose):
        np.testing.assert_allclose(got, plain.drop(g, flat, size=window.size), rtol=1e-5, atol=1e-5)
    assert top.dtype == again.dtype == back.dtype == x.dtype
    assert places.dtype == flat.dtype
    if order == "last" and not x.flags.c_contiguous and window.regular and not top.flags.c_contiguous:
        assert all(is_last(a, n) for a in (top, places, back))


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=3),
    st.sampled_from([(), (3,), (2, 33), (1, 70)]),
    ORDERS,
    st.booleans(),
    st.integers(0, 99),
)
def test_adaptive_maxima(axes, lead, order, odd, seed):
    sizes, pieces = (tuple(axis[i] for axis in axes) for i in (0, 1))
    rng, n = np.random.default_rng(seed), len(axes)
    x = image(rng, (*lead, *sizes), "f4", odd, n, order)
    top, places = pooling.forward("place", x, Window(sizes, pieces))
    expected, flat = plain.adaptive_max_and_place(x, pieces=pieces)
    np.testing.assert_array_equal(top, expected)
    np.testing.assert_array_equal(places, flat)
    g = image(rng, top.shape, "f4", False, n, order)
    back = pooling.backward(g, Window(sizes, pieces), places)
    np.testing.assert_allclose(back, plain.drop(g, flat, size=sizes), rtol=1e-5, atol=1e-5)


@MANY
@given(poolings(), ORDERS, st.sampled_from(["f4", "f8"]), st.integers(0, 99))
def test_sums(case, order, kind, seed):
    shape, kernel, stride, padding, _ = case
    rng, guards, n = np.random.default_rng(seed), Guards(), len(kernel)
    kw = {"kernel": kernel, "stride": stride, "padding": padding, "scale": 0.3}
    x = guards.guarded(image(rng, shape, kind, False, n, order))
    tight = {"rtol": 1e-5, "atol": 1e-5} if kind == "f4" else {"rtol": 1e-12, "atol": 1e-13}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "empty", guards.empty)
        window = window_of(x, **kw)
        y = pooling.forward("sum", x, window)
        g = image(rng, y.shape, kind, False, n, order)
        back = pooling.backward(g, window.plain())
    guards.check()
    np.testing.assert_allclose(y, plain.window_sum(x.astype("f8"), **kw), **tight)
    np.testing.assert_allclose(back, plain.window_spread(g.astype("f8"), size=window.size, **kw), **tight)


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 2)], ids=str)
def test_results_do_not_depend_on_the_number_of_threads(kernel, order, threads):
    x = image(np.random.default_rng(0), (3, 70, 61, 63), "f4", False, 2, order)
    window = window_of(x, kernel=kernel, stride=(2, 2), padding=((1, 1), (1, 1)))
    results = []
    for n in (1, 2, 5):
        threads(n)
        top, places = pooling.forward("place", x, window)
        back = pooling.backward(top, window, places)
        results.append((top, back, pooling.forward("sum", x, window), pooling.backward(top, window)))
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_several_threads_at_once():
    xs = [image(np.random.default_rng(i), (2, 16, 60, 60), "f4", False, 2, "first") for i in range(8)]
    kw = {"kernel": (3, 3), "stride": (2, 2), "padding": ((1, 1), (1, 1)), "dilation": (1, 1)}
    with ThreadPoolExecutor(4) as pool:
        for x, y in zip(xs, pool.map(lambda x: pooling.forward("max", x, window_of(x, **kw)), xs), strict=True):
            np.testing.assert_array_equal(y, plain.max_pool(x, **kw))


# ---- in the engine ---------------------------------------------------------------------------------------------------

USES = {
    "max": lambda m, x: m.max_pool2d(x, 3, 2, 1),
    "ceil": lambda m, x: m.max_pool2d(x, 2, ceil_mode=True),
    "dilated": lambda m, x: m.max_pool2d(x, 3, 1, 1, 2),
    "wide": lambda m, x: m.max_pool2d(x, 7),
    "with places": lambda m, x: m.max_pool2d(x, 2, return_indices=True)[0],
    "avg": lambda m, x: m.avg_pool2d(x, 2),
    "wide avg": lambda m, x: m.avg_pool2d(x, 7),
    "avg without padding": lambda m, x: m.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "divisor": lambda m, x: m.avg_pool2d(x, 3, 1, 1, divisor_override=2),
    "adaptive max": lambda m, x: m.adaptive_max_pool2d(x, 7),
    "adaptive max, uneven": lambda m, x: m.adaptive_max_pool2d(x, (5, 6)),
    "adaptive avg": lambda m, x: m.adaptive_avg_pool2d(x, 7),
}


@pytest.mark.torch
@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("name", USES)
def test_values_and_gradients_are_pytorchs(name, order, torch, monkeypatch):
    x = image(np.random.default_rng(3), (2, 20, 28, 28), "f4", False, 2, order)
    seen = []
    for way in ("forward", "backward", "scattered"):
        original = getattr(pooling, way)
        monkeypatch.setattr(pooling, way, lambda *args, f=original: seen.append(1) or f(*args))
    results = []
    for module, functions in ((ek, ek), (torch, torch.nn.functional)):
        leaf = (ek.from_numpy if module is ek else torch.from_numpy)(x.copy(order="K")).requires_grad_()
        y = USES[name](functions, leaf)
        (y * y).sum().backward()
        results.append((y.detach().numpy(), leaf.grad.numpy()))
    assert len(seen) >= 2, "no kernel was used"
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["f2", "i4", ">f4"])
def test_other_dtypes_take_the_plain_way(dtype, monkeypatch):
    monkeypatch.setattr(pooling, "_bound", None)
    x = np.arange(4 * 30 * 30, dtype="f4").reshape(1, 4, 30, 30).astype(dtype)
    got = ek.tensor.ops.pool.max_pool_p.impl(x, kernel=(2, 2), stride=(2, 2), padding=((0, 0), (0, 0)), dilation=(1, 1))
    np.testing.assert_array_equal(got, x[:, :, 1::2, 1::2])


def test_no_elements():
    assert ek.max_pool2d(ek.zeros(0, 40, 40, 40), 2).shape == (0, 40, 20, 20)


WINDOWS = {  # name: size, kernel, stride, padding
    "apart": ((8, 10), (2, 2), (2, 2), ((0, 0), (0, 0))),
    "overlapping": ((9, 11), (3, 3), (2, 2), ((1, 1), (1, 1))),
    "stride 1": ((9, 11), (3, 2), (1, 1), ((1, 1), (0, 0))),
    "far": ((17, 29), (3, 5), (6, 7), ((0, 0), (0, 0))),
    "line": ((40,), (3,), (2,), ((1, 0),)),
}


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", WINDOWS)
def test_they_are_kernel_calls_alone(name, last):
    size, kernel, stride, padding = WINDOWS[name]
    rng, kw = np.random.default_rng(0), {"kernel": kernel, "stride": stride, "padding": padding}
    x = image(rng, (3, 20, *size), "f4", False, len(size), "last" if last else "first")
    spread = {**kw, "dilation": (1,) * len(size)}
    assert_replayable(lambda x: generated.ROWS["max_pool"](x, **spread), x.copy("K"))
    assert_replayable(lambda x: generated.ROWS["max_place"](x, **spread), x.copy("K"))
    assert_replayable(lambda x: generated.ROWS["window_sum"](x, scale=0.5, **kw), x.copy("K"))
    top, places = generated.ROWS["max_place"](x, **spread)
    assert_replayable(lambda g: generated.ROWS["window_spread"](g, size=size, scale=0.5, **kw), top.copy("K"))
    for window in ((), tuple(spread.values())):
        for index in (places, places.astype(np.int64)):
            kw = {"size": size, "window": window}
            assert_replayable(lambda g, i, kw=kw: generated.pure_drop(g, i, **kw), top.copy("K"), index.copy("K"))


@pytest.mark.parametrize("last", [False, True])
def test_adaptive_ones_and_resampling_are_kernel_calls_alone(last):
    x = image(np.random.default_rng(0), (3, 20, 9, 13), "f4", False, 2, "last" if last else "first")
    assert_replayable(lambda x: generated.ROWS["adaptive_place"](x, pieces=(4, 5)), x.copy("K"))
    for mode in ("nearest", "bilinear", "bicubic", "area"):
        taps = tuple(interpolate._taps(mode, n, m, None, False, np.float32) for n, m in ((9, 20), (13, 6)))
        for way in (taps, tuple(t.T for t in taps)):
            operand = x if way is taps else np.ones((3, 20, 20, 6), "f4")
            assert_replayable(lambda x, way=way: resampling.ROWS["resample"](x, taps=way), operand.copy("K"))
