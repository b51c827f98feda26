"""Generated matrix products against NumPy in float64: shapes, layouts, batches, threads, epilogues, guarded buffers."""

from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("llvmlite")
import expkit as ek
from expkit.kernels.cpu.gemm import packed, parts, product, skinny, tiles
from expkit.kernels.cpu.gemm.microkernel import blocking, has_pairs
from expkit.kernels.cpu.gemm.tiles import DEPTH, TALL, WIDE, tall, tiling
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.machine import llvm
from expkit.tensor import blas
from expkit.tensor.generated import matmul as hook
from tests.kernels.guards import Guards

LAYOUTS = ("rows", "columns", "reversed", "turned around", "every other", "scattered", "one row", "padded")


def laid_out(x, layout):
    """x in another layout, inside of memory full of NaN; for "one row" its values change too."""
    *lead, m, n = x.shape
    if layout == "one row":
        return np.broadcast_to(laid_out(x[..., :1, :].copy(), "rows"), x.shape)
    wide = np.full((*lead, 2 * m + 3, 2 * n + 3), np.nan, x.dtype)
    if layout in ("columns", "turned around"):
        wide = wide.reshape(*lead, 2 * n + 3, 2 * m + 3).swapaxes(-1, -2)
    place = {
        "rows": np.s_[..., 1 : m + 1, 1 : n + 1], "columns": np.s_[..., 1 : m + 1, 2 : n + 2],
        "reversed": np.s_[..., m:0:-1, 1 : n + 1], "turned around": np.s_[..., m:0:-1, n:0:-1],
        "every other": np.s_[..., 1 : 2 * m : 2, 1 : n + 1], "scattered": np.s_[..., 1 : 2 * m : 2, 1 : 2 * n : 2],
        "padded": np.s_[..., :m, :n],
    }[layout]  # fmt: skip
    view = wide[place]
    view[...] = x
    return view


def close(got, want, k):
    eps = np.finfo(got.dtype).eps
    np.testing.assert_allclose(got, want, rtol=1e-5 if eps > 1e-10 else 1e-12, atol=30 * eps * k**0.5)


def run(x, y, bias=None):
    """The kernel's product into a guarded buffer."""
    return guarded(product.matmul, x, y, bias)


def guarded(fn, *args):
    guards = Guards()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "empty", guards.empty)
        out = fn(*args)
    guards.check()
    return out


extents = st.one_of(st.integers(1, 70), st.sampled_from([95, 128, 200, 395]))
batches = st.sampled_from(
    [((), ()), ((3,), ()), ((3,), (3,)), ((2, 3), (2, 3)), ((2, 1), (3,)), ((), (2,)), ((4, 2), ())]
)


@settings(max_examples=80, deadline=None)
@given(
    extents, extents, extents, batches, *[st.sampled_from(LAYOUTS)] * 2, st.sampled_from(["f4", "f8"]), st.booleans()
)  # fmt: skip
def test_products(m, n, k, batch, x_layout, y_layout, kind, biased):
    rng = np.random.default_rng(m * n * k)
    x = laid_out(rng.standard_normal((*batch[0], m, k)).astype(kind), x_layout)
    y = laid_out(rng.standard_normal((*batch[1], k, n)).astype(kind), y_layout)
    bias = rng.standard_normal(n).astype(kind) if biased else None
    close(run(x, y, bias), x.astype("f8") @ y.astype("f8") + (0 if bias is None else bias), k)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("few", [1, 2, 3, 5, 8, 24, 25])
def test_few_rows_or_columns(few, swap):
    rng = np.random.default_rng(few)
    for n, k in ((1, 1), (31, 7), (700, 40), (1500, 500), (33, 1000)):
        for x_layout, y_layout in (("rows", "rows"), ("rows", "columns"), ("columns", "rows"), ("padded", "padded")):
            x = laid_out(rng.standard_normal((few, k)).astype("f4"), x_layout)
            y = laid_out(rng.standard_normal((k, n)).astype("f4"), y_layout)
            x, y = (y.T, x.T) if swap else (x, y)
            bias = rng.standard_normal(y.shape[1]).astype("f4")
            want = x.astype("f8") @ y.astype("f8")
            close(run(x, y), want, k)
            close(run(x, y, bias), want + bias, k)


@pytest.mark.parametrize("shape", [(300, 500, 700), (1030, 400, 90), (90, 400, 1700), (530, 200, 530)])
@pytest.mark.parametrize("layout", ["padded", "columns", "scattered"])
def test_packed_first_and_once(shape, layout, monkeypatch):
    """Pieces that many tiles share: of both operands, of one, of none; the room for them is not left."""
    monkeypatch.setattr(packed, "LARGE", 1)
    forget()
    rng = np.random.default_rng(0)
    m, k, n = shape
    x, y = (laid_out(rng.standard_normal(s).astype("f4"), layout) for s in ((m, k), (k, n)))
    bias = rng.standard_normal(n).astype("f4")
    close(run(x, y, bias), x.astype("f8") @ y.astype("f8") + bias, k)
    forget()


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("k", [150, 500])
@pytest.mark.parametrize("m", [37, 300])
def test_rows_of_the_result_that_lie_pages_apart(m, k, kind):
    """Its sums have a tile of their own; what the product is added to is not touched but at the ends."""
    rng = np.random.default_rng(m)
    page = packed.PAGE // np.dtype(kind).itemsize
    x, y, bias = (rng.standard_normal(s).astype(kind) for s in ((m, k), (k, page), page))
    want = x.astype("f8") @ y.astype("f8")
    close(run(x, y), want, k)
    close(run(x, y, bias), want + bias, k)
    wide = rng.standard_normal((m, 2 * page)).astype(kind)
    into, other = wide[:, 5 : page - 7], wide.copy()
    guarded(product.fused, x, y[:, 5 : page - 7], None, (), into)
    close(into, other[:, 5 : page - 7] + want[:, 5 : page - 7], k)
    into[...] = other[:, 5 : page - 7]
    np.testing.assert_array_equal(wide, other)


@pytest.mark.parametrize("features", [{"avx2"}, set()])
def test_blocks_of_other_cpus(features, monkeypatch):
    """The code for narrower vectors, as far as it runs here too."""
    monkeypatch.setattr(llvm, "has", lambda feature: feature in features)
    forget()
    rng = np.random.default_rng(0)
    for m, k, n in ((70, 230, 75), (3, 230, 75), (70, 230, 3), (11, 70, 40)):
        for layout in ("padded", "columns"):
            x, y = (laid_out(rng.standard_normal(s).astype("f4"), layout) for s in ((m, k), (k, n)))
            close(run(x, y), x.astype("f8") @ y.astype("f8"), k)
            close(run(x, y[:, ::-1].copy().T.copy().T), x.astype("f8") @ y[:, ::-1], k)
    forget()


def forget():
    """What is known of products, which does not hold for patched kernels."""
    for cache in (product._planned, product._biased, packed.routine, parts.adding, skinny.dots, skinny.streams):
        cache.cache_clear()


@pytest.mark.parametrize("k", [1535, 1536, 5000])
def test_long_sums_of_small_products_are_cut(k):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((k, 40)).astype("f4"), rng.standard_normal((k, 50)).astype("f4")
    close(run(x.T, y), x.T.astype("f8") @ y, k)
    close(run(x.T[None], y), x.T.astype("f8")[None] @ y, k)


SHAPES = [
    ((600, 500), (500, 1100)),
    ((1, 1024), (1024, 1024)),
    ((700, 300), (300, 3)),
    ((40, 3000), (3000, 40)),
    ((6, 70, 200), (6, 200, 90)),
]


@pytest.mark.parametrize(("x", "y"), SHAPES)
def test_the_number_of_threads_changes_no_bit(x, y, threads):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(x).astype("f4"), rng.standard_normal(y).astype("f4")
    found = []
    for n in (1, 2, 5):
        threads(n)
        found.append(run(x, y))
    close(found[0], x.astype("f8") @ y, x.shape[-1])
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_several_python_threads_at_once():
    rng = np.random.default_rng(0)
    cases = [[rng.standard_normal(s).astype("f4") for s in shapes] for shapes in SHAPES] * 6
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda case: product.matmul(*case), cases))
    for (x, y), out in zip(cases, found, strict=True):
        close(out, x.astype("f8") @ y, x.shape[-1])


@pytest.mark.parametrize(("x", "y"), SHAPES)
def test_nan_and_infinity_spread_as_in_a_plain_product(x, y):
    x, y = np.ones(x, "f4"), np.zeros(y, "f4")
    x[..., 0, 3], x[..., 0, 5] = np.nan, np.inf
    y[..., 3, 1] = np.inf
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(run(x, y), x @ y)


@pytest.mark.skipif(not has_pairs(), reason="the CPU has no products of bfloat16")
@pytest.mark.parametrize(("x", "y"), [*SHAPES, ((33, 2), (2, 70)), ((2, 1, 40, 50), (3, 50, 60))])
@pytest.mark.parametrize("layout", ["padded", "columns", "scattered", "one row"])
def test_bfloat16(x, y, layout):
    rng = np.random.default_rng(0)
    bias = rng.standard_normal(y[-1]).astype("f4")
    x, y = (laid_out(rng.standard_normal(s).astype(ml_dtypes.bfloat16), layout) for s in (x, y))
    want = x.astype("f8") @ y.astype("f8")
    close(product.matmul_bfloat16(x, y), want, x.shape[-1])
    close(product.matmul_bfloat16(x, y, bias), want + bias, x.shape[-1])


# ---- how products are cut --------------------------------------------------------------------------------------------


@given(*[st.integers(1, 5000)] * 3, st.integers(1, 100), st.sampled_from(["f4", "f8"]))
def test_tiles_cover_the_product_and_fit(m, n, k, batch, kind):
    words, size = tiling(m, n, k, batch, kind), {"f4": 4, "f8": 8}[kind]
    assert words["tile_m"] <= TALL
    assert words["tile_n"] <= WIDE // size
    assert 0 < words["depth"] <= DEPTH
    for extent, name in ((m, "m"), (n, "n")):
        tiles, tile = words[f"tiles_{name}"], words[f"tile_{name}"]
        assert (tiles - 1) * tile < extent <= tiles * tile
    parts = words["parts"]
    assert words["tasks"] == parts * batch * words["tiles_m"] * words["tiles_n"]
    assert (parts - 1) * words["part"] < words["blocks"] <= parts * words["part"]
    assert (words["blocks"] - 1) * words["depth"] < k <= words["blocks"] * words["depth"]
    assert words["tile_n"] % blocking(kind).width == 0


@pytest.mark.parametrize("shape", [(128, 768, 3072), (768, 128, 3072), (256, 1024, 2048)])
def test_tiles_are_cut_where_least_is_packed_again(shape, monkeypatch):
    """A side is not cut into two, whose pieces of the other operand are packed twice, where the other is cut anyway."""
    monkeypatch.setattr(tiles, "TALL", 256)
    monkeypatch.setattr(tiles, "WIDE", 2048)
    words = tiling(*shape, 1, "f4")
    assert words["tasks"] >= 8
    assert 2 not in (words["tiles_m"], words["tiles_n"])


def test_blocks_leave_few_rows():
    blocks = blocking("f4")._replace(heights=(14, 8, 4, 1))
    assert [tall(rows, blocks) for rows in (128, 256, 14, 16, 28, 64)] == [8, 18, 1, 0, 2, 4]
    for rows in range(40, 300):
        assert (rows - 14 * tall(rows, blocks)) % 8 in (rows % 2, 4 + rows % 2)


@pytest.mark.parametrize("count", [1, 100, 5000])
def test_chunks_cover_the_longer_side(count):
    words = skinny.chunking(count, 1000, 3, 16, 1024)
    assert (words["chunks"] - 1) * words["chunk"] < count <= words["chunks"] * words["chunk"]
    assert words["chunk"] <= 1024
    assert words["tasks"] == 3 * words["chunks"]


# ---- the hook --------------------------------------------------------------------------------------------------------


@pytest.fixture
def plain_products(monkeypatch):
    """The products that went to NumPy."""
    seen = []
    monkeypatch.setattr(blas, "matmul", lambda x, y: seen.append((x.shape, y.shape)) or np.matmul(x, y))
    return seen


def test_large_products_run_kernels_small_ones_do_not(plain_products):
    x, w, b = ek.randn(40, 30), ek.randn(50, 30), ek.randn(50)
    x @ w.T, ek.nn.functional.linear(x, w, b), ek.nn.functional.linear(x.reshape(2, 20, 30), w, b)
    for dtype in (ek.float64, ek.float16, ek.bfloat16):
        x.to(dtype) @ w.T.to(dtype)
    ek.randn(2, 3, 4, 30, 30) @ ek.randn(3, 1, 30, 30)
    assert plain_products == []
    x[:4] @ w[:5].T
    ek.randint(9, (40, 30)) @ ek.randint(9, (30, 50))
    assert len(plain_products) == 2


def test_batches_of_axes_that_do_not_join(plain_products):
    x = ek.randn(2, 3, 4, 5, 30, 30)[:, ::2, ::2, ::2]
    close((x @ x).numpy(), x.numpy().astype("f8") @ x.numpy().astype("f8"), 30)
    assert plain_products == []


def test_without_kernels(plain_products, monkeypatch):
    monkeypatch.setattr(hook, "enabled", lambda: False)
    ek.randn(40, 30) @ ek.randn(30, 40)
    assert len(plain_products) == 1


def test_halves_are_summed_in_float32():
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((40, 51)), rng.standard_normal((60, 51)), rng.standard_normal(60)
    for dtype in (ek.float16, ek.bfloat16):
        for k in (50, 51):
            args = [ek.tensor(a).to(dtype) for a in (x[:, :k], w[:, :k], b)]
            wide = [a.double() for a in args]
            found, want = ek.nn.functional.linear(*args), wide[0] @ wide[1].T + wide[2]
            assert found.dtype == dtype
            np.testing.assert_allclose(found.double().numpy(), want.numpy(), rtol=0.005, atol=1e-5)


def test_empty_products():
    assert (ek.zeros(300, 0) @ ek.zeros(0, 200)).numpy().shape == (300, 200)
    assert not (ek.zeros(300, 0) @ ek.zeros(0, 200)).numpy().any()
    assert (ek.zeros(5, 0, 30) @ ek.zeros(30, 70)).shape == (5, 0, 70)
    assert (ek.zeros(1, 70, 30) @ ek.zeros(0, 30, 70)).shape == (0, 70, 70)
    assert (ek.zeros(1, 70, 30).bfloat16() @ ek.zeros(0, 30, 70).bfloat16()).shape == (0, 70, 70)
    assert not product.matmul(np.zeros((3, 0), "f4"), np.zeros((0, 5), "f4")).any()


def test_gradients_of_linear():
    rng = np.random.default_rng(0)
    x, w, b, g = (rng.standard_normal(s).astype("f4") for s in ((6, 50, 40), (70, 40), (70,), (6, 50, 70)))
    leaves = [ek.tensor(a, requires_grad=True) for a in (x, w, b)]
    out = ek.nn.functional.linear(*leaves)
    out.backward(ek.tensor(g))
    close(out.detach().numpy(), x.astype("f8") @ w.T + b, 40)
    close(leaves[0].grad.numpy(), g.astype("f8") @ w, 70)
    close(leaves[1].grad.numpy(), g.reshape(-1, 70).T.astype("f8") @ x.reshape(-1, 40), 300)
    close(leaves[2].grad.numpy(), g.astype("f8").sum((0, 1)), 300)


@pytest.mark.torch
@pytest.mark.parametrize(("m", "k", "n"), [(256, 256, 256), (300, 1000, 200), (1, 2000, 500), (8, 1000, 500)])
@pytest.mark.parametrize("turned", [False, True])
def test_as_exact_as_pytorch(m, k, n, turned):
    import torch

    rng = np.random.default_rng(k)
    x, y = rng.standard_normal((m, k)).astype("f4"), rng.standard_normal((n, k) if turned else (k, n)).astype("f4")
    y = y.T if turned else y
    want = x.astype("f8") @ y.astype("f8")
    ours, theirs = (
        np.square(z - want).mean() ** 0.5 for z in (product.matmul(x, y), (torch.tensor(x) @ torch.tensor(y)).numpy())
    )
    assert ours <= 1.3 * theirs
