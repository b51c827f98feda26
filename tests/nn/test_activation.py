"""Activations in place, with random numbers, of whole numbers; dropout of channels and for selu."""

import inspect
import warnings

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit import nn
from expkit.errors import ShapeError

OVERWRITING = sorted(name for name in vars(F) if name.endswith("_") and not name.startswith("_"))
ARGUMENTS = {"threshold_": (0.5, 2.0), "hardtanh_": (-0.5, 0.5)}


@pytest.mark.parametrize("name", OVERWRITING)
def test_functions_that_overwrite_against_torch(name, torch):
    def run(lib):
        x = lib.linspace(-2, 2, 9, dtype=lib.float64).requires_grad_()
        y = x * 1
        out = getattr(lib.nn.functional, name)(y, *ARGUMENTS.get(name, ()))
        assert out is y
        (out * lib.arange(9)).sum().backward()
        return out.detach().numpy(), x.grad.numpy()

    for ours, theirs in zip(run(ek), run(torch), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-12)


def test_every_function_with_inplace_and_a_form_in_torch_has_one(torch):
    plain = {n for n, f in vars(F).items() if inspect.isfunction(f) and "inplace" in inspect.signature(f).parameters}
    theirs = vars(torch.nn.functional)
    assert {f"{name}_" for name in plain if f"{name}_" in theirs} == set(OVERWRITING)


def test_rrelu_draws_slopes_while_it_trains():
    x = ek.full((20000,), -1.0, requires_grad=True)
    out = F.rrelu(x, 0.2, 0.6, training=True)
    out.sum().backward()
    slopes = -out.detach().numpy()
    assert 0.2 <= slopes.min() < 0.21
    assert 0.59 < slopes.max() <= 0.6
    assert slopes.mean() == pytest.approx(0.4, abs=0.01)
    np.testing.assert_array_equal(x.grad.numpy(), slopes)
    layer = nn.RReLU(0.2, 0.6)
    assert len(np.unique(layer(x).detach().numpy())) > 100
    np.testing.assert_allclose(layer.eval()(x).detach().numpy(), -0.4, rtol=1e-6)
    with pytest.raises(ValueError, match="greater"):
        F.rrelu(x, 0.6, 0.2)


def test_gumbel_softmax_draws_classes():
    logits = ek.tensor([0.1, 0.2, 0.7]).log().expand(20000, 3)
    hard = F.gumbel_softmax(logits, hard=True)
    assert (hard.sum(-1) - 1).abs().max() < 1e-6
    np.testing.assert_allclose(hard.mean(0).numpy(), [0.1, 0.2, 0.7], atol=0.02)
    soft = F.gumbel_softmax(logits, tau=0.5)
    np.testing.assert_allclose(soft.sum(-1).numpy(), 1, rtol=1e-5)
    assert 0.001 < soft.max(-1).values.min() < 0.9


def test_hard_samples_have_the_gradient_of_soft_ones():
    def slope(hard):
        ek.manual_seed(3)
        logits = ek.tensor([[0.3, -0.2, 1.0]], requires_grad=True)
        (F.gumbel_softmax(logits, hard=hard) * ek.tensor([1.0, 2.0, 4.0])).sum().backward()
        return logits.grad.numpy()

    np.testing.assert_allclose(slope(True), slope(False), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint8"])
def test_whole_numbers_stay_whole(dtype, torch):
    def run(lib):
        x = lib.tensor([0, 1, 5, 9]).to(getattr(lib, dtype))
        made = F if lib is ek else torch.nn.functional
        return [made.relu6(x), made.hardtanh(x, 0.5, 2.7), made.threshold(x, 1, 3)]

    for ours, theirs in zip(run(ek), run(torch), strict=True):
        assert str(ours.dtype).split(".")[1] == str(theirs.dtype).split(".")[1]
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


SMOOTH = [
    "celu", "elu", "glu", "hardshrink", "hardsigmoid", "hardswish", "leaky_relu", "logsigmoid", "mish", "selu",
    "softplus", "softshrink",
]  # fmt: skip


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions_refuse_whole_numbers(name):
    with pytest.raises(TypeError, match=f"{name}: the input must be floating-point"):
        getattr(F, name)(ek.tensor([1, 2]))


X = ek.ones(4, 3)
WRONG = [
    (lambda: F.hardtanh(ek.tensor([True])), TypeError, "real number"),
    (lambda: F.relu6(X.to(ek.complex64)), TypeError, "real number"),
    (lambda: F.hardtanh(X.to(ek.uint8)), ValueError, "negative -1"),
    (lambda: F.threshold(ek.tensor([True]), 0, 1), TypeError, "real number"),
    (lambda: F.prelu(X, ek.ones(1, 3)), ShapeError, "scalar or a vector"),
    (lambda: F.prelu(X, ek.ones(3, dtype=ek.float64)), TypeError, "one dtype"),
    (lambda: F.celu(X, alpha=0), ValueError, "alpha"),
    (lambda: F.softshrink(X, -1), ValueError, "lambd"),
    (lambda: F.dropout1d(ek.ones(4)), ShapeError, "dropout1d: expected 2 or 3"),
    (lambda: F.feature_alpha_dropout(ek.ones(4), training=True), ShapeError, r"\(N, C"),
    (lambda: F.alpha_dropout(X, 1.5), ValueError, "between 0 and 1"),
    (lambda: nn.Softmax2d()(X), ShapeError, "3D or 4D"),
    (lambda: nn.Hardtanh(1.0, 1.0), ValueError, "larger"),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message for _, _, message in WRONG])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_older_names_of_the_bounds():
    with pytest.warns(FutureWarning, match="min_val instead"):
        layer = nn.Hardtanh(min_value=-2.0)
    assert (layer.min_val, layer.max_val) == (-2.0, 1.0)


CHANNELS = [  # function, shape, dimensions that are drawn for
    ("dropout1d", (50, 20, 3), 2), ("dropout1d", (500, 3), 1), ("dropout2d", (50, 20, 3, 2), 2),
    ("dropout2d", (50, 20, 3), 2), ("dropout2d", (50, 20), 2), ("dropout3d", (50, 20, 3, 2, 1), 2),
    ("dropout3d", (500, 2, 3, 2), 1), ("feature_alpha_dropout", (50, 20, 3, 2), 2),
]  # fmt: skip


@pytest.mark.parametrize(("name", "shape", "drawn"), CHANNELS)
def test_channels_are_dropped_whole(name, shape, drawn, torch):
    def run(lib):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            out = getattr(lib.nn.functional, name)(lib.ones(shape), 0.3, True).numpy()
        rows = out.reshape(int(np.prod(shape[:drawn])), -1)
        assert (rows == rows[:, :1]).all()
        values, counts = np.unique(rows[:, 0].round(5), return_counts=True)
        return values, counts / len(rows), len(caught)

    (ours, our_shares, our_warnings), (theirs, their_shares, their_warnings) = run(ek), run(torch)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(our_shares, their_shares, atol=0.12)
    assert our_warnings == their_warnings


@pytest.mark.parametrize("name", ["dropout2d", "dropout3d"])
def test_without_channels_there_is_nothing_to_draw_for(name):
    with pytest.warns(UserWarning, match=f"{name}: expected"), pytest.raises(ShapeError, match="channels"):
        getattr(F, name)(ek.ones(4))


def test_alpha_dropout_keeps_mean_and_variance():
    x = ek.randn(200_000, requires_grad=True)
    out = F.alpha_dropout(x, 0.3, True)
    out.sum().backward()
    assert out.mean().item() == pytest.approx(0, abs=0.02)
    assert out.std().item() == pytest.approx(1, abs=0.02)
    scale = (1.7580993408473766**2 * 0.3 + 1) ** -0.5 * 0.7**-0.5
    np.testing.assert_allclose(np.unique(x.grad.numpy()), [0, scale], rtol=1e-5)
    assert nn.AlphaDropout(0.3).eval()(x) is x
