"""Values and gradients where functions have kinks, poles, overflow, infinities and NaN, as in PyTorch."""

import numpy as np
import pytest

import expkit as ek

NAN, INF = float("nan"), float("inf")
EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -3.0, 1e-30, -1e-30, 88.0, -88.0, 20.0, -20.0, 1e-4, INF, -INF, NAN]
ONE = [
    "abs",
    "acos",
    "asin",
    "atan",
    "ceil",
    "cos",
    "cosh",
    "erf",
    "erfc",
    "exp",
    "expm1",
    "floor",
    "log",
    "log10",
    "log1p",
    "log2",
    "neg",
    "reciprocal",
    "relu",
    "round",
    "rsqrt",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "trunc",
    "nan_to_num",
    "isfinite",
    "isnan",
    "isinf",
    "logical_not",
]
TWO = [
    "add",
    "sub",
    "mul",
    "div",
    "atan2",
    "logaddexp",
    "maximum",
    "minimum",
    "pow",
    "remainder",
    "fmod",
    "floor_divide",
    "eq",
    "lt",
    "logical_and",
    "isclose",
]
ALONG = {
    "sum": lambda m, x: x.sum(-1),
    "prod": lambda m, x: x.prod(-1),
    "amax": lambda m, x: x.amax(-1),
    "max": lambda m, x: x.max(-1).values,
    "std": lambda m, x: x.std(-1),
    "norm": lambda m, x: x.norm(dim=-1),
    "norm 1": lambda m, x: x.norm(1, dim=-1),
    "norm 3": lambda m, x: x.norm(3, dim=-1),
    "norm inf": lambda m, x: x.norm(INF, dim=-1),
    "softmax": lambda m, x: x.softmax(-1)[..., :2],
    "log_softmax": lambda m, x: x.log_softmax(-1)[..., :2],
    "logsumexp": lambda m, x: x.logsumexp(-1),
    "cumsum": lambda m, x: x.cumsum(-1),
    "clamp": lambda m, x: x.clamp(-1.0, 1.0),
    "clamp by tensors": lambda m, x: x[:-1].clamp(x[:-1].flip(-1) - 1, x[:-1].flip(-1) + 1),
    "sort": lambda m, x: x.sort(-1).values[..., :2],
}
ROWS = [
    [0.0, 0.0, 0.0],
    [1.0, 1.0, 1.0],
    [0.0, 2.0, 3.0],
    [2.0, 2.0, 1.0],
    [-1.0, 0.0, 1.0],
    [1000.0, -1000.0, 0.0],
    [INF, 1.0, 0.0],
]


def same(got, expected, what):
    got, expected = (np.asarray(v, dtype=np.float64) for v in (got, expected))
    wrong = ~np.isclose(got, expected, rtol=2e-5, atol=1e-37, equal_nan=True)
    where = [(tuple(place), got[tuple(place)], expected[tuple(place)]) for place in np.argwhere(wrong)[:8].tolist()]
    assert not where, f"{what} (place, here, PyTorch): {where}"


def compare(fn, torch, inputs, dtype):
    leaves, others = (
        [m.tensor(values, dtype=getattr(m, dtype), requires_grad=True) for values in inputs] for m in (ek, torch)
    )
    out, expected = fn(ek, *leaves), fn(torch, *others)
    same(out.detach().numpy(), expected.detach().numpy(), "values")
    if expected.requires_grad and expected.is_floating_point() and "NotImplemented" not in repr(expected.grad_fn):
        got = ek.autograd.grad(out.sum(), leaves)
        for i, (g, e) in enumerate(zip(got, torch.autograd.grad(expected.sum(), others), strict=True)):
            same(g.numpy(), e.numpy(), f"gradient of argument {i}")


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ONE)
def test_one_argument(name, dtype, torch):
    compare(lambda m, x: getattr(m, name)(x), torch, [EDGES], dtype)


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", TWO)
def test_two_arguments(name, dtype, torch):
    pairs = np.repeat(EDGES, len(EDGES)).tolist(), np.tile(EDGES, len(EDGES)).tolist()
    compare(lambda m, x, y: getattr(m, name)(x, y), torch, pairs, dtype)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ALONG)
def test_along_a_dimension(name, torch):
    compare(ALONG[name], torch, [ROWS], "float64")


def test_equal_singular_values_have_gradients_alone():
    for diagonal in ([0.0, 0.0], [2.0, 2.0], [1.0, 0.0]):
        x = ek.tensor(np.diag(diagonal), requires_grad=True)
        ek.linalg.svdvals(x).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), np.eye(2))


def test_cholesky_reads_the_triangle_it_returns():
    full = np.array([[4.0, 2.0], [2.0, 3.0]])
    for upper, part in ((True, np.triu(full)), (False, np.tril(full))):
        factor = ek.linalg.cholesky(ek.tensor(part), upper=upper).numpy()
        np.testing.assert_allclose(factor.T @ factor if upper else factor @ factor.T, full)
