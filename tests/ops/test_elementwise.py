"""Elementwise functions beside PyTorch where rows do not reach.

Refusals, dtypes of mixed operands, gradients of complex numbers, aliases, special functions to the last digits.
"""

import itertools
from functools import partial

import numpy as np
import pytest

import expkit as ek
from expkit.tensor import methods
from tests.ops.case import REFUSALS, attempt
from tests.ops.rows import array_of, torch_tensor

DTYPES = ["bool", "uint8", "int8", "int64", "float16", "bfloat16", "float32", "complex64"]
UNARY = """abs neg sign sgn floor ceil trunc round frac relu positive signbit isposinf logical_not bitwise_not square
    reciprocal erf lgamma digamma i0 sinc deg2rad exp2 nan_to_num isfinite isreal angle conj asinh logit rsqrt erfinv"""
BINARY = """add sub mul div floor_divide remainder fmod pow maximum minimum fmax atan2 hypot logaddexp logaddexp2
    copysign nextafter heaviside gcd lt eq logical_and bitwise_and bitwise_left_shift xlogy float_power clamp_min"""


def name_of(x):
    return str(x.dtype).rpartition(".")[2]


@pytest.mark.torch
@pytest.mark.parametrize("name", UNARY.split())
def test_dtypes_of_one_argument(name, torch):
    for dtype in DTYPES:
        theirs, refused = attempt(partial(getattr(torch, name), torch.ones(3, dtype=getattr(torch, dtype))))
        ours, error = attempt(partial(getattr(ek, name), ek.ones(3, dtype=dtype)))
        assert (error is None) == (refused is None), f"{name} of {dtype}: {error or 'accepted'}"
        if error is None:
            assert name_of(ours) == name_of(theirs), f"{name} of {dtype}"


@pytest.mark.torch
@pytest.mark.parametrize("name", BINARY.split())
def test_dtypes_of_two_arguments(name, torch):
    for a, b in itertools.product(DTYPES, DTYPES):
        x, y = (torch.ones(3, dtype=getattr(torch, d)) for d in (a, b))
        theirs, refused = attempt(partial(getattr(torch, name), x, y))
        ours, error = attempt(partial(getattr(ek, name), ek.ones(3, dtype=a), ek.ones(3, dtype=b)))
        assert (error is None) == (refused is None), f"{name} of {a} and {b}: {error or 'accepted'}"
        if error is None:
            assert name_of(ours) == name_of(theirs), f"{name} of {a} and {b}"


@pytest.mark.parametrize(("name", "target"), [(a, t) for a, t in methods.ALIASES.items() if hasattr(ek, a)])
def test_alias(name, target):
    assert getattr(ek, name).__name__ == getattr(ek, target).__name__
    assert getattr(ek.Tensor, name) is getattr(ek.Tensor, target)


CALLS = {
    "clamp wraps": lambda m: m.clamp(m.tensor([3, 4], dtype=m.uint8), min=-1),
    "clamp too far": lambda m: m.clamp(m.tensor([3, 4], dtype=m.uint8), max=300),
    "clamp to a fraction": lambda m: m.tensor([3, 4], dtype=m.uint8).clamp(min=3.5),
    "clamp to NaN": lambda m: m.clamp(m.ones(2), min=float("nan")),
    "relu of -0": lambda m: m.signbit(m.relu(m.tensor([-0.0, 0.0]))),
    "relu of -0, half": lambda m: m.signbit(m.relu(m.tensor([-0.0, 0.0, -1.0] * 9, dtype=m.float16))),
    "relu of many -0": lambda m: m.signbit(m.relu(m.tensor([-0.0, 0.0, -1.0] * 5001))),
    "relu of strided -0": lambda m: m.signbit(m.relu(m.tensor([[-0.0, 0.0, -1.0]] * 50).t()[:, ::2])),
    "wraps around": lambda m: m.tensor([3, 4], dtype=m.uint8) + 300,
    "shift far": lambda m: m.tensor([8, -8]) >> m.tensor([64, 1]),
    "shift by a number": lambda m: (1 << m.tensor([1, 2])) << 2,
    "alpha of whole numbers": lambda m: m.add(m.tensor([1]), m.tensor([1]), alpha=1.5),
    "bool alpha": lambda m: m.add(m.ones(2), m.ones(2), alpha=True),
    "complex alpha": lambda m: m.add(m.ones(2), 1, alpha=1j),
    "bool power": lambda m: m.pow(m.tensor([True, False]), 2),
    "whole power": lambda m: m.pow(2, m.tensor([1, -1])),
    "negative power": lambda m: m.pow(m.tensor([2]), -1),
    "no tensor": lambda m: m.pow(2, 3),
    "maximum of a number": lambda m: m.maximum(m.ones(2), 1),
    "lerp of two dtypes": lambda m: m.lerp(m.ones(2), m.ones(2, dtype=m.float64), 0.5),
    "isclose of two dtypes": lambda m: m.isclose(m.ones(2), m.ones(2, dtype=m.float64)),
    "no limits": lambda m: m.clamp(m.ones(2)),
    "addcdiv of whole numbers": lambda m: m.addcdiv(m.tensor([1]), m.tensor([1]), m.tensor([2])),
    "divided by 0": lambda m: m.remainder(m.tensor([5]), 0),
    "order of complex numbers": lambda m: m.tensor([1j]) < 1,
    "rounding with decimals": lambda m: m.round(m.tensor([1234.5678, -0.05]), decimals=2),
    "rounding before the point": lambda m: m.round(m.tensor([1250.0, 1350.0]), decimals=-2),
    "frac of whole numbers": lambda m: m.frac(m.tensor([1])),
    "complex limits": lambda m: m.nan_to_num(m.tensor([complex("nan"), complex("inf")])),
    "view of scattered pairs": lambda m: m.view_as_complex(m.ones(2, 3).T),
    "rfft of complex numbers": lambda m: m.fft.rfft(m.tensor([1j, 2])),
    "fft of nothing": lambda m: m.fft.fft(m.ones(0)),
    "fft of a scalar": lambda m: m.fft.fft(m.tensor(1.0)),
    "fft of half precision": lambda m: m.fft.fft(m.ones(4, dtype=m.float16)),
    "fft over one dim twice": lambda m: m.fft.fftn(m.ones(2, 2), dim=(0, 0)),
    "sizes without dims": lambda m: m.fft.fftn(m.ones(2), s=(2, 2)),
    "whole fft": lambda m: m.fft.fft(m.tensor([1, 2, 3])).abs(),
    "no axis": lambda m: m.fft.rfftn(m.ones(2), dim=()),
    "fftfreq": lambda m: m.fft.fftfreq(5, 0.1),
    "fftfreq of 4": lambda m: m.fft.fftfreq(4),
    "rfftfreq": lambda m: m.fft.rfftfreq(6, 2.0),
}  # fmt: skip


@pytest.mark.torch
@pytest.mark.parametrize("what", CALLS)
def test_call_as_in_pytorch(what, torch):
    expected, refused = attempt(lambda: CALLS[what](torch))
    if refused is not None:
        with pytest.raises(REFUSALS):
            CALLS[what](ek)
        return
    got = CALLS[what](ek)
    assert name_of(got) == name_of(expected)
    np.testing.assert_allclose(array_of(got), array_of(expected), rtol=1e-6)


def test_a_complex_leaf():
    z = ek.tensor([1 + 2j, -3j], requires_grad=True)
    z.abs().square().sum().backward()
    np.testing.assert_allclose(z.grad.numpy(), 2 * z.detach().numpy(), rtol=1e-6)  # the direction of steepest ascent
    with pytest.raises(RuntimeError, match="real scalar outputs"):
        z.sum().backward()
    (g,) = ek.autograd.grad(z.sum() * (1 + 1j), z, ek.tensor(1 + 0j))
    assert g.tolist() == [1 - 1j, 1 - 1j]  # the conjugate of the derivative


def test_hooks_see_gradients_as_users_do():
    seen = []
    z = ek.tensor([1 + 2j], requires_grad=True)
    w = z * (2 + 1j)
    w.register_hook(lambda g: seen.append(g.item()))
    w.retain_grad()
    (w * (3 - 1j)).sum().backward(ek.tensor(1 + 0j))
    assert seen == [3 + 1j]
    assert w.grad.item() == 3 + 1j
    assert z.grad.item() == (3 + 1j) * (2 - 1j)


def test_functions_of_the_user_see_them_too():
    class Twist(ek.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            return z * (1 + 2j)

        @staticmethod
        def backward(ctx, g):
            return g * (1 - 2j)

    z = ek.tensor([2 - 1j], requires_grad=True, dtype=ek.complex128)
    w = ek.tensor([0.5 + 1j], dtype=ek.complex128)
    ((Twist.apply(z) * w).real).sum().backward()
    expected = z.grad.item()
    z.grad = None
    ((z * (1 + 2j) * w).real).sum().backward()
    assert expected == pytest.approx(z.grad.item())


def test_real_inputs_have_real_gradients():
    x = ek.tensor([1.0, 2.0], requires_grad=True)
    (x * ek.tensor([1j, 1 + 1j])).abs().sum().backward()
    assert x.grad.dtype is ek.float32
    np.testing.assert_allclose(x.grad.numpy(), [1, 2**0.5], rtol=1e-6)


def test_parts_are_views_that_can_be_written():
    z = ek.zeros(2, dtype=ek.complex64)
    z.real = ek.tensor([1.0, 2.0])
    z.imag[1] = 5
    assert z.tolist() == [1 + 0j, 2 + 5j]
    assert ek.view_as_real(z).tolist() == [[1, 0], [2, 5]]
    x = ek.ones(2)
    assert ek.real(x) is x
    with pytest.raises(RuntimeError, match="non-complex"):
        x.imag  # noqa: B018


def test_printing_of_complex_numbers():
    assert (
        repr(ek.tensor([[1 + 2j, 2.5], [3, 4j]]))
        == "tensor([[1.0000+2.j, 2.5000+0.j],\n        [3.0000+0.j, 0.0000+4.j]])"
    )


SPECIAL = {  # name: SciPy's name, where it is computed
    "lgamma": ("gammaln", (0.01, 60)),
    "digamma": ("digamma", (2, 60)),
    "erfinv": ("erfinv", (-0.999, 0.999)),
    "special.ndtri": ("ndtri", (0.6, 0.999)),
    "special.erfcx": ("erfcx", (-5, 60)),
    "special.log_ndtr": ("log_ndtr", (-60, 5)),
    "special.i0": ("i0", (-60, 60)),
    "special.i0e": ("i0e", (-60, 60)),
    "special.i1": ("i1", (1, 60)),
    "special.i1e": ("i1e", (1, 60)),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_functions_to_the_last_digits(name):
    scipy = pytest.importorskip("scipy.special")
    theirs, (lo, hi) = SPECIAL[name]
    x = np.random.default_rng(0).uniform(lo, hi, 5000)
    owner = ek.special if name.startswith("special.") else ek
    got = getattr(owner, name.rpartition(".")[2])(ek.tensor(x)).numpy()
    np.testing.assert_allclose(got, getattr(scipy, theirs)(x), rtol=2e-14, atol=2e-15)


def test_inverses_of_the_normal_distribution_far_out():
    p = ek.tensor([1e-300, 1e-100, 1e-12, 0.3, 0.5], dtype=ek.float64)
    x = ek.special.ndtri(p)
    np.testing.assert_allclose(ek.special.log_ndtr(x).numpy(), np.log(p.numpy()), rtol=1e-13)


@pytest.mark.torch
def test_large_arrays_of_complex_numbers_have_no_kernels(torch):
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((300, 300)) + 1j * rng.standard_normal((300, 300))
    results = []
    for m, make in ((ek, ek.tensor), (torch, lambda a: torch_tensor(torch, a))):
        z = make(raw)
        z.requires_grad_()
        (m.tanh(z * 0.3) * m.exp(-z) / (z + 4)).abs().sum().backward()
        results.append(z.grad.resolve_conj().numpy() if m is torch else z.grad.numpy())
    np.testing.assert_allclose(*results, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sums_with_products_take_keywords(dtype):
    x, a, b = (ek.ones(n, m, dtype=getattr(ek, dtype)) for n, m in ((2, 4), (2, 3), (3, 4)))
    assert ek.addmm(x, mat1=a, mat2=b).tolist() == ek.addmm(input=x, mat1=a, mat2=b).tolist() == [[4.0] * 4] * 2
    assert ek.addmv(x[:, 0], mat=a, vec=b[:, 0], alpha=2).tolist() == [7.0, 7.0]
    assert ek.baddbmm(x[None], batch1=a[None], batch2=b[None]).tolist() == [[[4.0] * 4] * 2]
