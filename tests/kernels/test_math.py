"""The elementary functions of generated code against NumPy's in a wider format, over all of the format's range."""

import math

import numpy as np
import pytest

from expkit.kernels.cpu.loops.fuse import Kernel
from expkit.kernels.cpu.loops.program import unary

pytest.importorskip("llvmlite")
WIDE = np.longdouble if np.finfo(np.longdouble).nmant > 52 else np.float64


def _each(fn):
    return lambda x: np.array([fn(float(v)) for v in x], WIDE)


REFERENCES = {  # name: (reference, bound in units in the last place)
    "exp": (np.exp, 1.5),
    "expm1": (np.expm1, 2.5),
    "log": (np.log, 1.5),
    "log1p": (np.log1p, 1.5),
    "log2": (np.log2, 1.5),
    "log10": (np.log10, 1.5),
    "tanh": (np.tanh, 2.5),
    "sigmoid": (lambda x: np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x))), 2.5),
    "softplus": (lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), 2.5),
    "sqrt": (np.sqrt, 0.51),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 2),
    "sin": (np.sin, 2.5),
    "cos": (np.cos, 2.5),
    "tan": (np.tan, 4),
    "erf": (_each(math.erf), 2.5),  # the C library's, itself off by up to one unit in float64
    "erfc": (_each(math.erfc), 7),
}


def samples(kind: str, count: int = 20_000) -> np.ndarray:
    """Random bits (all exponents, NaNs), the everyday range, the ends of exp, and every special value."""
    rng, t = np.random.default_rng(0), np.dtype(kind).type
    info = np.finfo(t)
    bits = rng.integers(0, 1 << (8 * info.dtype.itemsize), count, f"u{info.dtype.itemsize}").view(t)
    edge = info.maxexp * 0.7
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 2, 0.5, 4, 10, 100, 1000, info.tiny, -info.tiny]
    special += [info.smallest_subnormal, -info.smallest_subnormal, info.max, info.min, info.eps, -info.eps]
    parts = [bits, rng.standard_normal(count), rng.uniform(-edge, edge, count), rng.uniform(-30, 30, count)]
    return np.concatenate([np.asarray(p, t) for p in (*parts, rng.uniform(0, 3, count), special)])


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("name", REFERENCES)
@np.errstate(all="ignore")
def test_an_elementary_function_is_within_its_bound(name, kind):
    reference, bound = REFERENCES[name]
    x = samples(kind, 4_000 if "erf" in name else 20_000)
    got, exact = Kernel(unary(name, kind))(x), reference(x.astype(WIDE))
    want = exact.astype(kind)
    special = ~(np.isfinite(want) & np.isfinite(got))
    np.testing.assert_array_equal(got[special], want[special])
    smallest = np.finfo(kind).smallest_subnormal
    unit = np.maximum(np.spacing(np.abs(want)), smallest).astype(WIDE)
    error = np.where(special, 0, np.abs(got.astype(WIDE) - exact) / unit)
    worst = int(error.argmax())
    assert error[worst] <= bound, f"{name}({x[worst]!r}) = {got[worst]!r}, exactly {exact[worst]!r}"
    zero = (want == 0) & (x == 0)
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]))


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
@pytest.mark.parametrize("count", [1, 3, 37, 4000])
def test_angles_of_every_size_are_reduced(name, kind, count):
    """Near multiples of π/2, where most digits cancel, in whole vectors and in their rest."""
    rng, t = np.random.default_rng(count), np.dtype(kind).type
    exponents = rng.uniform(0, np.finfo(t).maxexp - 1, count)
    near = rng.integers(1, 1000, count) * (np.pi / 2) * 2.0 ** rng.integers(0, 100, count)
    hard = 6381956970095103.0 * 2.0**797 if kind == "f8" else 16367173.0 * 2.0**72  # the nearest ones of all
    usual = np.where(rng.random(count) < 0.9, rng.standard_normal(count), hard)  # vectors with one large element
    for x in (2.0**exponents, near, usual):
        x = (x * rng.choice([-1, 1], count)).astype(t)
        exact = getattr(np, name)(x.astype(WIDE))
        error = np.abs(Kernel(unary(name, kind))(x) - exact) / np.spacing(np.abs(exact.astype(t)))
        assert error.max() <= REFERENCES[name][1], x[error.argmax()]


def test_a_bound_that_is_too_small_is_noticed():
    x = samples("f4")
    x = x[np.abs(x) < 80]
    got = Kernel(unary("exp", "f4"))(x)
    error = np.abs(got.astype(float) - np.exp(x.astype(float))) / np.spacing(np.abs(got))
    assert 0.4 < error.max() < 1.5
