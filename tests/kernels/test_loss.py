"""Cross entropy by kernels: losses and gradients beside PyTorch, ignored and wrong classes, extremes, threads."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import expkit as ek
import expkit.nn.functional as F
from expkit.errors import DataError
from expkit.tensor.generated import loss as kernels
from expkit.tensor.ops import cross_entropy
from tests.kernels.guards import install
from tests.kernels.replayable import assert_replayable

pytest.importorskip("llvmlite")
from expkit.kernels.cpu.record.arena import Arena, reserved
from expkit.kernels.cpu.record.driver import Script
from expkit.kernels.cpu.record.recording import Recording
from expkit.tensor.generated.pure import PURE


def gradient(lib, x, y, **kw):
    leaf = lib.tensor(x).requires_grad_()
    functional = F if lib is ek else lib.nn.functional
    out = functional.cross_entropy(leaf, lib.tensor(y), **kw)
    weight = np.linspace(-1, 2, out.numel()).astype(x.dtype).reshape(tuple(out.shape))
    (found,) = lib.autograd.grad(out, leaf, lib.tensor(weight) if out.ndim else None)
    return np.asarray(out.detach()), np.asarray(found)


@pytest.mark.torch
@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 40), classes=st.one_of(st.integers(1, 70), st.integers(4000, 5000)),
    reduction=st.sampled_from(["mean", "sum", "none"]), ignored=st.booleans(), dtype=st.sampled_from(["f4", "f8"]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_losses_and_gradients(torch, rows, classes, reduction, ignored, dtype, seed):
    rng = np.random.default_rng(seed)
    x, y = (3 * rng.standard_normal((rows, classes))).astype(dtype), rng.integers(0, classes, rows)
    kw = {"reduction": reduction, "ignore_index": -7 if ignored else -100}
    y[rng.integers(0, rows, rows // 3)] = kw["ignore_index"]
    if (y < 0).all():
        y[0] = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "LEAST", 1)
        guards = install(patch)
        got = gradient(ek, x, y, **kw)
        guards.check()
    want = gradient(torch, x.astype("f8"), y, **kw)
    for a, b in zip(got, want, strict=True):
        assert a.dtype == x.dtype
        np.testing.assert_allclose(a, b, rtol=2e-6 if dtype == "f4" else 1e-13, atol=1e-6 if dtype == "f4" else 1e-14)


def test_the_kernel_is_used_and_agrees_with_the_plain_way(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 30, 50)).astype("f4").transpose(0, 2, 1), rng.integers(0, 50, (8, 30))
    calls = []
    original = kernels._bound
    monkeypatch.setattr(kernels, "_bound", lambda *a: calls.append(a[0]) or original(*a))
    fast = gradient(ek, x, y)
    assert calls == ["forward", "backward"]
    monkeypatch.setattr(kernels, "LEAST", 1 << 60)
    for a, b in zip(fast, gradient(ek, x, y), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8)


@pytest.mark.torch
def test_extremes(torch):
    x = np.zeros((6, 1000), "f4")
    x[0, 3], x[1], x[2, 5], x[3, 5], x[4], x[5, 0] = 1e4, -1e30, np.nan, np.inf, 12345.0, -np.inf
    y = np.array([3, 1, 1, 5, 2, 0])
    for got, want in zip(gradient(ek, x, y, reduction="none"), gradient(torch, x, y, reduction="none"), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-9)


def test_a_wrong_class_is_an_error_and_touches_nothing():
    x = ek.ones(100, 100)
    for wrong in (100, -1, 2**40, -(2**62)):
        with pytest.raises(DataError, match=f"class index {wrong} is out of range"):
            F.cross_entropy(x, ek.tensor([wrong] + [0] * 99))


def test_derivatives_of_any_order_and_transforms(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = ek.tensor(rng.standard_normal((60, 90))), ek.tensor(rng.integers(0, 90, 60))

    def everything():
        leaf = x.clone().requires_grad_()
        (first,) = ek.autograd.grad(F.cross_entropy(leaf, y) ** 2, leaf, create_graph=True)
        (second,) = ek.autograd.grad((first * first).sum(), leaf)
        pushed = ek.func.jvp(lambda x: F.cross_entropy(x, y, reduction="none"), (x,), (x * x,))[1]
        mapped = ek.func.vmap(ek.func.grad(lambda x, y: F.cross_entropy(x, y)))(ek.stack([x, 2 * x]), ek.stack([y, y]))
        return [v.detach().numpy() for v in (first, second, pushed, mapped)]

    fast = everything()
    monkeypatch.setattr(kernels, "LEAST", 1 << 60)
    for a, b in zip(fast, everything(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14)


def test_results_do_not_depend_on_threads_and_calls_may_overlap(threads):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((700, 300)).astype("f4"), rng.integers(0, 300, 700)
    results = []
    for count in (1, 2, 5):
        threads(count)
        results.append(gradient(ek, x, y))
    with ThreadPoolExecutor(4) as workers:
        results += list(workers.map(lambda _: gradient(ek, x, y), range(4)))
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_both_ways_give_the_maximum_and_the_logarithm(monkeypatch):
    x, y = np.random.default_rng(0).standard_normal((70, 80)).astype("f4") + 1000, np.zeros(70, np.int64)
    fast = cross_entropy.cross_entropy_p.impl(x, y, ignore=-100, reduction="none")[1]
    monkeypatch.setattr(kernels, "LEAST", 1 << 60)
    plain = cross_entropy.cross_entropy_p.impl(x, y, ignore=-100, reduction="none")[1]
    np.testing.assert_allclose(fast.sum(1), np.logaddexp.reduce(x.astype("f8"), 1), rtol=1e-6)
    np.testing.assert_allclose(plain, fast, rtol=1e-6)


@pytest.mark.torch
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("ignored", [False, True])
def test_nll_and_its_derivatives(torch, reduction, ignored, monkeypatch):
    guards = install(monkeypatch)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 30, 7)), rng.integers(0, 30, (40, 7))
    y[::3] = -5 if ignored else 2
    kw = {"reduction": reduction, "ignore_index": -5}

    def everything(lib, functional):
        leaf, index = lib.tensor(x).requires_grad_(), lib.tensor(y)
        out = functional.nll_loss(leaf, index, **kw)
        (first,) = lib.autograd.grad((out**2).sum(), leaf, create_graph=True)
        (second,) = lib.autograd.grad((first * first).sum(), leaf)
        pushed = lib.func.jvp(lambda x: functional.nll_loss(x, index, **kw), (leaf.detach(),), (leaf.detach() + 1,))[1]
        mapped = lib.func.vmap(lambda x, y: functional.nll_loss(x.T, y, **kw))(leaf.detach()[:2], index[:2])
        return [np.asarray(v.detach()) for v in (out, first, second, pushed, mapped)]

    found = everything(ek, F)
    guards.check()
    for a, b in zip(found, everything(torch, torch.nn.functional), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (50, 70), (2, 40, 9)])
def test_replayed(shape, reduction):
    rng = np.random.default_rng(0)
    x, index = rng.standard_normal(shape).astype("f4"), rng.integers(0, shape[-1], shape[:-1])
    kw = {"ignore": 0, "reduction": reduction}
    loss, logs = PURE["cross_entropy"](x, index, **kw)
    plain = cross_entropy._cross_entropy(x.astype("f8"), index, **kw)
    np.testing.assert_allclose(loss, plain[0], rtol=1e-5)
    assert_replayable(partial(PURE["cross_entropy"], **kw), x, index)
    assert_replayable(partial(PURE["nll"], **kw), x, index)
    assert_replayable(partial(PURE["cross_entropy_grad"], **kw), loss.copy(), logs, x, index)
    assert_replayable(partial(PURE["nll_grad"], **kw), loss.copy(), x, index)
    assert_replayable(partial(PURE["loss_factors"], dtype=np.dtype("f4"), **kw), index)
    np.testing.assert_allclose(
        PURE["loss_factors"](index, dtype=np.dtype("f8"), **kw), cross_entropy._factors(index, dtype="f8", **kw)
    )
    for dtype in ("f4", "i8", "?"):
        assert_replayable(partial(PURE["one_hot"], dtype=np.dtype(dtype), classes=shape[-1]), index)


def test_a_recording_has_a_flag_for_wrong_classes():
    x, index = np.ones((3, 4), "f4"), np.array([0, -100, 3])
    with Recording(Arena(reserved(1 << 20))) as tape:
        tape.know([x, index])
        PURE["cross_entropy"](x, index, ignore=-100, reduction="mean")
    ((cell, message),) = tape.flags
    assert not cell[0]
    assert "4 classes" in message
    index[1] = 4
    Script(tape.calls).run()
    assert cell[0] == 1
