"""What follows a product: programs over it and operands of all layouts, further results, sums into an array."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("llvmlite")
from expkit.kernels.cpu.code.elementwise import Gap
from expkit.kernels.cpu.gemm import product
from expkit.kernels.cpu.gemm.epilogue import SLOTS
from expkit.kernels.cpu.loops.program import Program, Ref, Step
from tests.kernels.replayable import assert_replayable
from tests.kernels.test_gemm import LAYOUTS, close, guarded, laid_out

P, X, Y, Z = map(Ref, range(4))


def program(kinds, *steps, outputs):
    return Program(kinds, tuple(Step(name, args, tuple(kw.items())) for name, args, kw in steps), outputs)


def step(name, *args, **kw):
    return name, args, kw


def _relu(x):
    return np.maximum(x, 0)


# name -> (program for a kind, what it computes from the product and its operands, the operands' shapes for (m, n))
FOLLOWERS = {
    "bias": (
        lambda f: program((f, f), step("add", P, X), outputs=(2,)),
        lambda p, b: [p + b],
        lambda m, n: [(n,)],
    ),
    "bias, relu and its slope": (
        lambda f: program((f, f), step("add", P, X), step("relu", Y), step("gt", Y, 0.0), outputs=(3, 4)),
        lambda p, b: [_relu(p + b), p + b > 0],
        lambda m, n: [(n,)],
    ),
    "residual": (
        lambda f: program((f, f, f), step("add", P, X), step("add", Z, Y), outputs=(4,)),
        lambda p, b, r: [p + b + r],
        lambda m, n: [(n,), (m, n)],
    ),
    "tanh beside what it is of": (
        lambda f: program((f, f), step("add", P, X), step("tanh", Y), outputs=(2, 3)),
        lambda p, b: [p + b, np.tanh(p + b)],
        lambda m, n: [(m, 1)],
    ),
    "the product itself beside a function": (
        lambda f: program((f,), step("sigmoid", P), outputs=(0, 1)),
        lambda p: [p, 1 / (1 + np.exp(-p))],
        lambda m, n: [],
    ),
    "slopes of a mask, scaled": (
        lambda f: program((f, "b1", f), step("where", X, P, 0.0), step("mul", Z, Y), step("mul", Ref(4), 0.5),
                          outputs=(5,)),
        lambda p, mask, s: [np.where(mask, p, 0) * s * 0.5],
        lambda m, n: [(m, n), ()],
    ),
    "only whether it is positive": (
        lambda f: program((f,), step("gt", P, 0.0), outputs=(1,)),
        lambda p: [p > 0],
        lambda m, n: [],
    ),
    "in another precision": (
        lambda f: program((f, "f8"), step("cast", P, dtype=np.dtype("f8")), step("mul", Y, X), outputs=(3,)),
        lambda p, x: [p * x],
        lambda m, n: [(m, n)],
    ),
}  # fmt: skip


def operands_of(name, kind, shape, rng, layout="rows"):
    make, _, shapes = FOLLOWERS[name]
    made = []
    for each, size in zip(make(kind).inputs[1:], shapes(*shape[-2:]), strict=True):
        x = rng.standard_normal(size)
        x = x > 0 if each == "b1" else x.astype(each)
        if len(size) == 2 and size[1] > 1 and each != "b1":
            x = laid_out(x, layout)
        made.append(x)
    return made


def check(name, x, y, operands, into=None):
    make, formula, _ = FOLLOWERS[name]
    kind = {4: "f4", 8: "f8"}[x.itemsize]
    raw = x.astype("f8") @ y.astype("f8") + (0 if into is None else into.astype("f8"))
    found = guarded(product.fused, x, y, make(kind), operands, into)
    for got, want in zip(found, formula(raw, *operands), strict=True):
        if got.dtype == bool:
            assert (got != want).mean() < 1e-3
        else:
            assert got.shape == want.shape
            close(got.astype(kind), want, x.shape[-1])
    return found


# rows and columns of packed tiles, of both skinny kernels, of parts of k
SHAPES = [
    (30, 200, 40), (131, 70, 65), (3, 500, 40), (3, 40, 500), (40, 500, 3), (1, 70, 700), (300, 70, 1), (40, 1600, 50),
    (300, 400, 530), (5, 0, 6),
]  # fmt: skip


@pytest.mark.parametrize("name", FOLLOWERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_programs_after_products(name, shape):
    rng = np.random.default_rng(0)
    m, k, n = shape
    x, y = (rng.standard_normal(s).astype("f4") for s in ((m, k), (n, k)))
    for right in (y.T, y.T.copy()):
        check(name, x, right, operands_of(name, "f4", (m, n), rng))


extents = st.one_of(st.integers(1, 40), st.sampled_from([95, 200]))


@settings(max_examples=60, deadline=None)
@given(
    extents, extents, extents, *[st.sampled_from(LAYOUTS)] * 3, st.sampled_from(sorted(FOLLOWERS)),
    st.sampled_from(["f4", "f8"]), st.booleans(),
)  # fmt: skip
def test_any_layout(m, n, k, x_layout, y_layout, layout, name, kind, adds):
    rng = np.random.default_rng(m * n * k)
    x, y = rng.standard_normal((m, k)).astype(kind), rng.standard_normal((k, n)).astype(kind)
    into = rng.standard_normal((m, n + 3)).astype(kind)[:, :n] if adds else None
    check(name, laid_out(x, x_layout), laid_out(y, y_layout), operands_of(name, kind, (m, n), rng, layout), into)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (2, 1, 3)])
def test_batches(lead):
    rng = np.random.default_rng(0)
    for x_lead, y_lead in ((lead, ()), (lead, lead), ((), lead), (lead, lead[-1:])):
        x, y = rng.standard_normal((*x_lead, 12, 40)).astype("f4"), rng.standard_normal((*y_lead, 40, 50)).astype("f4")
        for shapes in ([(50,), (12, 50)], [(*lead, 1, 1), (*lead, 12, 50)], [(12, 1), (*lead[-1:], 1, 50)]):
            check("residual", x, y, [rng.standard_normal(s).astype("f4") for s in shapes])


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_into_an_array(shape):
    rng = np.random.default_rng(0)
    m, k, n = shape
    x, y = rng.standard_normal((m, k)).astype("f4"), rng.standard_normal((k, n)).astype("f4")
    for wide in (0, 5):
        into = rng.standard_normal((m, n + wide)).astype("f4")
        before = into.copy()
        (out,) = product.fused(x, y, into=into[:, :n])
        assert np.shares_memory(out, into)
        close(out, x.astype("f8") @ y + before[:, :n], k)
        np.testing.assert_array_equal(into[:, n:], before[:, n:])


def test_no_elements():
    make, _, _ = FOLLOWERS["bias, relu and its slope"]
    for m, n in ((0, 5), (5, 0)):
        found = product.fused(np.zeros((m, 3), "f4"), np.zeros((3, n), "f4"), make("f4"), [np.zeros(n, "f4")])
        assert [(x.shape, x.dtype) for x in found] == [((m, n), np.float32), ((m, n), np.bool_)]


def test_what_is_refused():
    x, y = np.ones((20, 30), "f4"), np.ones((30, 40), "f4")
    add = FOLLOWERS["bias"][0]("f4")
    with pytest.raises(TypeError, match="float32, not of float64"):
        product.fused(x, y, add, [np.ones(40)])
    with pytest.raises(TypeError, match="a product of float64, not of float32"):
        product.fused(x, y, FOLLOWERS["bias"][0]("f8"), [np.ones(40)])
    with pytest.raises(ValueError, match="do not fit a product of shape"):
        product.fused(x, y, add, [np.ones((2, 20, 40), "f4")])
    with pytest.raises(ValueError, match="is not added to an array of shape"):
        product.fused(x, y, into=np.ones((40, 20), "f4").T)
    with pytest.raises(TypeError, match="is not added to an array of float64"):
        product.fused(x, y, into=np.ones((20, 40)))
    many = Program(("f4",) * (SLOTS + 2), (Step("add", (P, X)),), (SLOTS + 2,))
    with pytest.raises(ValueError, match="operands and further results at most"):
        product.fused(x, y, many, [np.ones(40, "f4")] * (SLOTS + 1))
    with pytest.raises(Gap):
        product.fused(x, y, program(("f4",), step("sum", P), outputs=(1,)))
    with pytest.raises(Gap):
        product.fused(x, y, program(("f4",), step("no such step", P), outputs=(1,)))


@pytest.mark.parametrize("name", ["residual", "only whether it is positive", "tanh beside what it is of"])
@pytest.mark.parametrize("shape", [(30, 200, 40), (3, 500, 40), (3, 40, 500), (40, 1600, 50), (300, 400, 530)])
def test_recorded(name, shape):
    rng = np.random.default_rng(0)
    m, k, n = shape
    x, y = rng.standard_normal((m, k)).astype("f4"), rng.standard_normal((k, n)).astype("f4")
    assert_replayable(product.matmul, x, y)
    operands = operands_of(name, "f4", (m, n), rng, "columns")
    made = FOLLOWERS[name][0]("f4")
    assert_replayable(lambda x, y, *operands: product.fused(x, y, made, operands), x, y, *operands)
