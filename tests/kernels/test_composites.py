"""Functions that are one kernel on large arrays, as their gradients are: values, layouts, second order, fallbacks."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
import expkit.tensor as T
from expkit.autograd.handle import wrap
from expkit.nn.functional import activation, classification, regression
from expkit.nn.functional.reduction import ElementwiseLoss
from expkit.tensor.composite import Fused, fused
from expkit.tensor.generated.one_pass import OnePass
from expkit.tensor.ops import kinds, pointwise, softmax
from tests.kernels.guards import install, layouts

pytest.importorskip("llvmlite")
SHAPE = (120, 150)  # half of it has more elements than LEAST
ACTIVATIONS = {
    "celu": {"alpha": 0.4}, "elu": {"alpha": 0.7}, "gelu": {}, "hardshrink": {"lambd": 0.3}, "hardsigmoid": {},
    "hardswish": {}, "hardtanh": {"min_val": -0.5, "max_val": 2.0}, "leaky_relu": {"negative_slope": 0.2},
    "logsigmoid": {}, "mish": {}, "relu": {}, "relu6": {}, "selu": {}, "sigmoid": {}, "silu": {},
    "softplus": {"beta": 2.0, "threshold": 5.0}, "softshrink": {"lambd": 0.3}, "softsign": {}, "tanh": {},
    "tanhshrink": {}, "threshold": {"threshold": 0.1, "value": -2.0}, "softmax": {"dim": -1},
    "log_softmax": {"dim": 0}, "softmin": {"dim": 0}, "glu": {"dim": 0},
}  # fmt: skip
PROBABILITY, SHARES = (lambda x: 1 / (1 + np.exp(-x))), (lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True))
LOSSES = {  # name: parameters, what makes its input and its target of normal numbers
    "mse_loss": ({}, np.array, np.array), "l1_loss": ({}, np.array, np.array),
    "huber_loss": ({"delta": 0.7}, np.array, np.array), "smooth_l1_loss": ({"beta": 0.4}, np.array, np.array),
    "binary_cross_entropy": ({}, PROBABILITY, PROBABILITY),
    "binary_cross_entropy_with_logits": ({}, np.array, PROBABILITY),
    "kl_div": ({}, np.array, SHARES), "kl_div of logs": ({"log_target": True}, np.array, np.array),
}  # fmt: skip


def arrays(count, dtype="f8", shape=SHAPE):
    rng = np.random.default_rng(5)
    return [(2 * rng.standard_normal(shape)).astype(dtype) for _ in range(count)]


def value_and_gradients(lib, fn, raws, weight):
    leaves = [lib.tensor(x).requires_grad_() for x in raws]
    out = fn(*leaves)
    out.backward(lib.tensor(weight.astype(raws[0].dtype)) if out.ndim else None)
    return [np.asarray(out.detach()), *(np.asarray(x.grad) for x in leaves)]


def compare(fn, torch, torch_fn, raws, dtype):
    """Value and gradients of `fn` on arrays of the dtype beside PyTorch's in float64."""
    weight = np.random.default_rng(1).standard_normal(fn(ek.tensor(raws[0]), *map(ek.tensor, raws[1:])).shape)
    got = value_and_gradients(ek, fn, [x.astype(dtype) for x in raws], weight)
    want = value_and_gradients(torch, torch_fn, [x.astype(dtype).astype("f8") for x in raws], weight.astype(dtype))
    near = {"f4": 4e-6, "f8": 1e-13}[dtype]
    for a, b in zip(got, want, strict=True):
        assert a.dtype == np.dtype(dtype)
        np.testing.assert_allclose(a, b, rtol=near * 3, atol=near)


@pytest.mark.torch
@pytest.mark.parametrize(("name", "dtype"), [(n, "f4") for n in ACTIVATIONS] + [("elu", "f8"), ("gelu", "f8")])
def test_activations(name, dtype, torch):
    kw = ACTIVATIONS[name]
    theirs = getattr(torch.nn.functional, name)
    compare(lambda x: getattr(F, name)(x, **kw), torch, lambda x: theirs(x, **kw), arrays(1), dtype)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize(("reduction", "dtype"), [("mean", "f4"), ("sum", "f8"), ("none", "f4")])
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name, dtype, reduction, torch):
    kw, first, second = LOSSES[name]
    x, y = arrays(2)
    ours, theirs = getattr(F, name.split()[0]), getattr(torch.nn.functional, name.split()[0])
    scale = {"sum": 1e-3}.get(reduction, 1.0)  # sums are large: their bound is relative
    compare(
        lambda x, y: ours(x, y, reduction=reduction, **kw) * scale, torch,
        lambda x, y: theirs(x, y, reduction=reduction, **kw) * scale, [first(x), second(y)], dtype,
    )  # fmt: skip


def kernels_of(one: OnePass):
    return list(one._kernels.values())


def test_no_composite_has_a_gap(monkeypatch):
    prims = pointwise.tanh_p, pointwise.sigmoid_p, pointwise.relu_p, softmax.softmax_p, softmax.log_softmax_p
    for prim in prims:  # what other tests asked for, of dtypes that have none, does not count
        monkeypatch.setattr(prim.vjp[0], "_kernels", {})
    for name in ACTIVATIONS:
        x = ek.tensor(arrays(1, "f4")[0]).requires_grad_()
        getattr(F, name)(x, **ACTIVATIONS[name]).sum().backward()
    x, y = (ek.tensor(a).requires_grad_() for a in arrays(2, "f4"))
    for loss in (v for m in (regression, classification) for v in vars(m).values() if isinstance(v, ElementwiseLoss)):
        for reduction in ("mean", "none"):
            numbers = [0.5] * (len(loss._each._names) - 2)
            loss(x, y, *numbers, reduction=reduction).sum().backward()
            for one in (loss._each.value, *loss._each.slopes[:2]) if reduction == "none" else (loss._sum.value,):
                assert kernels_of(one), "no kernel was asked for"
                assert all(kernels_of(one)), one
    for composite in (v for v in vars(activation).values() if isinstance(v, Fused)):
        if composite.__name__ == "_prelu":  # tested below
            continue
        for one in (composite.value, composite.slopes[0]):
            assert kernels_of(one), composite.plain
            assert all(kernels_of(one)), composite.plain
    for prim in prims:
        assert kernels_of(prim.vjp[0]), prim
        assert all(kernels_of(prim.vjp[0])), prim


@fused
def _bent(x, y, slope):
    return T.where(x > 0, x * y, T.exp(x) * slope)


def test_any_layout_and_broadcasting(monkeypatch):
    guards, rng = install(monkeypatch), np.random.default_rng(0)
    x, row = rng.standard_normal((100, 100)), ek.from_numpy(rng.standard_normal(100))
    for a in layouts(x, rng):
        a = wrap(guards.guarded(a) if 0 not in a.strides else a)  # from_numpy takes no negative strides
        np.testing.assert_allclose(_bent(a, row, 0.5).numpy(), _bent.plain(a, row, 0.5).numpy(), rtol=1e-14)
    guards.check()


@pytest.mark.torch
@pytest.mark.parametrize("slopes", [1, 9])
def test_prelu(slopes, torch):
    rng = np.random.default_rng(0)
    x, w, g = rng.standard_normal((20, 9, 30)), rng.standard_normal(slopes), rng.standard_normal((20, 9, 30))
    got, want = (
        value_and_gradients(lib, f, [x, w], g) for lib, f in ((ek, F.prelu), (torch, torch.nn.functional.prelu))
    )
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_derivatives_of_any_order_and_transforms():
    x, y = (ek.tensor(a[:, :]) for a in arrays(2))

    def second(fn):
        leaf, other = x.clone().requires_grad_(), y.clone().requires_grad_()
        first = ek.autograd.grad(fn(leaf, other, 0.5).sum(), (leaf, other), create_graph=True)
        return [*first, *ek.autograd.grad((first[0] * first[1] + first[0] * first[0]).sum(), (leaf, other))]

    for got, want in zip(second(_bent), second(_bent.plain), strict=True):
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-12, atol=1e-12)
    value, tangent = ek.func.jvp(lambda x: _bent(x, y, 0.5), (x,), (y,))
    plain, pushed = ek.func.jvp(lambda x: _bent.plain(x, y, 0.5), (x,), (y,))
    assert (value == plain).all().item()
    np.testing.assert_allclose(tangent.numpy(), pushed.numpy(), rtol=1e-12)
    mapped = ek.func.vmap(ek.func.grad(lambda x, y: _bent(x, y, 0.5).sum()))(x, y)
    alone = ek.func.grad(lambda x: _bent(x, y, 0.5).sum())(x)
    np.testing.assert_allclose(mapped.numpy(), alone.numpy(), rtol=1e-12)


def test_operands_that_were_made_of_each_other():
    leaf = ek.randn(*SHAPE, dtype=ek.float64, requires_grad=True)
    out = fused(lambda a, b: a * b * b)(leaf * 1, leaf * 3)
    (first,) = ek.autograd.grad(out.sum(), leaf, create_graph=True)
    np.testing.assert_allclose(first.detach().numpy(), 27 * leaf.detach().numpy() ** 2)
    (second,) = ek.autograd.grad(first.sum(), leaf)
    np.testing.assert_allclose(second.numpy(), 54 * leaf.detach().numpy())
    inner = leaf * 2
    (both,) = ek.autograd.grad(fused(lambda a, b: a * b * b)(inner, inner * 3).sum(), leaf, create_graph=True)
    np.testing.assert_allclose(both.detach().numpy(), 216 * leaf.detach().numpy() ** 2)


def test_backward_inside_a_transform_of_what_was_recorded_outside():
    x, y = (ek.tensor(a).requires_grad_() for a in arrays(2))
    out = _bent(x, y, 0.5)
    assert "Fused" in repr(out.grad_fn)
    seeds = ek.stack([ek.ones(*SHAPE, dtype=ek.float64), ek.full(SHAPE, 2.0, dtype=ek.float64)])
    pull = ek.func.vmap(lambda g: ek.autograd.grad(out, x, g, retain_graph=True)[0])
    got = pull(seeds)
    (want,) = ek.autograd.grad(_bent.plain(x, y, 0.5).sum(), x)
    np.testing.assert_allclose(got.numpy(), np.stack([want.numpy(), 2 * want.numpy()]), rtol=1e-12)


@kinds.one_pass
def _folded(x):
    return kinds.reshape_p(x, shape=(2, -1, 100)) * 2  # no kernel has this


def test_what_no_kernel_has_and_what_is_small_runs_plainly():
    x = arrays(1, shape=(100, 100))[0]
    np.testing.assert_array_equal(_folded(x), x.reshape(2, 50, 100) * 2)
    assert kernels_of(_folded) == [None]
    assert "Fused" not in repr(_bent(ek.ones(3).requires_grad_(), ek.ones(3), 1.0).grad_fn)
    assert (_bent(x=ek.ones(99, 99), y=ek.ones(99), slope=1.0) == 1).all().item()
    low = ek.ones(200, 100).to(ek.bfloat16).requires_grad_()
    assert F.elu(low).dtype == ek.bfloat16


def test_numbers_that_are_equal_but_differ_have_kernels_of_their_own():
    x = ek.tensor(np.full(SHAPE, -1.0))
    zeros = [F.threshold(x, 0.5, value) for value in (0.0, -0.0)]
    assert [bool(np.signbit(z.numpy()).all()) for z in zeros] == [False, True]


def test_results_do_not_depend_on_threads_and_calls_may_overlap(threads):
    x, y = (ek.tensor(a) for a in arrays(2, "f4", (300, 500)))
    results = []
    for count in (1, 2, 5):
        threads(count)
        results.append((F.mish(x).numpy(), F.smooth_l1_loss(x, y).item(), F.softmax(x, -1).numpy()))
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))
    with ThreadPoolExecutor(4) as workers:
        for got in workers.map(lambda _: F.mish(x).numpy(), range(8)):
            np.testing.assert_array_equal(got, results[0][0])


def test_softmax_of_extremes():
    x = np.tile(np.array([[1e4, 0, -np.inf], [-1e30, -1e30, -1e30], [np.nan, 0, 0], [np.inf, 0, 0]], "f4"), (1000, 1))
    with np.errstate(all="ignore"):
        e = np.exp(x - x.max(-1, keepdims=True))
        np.testing.assert_allclose(T.softmax(ek.tensor(x), -1).numpy(), e / e.sum(-1, keepdims=True), rtol=1e-6)


def test_gelu_far_out_is_exact():
    x = np.tile(np.array([-1000, -50, -7, -0.0, 0, 7, 50, 1000], "f4"), 2000)
    for approximate in ("none", "tanh"):
        np.testing.assert_array_equal(F.gelu(ek.tensor(x), approximate).numpy(), np.where(x > 0, x, 0))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", [(600, 1), (50, 17), (300, 70), (3, 40, 33), (2, 3000, 3), (2, 5, 7, 11)], ids=str)
def test_softmax_along_any_axis_of_any_layout(shape, dtype, monkeypatch):
    guards, rng = install(monkeypatch), np.random.default_rng(0)
    for x in layouts(rng.standard_normal(shape).astype(dtype), rng):
        x = guards.guarded(x) if 0 not in x.strides else x
        for axis in range(x.ndim):
            got = softmax.log_softmax_p.impl(x, axis=axis)
            want = x.astype("f8") - np.logaddexp.reduce(x.astype("f8"), axis, keepdims=True)
            near = 3e-5 if dtype == "f4" else 1e-12
            np.testing.assert_allclose(got, want, rtol=near / 10, atol=near)
    guards.check()


def test_a_tensor_among_the_numbers_runs_the_function():
    x = ek.tensor(arrays(1)[0])
    for limit in (ek.tensor(0.25, dtype=ek.float64), ek.full(SHAPE, 0.25, dtype=ek.float64, requires_grad=True)):
        kept = len(F.softshrink.value._kernels)
        y = F.softshrink(x, lambd=limit)
        assert len(F.softshrink.value._kernels) == kept  # keys are of numbers: a tensor's text is not its value
        assert y.requires_grad == limit.requires_grad
        np.testing.assert_array_equal(y.detach().numpy(), F.softshrink(x, lambd=0.25).numpy())
