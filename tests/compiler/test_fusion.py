"""Fusion: which equations become one kernel, in an order that runs, and with the values of the graph."""

import random

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit.autograd.equations import Var
from expkit.autograd.trace import Trace, capture
from expkit.compiler import cores
from expkit.compiler.fusion import units
from expkit.compiler.passes import optimized
from expkit.kernels.cpu.loops import fuse
from expkit.tensor.generated.base import enabled
from tests.kernels.replayable import assert_replayable

pytestmark = pytest.mark.skipif(not enabled(), reason="no kernels are generated here")
NUMBERS = np.random.default_rng(0)


def rand(*shape, dtype="float32"):
    return ek.tensor(np.asarray(NUMBERS.uniform(0.5, 1.5, shape), dtype))


def units_of(fn, *args):
    graph = capture(Trace(live=True), fn, args)
    return graph, units(graph, optimized(graph, graph.equations, graph.outputs), graph.outputs)


def run(graph, found, raws):
    """The graph's outputs by its units, which must find their operands made, and make each value once."""
    env = {v.index: raw for v, raw in zip(graph.inputs, raws, strict=True)}
    env |= {v.index: raw for v, raw in graph.consts}
    for unit in found:
        results = unit.run(*[env[a.index] if isinstance(a, Var) else a for a in unit.args])
        for v, raw in zip(unit.outs, results, strict=True):
            assert v.index not in env, f"{v!r} is made twice"
            assert (raw.shape, raw.dtype) == (v.shape, v.dtype), unit.name
            env[v.index] = raw
    return [env[v.index] for v in graph.outputs]


def softmax(x):
    e = ek.exp(x - x.amax(-1, keepdim=True))
    return e / e.sum(-1, keepdim=True)


def rms_norm(x, w):
    return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * w


def adam(p, g, m, v):
    m, v = m + (g - m) * 0.1, v * 0.999 + g * g * 0.001
    return p - m / (v.sqrt() + 1e-8) * 0.01, m, v


def through_a_product(x, w):
    h = ek.relu(x @ w)
    return ek.tanh(h * 2 + 1).sum(0), h


CASES = {  # function, operands, the names of the units that compute
    "chain": (lambda x, y: ek.tanh(x * y + 1) - x, [(5, 7), (5, 7)], ["mul+add+tanh+sub"]),
    "of one element": (lambda x, y: ek.exp(x) * y, [(), ()], ["exp+mul"]),
    "a vector over rows": (lambda x, b: ek.relu(x + b) * 2, [(4, 6), (6,)], ["add+relu+mul"]),
    "a column beside a row": (lambda x, y: (x + y) * x, [(4, 1), (1, 6)], ["add+mul"]),
    "softmax": (softmax, [(16, 9)], ["amax+reshape+sub+exp+sum+reshape+div"]),
    "norm": (rms_norm, [(16, 9), (9,)], None),
    "several results": (adam, [(30,)] * 4, None),
    "sum of columns": (lambda x, y: (x * y).sum(0), [(8, 6), (8, 6)], ["mul+sum"]),
    "two reductions of one pass": (lambda x: (x.sum(1), x.amax(1)), [(16, 6)], ["sum+amax"]),
    "a cheap value twice": (lambda x, w: (ek.tanh(-x) @ w, ek.exp(-x) @ w), [(8, 8), (8, 8)], None),
    "around a product": (through_a_product, [(8, 6), (6, 6)], ["matmul+relu", "mul+add+tanh+sum"]),
    "reduced beside reduced": (lambda x: x / (x.sum(1) * 2 + 1).reshape(16, 1), [(16, 9)], None),
    "a reduced value of another axis": (lambda x: x.sum(1) + x, [(9, 9)], None),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_units_compute_what_the_graph_computes(name):
    fn, shapes, names = CASES[name]
    args = [rand(*shape) for shape in shapes]
    graph, found = units_of(fn, *args)
    raws = [x.numpy() for x in args]
    for a, b in zip(run(graph, found, raws), graph.run(raws), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6)
    if names is not None:
        assert sorted(u.name for u in found if u.name not in ("reshape", "expand")) == sorted(names)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "bool"])
def test_every_dtype_of_generated_code(dtype):
    x, y = rand(3, 5), rand(3, 5)
    x, y = x.to(getattr(ek, dtype)), y.to(getattr(ek, dtype))
    graph, found = units_of(lambda x, y: ek.where(x == y, x, y).to(ek.float32) * 2, x, y)
    assert len(found) == 1
    np.testing.assert_array_equal(run(graph, found, [x.numpy(), y.numpy()])[0], graph.run([x.numpy(), y.numpy()])[0])


def test_a_layer_that_is_repeated_is_one_kernel():
    def fn(x, w):
        for _ in range(20):
            x = ek.tanh(x * 0.5 + 1.25).amax(0, keepdim=True) + w
        return x

    before = fuse._reducing.cache_info().currsize
    _, found = units_of(fn, rand(6, 6), rand(6, 6))
    assert sum(u.name.startswith("add+mul+add+tanh") for u in found) == 19
    assert fuse._reducing.cache_info().currsize <= before + 2


@pytest.mark.parametrize("name", ["chain", "softmax", "norm", "several results", "sum of columns", "of one element"])
def test_units_are_kernel_calls_alone(name):
    fn, shapes, _ = CASES[name]
    _, found = units_of(fn, *[rand(*shape) for shape in shapes])
    unit = next(u for u in found if "+" in u.name)
    assert unit.pure
    shapes = {a.index: a.shape for a in unit.args}
    assert_replayable(unit.run, *[NUMBERS.uniform(0.5, 1.5, shapes[a.index]).astype(a.dtype) for a in unit.args])


def test_what_is_needed_late_is_computed_late():
    """The slope of an activation is not stored during the forward pass."""
    w = rand(6, 6).requires_grad_()

    def fn(x):
        loss = (F.gelu(x @ w) @ w).sum()
        loss.backward()
        return w.grad

    names = [u.name for u in units_of(fn, rand(4, 6))[1]]
    value = next(i for i, name in enumerate(names) if name.endswith("gelu"))
    slope = next(i for i, name in enumerate(names) if "gelu_slope" in name)
    assert value < slope
    assert names[slope].endswith("gelu_slope+mul")


def dense(x, w, b):
    return F.gelu(F.linear(x, w, b)) + x


def dense_step(x, w, b):
    w, b = w.detach().requires_grad_(), b.detach().requires_grad_()
    loss = (ek.relu(F.linear(F.gelu(F.linear(x, w, b)), w)) * x).sum()
    loss.backward()
    return loss, w.grad, b.grad


def residual(x, w, b):
    h = ek.relu(F.batch_norm(x, None, None, w, b, True))
    return ek.relu(F.batch_norm(h, None, None, w, b, True) + x)


def residual_step(x, w, b):
    x, w, b = (v.detach().requires_grad_() for v in (x, w, b))
    loss = (residual(x, w, b) * 0.5).square().sum()
    loss.backward()
    return loss, x.grad, w.grad, b.grad


AROUND = {  # function, operands, units that hold more than one equation
    "linear": (dense, [(9, 7), (7, 7), (7,)], {"linear+gelu+add"}),
    "linear, in a step": (
        dense_step, [(9, 7), (7, 7), (7,)], {"linear+gelu", "matmul+gelu_slope+mul"}
    ),
    "a product in a batch": (lambda x, y, z: ek.exp(x @ y) * z, [(2, 9, 7), (2, 7, 5), (5,)], {"matmul+exp+mul"}),
    "rows of a product": (
        lambda x, w, z: ek.exp((x.reshape(18, 7) @ w).reshape(2, 9, 5)) * z, [(2, 9, 7), (7, 5), (2, 9, 1)],
        {"matmul+exp+mul"},
    ),
    "a product that is wanted": (lambda x, y: (x @ y, ek.exp(x @ y)), [(9, 7), (7, 5)], {"matmul+exp"}),
    "norm of images": (residual, [(4, 8, 16, 16), (8,), (8,)], {"normalize+relu", "normalize+add+relu"}),
    "norm of images, in a step": (residual_step, [(4, 8, 16, 16), (8,), (8,)], None),
}  # fmt: skip


@pytest.mark.parametrize("name", AROUND)
def test_code_inside_of_products_and_norms(name, monkeypatch):
    monkeypatch.setattr(cores, "LEAST", 0)
    fn, shapes, names = AROUND[name]
    args = [rand(*shape) for shape in shapes]
    graph, found = units_of(fn, *args)
    raws = [NUMBERS.uniform(-1, 1, shape).astype(np.float32) for shape in shapes]
    for a, b in zip(run(graph, found, raws), graph.run(raws), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    if names is not None:
        assert {u.name for u in found if "+" in u.name} >= names
    for unit in found:
        if "normalize" in unit.name or "matmul" in unit.name or "linear" in unit.name:
            values = {a.index: NUMBERS.uniform(0.5, 1.5, a.shape).astype(a.dtype) for a in unit.args}
            operands = [values[a.index] for a in unit.args]
            assert_replayable(unit.run, *operands)
            for a, b in zip(unit.run(*operands), (unit.plain or unit.run)(*operands), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def a_random_function(seed):
    """A function of three matrices: a random graph of elementwise code, reductions, products and views."""
    choose = random.Random(seed)
    plan = [(choose.randrange(9), choose.randrange(1 << 30), choose.randrange(1 << 30)) for _ in range(40)]
    results = choose.sample(range(43), 4)

    def fn(x, y, z):
        values = [x, y, z]
        for kind, i, j in plan:
            a, b = values[max(0, len(values) - 8) :][i % min(8, len(values))], values[j % len(values)]
            values.append(
                [
                    lambda a, b: a * b, lambda a, b: a - b * 0.5, lambda a, b: ek.tanh(a), lambda a, b: -a,
                    lambda a, b: a - a.amax(1, keepdim=True), lambda a, b: a.sum(1, keepdim=True) * 0.1 + b,
                    lambda a, b: a.sum(0) * 0.1 + b, lambda a, b: ek.tanh(a @ b), lambda a, b: a.t(),
                ][kind](a, b)
            )  # fmt: skip
        return [values[n] for n in results]

    return fn


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs_run_in_order(seed):
    graph, found = units_of(a_random_function(seed), rand(10, 10), rand(10, 10), rand(10, 10))
    raws = [NUMBERS.uniform(-1, 1, (10, 10)).astype(np.float32) for _ in range(3)]
    for a, b in zip(run(graph, found, raws), graph.run(raws), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
