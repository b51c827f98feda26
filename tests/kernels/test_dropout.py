"""Random numbers and dropout by kernels: the bits of the plain generator, masks, gradients, threads."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import expkit as ek
import expkit.nn.functional as F
from expkit.kernels.cpu.nets.random import MAKERS
from expkit.tensor.generated import random as kernels
from expkit.tensor.generated.pure import PURE
from expkit.tensor.ops import fused
from expkit.tensor.ops import generator as random
from tests.kernels.guards import install
from tests.kernels.replayable import assert_replayable

pytest.importorskip("llvmlite")
SINGLE, DOUBLE = np.dtype("f4"), np.dtype("f8")
PLAIN = {  # name: (words of a result, the results of words)
    "words": (1, lambda w: w.view("i4")),
    "uniform f4": (1, lambda w: random._uniform(w, dtype=SINGLE)),
    "uniform f8": (2, lambda w: random._uniform(w, dtype=DOUBLE)),
    "normal f4": (1, lambda w: random._normal(w, dtype=SINGLE)),
    "normal f8": (2, lambda w: random._normal(w, dtype=DOUBLE)),
    "mask": (1, lambda w: random._uniform(w, dtype=SINGLE) >= np.float32(0.3)),
}  # fmt: skip


def plain(name, seed, offset, count, monkeypatch):
    monkeypatch.setattr(kernels, "LEAST", 1 << 60)
    words, finish = PLAIN[name]
    return finish(random.philox(seed, offset, (count + count % 2) * words))[:count]


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(MAKERS)), seed=st.integers(0, 2**64 - 1),
    offset=st.one_of(st.integers(0, 9), st.integers(2**32 - 9, 2**32), st.integers(2**64 - 9, 2**64 - 1)),
    count=st.one_of(st.integers(1, 200), st.sampled_from([16384, 16385, 70001])),
)  # fmt: skip
def test_the_kernels_make_what_the_plain_generator_makes(name, seed, offset, count):
    with pytest.MonkeyPatch.context() as patch:
        guards = install(patch)
        got = kernels.fill(name, np.array([seed, offset], np.uint64), (count,), 0.3)
        guards.check()
        want = plain(name, seed, offset, count, patch)
    assert got.dtype == want.dtype
    if "normal" in name:
        np.testing.assert_allclose(got, want, rtol=0, atol=3e-6 if "f4" in name else 1e-14)
    else:
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("draw", ["rand", "randn"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_draws_continue_the_stream_whatever_makes_them(draw, dtype, monkeypatch):
    def three():
        gen = ek.Generator().manual_seed(7)
        return [
            getattr(ek, draw)(*s, generator=gen, dtype=getattr(ek, dtype)).float().numpy()
            for s in ((90, 7), (5,), (63,))
        ]

    fast = three()
    monkeypatch.setattr(kernels, "LEAST", 1 << 60)
    for a, b in zip(fast, three(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=4e-6)


def test_moments_of_a_million_normals():
    x = ek.randn(1_000_000, generator=ek.Generator().manual_seed(1)).numpy().astype("f8")
    np.testing.assert_allclose([x.mean(), x.var(), (x**3).mean(), (x**4).mean()], [0, 1, 0, 3], atol=0.02)
    assert np.isfinite(x).all()
    assert 4.5 < np.abs(x).max() < 6


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_dropout_keeps_its_share_scales_it_and_passes_gradients_where_it_kept(dtype):
    x = ek.tensor(np.random.default_rng(0).standard_normal((200, 300)).astype(dtype)).requires_grad_()
    ek.manual_seed(3)
    out = F.dropout(x, 0.25)
    made = dict(fused._where_kept._kernels)
    assert any(kernel is not None for kernel in made.values())
    F.dropout(x, 0.5)
    assert fused._where_kept._kernels == made, "a kernel for each probability"
    kept = out.detach().numpy() != 0
    assert abs(kept.mean() - 0.75) < 0.01
    np.testing.assert_array_equal(
        out.detach().numpy(), np.where(kept, x.detach().numpy() * x.detach().numpy().dtype.type(1 / 0.75), 0)
    )
    (g,) = ek.autograd.grad(out, x, ek.full((200, 300), 3.0, dtype=x.dtype))
    np.testing.assert_allclose(g.numpy(), np.where(kept, 4.0, 0.0), rtol=1e-6)


def test_dropout_is_the_same_with_and_without_kernels(monkeypatch):
    x = ek.ones(100, 100)
    ek.manual_seed(3)
    fast = F.dropout(x, 0.4).numpy()
    monkeypatch.setattr(kernels, "LEAST", 1 << 60)
    ek.manual_seed(3)
    np.testing.assert_array_equal(fast, F.dropout(x, 0.4).numpy())


def test_whole_channels_and_vmap():
    x = ek.ones(4, 50, 20, 10)
    ek.manual_seed(0)
    out = F.dropout2d(x, 0.5).numpy()
    assert ((out == 0).all((2, 3)) | (out == 2).all((2, 3))).all()
    mapped = ek.func.vmap(lambda x: F.dropout(x, 0.5), randomness="different")(ek.ones(3, 100, 100)).numpy()
    assert not np.array_equal(mapped[0], mapped[1])
    same = ek.func.vmap(lambda x: F.dropout(x, 0.5), randomness="same")(ek.ones(3, 100, 100)).numpy()
    assert np.array_equal(same[0], same[1])


def test_results_do_not_depend_on_threads_and_calls_may_overlap(threads):
    def draw(_=None):
        gen = ek.Generator().manual_seed(11)
        return [ek.rand(333, 777, generator=gen).numpy(), ek.randn(333, 777, generator=gen).numpy()]

    results = []
    for count in (1, 2, 5):
        threads(count)
        results.append(draw())
    with ThreadPoolExecutor(4) as workers:
        results += list(workers.map(draw, range(4)))
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "words"])
@pytest.mark.parametrize("shape", [(), (3,), (5, 41), (70000,)])
def test_replayed(name, shape):
    """A state that moves gives other numbers; few are made as many are."""
    state = np.array([7, 11], np.uint64)
    kw = {"name": name, "shape": shape, "chance": 0.3}
    plain, fast = random.random_p.impl(state, **kw), PURE["random"](state, **kw)
    assert plain.dtype == fast.dtype
    np.testing.assert_allclose(plain.astype("f8"), fast.astype("f8"), rtol=0, atol=4e-6)
    assert_replayable(partial(PURE["random"], **kw), state)


def test_words_replayed():
    assert_replayable(partial(PURE["philox"], words=5, device=None), np.array([7, 2**63], np.uint64))
