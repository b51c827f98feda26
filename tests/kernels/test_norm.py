"""Layer, RMS, group and batch norm by kernels: beside float64, both orders of an image, gradients, layouts, threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import expkit as ek
import expkit.nn.functional as F
from expkit.autograd.trace import Trace, capture
from expkit.tensor.generated import norm
from expkit.tensor.ops import norm_arrays
from tests.kernels.guards import install, layouts
from tests.kernels.replayable import assert_replayable

pytest.importorskip("llvmlite")
BOUND = {"f4": 2e-6, "f8": 1e-14}  # of the largest element


@pytest.fixture(autouse=True)
def _all_sizes(monkeypatch):
    """Kernels for arrays of any size; a call that a kernel does not take is an error."""
    monkeypatch.setattr(norm, "LEAST", 1)


def exact(x, affine, axes, at, eps, g):
    """The plain implementation in float64: (result, mean, var, gradients...)"""
    x, *affine = (a.astype("f8") for a in (x, *affine))
    kw = {"axes": axes, "at": at, "eps": eps}
    out, mean, var = norm_arrays.normalize.__wrapped__(x, *affine, **kw)
    back = norm_arrays.normalize_grad.__wrapped__
    return [out, mean, var, *several(back(g.astype("f8"), mean, var, x, *affine[:1], grads=len(affine), **kw))]


def several(found):
    return found if isinstance(found, tuple) else (found,)


def close(got, want, dtype, size=1):
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        assert a.dtype == np.dtype(dtype)
        np.testing.assert_allclose(a, b, rtol=0, atol=BOUND[dtype] * max(1, np.abs(b).max(initial=0)) * size)


def check(x, axes, at, count, rng, guards):
    """The kernels beside the plain implementation; what they return keeps x's order in memory."""
    dtype, kw = x.dtype.str[1:], {"axes": axes, "at": at, "eps": 1e-5}
    affine = [rng.standard_normal([x.shape[i] for i in at]).astype(dtype) for _ in range(count)]
    out, mean, var = norm_arrays.normalize(x, *affine, **kw)
    g = rng.standard_normal(out.shape).astype(dtype)
    grads = several(norm_arrays.normalize_grad(g, mean, var, x, *affine[:1], grads=count, **kw))
    guards.check()
    blown_up = 1 + 1 / np.sqrt(var.min() + 1e-5)  # the rounding of x - mean, where x varies little
    close([out, mean, var, *grads], exact(x, affine, axes, at, 1e-5, g), dtype, blown_up)
    return out, grads[0]


def columns(shape, rng, dtype):
    """An image whose channels (axis 1) are innermost in memory."""
    n, c, *rest = shape
    return np.moveaxis((rng.standard_normal((n, *rest, c)) + 1).astype(dtype), -1, 1)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.integers(1, 9), min_size=0, max_size=2), n=st.one_of(st.integers(8, 200), st.integers(4000, 9000)),
    count=st.integers(0, 2), dtype=st.sampled_from(["f4", "f8"]), seed=st.integers(0, 99),
)  # fmt: skip
def test_layer_norm(rows, n, count, dtype, seed):
    rng = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        guards = install(patch)
        x = guards.guarded((rng.standard_normal((*rows, n)) + 2).astype(dtype))
        assert norm._form(x, (), (len(rows),), ()) == n
        check(x, (len(rows),), (len(rows),) if count else (), count, rng, guards)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 90), st.integers(1, 12), st.integers(2, 12)),
    nhwc=st.booleans(), count=st.integers(0, 2), dtype=st.sampled_from(["f4", "f8"]), seed=st.integers(0, 99),
)  # fmt: skip
def test_batch_norm(shape, nhwc, count, dtype, seed):
    assume(shape[0] * shape[2] * shape[3] >= 8)  # of two or three numbers the gradient is nothing but rounding
    rng = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        guards = install(patch)
        x = columns(shape, rng, dtype) if nhwc else (rng.standard_normal(shape) + 1).astype(dtype)
        for made in check(x, (0, 2, 3), (1,) if count else (), count, rng, guards):
            assert made.strides == x.strides or 1 in shape


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 7), st.integers(2, 150)),
    nhwc=st.booleans(), count=st.integers(0, 2), dtype=st.sampled_from(["f4", "f8"]), seed=st.integers(0, 99),
)  # fmt: skip
def test_group_norm(shape, nhwc, count, dtype, seed):
    assume(shape[2] * shape[3] >= 8)
    rng, (n, groups, width, places) = np.random.default_rng(seed), shape
    with pytest.MonkeyPatch.context() as patch:
        guards = install(patch)
        x = (rng.standard_normal((n, places, groups, width) if nhwc else shape) + 1).astype(dtype)
        x = x.transpose(0, 2, 3, 1) if nhwc else x
        for made in check(x, (2, 3), (1, 2) if count else (), count, rng, guards):
            assert made.strides == x.strides or 1 in shape


@pytest.mark.parametrize(("axes", "at"), [((0,), (1,)), ((1,), (1,))], ids=["batch", "layer"])
def test_any_layout(axes, at, monkeypatch):
    rng, guards = np.random.default_rng(0), install(monkeypatch)
    for x in layouts(rng.standard_normal((60, 70)).astype("f4"), rng):
        if x.shape[1] > 1 and 0 not in x.strides:
            check(x, axes, at, 2, rng, guards)


def functions(c):
    """name: the function of (x, weight, bias), in either library"""
    return {
        "batch": lambda f, x, w, b: f.batch_norm(x, None, None, w, b, True),
        "group": lambda f, x, w, b: f.group_norm(x, 5, w, b),
        "instance": lambda f, x, w, b: f.group_norm(x, c, w, b),
        "rms": lambda f, x, w, b: f.rms_norm(x, (9, 7), (w.sum() + b.sum()) * x.detach()[0, 0], 1e-3),
        "eval": lambda f, x, w, b: f.batch_norm(x, b.detach(), w.detach() ** 2 + 1, w, b, False),
    }


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("nhwc", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("name", ["batch", "group", "instance", "rms", "eval"])
def test_functions_as_pytorch(name, nhwc, dtype, torch):
    rng, fn = np.random.default_rng(0), functions(20)[name]
    image = columns((9, 20, 9, 7), rng, dtype)
    raws = [image if nhwc else image.copy(), *(rng.standard_normal(20).astype(dtype) for _ in range(2))]
    leaves = [ek.from_numpy(a).requires_grad_() for a in raws]
    theirs = [torch.tensor(a.astype("f8")).requires_grad_() for a in raws]
    out, want = fn(F, *leaves), fn(torch.nn.functional, *theirs)
    g = rng.standard_normal(out.shape).astype(dtype)
    found = ek.autograd.grad(out, leaves, ek.tensor(g))
    wanted = torch.autograd.grad(want, theirs, torch.tensor(g.astype("f8")))
    assert name == "rms" or out.stride() == leaves[0].stride()
    close([v.detach().numpy() for v in (out, *found)], [v.detach().numpy() for v in (want, *wanted)], dtype, 4)


@pytest.mark.parametrize("name", ["layer", "rms", "batch"])
def test_second_derivatives_and_transforms(name, monkeypatch):
    x, w = (ek.tensor(np.random.default_rng(0).standard_normal(s)) for s in ((6, 40, 30), (30,)))
    fn = {
        "layer": lambda x: F.layer_norm(x, (30,), w, w), "rms": lambda x: F.rms_norm(x, (30,), w, 1e-3),
        "batch": lambda x: F.batch_norm(x.reshape(-1, 30), None, None, w, w, True),
    }[name]  # fmt: skip

    def everything():
        leaf = x.clone().requires_grad_()
        (first,) = ek.autograd.grad((fn(leaf) ** 3).sum(), leaf, create_graph=True)
        (second,) = ek.autograd.grad((first * first).sum(), leaf)
        pushed = ek.func.jvp(fn, (x,), (x * x,))[1]
        mapped = ek.func.vmap(fn)(x) if name != "batch" else pushed
        return [v.detach().numpy() for v in (first, second, pushed, mapped)]

    fast = everything()
    monkeypatch.setattr(norm, "LEAST", 1 << 60)
    for a, b in zip(fast, everything(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(b).max())


FORMS = {  # name: shape, axes, at
    "batch": ((6, 20, 9, 7), (0, 2, 3), (1,)),
    "batch of rows": ((70, 30), (0,), (1,)),
    "group": ((4, 3, 10, 40), (2, 3), (1, 2)),
    "instance": ((4, 12, 1, 40), (2, 3), (1, 2)),
    "layer": ((6, 40, 30), (2,), (2,)),
}


@pytest.mark.parametrize("affine", [0, 1, 2])
@pytest.mark.parametrize("nhwc", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("name", FORMS)
def test_they_are_kernel_calls_alone(name, nhwc, affine):
    (shape, axes, at), rng = FORMS[name], np.random.default_rng(0)
    x, y = (columns(shape, rng, "f4") if nhwc and len(shape) == 4 else normal(rng, shape) for _ in range(2))
    weights, kw = [normal(rng, [shape[i] for i in at]) for _ in range(affine)], {"axes": axes, "eps": 1e-5}
    kw["at"] = at if affine else ()
    assert_replayable(lambda *operands: norm.normalize(*operands, **kw), x.copy("K"), *weights)
    _, mean, var = norm.normalize(x, *weights, **kw)
    assert_replayable(
        lambda *operands: several(norm.normalize_grad(*operands, grads=affine, **kw)),
        y, mean, var, x, *weights[:1],
    )  # fmt: skip


def test_rms_norm_is_kernel_calls_alone():
    rng = np.random.default_rng(0)
    x, y, w = normal(rng, (40, 30)), normal(rng, (40, 30)), normal(rng, (30,))
    assert_replayable(lambda *operands: norm.rms(*operands, count=1, eps=1e-3), x.copy(), w.copy())
    for weight in ((), (w,)):
        _, square = norm.rms(x, *weight, count=1, eps=1e-3)
        assert_replayable(lambda *operands: several(norm.rms_grad(*operands, count=1, eps=1e-3)), y, square, x, *weight)


def normal(rng, shape):
    return rng.standard_normal(shape).astype("f4")


@pytest.mark.parametrize(("name", "weights"), [("layer", 2), ("rms", 1), ("rms", 0), ("batch", 2), ("group", 0)])
def test_gradients_are_one_equation_of_a_live_trace(name, weights):
    rng = np.random.default_rng(0)
    x, affine = ek.tensor(normal(rng, (6, 20, 30))), [ek.tensor(normal(rng, (30,))) for _ in range(weights)]
    fn = {
        "layer": lambda x, *w: F.layer_norm(x, (30,), *w), "rms": lambda x, *w: F.rms_norm(x, (30,), *w),
        "batch": lambda x, *w: F.batch_norm(x.reshape(-1, 30), None, None, *w, training=True),
        "group": lambda x: F.group_norm(x, 4),
    }[name]  # fmt: skip

    def gradients(*leaves):
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        return ek.autograd.grad((fn(*leaves) ** 2).sum(), leaves)

    graph = capture(Trace(live=True), gradients, (x, *affine))
    graph.check()
    made = [e.prim for e in graph.equations if "norm" in e.prim.name]
    kind = "rms_norm" if name == "rms" else "normalize"
    assert [p.name for p in made] == [kind, f"{kind}_grad{1 + weights}"]
    for found, wanted in zip(graph(x, *affine), gradients(x, *affine), strict=True):
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-5, atol=1e-4)


def test_a_mean_far_from_zero_and_values_that_are_all_equal():
    rng = np.random.default_rng(0)
    for x in (rng.standard_normal((4, 8, 50, 50)) + 1e3, np.full((4, 8, 50, 50), 7.0)):
        for axes in ((0, 2, 3), (3,)):
            for raw in (x.astype("f4"), np.moveaxis(np.ascontiguousarray(np.moveaxis(x.astype("f4"), 1, -1)), -1, 1)):
                out, mean, var = norm_arrays.normalize(raw, axes=axes, at=(), eps=1e-5)
                want = exact(raw, [], axes, (), 1e-5, raw)
                np.testing.assert_allclose(mean, want[1], rtol=2e-7)
                np.testing.assert_allclose(var, want[2], rtol=1e-4, atol=1e-12)
                np.testing.assert_allclose(out, want[0], atol=3e-4)


def test_results_do_not_depend_on_threads_and_calls_may_overlap(threads):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((30, 40, 16, 15)).astype("f4"), rng.standard_normal(40).astype("f4")

    def run():
        leaf = ek.from_numpy(x).permute(0, 3, 1, 2).requires_grad_()
        rows = F.layer_norm(leaf.permute(0, 2, 3, 1), (15,), ek.from_numpy(w[:15]), ek.from_numpy(w[:15]))
        weights = [ek.tensor(w[:15]).requires_grad_() for _ in range(2)]
        out = F.batch_norm(leaf, None, None, *weights, True)
        found = ek.autograd.grad(out, (leaf, *weights), out.detach())
        return [rows.detach().numpy(), *(v.detach().numpy() for v in (out, *found))]

    results = []
    for count in (1, 2, 5):
        threads(count)
        results.append(run())
    with ThreadPoolExecutor(4) as workers:
        results += list(workers.map(lambda _: run(), range(4)))
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))
