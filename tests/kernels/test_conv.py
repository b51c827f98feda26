"""Convolutions by kernels: every algorithm and pass against the plain implementation in float64."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("llvmlite")
import expkit as ek
from expkit.kernels.cpu.arrays import images
from expkit.kernels.cpu.conv import geometry, layout
from expkit.tensor.generated import conv as kernels
from expkit.tensor.ops import conv_arrays
from expkit.tensor.ops.conv import conv_input_p, conv_p, conv_weight_p
from expkit.tensor.ops.windows import out_sizes
from tests.kernels.guards import install
from tests.kernels.replayable import assert_replayable
from tests.kernels.together import at_once

TOLERANCE = {"f4": 2e-5, "f8": 1e-12}
ORDERS = ("NCHW", "NHWC", "every second", "reversed", "repeated")


@pytest.fixture
def small(monkeypatch):
    """Kernels for the smallest arrays too; the names of the algorithms that were chosen."""
    chosen, original = [], kernels.Case.algorithm
    monkeypatch.setattr(kernels, "LEAST", 1)
    monkeypatch.setattr(kernels.Case, "algorithm", lambda case: chosen.append(original(case)) or chosen[-1])
    return chosen


def array(rng, shape, dtype, order="NCHW"):
    x = rng.standard_normal(shape).astype(dtype)
    if order == "NHWC":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    if order == "every second":
        return np.repeat(x, 2, -1)[..., ::2]
    if order == "repeated":
        return np.broadcast_to(x[:1], shape)
    return x[::-1, ..., ::-1] if order == "reversed" else x


def passes(x, w, b, y, kw, *, plain):
    """The three passes; `plain`: by the oracle, in float64."""
    if plain:
        x, w, b, y = (a.astype("f8") for a in (x, w, b, y))
        fns = conv_arrays.conv, conv_arrays.conv_input, conv_arrays.conv_weight
    else:
        fns = conv_p.impl, conv_input_p.impl, conv_weight_p.impl
    forward, back, weight = fns
    return (
        forward(x, w, b, **kw), forward(x, w, **kw), back(y, w, size=x.shape[2:], **kw),
        weight(x, y, kernel=w.shape[2:], **kw),
    )  # fmt: skip


def check(rng, dtype, sample, weight, kw, orders=("NCHW", "NCHW"), batch=2):
    """All passes for a sample (C, *size) and a weight (O, C / groups, *kernel)."""
    x, w = array(rng, (batch, *sample), dtype, orders[0]), array(rng, weight, dtype)
    out = out_sizes(sample[1:], weight[2:], kw["stride"], kw["padding"], kw["dilation"])
    y = array(rng, (batch, weight[0], *out), dtype, orders[1])
    b = rng.standard_normal(weight[0]).astype(dtype)
    found, wanted = (passes(x, w, b, y, kw, plain=plain) for plain in (False, True))
    for a, t in zip(found, wanted, strict=True):
        assert a.shape == t.shape
        assert a.dtype == np.dtype(dtype)
        assert np.abs(a - t).max(initial=0) <= TOLERANCE[dtype] * max(1, np.abs(t).max(initial=0))


def numbers(rank, stride=1, padding=0, dilation=1, groups=1):
    pads = padding if isinstance(padding, tuple) else ((padding, padding),) * rank
    return {"stride": (stride,) * rank, "padding": pads, "dilation": (dilation,) * rank, "groups": groups}


# ---- values ----------------------------------------------------------------------------------------------------------


@st.composite
def geometries(draw):
    rank = draw(st.integers(1, 3))
    each = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(rank))  # noqa: E731
    kernel, stride, dilation = each(1, 4), each(1, 3), each(1, 2)
    padding = tuple(zip(each(0, 3), each(0, 3), strict=True))
    spans = ((k - 1) * d + 1 - sum(p) for k, d, p in zip(kernel, dilation, padding, strict=True))
    size = tuple(max(1, n) + extra for n, extra in zip(spans, each(0, 7), strict=True))
    kw = {"stride": stride, "padding": padding, "dilation": dilation, "groups": draw(st.sampled_from([1, 1, 3]))}
    ins, outs = draw(st.sampled_from([1, 2, 3, 17])), draw(st.sampled_from([1, 5, 33]))
    return (ins * kw["groups"], *size), (outs * kw["groups"], ins, *kernel), kw


@given(case=geometries(), orders=st.tuples(*[st.sampled_from(ORDERS)] * 2), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_direct_convolutions_of_any_geometry(case, orders, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "LEAST", 1)
        guards = install(patch)
        dtype = "f8" if seed % 4 == 0 else "f4"
        check(np.random.default_rng(seed), dtype, *case, orders, batch=1 + seed % 3)
        guards.check()


CASES = {  # algorithm: sample, weight, numbers
    "depthwise 7x7": ("narrow", (40, 11, 15), (40, 1, 7, 7), numbers(2, padding=3, groups=40)),
    "depthwise, stride 2": ("narrow", (24, 9, 10), (24, 1, 3, 3), numbers(2, 2, 1, groups=24)),
    "depthwise, few taps reach": ("narrow", (16, 8, 9), (16, 1, 1, 1), numbers(2, 2, groups=16)),
    "depthwise with a multiplier": ("narrow", (6, 9, 7), (12, 1, 3, 3), numbers(2, 1, 2, 2, groups=6)),
    "depthwise 1d": ("narrow", (20, 30), (20, 1, 5), numbers(1, 3, ((4, 1),), groups=20)),
    "depthwise 3d": ("narrow", (8, 4, 5, 6), (8, 1, 3, 2, 3), numbers(3, 1, 1, groups=8)),
    "groups of four": ("narrow", (32, 7, 9), (32, 4, 3, 3), numbers(2, 1, 1, groups=8)),
    "groups of four and two": ("narrow", (24, 7, 9), (12, 4, 3, 3), numbers(2, 2, 1, groups=6)),
    "wide groups": ("direct", (60, 6, 7), (80, 15, 3, 3), numbers(2, 1, 1, groups=4)),
    "many channels": ("direct", (600, 4, 5), (34, 600, 1, 1), numbers(2)),
    "many channels, many taps": ("direct", (90, 6, 5), (20, 90, 3, 3), numbers(2, 2, 1)),
    "a stem": ("direct", (3, 21, 30), (20, 3, 7, 7), numbers(2, 2, 3)),
    "few channels, dilated": ("direct", (2, 40, 9), (5, 2, 3, 3), numbers(2, 1, 1, 2)),
    "stride 2, whole panels": ("direct", (64, 9, 11), (70, 64, 3, 3), numbers(2, 2, 1)),
    "1x1, stride 2": ("direct", (32, 7, 8), (40, 32, 1, 1), numbers(2, 2)),
    "Winograd": ("winograd", (24, 9, 11), (20, 24, 3, 3), numbers(2, 1, 1)),
    "Winograd, uneven padding": ("winograd", (16, 12, 8), (32, 16, 3, 3), numbers(2, 1, ((2, 0), (1, 2)))),
    "3x3 with few channels": ("direct", (3, 9, 11), (20, 3, 3, 3), numbers(2, 1, 1)),
    "3x3 of tiles that are mostly padding": ("direct", (16, 3, 3), (16, 16, 3, 3), numbers(2, 1, 0)),
}


@pytest.mark.parametrize("orders", [("NCHW", "NHWC"), ("every second", "repeated")], ids=" ".join)
@pytest.mark.parametrize("name", CASES)
def test_each_algorithm_has_its_convolutions_and_their_values(name, orders, small, monkeypatch):
    algorithm, *case = CASES[name]
    guards = install(monkeypatch)
    check(np.random.default_rng(3), "f4", *case, orders)
    guards.check()
    assert set(small) == {algorithm}


@pytest.mark.parametrize("name", ["depthwise 7x7", "groups of four", "Winograd", "many channels, many taps"])
def test_float64_is_never_rounded_to_float32_or_transformed(name, small):
    check(np.random.default_rng(4), "f8", *CASES[name][1:])
    assert "winograd" not in small


def test_the_switch_to_direct_sums(small, monkeypatch):
    case = CASES["Winograd"][1:]
    monkeypatch.setenv("EXPKIT_WINOGRAD", "0")
    check(np.random.default_rng(5), "f4", *case)
    assert set(small) == {"direct"}


@pytest.mark.parametrize("name", ["depthwise 7x7", "wide groups", "stride 2, whole panels", "a stem", "Winograd"])
def test_results_do_not_depend_on_the_number_of_threads(name, threads, small):
    _, sample, weight, kw = CASES[name]
    sample = (sample[0], 24, 25)
    found = []
    for count in (1, 2, 5):
        threads(count)
        rng = np.random.default_rng(6)
        x, w, b = (rng.standard_normal(s).astype("f4") for s in ((4, *sample), weight, weight[:1]))
        y = rng.standard_normal(conv_p.impl(x, w, **kw).shape).astype("f4")
        found.append(passes(x, w, b, y, kw, plain=False))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_several_python_threads_at_once(small):
    def run(seed):
        for name in ("depthwise 7x7", "wide groups", "many channels, many taps"):
            check(np.random.default_rng(seed), "f4", *CASES[name][1:])

    at_once(run, range(4))


# ---- layouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    "shape",
    [(2, 3, 5, 7), (2, 2, 70), (1, 4, 33, 3), (3, 33, 40), (1, 16, 16, 16), (2, 70, 3, 4, 5), (1, 1, 4, 4)],
    ids=str,
)
def test_images_to_channels_last(shape, dtype, monkeypatch):
    guards, rng = install(monkeypatch), np.random.default_rng(0)
    for order in ORDERS:
        x = array(rng, shape, dtype, order)
        found = layout.ChannelsLast(x)(x)
        np.testing.assert_array_equal(found, np.moveaxis(x, 1, -1).reshape(found.shape))
    guards.check()


@pytest.mark.parametrize("name", ["depthwise 7x7", "wide groups", "many channels, many taps", "Winograd"])
def test_results_lie_as_the_operands_and_channels_last_are_read_without_a_copy(name, small):
    _, sample, weight, kw = CASES[name]
    x, w = np.ones((2, *sample), "f4"), np.ones(weight, "f4")
    for last in (False, True):
        x = images.dense(x, x.ndim - 2, last)
        y = conv_p.impl(x, w, **kw)
        back = conv_input_p.impl(y, w, size=x.shape[2:], **kw)
        for image in (y, back):
            assert images.is_last(image) == last
            assert image.flags.c_contiguous != last
            assert np.shares_memory(image, layout.ChannelsLast(image)(image)) == last
        assert conv_weight_p.impl(x, y, kernel=w.shape[2:], **kw).flags.c_contiguous


@pytest.mark.torch
@pytest.mark.parametrize("shape", [(2, 4, 5, 6), (1, 16, 9, 9)])
@pytest.mark.parametrize("formats", list(itertools.product((False, True), repeat=2)), ids=str)
def test_the_memory_format_of_results_is_pytorchs(shape, formats, torch):
    def strides(lib):
        x, w = lib.ones(*shape), lib.ones(8, shape[1], 3, 3)
        x, w = (t.contiguous(memory_format=lib.channels_last) if f else t for t, f in zip((x, w), formats, strict=True))
        return tuple(lib.nn.functional.conv2d(x, w).stride())

    assert strides(ek) == strides(torch)


def test_the_classes_of_a_gradient_cover_each_place_once():
    for size, kernel, stride, before, dilation in itertools.product((1, 2, 7), (1, 3), (1, 2, 3), (0, 2), (1, 2)):
        out = max(1, (size + 2 * before - dilation * (kernel - 1) - 1) // stride + 1)
        shape = geometry.shape_of((size,), (kernel,), (out,), (stride,), ((before, before),), (dilation,))
        seen = np.zeros((1, 1, size), int)
        for p in geometry.backward(shape):
            seen[p.target()] += 1
        assert (seen == 1).all()


# ---- through the engine ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int64"])
def test_other_dtypes(dtype, small):
    x, w = ek.ones(1, 4, 6, 6, dtype=getattr(ek, dtype)), ek.ones(8, 4, 3, 3, dtype=getattr(ek, dtype))
    out = ek.conv2d(x, w)
    assert out.dtype == getattr(ek, dtype)
    assert (out == 36).all().item()


def test_empty_batches():
    assert ek.conv2d(ek.ones(0, 16, 8, 8), ek.ones(16, 16, 3, 3)).shape == (0, 16, 6, 6)


@pytest.mark.torch
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_layers_and_their_gradients_as_in_torch(rank, transposed, torch):
    name = f"conv{'_transpose' if transposed else ''}{rank}d"
    rng = np.random.default_rng(rank)
    x = rng.standard_normal((2, 24, *(9, 8, 7)[:rank])).astype("f4")
    w, b = rng.standard_normal((24, 24, *(3,) * rank)).astype("f4"), rng.standard_normal(24).astype("f4")
    for kw in ({"stride": 2, "padding": 1}, {"padding": 1}, {"dilation": 2, "padding": 2}):
        results = []
        for library, function in ((ek, getattr(ek, name)), (torch, getattr(torch.nn.functional, name))):
            operands = [library.tensor(a).requires_grad_() for a in (x, w, b)]
            out = function(*operands, **kw)
            (out * out).sum().backward()
            results.append([out.detach().numpy(), *(a.grad.numpy() for a in operands)])
        for a, t in zip(*results, strict=True):
            np.testing.assert_allclose(a, t, rtol=1e-4, atol=1e-4 * np.abs(t).max())


# ---- recorded programs -----------------------------------------------------------------------------------------------

REPLAYED = {  # name: sample, weight, numbers
    "winograd": ((20, 9, 11), (33, 20, 3, 3), numbers(2, padding=1)),
    "direct": ((5, 9, 11), (7, 5, 3, 3), numbers(2, padding=1)),
    "one by one": ((20, 9, 11), (40, 20, 1, 1), numbers(2)),
    "strides": ((20, 9, 11), (32, 20, 3, 3), numbers(2, stride=2, padding=1)),
    "few channels": ((3, 16, 16), (16, 3, 5, 5), numbers(2, stride=2, padding=2)),
    "jumps": ((16, 9, 11), (16, 16, 1, 1), numbers(2, stride=2)),
    "dilation": ((5, 15, 11), (7, 5, 3, 3), numbers(2, dilation=2)),
    "groups": ((40, 9, 11), (34, 20, 3, 3), numbers(2, groups=2)),
    "depthwise": ((40, 9, 11), (40, 1, 3, 3), numbers(2, padding=1, groups=40)),
    "depthwise, strides": ((20, 9, 11), (20, 1, 1, 1), numbers(2, stride=2, groups=20)),
    "line": ((6, 40), (7, 6, 5), numbers(1, stride=2, padding=2)),
    "volume": ((6, 5, 6, 7), (7, 6, 3, 2, 3), numbers(3, padding=1)),
}


@pytest.mark.parametrize("order", ORDERS[:2])
@pytest.mark.parametrize("name", REPLAYED)
def test_they_are_kernel_calls_alone(name, order):
    (sample, weight, kw), rng = REPLAYED[name], np.random.default_rng(0)
    x, w = array(rng, (2, *sample), "f4", order), array(rng, weight, "f4")
    y = array(
        rng,
        (2, weight[0], *out_sizes(sample[1:], weight[2:], kw["stride"], kw["padding"], kw["dilation"])),
        "f4",
        order,
    )
    for bias in ((), (array(rng, weight[:1], "f4"),)):
        assert_replayable(lambda *operands: kernels.convolution.pure(*operands, **kw), x.copy("K"), w.copy(), *bias)
    assert_replayable(lambda y, w: kernels.input_gradient.pure(y, w, size=sample[1:], **kw), y.copy("K"), w.copy())
    assert_replayable(lambda x, y: kernels.weight_gradient.pure(x, y, kernel=weight[2:], **kw), x, y)


def test_what_has_no_kernel_is_declined():
    x, w, kw = np.ones((2, 66, 5, 5), "f4"), np.ones((66, 2, 3, 3), "f4"), numbers(2, groups=33)
    assert kernels.convolution.pure(x.astype("f2"), w.astype("f2"), **kw) is None
    assert kernels.convolution.pure(np.ones((2, 99, 5, 5), "f4"), np.ones((66, 3, 3, 3), "f4"), **kw) is None
    assert kernels.convolution.pure(x[:0], w, **kw) is None
