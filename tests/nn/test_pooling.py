"""Pooling layers beside those of the tables: fractional maxima, maxima put back, power averages of one window."""

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit import nn
from expkit.errors import ShapeError

R = np.random.default_rng(6)
PLANES = {1: R.standard_normal((2, 3, 9)), 2: R.standard_normal((2, 3, 7, 8)), 3: R.standard_normal((1, 2, 6, 6, 6))}


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("how", [{"output_size": 3}, {"output_ratio": 0.5}])
def test_fractional_maxima_with_given_samples_are_pytorchs(n, how, torch):
    samples = R.random((*PLANES[n].shape[:2], n))
    if "output_ratio" in how:
        how = {"output_ratio": (0.5,) * n}

    def run(lib, modules):
        made = getattr(modules, f"FractionalMaxPool{n}d")
        layer = made(2, return_indices=True, _random_samples=lib.tensor(samples), **how)
        assert list(layer.state_dict()) == ["_random_samples"]
        x = lib.tensor(PLANES[n], requires_grad=True)
        y, places = layer(x)
        y.square().sum().backward()
        return y.detach().numpy(), places.numpy(), x.grad.numpy(), repr(layer)

    for a, b in zip(run(ek, nn)[:3], run(torch, torch.nn)[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_fractional_windows_are_drawn_anew():
    x = ek.tensor(PLANES[2])
    ek.manual_seed(1)
    first = F.fractional_max_pool2d(x, 2, 3)
    assert tuple(first.shape) == (2, 3, 3, 3)
    assert (F.fractional_max_pool2d(x, 2, 3) != first).any()
    ek.manual_seed(1)
    np.testing.assert_array_equal(F.fractional_max_pool2d(x, 2, 3).numpy(), first.numpy())
    ek.manual_seed(1)
    np.testing.assert_array_equal(F.fractional_max_pool2d(x[:1], 2, 3)[0].numpy(), first[0].numpy())


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("stride", [None, 3])
def test_unpooling_puts_maxima_back(n, stride, torch):
    def run(lib, modules):
        pool = getattr(modules, f"MaxPool{n}d")(2, stride, return_indices=True)
        back = getattr(modules, f"MaxUnpool{n}d")(2, stride)
        x = lib.tensor(PLANES[n], requires_grad=True)
        y, places = pool(x)
        out = back(y, places, output_size=tuple(x.shape))
        out.square().sum().backward()
        plain = back(y, places) if stride is None else out  # other strides leave gaps at the end
        return out.detach().numpy(), x.grad.numpy(), plain.detach().numpy(), repr(back)

    ours, theirs = run(ek, nn), run(torch, torch.nn)
    assert ours[3] == theirs[3] or n == 1
    for a, b in zip(ours[:3], theirs[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


LINE = ek.ones(1, 1, 4)
ERRORS = [
    (lambda: F.fractional_max_pool2d(LINE, 2, 2), ShapeError, "do not fit"),
    (lambda: F.fractional_max_pool2d(ek.ones(1, 4, 4), 2), ValueError, "one of output_size and output_ratio"),
    (lambda: F.fractional_max_pool2d(ek.ones(1, 4, 4), 2, output_ratio=1.5), ValueError, "between 0 and 1"),
    (lambda: F.fractional_max_pool2d(ek.ones(1, 4, 4), 3, 3), ShapeError, "do not fit"),
    (lambda: nn.FractionalMaxPool2d(2), ValueError, "one of output_size and output_ratio"),
    (lambda: nn.FractionalMaxPool2d(2, output_ratio=2.0), ValueError, "between 0 and 1"),
    (lambda: F.max_unpool1d(LINE, ek.zeros(1, 1, 3, dtype=ek.int64), 2), ShapeError, "indices of the input's shape"),
    (lambda: F.max_unpool1d(LINE, ek.zeros(1, 1, 4), 2), TypeError, "int64"),
    (lambda: F.max_unpool1d(LINE, ek.zeros(1, 1, 4, dtype=ek.int64), 2, output_size=(20,)), ValueError, "within"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_errors_say_what_does_not_fit(call, error, message):
    with pytest.raises(error, match=message):
        call()
