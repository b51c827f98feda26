"""Recurrent layers by kernels against the plain loops: cells, shapes, lengths, directions, dtypes, threads."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import expkit as ek
from expkit.kernels.cells import CELLS
from expkit.tensor.generated import recurrent as by_kernel
from expkit.tensor.ops import recurrent as plain

pytest.importorskip("llvmlite")
from expkit.kernels.cpu.arrays import copy
from expkit.kernels.cpu.machine import llvm
from expkit.kernels.cpu.nets import recurrent as kernels
from tests.kernels.guards import install, layouts
from tests.kernels.replayable import assert_replayable


def made(kind, sizes, size, dtype, seed=0):
    """x, weight, bias, projection, h, c and the gradients of the result and of the last states; None for what is not"""
    rng, cell, rows, n = np.random.default_rng(seed), CELLS[kind], sum(sizes), sizes[0]
    wide, out = cell.gates * size, -(-size // 2) if cell.projects else size
    shapes = ((rows, wide), (wide, out), (wide,), (out, size), (n, out), (n, size), (rows, out), (n, out), (n, size))
    scales = (1, size**-0.5, 1, size**-0.5, *(1,) * 5)
    there = (1, 1, cell.apart, cell.projects, 1, cell.carries, 1, 1, cell.carries)
    made = [(rng.standard_normal(shape) * scale).astype(dtype) for shape, scale in zip(shapes, scales, strict=True)]
    return [x if here else None for x, here in zip(made, there, strict=True)]


def by_loops(kind, operands, sizes, reverse):
    """All results and gradients in float64 by the plain code."""
    x, weight, bias, projection, h, c, g, dh, dc = (None if v is None else v.astype("f8") for v in operands)
    trail = []
    out = plain.walk(kind, x, weight, bias, projection, h, c, sizes, reverse, trail)
    parts = zip(*(trail[::-1] if reverse else trail), strict=True)
    out = [*(v for v in out if v is not None), *map(np.concatenate, parts)]
    return [*out, *gradient(plain._back, kind, (g, dh, dc, weight, projection), out, sizes, reverse)]


def gradient(fn, kind, operands, out, sizes, reverse):
    """The operands of a layer's gradient, made of those of the layer and of its results."""
    g, dh, dc, weight, projection = operands
    cell = CELLS[kind]
    saved = [*out[2 + cell.carries :][: 1 + cell.carries], out[3 + 2 * cell.carries] if cell.kept else out[0]]
    given = [v for v in (g, dh, dc, *saved, weight, projection) if v is not None]
    return fn(*given, kind=kind, sizes=sizes, reverse=reverse, given=(True,) * (2 + cell.carries))


def by_kernels(kind, operands, sizes, reverse):
    x, weight, bias, projection, h, c, g, dh, dc = operands
    out = by_kernel.forward(kind, x, weight, (bias, projection), h, c, sizes, reverse, True)
    return [*out, *gradient(by_kernel.layer_grad, kind, (g, dh, dc, weight, projection), out, sizes, reverse)]


def check(kind, operands, sizes, reverse):
    found = by_kernels(kind, operands, sizes, reverse)
    compare(found, by_loops(kind, operands, sizes, reverse), operands[0].dtype)
    return found


def compare(found, expected, dtype):
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1, np.abs(b).max()), err_msg=str(k))


SIZES = [(1,), (3,) * 4, (40,) * 3, (35, 35, 20, 17, 16, 1)]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("kind", CELLS)
def test_as_the_plain_loops(kind, dtype, reverse, monkeypatch):
    guards = install(monkeypatch)
    for sizes in SIZES:
        for size in (1, 16, 37, 64):
            operands = [v if v is None else guards.guarded(v) for v in made(kind, sizes, size, dtype)]
            check(kind, operands, sizes, reverse)
    guards.check()


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(sorted(CELLS)),
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=6),
    size=st.integers(1, 90),
    reverse=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_shape(kind, lengths, size, reverse, seed):
    sizes = tuple(sorted(lengths, reverse=True))
    check(kind, made(kind, sizes, size, "f4", seed), sizes, reverse)


def test_any_strides():
    rng, sizes = np.random.default_rng(0), (17,) * 3
    operands = made("lstm_projected", sizes, 24, "f4")
    for k, x in enumerate(operands):
        for other in () if x is None else layouts(x.copy(), rng):
            if other.shape == x.shape:
                if other.flags.writeable:
                    other[...] = x.copy()
                check("lstm_projected", [*operands[:k], other, *operands[k + 1 :]], sizes, False)


def test_infinities_and_nan_stay_in_their_sequence():
    operands = made("gru", (20,) * 3, 24, "f4")
    operands[0][25, 3] = np.nan
    operands[0][7] = np.inf
    out = by_kernels("gru", operands, (20,) * 3, False)[0].reshape(3, 20, 24)
    assert np.isnan(out[1:, 5]).any()
    assert np.isfinite(np.delete(out, [5, 7], 1)).all()
    operands = made("rnn_relu", (20,) * 3, 24, "f4")
    operands[0][25, 3] = np.nan
    relu = by_kernels("rnn_relu", operands, (20,) * 3, False)[0]
    assert np.isnan(relu).any()


@pytest.mark.parametrize("features", [{"avx2"}, set()], ids=["avx2", "plain"])
def test_blocks_of_other_cpus(features, monkeypatch):
    operands, sizes = made("lstm", (19,) * 3, 21, "f4"), (19,) * 3
    expected = by_loops("lstm", operands, sizes, True)
    caches = kernels.forward, kernels.backward, by_kernel._bound, copy.planned, copy.routine
    with monkeypatch.context() as patch:
        patch.setattr(llvm, "has", lambda feature: feature in features)
        for cache in caches:
            cache.cache_clear()
        compare(by_kernels("lstm", operands, sizes, True), expected, np.float32)
    for cache in caches:
        cache.cache_clear()


def test_results_do_not_depend_on_the_threads(threads):
    sizes = (70, 70, 50, 33, 2)
    operands, found = made("lstm", sizes, 64, "f4"), []
    for count in (1, 2, 5):
        threads(count)
        found.append(by_kernels("lstm", operands, sizes, False))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_from_several_python_threads_at_once():
    def work(seed):
        return check("gru", made("gru", (40,) * 5, 48, "f4", seed), (40,) * 5, False)

    with ThreadPoolExecutor(4) as callers:
        assert len(list(callers.map(work, range(12)))) == 12


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("sizes", [(1,), (19,) * 3, (35, 20, 20, 1)])
@pytest.mark.parametrize("kind", CELLS)
def test_replayed(kind, sizes, reverse):
    x, weight, bias, projection, h, c, *slopes = made(kind, sizes, 21, "f4")
    matrices = [v for v in (weight, projection) if v is not None]
    operands = [v for v in (x, weight, h, bias, c, projection) if v is not None]
    assert_replayable(partial(by_kernel.layer, kind=kind, sizes=sizes, reverse=reverse, keeps=True), *operands)
    cell, out = CELLS[kind], by_kernel.layer(*operands, kind=kind, sizes=sizes, reverse=reverse, keeps=True)
    saved = [*out[2 + cell.carries :][: 1 + cell.carries], out[3 + 2 * cell.carries] if cell.kept else out[0]]
    grad = partial(by_kernel.layer_grad, kind=kind, sizes=sizes, reverse=reverse)
    slopes = [v for v in slopes if v is not None]
    assert_replayable(partial(grad, given=(True,) * len(slopes)), *slopes, *saved, *matrices)
    assert_replayable(partial(grad, given=(True, *(False,) * (len(slopes) - 1))), slopes[0], *saved, *matrices)


# ---- the engine's layers ---------------------------------------------------------------------------------------------


@pytest.fixture
def used(monkeypatch):
    """How often a kernel gave the result, forward and backward."""
    seen = {"forward": 0, "backward": 0}
    for name in seen:
        original = getattr(by_kernel, name)

        def counted(*args, _original=original, _name=name):
            seen[_name] += 1
            return _original(*args)

        monkeypatch.setattr(by_kernel, name, counted)
    return seen


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_with_and_without_kernels(name, bias, used, monkeypatch):
    ek.manual_seed(0)
    module, x = getattr(ek.nn, name)(10, 33, bias=bias), ek.randn(7, 20, 10).requires_grad_()

    def run():
        out, _ = module(x)
        module.zero_grad()
        x.grad = None
        (out * out).sum().backward()
        return [v.numpy() for v in (out.detach(), x.grad, *(p.grad for p in module.parameters()))]

    fast = run()
    assert used == {"forward": 1, "backward": 1}
    with ek.no_grad():
        np.testing.assert_array_equal(module(x)[0].numpy(), fast[0])
    assert used == {"forward": 2, "backward": 1}
    monkeypatch.setattr(by_kernel, "enabled", lambda: False)
    for a, b in zip(fast, run(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5 * max(1, np.abs(b).max()))
    assert used == {"forward": 2, "backward": 1}


def test_backward_from_the_last_state_alone_and_twice(used):
    module = ek.nn.LSTM(10, 33)
    _, (_, c) = module(ek.randn(7, 20, 10))
    grads = []
    for _ in range(2):
        module.zero_grad()
        c.sum().backward(retain_graph=True)
        grads.append(module.weight_hh_l0.grad.numpy().copy())
    np.testing.assert_array_equal(*grads)
    assert used == {"forward": 1, "backward": 2}
