"""The engine's primitives with and without kernels: the same values and gradients; when kernels are not used."""

import subprocess
import sys

import numpy as np
import pytest

import expkit as ek
import expkit.tensor as T
from expkit.kernels.cpu.loops.plan import Plan
from expkit.kernels.cpu.machine.call import Bound
from expkit.tensor.generated.one_pass import OnePass
from expkit.tensor.generated.pointwise import Kernels
from expkit.tensor.generated.reduction import Reductions
from expkit.tensor.ops import fused

pytest.importorskip("llvmlite")
FUNCTIONS = {
    name: getattr(T, name)
    for name in ("exp", "expm1", "log", "log2", "log10", "log1p", "tanh", "sigmoid", "erf", "erfc", "gelu")
} | {
    "silu": fused.silu,
    "gelu tanh": lambda x: fused.gelu(x, "tanh"),
    "softmax": lambda x: T.softmax(x, -1),
    "log_softmax": lambda x: T.log_softmax(x, -1),
    "softmax of columns": lambda x: T.softmax(x, 0),
    "sum": lambda x: T.sum(x, 1),
    "sum of all": lambda x: T.sum(x),
    "mean": lambda x: T.mean(x, -1),
    "amax": lambda x: T.amax(x, -1),
    "amin": lambda x: T.amin(x, 1, keepdim=True),
    "var": lambda x: T.var(x, (0, 1)),
    "sum along 0": lambda x: T.sum(x, 0),
    "amax along 0": lambda x: T.amax(x, 0),
    "prod": lambda x: T.prod(x.reshape(-1, 6), 1),
    "norm": lambda x: T.norm(x, dim=0),
    "norm of all": lambda x: T.norm(x),
    "max": lambda x: T.max(x, 0).values,
    "clamp": lambda x: T.clamp(x, 0.5, 2.5),
    "clamp from above": lambda x: T.clamp(x, max=2.5),
    "where": lambda x: T.where(x > 1, x, x * 2),
    "power": lambda x: x**3 + x**-0.5 + x**2.0,
    "arithmetic": lambda x: (x + x[:1]) * (2.0 - x) / x[:, :1] - 1,
    "maximum": lambda x: T.maximum(x, 1.5 - x),
    "relu": lambda x: T.relu(x - 1),
    "cast": lambda x: x.to(ek.float64) * 2,
    "sin": lambda x: T.sin(x) + T.cos(x),
    "softplus": lambda x: T.softplus_1(x) if hasattr(T, "softplus_1") else ek.nn.functional.softplus(x),
}


def result(fn, x, monkeypatch, with_kernels: bool):
    """(value, gradient)"""
    if not with_kernels:
        for made, name in ((Kernels, "of"), (Reductions, "of"), (OnePass, "kernel")):
            monkeypatch.setattr(made, name, lambda self, *_: None)
    leaf = ek.from_numpy(x.copy()).requires_grad_()
    out = fn(leaf)
    weight = ek.from_numpy(np.linspace(-1, 1, out.numel()).astype(x.dtype).reshape(out.shape))
    (out * weight).sum().backward()
    return out.detach().numpy(), leaf.grad.numpy()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients_agree_with_the_plain_implementation(name, dtype, monkeypatch):
    x = np.random.default_rng(0).uniform(0.1, 3, (290, 231)).astype(dtype)
    calls = []
    for made in (Plan, Bound):
        run = made.__call__
        monkeypatch.setattr(made, "__call__", lambda self, *arrays, run=run: calls.append(1) or run(self, *arrays))
    fast = result(FUNCTIONS[name], x, monkeypatch, True)
    assert calls, "no kernel was run"
    plain = result(FUNCTIONS[name], x, monkeypatch, False)
    for a, b in zip(fast, plain, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        near = (2e-6 if dtype == "f4" else 1e-14) * max(1.0, float(np.abs(b).max()))
        np.testing.assert_allclose(a, b, rtol=2e-5 if dtype == "f4" else 1e-12, atol=near)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int64"])
def test_other_dtypes_empty_and_small_arrays_work(dtype):
    kind = getattr(ek, dtype)
    for shape in ((0, 5), (3,), (100, 100)):
        x = ek.zeros(shape, dtype=kind)
        assert (x.sum() == 0).item()
        if kind.is_floating_point:
            assert (T.exp(x) == 1).all().item()
            assert T.softmax(x, -1).shape == shape


def test_swapped_bytes_go_to_numpy():
    x = np.ones((100, 100), ">f4")
    np.testing.assert_allclose(np.asarray(T.ops.elementwise.exp_p.impl(x), "f4"), np.e, rtol=1e-6)


PROGRAM = """
import numpy as np, sys
import expkit as ek
{before}
assert "llvmlite" not in sys.modules
x = ek.exp(ek.ones(100, 100))
assert abs(float(x.sum()) / 10000 / np.e - 1) < 1e-5
print("llvmlite.binding" in sys.modules and sys.modules["llvmlite.binding"] is not None)
"""
MISSING = """
class Finder:
    def find_spec(self, name, *_):
        if name.startswith("llvmlite"):
            raise ImportError(name)
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize(
    ("flag", "before", "loaded"),
    [
        ("1", "", "True"),
        ("0", "", "False"),
        ("1", MISSING, "False"),
    ],
    ids=["on", "switched off", "no llvmlite"],
)  # fmt: skip
def test_kernels_can_be_switched_off_or_missing(flag, before, loaded, monkeypatch):
    monkeypatch.setenv("EXPKIT_KERNELS", flag)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == loaded


def test_set_num_threads_reaches_the_kernels(threads):
    from expkit.kernels.cpu.machine import pool

    before = ek.get_num_threads()
    try:
        ek.set_num_threads(1)
        assert pool.get_num_threads() == 1
    finally:
        ek.set_num_threads(max(1, before))


def test_gradients_are_added_by_kernels(monkeypatch):
    x = ek.from_numpy(np.random.default_rng(1).standard_normal((300, 250))).requires_grad_()
    ran, run = [], Plan.__call__
    monkeypatch.setattr(Plan, "__call__", lambda self, *arrays: ran.append(arrays) or run(self, *arrays))
    for times in (1, 2):
        seed = ek.ones_like(x)
        ek.autograd.backward([x * 1.0 + x * 2.0], [seed])
        assert np.allclose(x.grad.numpy(), 3 * times)
    assert any(arrays[0] is x.grad.raw is arrays[-1] for arrays in ran)


@pytest.mark.parametrize("shape", [(6,), (300, 20)], ids=["NumPy", "kernel"])
@pytest.mark.parametrize("y", [1, 2, 3, 4, 0.5, -0.5, -1, -2, 1.7])
def test_powers_of_small_exponents(y, shape):
    x = np.random.default_rng(0).standard_normal(shape)
    x.flat[:4] = 0, np.inf, np.nan, -0.0
    with np.errstate(all="ignore"):
        want = np.sqrt(x) ** (2 * y) if y in (0.5, -0.5) else x**y  # the root of -0.0 is -0.0
    np.testing.assert_allclose((ek.from_numpy(x) ** y).numpy(), want, rtol=1e-14)
