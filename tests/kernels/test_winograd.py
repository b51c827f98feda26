"""Winograd's convolution: all three passes against a direct one in float64, and its errors beside float32's own."""


import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("llvmlite")
from expkit.kernels.cpu.conv import winograd, winograd_blocks
from expkit.kernels.cpu.gemm.microkernel import Blocking
from tests.kernels.guards import Guards, install
from tests.kernels.together import at_once

ORDERS = st.sampled_from(["dense", "cropped", "reversed"])
PADS = st.tuples(*[st.integers(0, 3)] * 4)


def padded(x, padding):
    top, bottom, left, right = padding
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))


def windows(x, padding, size):
    """(taps, N, C, H', W'): what each tap sees."""
    x = padded(x, padding)
    return [x[:, :, i : i + size[0], j : j + size[1]] for i in range(3) for j in range(3)]


def out_size(x, padding):
    return x.shape[2] + sum(padding[:2]) - 2, x.shape[3] + sum(padding[2:]) - 2


def direct(x, w, padding, dtype="f8"):
    """The sum over the taps of products over the channels."""
    seen = windows(x.astype(dtype), padding, out_size(x, padding))
    filters = w.astype(dtype).reshape(*w.shape[:2], 9)
    return sum(np.einsum("nchw,oc->nohw", part, filters[:, :, k], optimize=True) for k, part in enumerate(seen))


def direct_input(g, w, padding, dtype="f8"):
    turned = w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    full = direct(g, turned, (2, 2, 2, 2), dtype)
    top, bottom, left, right = padding
    return full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]


def direct_weight(x, g, padding, dtype="f8"):
    parts = [
        np.einsum("nchw,nohw->oc", part, g.astype(dtype), optimize=True)
        for part in windows(x.astype(dtype), padding, g.shape[2:])
    ]
    return np.stack(parts, -1).reshape(*parts[0].shape, 3, 3)


def image(rng, shape, order="dense"):
    """Random NCHW values that lie as NHWC; `order`: in dense memory, in a larger image, or from bottom to top."""
    n, c, h, w = shape
    wide = rng.standard_normal((n, h + 3, w + 2, c + 5) if order == "cropped" else (n, h, w, c)).astype("f4")
    if order == "reversed":
        wide = wide[::-1, ::-1, ::-1]
    return wide[:, :h, :w, :c].transpose(0, 3, 1, 2)


def close(found, expected, scale, factor=1e-5):
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=factor * scale)


def check_all(x, w, padding, g, bias):
    """The three passes of one convolution."""
    terms = w[0].size
    close(winograd.forward(x, w, padding, bias), direct(x, w, padding) + bias[:, None, None], np.sqrt(terms))
    close(winograd.input_gradient(g, w, x.shape[2:], padding), direct_input(g, w, padding), np.sqrt(9 * w.shape[0]))
    close(winograd.weight_gradient(x, g, padding), direct_weight(x, g, padding), np.sqrt(g[:, 0].size) + 1)


def operands(rng, n, c, o, size, padding, order="dense"):
    x, w = image(rng, (n, c, *size), order), rng.standard_normal((o, c, 3, 3)).astype("f4")
    g = image(rng, (n, o, *out_size(x, padding)), order)
    return x, w, padding, g, rng.standard_normal(o).astype("f4")


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3), st.integers(16, 80), st.integers(16, 80), st.tuples(*[st.integers(3, 14)] * 2), PADS, ORDERS,
    st.integers(0, 99),
)  # fmt: skip
def test_every_pass_is_a_direct_convolution(n, c, o, size, padding, order, seed):
    check_all(*operands(np.random.default_rng(seed), n, c, o, size, padding, order))


@pytest.mark.parametrize("channels", [(16, 16), (32, 48), (64, 160), (130, 70)])
def test_several_panels_blocks_and_parts(channels):
    check_all(*operands(np.random.default_rng(0), 5, *channels, (15, 18), (1, 1, 1, 1)))


@pytest.mark.parametrize("blocks", [Blocking((6, 4, 1), 2, 8), Blocking((4, 2, 1), 2, 4)], ids=["avx2", "plain"])
def test_other_cpus_vectors(blocks, monkeypatch):
    for module in (winograd, winograd_blocks):
        monkeypatch.setattr(module, "blocking", lambda kind: blocks)
    check_all(*operands(np.random.default_rng(1), 2, 20, 37, (9, 6), (1, 0, 2, 1)))


def test_weights_in_any_strides():
    rng = np.random.default_rng(2)
    x, w, padding, g, bias = operands(rng, 1, 16, 18, (6, 6), (1, 1, 1, 1))
    for view in (
        w[::-1], w[:, ::-1], w[..., ::-1], w.transpose(0, 1, 3, 2), np.broadcast_to(w[:1, :1], w.shape),
        np.ascontiguousarray(w.transpose(2, 3, 1, 0)).transpose(3, 2, 0, 1), np.repeat(w, 2, 1)[:, ::2],
    ):  # fmt: skip
        check_all(x, view, padding, g, bias[::-1])


def test_results_lie_as_nhwc():
    x, w, padding, g, _ = operands(np.random.default_rng(3), 2, 16, 20, (5, 7), (1, 1, 1, 1))
    assert winograd.forward(x, w, padding).transpose(0, 2, 3, 1).flags.c_contiguous
    assert winograd.input_gradient(g, w, (5, 7), padding).transpose(0, 2, 3, 1).flags.c_contiguous
    assert winograd.weight_gradient(x, g, padding).flags.c_contiguous


def test_a_size_that_does_not_fit_is_refused():
    _, w, padding, g, _ = operands(np.random.default_rng(3), 2, 16, 20, (5, 7), (1, 1, 1, 1))
    with pytest.raises(ValueError, match="does not give"):
        winograd.input_gradient(g, w, (5, 8), padding)


def test_images_in_other_memory_orders_are_refused():
    x, w, padding, g, _ = operands(np.random.default_rng(3), 2, 16, 20, (5, 7), (1, 1, 1, 1))
    with pytest.raises(ValueError, match="side by side"):
        winograd.forward(np.ascontiguousarray(x), w, padding)
    with pytest.raises(ValueError, match="side by side"):
        winograd.weight_gradient(x, np.ascontiguousarray(g), padding)


@pytest.mark.parametrize("padding", [(1, 1, 1, 1), (0, 2, 3, 0)])
def test_nothing_is_touched_outside(padding, monkeypatch):
    guards = install(monkeypatch)
    inputs = Guards()
    x, w, padding, g, bias = operands(np.random.default_rng(4), 3, 21, 35, (9, 6), padding)
    x, g, w, bias = (inputs.guarded(a) for a in (x, g, w, bias))
    check_all(x, w, padding, g, bias)
    guards.check()
    inputs.check()


@pytest.mark.parametrize("c", [16, 70])
def test_threads_do_not_change_a_bit(c, threads):
    x, w, padding, g, bias = operands(np.random.default_rng(5), 9, c, 64, (13, 17), (1, 1, 1, 1))
    found = []
    for n in (1, 2, 5):
        threads(n)
        found.append([
            winograd.forward(x, w, padding, bias), winograd.input_gradient(g, w, x.shape[2:], padding),
            winograd.weight_gradient(x, g, padding),
        ])  # fmt: skip
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_several_python_threads_at_once():
    """Buffers are not shared between calls."""
    cases = [operands(np.random.default_rng(n), 4, 16 + 8 * n, 32, (10, 12), (1, 1, 1, 1)) for n in range(4)]

    def work(case):
        for _ in range(5):
            check_all(*case)

    at_once(work, cases)


def rms(x):
    return np.sqrt(np.mean(np.square(x, dtype="f8")))


@pytest.mark.torch
@pytest.mark.parametrize("c", [16, 64, 256])
def test_errors_are_near_those_of_a_direct_convolution(c):
    torch = pytest.importorskip("torch")
    x, w, padding, g, _ = operands(np.random.default_rng(6), 8, c, c, (16, 16), (1, 1, 1, 1))
    w /= np.sqrt(9 * c).astype("f4")

    def passes(dtype):
        a, b, up = (torch.tensor(t, dtype=dtype).contiguous(memory_format=torch.channels_last) for t in (x, w, g))
        y = torch.nn.functional.conv2d(a, b, padding=1)
        back = torch.ops.aten.convolution_backward(
            up, a, b, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False]
        )
        return [t.numpy() for t in (y, *back[:2])]

    mine = [
        winograd.forward(x, w, padding), winograd.input_gradient(g, w, (16, 16), padding),
        winograd.weight_gradient(x, g, padding),
    ]  # fmt: skip
    for found, exact, single, limit in zip(mine, passes(torch.float64), passes(torch.float32), (6, 6, 4), strict=True):
        assert rms(found - exact) <= limit * rms(single - exact)
        assert rms(found - exact) <= 1.2e-6 * rms(exact)


def test_a_nan_spoils_its_tiles_and_no_more():
    x, w, padding, _, _ = operands(np.random.default_rng(7), 2, 16, 16, (16, 16), (1, 1, 1, 1))
    x[1, 3, 8, 9] = np.inf
    y = winograd.forward(x, w, padding)
    spoilt = ~np.isfinite(y)
    assert spoilt[1, :, 7:10, 8:11].all()  # what depends on it
    assert not spoilt[0].any()
    assert not spoilt[1, :, :4].any()
    assert not spoilt[1, :, 12:].any()


@pytest.mark.parametrize(
    ("x", "w", "stride", "dilation", "groups", "expected"),
    [
        ((2, 16, 8, 8), (16, 16, 3, 3), (1, 1), (1, 1), 1, True),
        ((2, 15, 8, 8), (16, 15, 3, 3), (1, 1), (1, 1), 1, False),
        ((2, 16, 8, 8), (8, 16, 3, 3), (1, 1), (1, 1), 1, False),
        ((2, 16, 8, 8), (16, 16, 3, 3), (2, 1), (1, 1), 1, False),
        ((2, 16, 8, 8), (16, 16, 3, 3), (1, 1), (2, 2), 1, False),
        ((2, 32, 8, 8), (32, 16, 3, 3), (1, 1), (1, 1), 2, False),
        ((2, 16, 8, 8), (16, 16, 5, 5), (1, 1), (1, 1), 1, False),
        ((2, 16, 8), (16, 16, 3), (1,), (1,), 1, False),
        ((0, 16, 8, 8), (16, 16, 3, 3), (1, 1), (1, 1), 1, False),
    ],
)
def test_what_it_applies_to(x, w, stride, dilation, groups, expected):
    assert winograd.applies(x, w, stride, dilation, groups) is expected


@pytest.mark.parametrize(
    ("batch", "out", "expected"),
    [(2, (8, 8), True), (1, (8, 8), False), (64, (2, 2), False), (64, (3, 3), True), (8, (5, 5), True)],
)
def test_when_it_pays(batch, out, expected):
    assert winograd.pays(batch, out) is expected
