"""Attention by blocks against the formula in float64: shapes, strides, masks, threads; when kernels are not used."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import expkit as ek
import expkit.nn.functional as F
from expkit.tensor.generated import attention as generated

pytest.importorskip("llvmlite")
from expkit.kernels.cpu.machine import llvm
from expkit.kernels.cpu.nets import attention as kernels
from expkit.kernels.cpu.record.arena import Arena, reserved
from expkit.kernels.cpu.record.recording import Recording
from expkit.tensor.generated.pure import PURE
from tests.kernels.guards import install, layouts
from tests.kernels.replayable import assert_replayable


def formula(q, k, v, mask, g, *, causal, scale):
    """(result, lse, dq, dk, dv) in float64."""
    q, k, v, g = (x.astype("f8") for x in (q, k, v, g))
    s = q @ k.swapaxes(-1, -2) * scale
    if causal:
        s = np.where(np.tri(*s.shape[-2:], dtype=bool), s, -np.inf)
    if mask is not None:
        s = np.where(mask, s, -np.inf) if mask.dtype == bool else s + mask
    top = s.max(-1, keepdims=True)
    top[top == -np.inf] = 0
    total = np.exp(s - top).sum(-1, keepdims=True)
    lse = np.where(total == 0, np.inf, top + np.log(np.where(total == 0, 1, total)))
    p = np.exp(s - lse)
    out = p @ v
    ds = p * (g @ v.swapaxes(-1, -2) - (g * out).sum(-1, keepdims=True))
    return out, lse[..., 0], ds @ k * scale, ds.swapaxes(-1, -2) @ q * scale, p.swapaxes(-1, -2) @ g


def made(rng, shape, dtype):
    b, h, t, s, d, e = shape
    sizes = ((t, d), (s, d), (s, e), (t, e))
    return [rng.standard_normal((b, h, *size)).astype(dtype) for size in sizes]


def masked(rng, kind, shape, dtype):
    if kind == "none":
        return None
    if kind == "bool":
        mask = rng.random(shape) > 0.4
        mask[..., 0, :] = False  # a query that sees nothing
        return mask
    return rng.standard_normal(shape).astype(dtype)


def check(q, k, v, mask, g, *, causal, scale=0.2, single=2e-5):
    out, lse = kernels.forward(q, k, v, mask, causal=causal, scale=scale)
    grads = kernels.backward(g, out, lse, q, k, v, mask, causal=causal, scale=scale)
    tolerance = single if q.dtype == np.float32 else 1e-12
    expected = formula(q, k, v, mask, g, causal=causal, scale=scale)
    for name, got, want in zip(("out", "lse", "dq", "dk", "dv"), (out, lse, *grads), expected, strict=True):
        assert got.dtype == q.dtype
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance, err_msg=name)
    return [out, lse, *grads]


SHAPES = [  # batch, heads, queries, keys, size of a head, of a value
    (1, 1, 1, 1, 1, 1), (2, 3, 33, 65, 16, 24), (1, 2, 100, 31, 40, 7), (2, 1, 64, 128, 64, 64), (1, 1, 5, 200, 3, 130),
]  # fmt: skip


@pytest.mark.parametrize("mask", ["none", "causal", "bool", "float"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients(shape, dtype, mask, monkeypatch):
    guards = install(monkeypatch)
    rng = np.random.default_rng(0)
    operands = [guards.guarded(x) for x in made(rng, shape, dtype)]
    extra = masked(rng, mask if mask != "causal" else "none", (*shape[:2], shape[2], shape[3]), dtype)
    check(*operands[:3], extra, operands[3], causal=mask == "causal")
    guards.check()


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*(st.integers(1, n) for n in (2, 3, 90, 150, 70, 70))),
    mask=st.sampled_from(["none", "causal", "bool", "float"]),
    seed=st.integers(0, 99),
)
def test_any_shape(shape, mask, seed):
    rng = np.random.default_rng(seed)
    q, k, v, g = made(rng, shape, "f4")
    extra = masked(rng, mask if mask != "causal" else "none", (*shape[:2], shape[2], shape[3]), "f4")
    check(q, k, v, extra, g, causal=mask == "causal")


def test_any_strides():
    rng = np.random.default_rng(0)
    q, k, v, g = made(rng, (3, 2, 40, 40, 24, 24), "f4")
    for name, x in {"q": q, "k": k, "v": v, "g": g}.items():
        for other in layouts(x.copy(), rng):
            if other.shape == x.shape:
                if other.flags.writeable:
                    other[...] = x.copy()
                given = {"q": q, "k": k, "v": v, "g": g, name: other}
                check(given["q"], given["k"], given["v"], None, given["g"], causal=True)
    turned = [np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2) for x in (q, k, v, g)]
    results = check(turned[0], turned[1], turned[2], None, turned[3], causal=False)
    for x in (results[0], *results[2:]):
        assert x.swapaxes(1, 2).flags.c_contiguous, "heads stay inside of time in memory"


@pytest.mark.parametrize("view", [(1, 1, 1, 50), (2, 1, 1, 50), (1, 1, 40, 50), (1, 3, 40, 1)])
def test_masks_that_are_repeated(view):
    rng = np.random.default_rng(0)
    q, k, v, g = made(rng, (2, 3, 40, 50, 16, 16), "f4")
    for mask in (rng.random(view) > 0.3, rng.standard_normal(view).astype("f4")):
        check(q, k, v, np.broadcast_to(mask, (2, 3, 40, 50)), g, causal=False)


def test_large_scores_and_infinities():
    rng = np.random.default_rng(0)
    q, k, v, g = made(rng, (1, 1, 40, 100, 16, 16), "f4")
    check(q * 30, k, v, None, g, causal=False, scale=1.0, single=5e-4)
    out, _ = kernels.forward(q * np.float32(1e30), k * np.float32(1e30), v, None, causal=False, scale=1.0)
    assert np.isnan(out).any()  # infinity less infinity
    v[0, 0, 3, 5] = np.nan
    out, _ = kernels.forward(q, k, v, None, causal=False, scale=1.0)
    assert np.isnan(out[..., 5]).all()
    assert np.isfinite(np.delete(out, 5, -1)).all()


@pytest.mark.parametrize("features", [{"avx2"}, set()], ids=["avx2", "plain"])
def test_blocks_of_other_cpus(features, monkeypatch):
    caches = kernels._routine, kernels._bound
    monkeypatch.setattr(llvm, "has", lambda feature: feature in features)
    for cache in caches:
        cache.cache_clear()
    q, k, v, g = made(np.random.default_rng(0), (1, 2, 37, 70, 24, 20), "f4")
    check(q, k, v, None, g, causal=True)
    for cache in caches:
        cache.cache_clear()


def test_results_do_not_depend_on_the_threads(threads):
    q, k, v, g = made(np.random.default_rng(0), (2, 3, 90, 150, 32, 32), "f4")
    found = []
    for count in (1, 2, 5):
        threads(count)
        out, lse = kernels.forward(q, k, v, None, causal=False, scale=0.2)
        found.append([out, lse, *kernels.backward(g, out, lse, q, k, v, None, causal=False, scale=0.2)])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_from_several_python_threads_at_once():
    def work(seed):
        q, k, v, g = made(np.random.default_rng(seed), (1, 2, 50, 60, 16, 16), "f4")
        return check(q, k, v, None, g, causal=False)

    with ThreadPoolExecutor(4) as callers:
        assert len(list(callers.map(work, range(12)))) == 12


# ---- the engine's function -------------------------------------------------------------------------------------------


@pytest.fixture
def used(monkeypatch):
    """How often a kernel gave the result, forward and backward."""
    seen = {"forward": 0, "backward": 0}
    for name in seen:
        original = getattr(kernels, name)

        def counted(*args, _original=original, _name=name, **kw):
            seen[_name] += 1
            return _original(*args, **kw)

        monkeypatch.setattr(kernels, name, counted)
    return seen


def gradients(fn, arrays):
    leaves = [ek.from_numpy(x.copy()).requires_grad_() for x in arrays]
    out = fn(*leaves)
    weight = ek.from_numpy(np.linspace(-1, 1, out.numel()).astype(arrays[0].dtype).reshape(tuple(out.shape)))
    (out * weight).sum().backward()
    return [out.detach().numpy(), *(x.grad.numpy() for x in leaves)]


CALLS = {
    "plain": ((4, 60, 16), (4, 70, 16), {}),
    "causal": ((2, 3, 60, 16), (2, 3, 60, 16), {"is_causal": True}),
    "one matrix": ((60, 16), (70, 16), {}),
    "five axes": ((2, 2, 2, 30, 8), (2, 1, 2, 40, 8), {}),
    "groups": ((2, 4, 30, 8), (2, 2, 40, 8), {"enable_gqa": True}),
}


@pytest.mark.parametrize("name", CALLS)
def test_with_and_without_kernels(name, used, monkeypatch):
    a, b, kw = CALLS[name]
    arrays = [np.random.default_rng(n).standard_normal(shape).astype("f4") for n, shape in enumerate((a, b, b))]
    fast = gradients(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **kw), arrays)
    assert used == {"forward": 1, "backward": 1}
    monkeypatch.setattr(generated, "enabled", lambda: False)
    plain = gradients(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **kw), arrays)
    assert used == {"forward": 1, "backward": 1}
    for x, y in zip(fast, plain, strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-6)


def test_a_few_queries_for_many_keys_are_left_to_products(used):
    q, k, v, _ = made(np.random.default_rng(0), (1, 2, 1, 400, 64, 64), "f4")
    out = F.scaled_dot_product_attention(*(ek.from_numpy(x) for x in (q, k, v)))
    assert used == {"forward": 0, "backward": 0}
    expected = formula(q, k, v, None, np.zeros_like(q), causal=False, scale=1 / 8)[0]
    np.testing.assert_allclose(out.numpy(), expected, rtol=2e-5, atol=2e-6)


def test_a_mask_that_is_learned_gets_its_gradient(used):
    q, k, v, _ = made(np.random.default_rng(0), (2, 2, 40, 50, 8, 8), "f4")
    bias = np.random.default_rng(1).standard_normal((2, 40, 50)).astype("f4")
    *_, grad = gradients(lambda *x: F.scaled_dot_product_attention(*x), [q, k, v, bias])
    assert used == {"forward": 1, "backward": 0}
    assert grad.shape == bias.shape
    assert np.abs(grad).max() > 0


def test_second_derivatives_of_large_operands():
    q, k, v, _ = made(np.random.default_rng(0), (1, 2, 40, 50, 8, 8), "f8")
    leaves = [ek.from_numpy(x).requires_grad_() for x in (q, k, v)]
    out = F.scaled_dot_product_attention(*leaves)
    first = ek.autograd.grad((out * out).sum(), leaves, create_graph=True)
    second = ek.autograd.grad(sum((g * g).sum() for g in first), leaves)
    step, direction = 1e-5, np.random.default_rng(1).standard_normal(q.shape)

    def slope(moved):
        inner = [ek.from_numpy(moved).requires_grad_(), *(x.detach().requires_grad_() for x in leaves[1:])]
        out = F.scaled_dot_product_attention(*inner)
        return sum((g * g).sum().item() for g in ek.autograd.grad((out * out).sum(), inner))

    numeric = (slope(q + step * direction) - slope(q - step * direction)) / (2 * step)
    np.testing.assert_allclose((second[0].numpy() * direction).sum(), numeric, rtol=1e-5)


def test_dropout_drops_weights_and_keeps_the_expectation():
    q, k, v, _ = made(np.random.default_rng(0), (2, 2, 40, 500, 8, 8), "f4")
    q, k, v = (ek.from_numpy(x) for x in (q, k, v))
    ek.manual_seed(0)
    full, some = (F.scaled_dot_product_attention(q, k, v, dropout_p=p).numpy() for p in (0.0, 0.5))
    assert np.abs(full - some).max() > 0.01
    assert np.abs(full.mean() - some.mean()) < 0.01
    assert not F.scaled_dot_product_attention(q, k, v, dropout_p=1.0).numpy().any()
    mask = np.ones((40, 500), bool)
    mask[3] = False
    hidden = F.scaled_dot_product_attention(q, k, v, ek.from_numpy(mask), 0.5).numpy()
    assert not hidden[..., 3, :].any()
    assert np.isfinite(hidden).all()


@pytest.mark.torch
@pytest.mark.parametrize("causal", [False, True])
def test_as_pytorch(causal, torch):
    arrays = made(np.random.default_rng(0), (2, 3, 70, 70, 32, 32), "f4")[:3]
    ours = gradients(lambda *x: F.scaled_dot_product_attention(*x, is_causal=causal), arrays)
    leaves = [torch.tensor(x, requires_grad=True) for x in arrays]
    out = torch.nn.functional.scaled_dot_product_attention(*leaves, is_causal=causal)
    (out * torch.linspace(-1, 1, out.numel()).reshape(out.shape)).sum().backward()
    for x, y in zip(ours, [out, *(leaf.grad for leaf in leaves)], strict=True):
        np.testing.assert_allclose(x, y.detach().numpy(), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1, 1), (2, 3, 5, 7, 4, 6), (1, 2, 40, 90, 33, 20)])
@pytest.mark.parametrize("mask", [None, "?", "f4"])
def test_replayed(shape, mask):
    rng, (b, _, t, s, _, _) = np.random.default_rng(0), shape
    q, k, v, g = made(rng, shape, "f4")
    masks = [] if mask is None else [(rng.random((b, 1, t, s)) * 2).astype(mask)]
    kw = {"causal": mask is None, "scale": 0.5}
    out, lse = PURE["attention"](q, k, v, *masks, **kw, learned=False)
    assert_replayable(partial(PURE["attention"], **kw, learned=False), q, k, v, *masks)
    assert_replayable(partial(PURE["attention"], **kw, learned=False), q[0], k[0], v[0], *(m[0] for m in masks))
    turned = [x.transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3) for x in (q, k, v)]
    assert_replayable(partial(PURE["attention"], **kw, learned=False), *turned, *masks)
    assert_replayable(partial(PURE["attention_grad"], **kw), g, out, lse, q, k, v, *masks)
    assert_replayable(partial(PURE["attention_grad"], **kw), g, out, lse, *turned, *masks)


@pytest.mark.parametrize("order", [(2, 0, 3, 1, 4), (0, 1, 2, 3, 4), (3, 0, 2, 1, 4), (1, 0, 2, 3, 4)])
@pytest.mark.parametrize("shape", [(2, 5, 3, 4, 8), (1, 40, 3, 1, 32)])
def test_gradients_of_slices_of_one_array_are_joined_without_a_copy(shape, order):
    rng, kw = np.random.default_rng(0), {"causal": True, "scale": 0.5}
    sizes = [shape[a] for a in (2, 0, 3, 1, 4)]
    packed = np.empty([sizes[a] for a in order], "f4").transpose(np.argsort(order))
    packed[...] = rng.standard_normal(sizes)
    g = rng.standard_normal(sizes[1:]).astype("f4")

    def whole(x, g):
        q, k, v = x
        out, lse = PURE["attention"](q, k, v, **kw)
        return PURE["cat"](*(d[None] for d in PURE["attention_grad"](g, out, lse, q, k, v, **kw)), axis=0)

    out, lse = PURE["attention"](*packed, **kw)
    dense = [x.copy() for x in packed]
    wanted = np.stack(PURE["attention_grad"](g, out, lse, *dense, **kw))
    np.testing.assert_allclose(whole(packed, g), wanted, rtol=1e-5, atol=1e-6)
    assert_replayable(whole, packed, g)
    with Recording(Arena(reserved(1 << 24))) as tape:
        tape.know([packed, g])
        strides = zip(whole(packed, g).strides, packed.strides, packed.shape, strict=True)
        assert all(a == b for a, b, n in strides if n > 1)
        assert len(tape.calls) == 2
        q, k, v = PURE["attention_grad"](g, out, lse, *dense, **kw)  # apart: a copy
        assert PURE["cat"](q[None], k[None], v[None], axis=0).flags.c_contiguous
        assert len(tape.calls) == 6
