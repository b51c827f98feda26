"""What the rows of table_nn.py (checked with all others in test_ops.py) do not reach: ties and NaN, second derivatives
as PyTorch has them, chunks, long inputs, statistics, messages."""

import numpy as np
import pytest

import expkit as ek
from expkit.errors import ShapeError
from expkit.tensor.ops import conv_arrays


def leaf(x):
    return ek.tensor(x).requires_grad_()


def arr(x):
    return x.detach().numpy()


RNG = np.random.default_rng(5)


def normal(*shape):
    return RNG.standard_normal(shape)


# ---- convolution -----------------------------------------------------------------------------------------------------

GEOMETRIES = [
    {"stride": s, "padding": p, "dilation": d, "groups": g}
    for s, p, d, g in [
        (1, 0, 1, 1),
        (1, 2, 1, 2),
        (2, 1, 1, 1),
        (2, 1, 2, 4),
        (3, 0, 1, 2),
        (1, 5, 2, 1),
        ((2, 1), (0, 3), 1, 1),
    ]
]


def everything(torch_like, conv, x, w, b, c, kw):
    """Value, gradients, and gradients of a function of the gradients."""
    tensors = [torch_like.tensor(v).requires_grad_() for v in (x, w, b)]
    y = conv(*tensors, **kw)
    weights = torch_like.tensor(c) if c is not None else 1.0
    grads = torch_like.autograd.grad((y * y * weights).sum(), tensors, create_graph=True)
    total = sum((g * g).sum() for g in grads)
    second = torch_like.autograd.grad(total, tensors)
    return [y, *grads, *second]


@pytest.mark.torch
@pytest.mark.parametrize("kw", GEOMETRIES, ids=str)
def test_conv2d_to_second_order(kw, torch):
    x, w, b = normal(2, 4, 7, 6), normal(8, 4 // kw["groups"], 3, 2), normal(8)
    ours = everything(ek, ek.conv2d, x, w, b, None, kw)
    theirs = everything(torch, torch.nn.functional.conv2d, x, w, b, None, kw)
    for a, t in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(arr(a), arr(t), rtol=1e-9, atol=1e-8)


@pytest.mark.torch
@pytest.mark.parametrize("kw", [k for k in GEOMETRIES if k["padding"] != 5], ids=str)
def test_conv_transpose2d_to_second_order(kw, torch):
    x, w, b = normal(2, 4, 5, 4), normal(4, 2, 3, 4), normal(2 * kw["groups"])
    ours = everything(ek, ek.conv_transpose2d, x, w, b, None, kw)
    theirs = everything(torch, torch.nn.functional.conv_transpose2d, x, w, b, None, kw)
    for a, t in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(arr(a), arr(t), rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_chunks_of_samples_make_no_difference(groups, stride, monkeypatch):
    x, w, b = normal(5, 4, 6, 6), normal(6, 4 // groups, 3, 3), normal(6)
    results = []
    for limit in (1, 3000, 1 << 30):
        monkeypatch.setattr(conv_arrays, "HOST_CHUNK", limit)
        tensors = [leaf(v) for v in (x, w, b)]
        y = ek.conv2d(*tensors, stride=stride, padding=1, groups=groups)
        (y * y).sum().backward()
        results.append([arr(y), *(t.grad.numpy() for t in tensors)])
    for other in results[1:]:
        for a, e in zip(other, results[0], strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels", [(2, 9), (9, 2)], ids=["columns added up", "turned kernel"])
def test_the_two_ways_of_the_data_gradient_agree(channels):
    """Which one runs depends on the channels; each is the adjoint of the convolution."""
    ins, outs = channels
    x, w, h = normal(2, ins, 5, 6), normal(outs, ins, 3, 2), normal(2, outs, 5, 5)
    t = leaf(x)
    y = ek.conv2d(t, ek.tensor(w), padding=(1, 0))
    (y * ek.tensor(h)).sum().backward()
    np.testing.assert_allclose((t.grad.numpy() * x).sum(), (arr(y) * h).sum(), rtol=1e-12)


def test_transposed_convolution_is_the_adjoint():
    x, w, y = normal(2, 3, 9), normal(4, 3, 3), normal(2, 4, 4)
    forward = ek.conv1d(ek.tensor(x), ek.tensor(w), stride=2)
    back = ek.conv_transpose1d(ek.tensor(y), ek.tensor(w), stride=2)
    np.testing.assert_allclose((arr(forward) * y).sum(), (arr(back) * x).sum(), rtol=1e-12)


def test_operands_of_several_dtypes_are_refused():
    x, w = ek.ones(1, 1, 3, dtype=ek.float32), ek.ones(1, 1, 2, dtype=ek.float64)
    for fn in (ek.conv1d, ek.conv_transpose1d):
        with pytest.raises(TypeError, match=r"must have one dtype, got expkit\.float32, expkit\.float64"):
            fn(x, w)


ONE = ek.ones(1, 3, 8, 8)
MESSAGES = {
    "expects 2 input channels, but the input (1, 3, 8, 8) has 3": lambda: ek.conv2d(ONE, ek.ones(4, 2, 3, 3)),
    "groups=2 does not divide": lambda: ek.conv2d(ONE, ek.ones(3, 2, 3, 3), groups=2),
    "4 dimensions (N, C, H, W) or 3 (C, H, W), but got an input of shape (8, 8)": lambda: ek.conv2d(
        ONE[0, 0], ek.ones(4, 2, 3, 3)
    ),
    "expected (4,)": lambda: ek.conv2d(ONE, ek.ones(4, 3, 3, 3), ek.ones(2)),
    "the kernel spans (9,), more than the padded input (8,)": lambda: ek.conv1d(ONE[0], ek.ones(4, 8, 9)),
    "windows that span (9, 9) do not fit": lambda: ek.max_pool2d(ONE, 9),
    "lies in the padding": lambda: ek.max_pool1d(ek.ones(1, 1, 1), 2, 1, 1, 2),
    "weight has shape (2,), expected (3,)": lambda: ek.batch_norm(ONE, None, None, ek.ones(2), training=True),
    "targets of shape (4,), got (3,)": lambda: ek.nll_from_logits(ek.ones(4, 3), ek.zeros(3, dtype=ek.int64)),
}


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_name_what_was_expected_and_given(message):
    with pytest.raises(ShapeError) as caught:
        MESSAGES[message]()
    assert message in str(caught.value)


# ---- pooling ---------------------------------------------------------------------------------------------------------

POOLS = [(2, None, 0, 1), (3, 1, 1, 1), (3, 2, 1, 1), (2, 1, 1, 2), (2, 3, 0, 1), ((2, 3), (1, 2), (1, 0), 1)]


@pytest.mark.torch
@pytest.mark.parametrize("args", POOLS, ids=str)
@pytest.mark.parametrize("indices", [False, True])
def test_the_first_of_equal_maxima_gets_the_gradient(args, indices, torch):
    x = RNG.integers(0, 3, (2, 3, 7, 6)).astype(np.float64)
    ours, theirs = leaf(x), torch.tensor(x, requires_grad=True)
    y, e = (m.max_pool2d(v, *args, return_indices=indices) for m, v in ((ek, ours), (torch.nn.functional, theirs)))
    if indices:
        (y, places), (e, expected) = y, e
        np.testing.assert_array_equal(arr(places), arr(expected))
        assert places.dtype == ek.int64
    c = normal(*y.shape)
    (y * ek.tensor(c)).sum().backward()
    (e * torch.tensor(c)).sum().backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("args", POOLS, ids=str)
def test_the_gradient_by_values_is_the_gradient_by_places(args):
    """On arrays the gradient compares values, elsewhere it uses indices; ties, NaN and infinities included."""
    x = RNG.choice([0.0, 1.0, 2.0, np.nan, -np.inf], (2, 3, 7, 6), p=[0.3, 0.3, 0.2, 0.1, 0.1])
    t = leaf(x)
    y = ek.max_pool2d(t, *args)
    c = ek.tensor(normal(*y.shape))
    np.testing.assert_array_equal(arr(y), arr(ek.max_pool2d(t, *args, return_indices=True)[0]))
    (plain,) = ek.autograd.grad(y, [t], c, retain_graph=True)
    (graph,) = ek.autograd.grad(y, [t], c, create_graph=True)
    np.testing.assert_allclose(arr(plain), arr(graph), rtol=1e-12)
    np.testing.assert_allclose(arr(plain).sum(), arr(c).sum(), rtol=1e-9)


@pytest.mark.torch
def test_nan_propagates_through_maxima(torch):
    x = np.array([[[1.0, np.nan, 3.0, 4.0, 5.0, -np.inf]]])
    for args in ((2,), (3, 1, 1)):
        expected = torch.nn.functional.max_pool1d(torch.tensor(x), *args).numpy()
        np.testing.assert_array_equal(ek.max_pool1d(ek.tensor(x), *args).numpy(), expected)
        np.testing.assert_array_equal(ek.adaptive_max_pool1d(ek.tensor(x), 3).numpy(), [[[np.nan, 4.0, 5.0]]])


def test_whole_numbers_have_maxima_and_averages_cut_to_whole_numbers():
    x = ek.arange(8).reshape(1, 1, 8)
    assert ek.max_pool1d(x, 3, 2, 1).tolist() == [[[1, 3, 5, 7]]]
    assert ek.avg_pool1d(x - 4, 3, 2, 1).tolist() == [[[-2, -2, 0, 2]]]
    assert ek.avg_pool1d(x, 2, ceil_mode=True).dtype == ek.int64
    with pytest.raises(TypeError, match="floating-point or int64"):
        ek.avg_pool1d(x.int(), 2)


def test_picked_values_scatter_back():
    """Indices count within a plane, as for PyTorch's max_unpool."""
    x = normal(2, 3, 4, 4)
    y, places = ek.max_pool2d(ek.tensor(x), 2, return_indices=True)
    flat = x.reshape(2, 3, 16)
    np.testing.assert_array_equal(
        np.take_along_axis(flat, places.numpy().reshape(2, 3, 4), 2).reshape(y.shape), y.numpy()
    )


# ---- normalisation and losses ----------------------------------------------------------------------------------------


def test_batch_statistics_can_be_differentiated():
    x = leaf(normal(4, 3, 5))
    _, mean, var = ek.batch_norm(x, None, None, training=True)
    weights = ek.tensor(normal(3))
    (gm,) = ek.autograd.grad((mean * weights).sum(), [x], retain_graph=True)
    np.testing.assert_allclose(arr(gm), np.broadcast_to(arr(weights).reshape(1, 3, 1) / 20, (4, 3, 5)), rtol=1e-12)
    (gv,) = ek.autograd.grad((var * weights).sum(), [x])
    centred = arr(x) - arr(x).mean((0, 2), keepdims=True)
    np.testing.assert_allclose(arr(gv), 2 / 20 * centred * arr(weights).reshape(1, 3, 1), rtol=1e-9)


@pytest.mark.torch
@pytest.mark.parametrize("shape", [(64, 8), (16, 8, 12, 12), (2, 8, 3)], ids=str)
def test_batch_norm_far_from_zero(shape, torch):
    """Means a thousand times the deviation: a one-pass variance in float32 would be wrong."""
    x = (normal(*shape) + 1000 * normal(1, 8, *(1,) * (len(shape) - 2))).astype(np.float32)
    ours, theirs = leaf(x), torch.tensor(x.astype(np.float64), requires_grad=True)
    y, _, _ = ek.batch_norm(ours, None, None, training=True)
    e = torch.nn.functional.batch_norm(theirs, None, None, training=True)
    np.testing.assert_allclose(arr(y), arr(e), atol=2e-3)
    c = normal(*shape).astype(np.float32)
    (y * ek.tensor(c)).sum().backward()
    (e * torch.tensor(c.astype(np.float64))).sum().backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), atol=5e-3)


@pytest.mark.parametrize("affine", ["bias", "weight"])
def test_group_norm_with_one_parameter(affine):
    x, v = ek.tensor(normal(2, 4, 3)), ek.tensor(normal(4))
    plain = ek.group_norm(x, 2)
    expected = plain + v.reshape(1, 4, 1) if affine == "bias" else plain * v.reshape(1, 4, 1)
    np.testing.assert_allclose(ek.group_norm(x, 2, **{affine: v}).numpy(), expected.numpy(), rtol=1e-12)


ACTIVATIONS = {
    "gelu": (ek.gelu, lambda t: t.nn.functional.gelu),
    "gelu tanh": (lambda x: ek.gelu(x, "tanh"), lambda t: lambda x: t.nn.functional.gelu(x, approximate="tanh")),
    "silu": (ek.silu, lambda t: t.nn.functional.silu),
}


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_long_activations_to_second_order(name, dtype, torch):
    """Longer than a block, from tail to tail."""
    ours, theirs = ACTIVATIONS[name][0], ACTIVATIONS[name][1](torch)
    x = np.concatenate([np.linspace(-12, 12, 40001), [0.0, -0.0]]).astype(dtype)
    a, b = leaf(x), torch.tensor(x.astype(np.float64), requires_grad=True)
    y, e = ours(a), theirs(b)
    (g,), (h,) = ek.autograd.grad(y.sum(), [a], create_graph=True), torch.autograd.grad(e.sum(), [b], create_graph=True)
    (g2,), (h2,) = ek.autograd.grad(g.sum(), [a]), torch.autograd.grad(h.sum(), [b])
    rtol, atol = (1e-9, 1e-11) if dtype == "float64" else (2e-6, 2e-5)
    for got, expected in ((y, e), (g, h), (g2, h2)):
        np.testing.assert_allclose(arr(got), arr(expected), rtol=rtol, atol=atol)


@pytest.mark.torch
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    "targets", [[0, 3, -100, 2, 1], [-100] * 5, [1] * 5], ids=["some ignored", "all ignored", "none ignored"]
)
def test_cross_entropy_to_second_order(targets, reduction, torch):
    x, y = normal(5, 4) * 20, np.array(targets)
    results = []
    for module, loss in ((ek, ek.nll_from_logits), (torch, torch.nn.functional.cross_entropy)):
        t = module.tensor(x).requires_grad_()
        out = loss(t, module.tensor(y), reduction=reduction)
        (g,) = module.autograd.grad(out.sum(), [t], create_graph=True)
        (h,) = module.autograd.grad((g * g).sum(), [t])
        results.append([arr(out), arr(g), arr(h)])
    for a, e in zip(*results, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-9, atol=1e-10)


def test_cross_entropy_of_certain_predictions():
    x = leaf(np.array([[1e4, 0.0], [0.0, 1e4]]))
    loss = ek.nll_from_logits(x, ek.tensor([0, 0]), reduction="sum")
    assert loss.item() == 1e4
    loss.backward()
    assert x.grad.tolist() == [[0.0, 0.0], [-1.0, 1.0]]


def test_a_target_that_is_no_class_is_named():
    with pytest.raises(IndexError, match=r"class index 7 .*\[0, 2\]"):
        ek.nll_from_logits(ek.ones(2, 3), ek.tensor([1, 7]))


@pytest.mark.parametrize("size", [5, 24])
def test_the_last_nan_of_a_window_is_its_maximum(size, torch):
    x = normal(2, 3, size, size)
    x[np.random.default_rng(8).random(x.shape) < 0.2] = np.nan

    def run(lib, functional):
        found = []
        for pool, args in (("max_pool2d", (3, 2, 1)), ("max_pool2d", (2,)), ("adaptive_max_pool2d", ((3, 4),))):
            leaf = lib.tensor(x, requires_grad=True)
            y, places = getattr(functional, pool)(leaf, *args, return_indices=True)
            y.sum().backward()
            found += [y.detach().numpy(), places.numpy(), leaf.grad.numpy()]
        return found

    for a, b in zip(run(ek, ek), run(torch, torch.nn.functional), strict=True):
        np.testing.assert_array_equal(a, b)
