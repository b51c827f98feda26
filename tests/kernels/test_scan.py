"""Running sums, products and recurrences, beside NumPy's in float64."""


import numpy as np
import pytest

pytest.importorskip("llvmlite")
import expkit as ek
from expkit.kernels.cpu.arrays import scan as kernels
from expkit.tensor.generated import scan as hooks
from expkit.tensor.ops import scan as ops
from tests.kernels.guards import install, layouts
from tests.kernels.together import at_once

RNG = np.random.default_rng(0)
SHAPES = [(5000,), (100_003,), (70, 100), (3, 40_001), (9, 33, 17), (2, 30, 600), (1000, 1, 7), (5000, 1), (60, 1, 80)]


def refused(*_args, **_kw):
    raise AssertionError("the plain implementation was called")


def reference(how, x, axis, back):
    """The scan in float64 (or the integers' own arithmetic)."""
    wide = x.astype("f8") if x.dtype.kind == "f" else x
    turned = np.flip(wide, axis) if back else wide
    out = (np.cumsum if how == "sum" else np.cumprod)(turned, axis, dtype=wide.dtype)
    return np.flip(out, axis) if back else out


@pytest.mark.parametrize("how", ["sum", "product"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "u1"])
def test_every_axis_both_ways(dtype, how, monkeypatch):
    guards = install(monkeypatch)
    scan = hooks.scan(how, refused)
    for shape in SHAPES:
        x = RNG.standard_normal(shape)
        x = guards.guarded((x * 10 if how == "sum" else 1 + x / 300).astype(dtype))
        for axis in range(len(shape)):
            for back in (False, True):
                got, expected = scan(x, axis=axis, back=back), reference(how, x, axis, back)
                scale = np.abs(expected).max() if how == "sum" else 1
                bound = {"f4": 1e-6, "f8": 1e-13}.get(dtype, 0)
                np.testing.assert_allclose(got, expected, rtol=bound, atol=bound * scale / 10)
    guards.check()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_recurrences(dtype, monkeypatch):
    guards = install(monkeypatch)
    scan = hooks.scan("affine", refused)
    for shape in [(5000,), (70, 100), (9, 33, 17)]:
        a, b = (guards.guarded(RNG.standard_normal(shape).astype(dtype)) for _ in range(2))
        for axis in range(len(shape)):
            for back in (False, True):
                expected = ops._states(a.astype("f8") / 2, b.astype("f8"), axis=axis, back=back)
                got = scan(a / 2, b, axis=axis, back=back)
                np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-6 * np.abs(expected).max())
    guards.check()


def test_other_layouts():
    scan = hooks.scan("sum", refused)
    for x in layouts(RNG.standard_normal((90, 80)), RNG):
        if x.size >= hooks.LEAST:
            np.testing.assert_allclose(scan(x, axis=0), np.cumsum(x, 0), rtol=1e-9, atol=1e-9)


def test_infinities_nans_and_signed_zeros():
    x = np.zeros(6000, "f4")
    x[100], x[3000], x[5000] = np.inf, 1.0, -np.inf
    got = hooks.scan("sum", refused)(x, axis=0)
    assert (got[:100] == 0).all()
    assert np.isposinf(got[100:5000]).all()
    assert np.isnan(got[5000:]).all()
    ones = np.ones(6000, "f4")
    ones[4001] = 0
    got = hooks.scan("product", refused)(ones, axis=0)
    assert (got[:4001] == 1).all()
    assert (got[4001:] == 0).all()


@pytest.mark.parametrize("shape", [(300_000,), (40, 9000), (7, 500, 300)])
def test_results_do_not_depend_on_the_threads(shape, threads):
    x, found = RNG.standard_normal(shape).astype("f4"), []
    for count in (1, 2, 5):
        threads(count)
        found.append([kernels.scan("sum", x, axis=a, back=True) for a in range(len(shape))])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_from_several_python_threads():
    x = RNG.standard_normal((50, 2000))
    expected = kernels.scan("sum", x, axis=1)

    def work(_):
        for _ in range(20):
            np.testing.assert_array_equal(kernels.scan("sum", x, axis=1), expected)

    at_once(work, range(4))


def test_gradients_of_large_scans():
    x = ek.tensor(1 + RNG.standard_normal((60, 90)) / 100, requires_grad=True)
    seed = ek.tensor(RNG.standard_normal((60, 90)))
    (grad,) = ek.autograd.grad(x.cumsum(1), x, seed)
    np.testing.assert_allclose(grad.numpy(), np.flip(np.cumsum(np.flip(seed.numpy(), 1), 1), 1), rtol=1e-9, atol=1e-12)
    (grad,) = ek.autograd.grad(x.cumprod(0), x, seed)
    value = x.detach().numpy()  # without zeros: the sum of g * out from each place on, over x
    expected = np.flip(np.cumsum(np.flip(seed.numpy() * np.cumprod(value, 0), 0), 0), 0) / value
    np.testing.assert_allclose(grad.numpy(), expected, rtol=1e-9, atol=1e-12)
