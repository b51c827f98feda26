"""Memory formats: strides, values, gradients, and what keeps them, beside PyTorch's."""

import numpy as np
import pytest

import expkit as ek

IMAGES = (2, 3, 4, 5)
VOLUMES = (2, 3, 4, 5, 6)


def images(shape=IMAGES):
    return ek.arange(float(np.prod(shape))).reshape(shape)


@pytest.mark.parametrize(("shape", "name"), [(IMAGES, "channels_last"), (VOLUMES, "channels_last_3d")])
def test_contiguous_lays_out_and_keeps_values(shape, name):
    x, format = images(shape), getattr(ek, name)
    y = x.contiguous(memory_format=format)
    assert y.is_contiguous(memory_format=format)
    assert not y.is_contiguous()
    assert x.is_contiguous()
    assert not x.is_contiguous(memory_format=format)
    assert y.stride()[1] == 1
    np.testing.assert_array_equal(y.numpy(), x.numpy())
    assert y.contiguous(memory_format=format) is y
    assert y.contiguous().is_contiguous()


def test_clone_and_arithmetic_keep_the_format():
    y = images().to(memory_format=ek.channels_last)
    for z in (y.clone(), y * 2, y.relu(), y.exp(), y + y):
        assert z.is_contiguous(memory_format=ek.channels_last)
    assert y.clone(memory_format=ek.channels_last).is_contiguous(memory_format=ek.channels_last)


def test_gradients_vmap_and_jvp_pass_through():
    x = images().requires_grad_()
    weight = ek.randn(*IMAGES)
    (x.contiguous(memory_format=ek.channels_last) * weight).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), weight.numpy())
    moved = ek.vmap(lambda t: t.contiguous(memory_format=ek.channels_last))(images((7, *IMAGES)))
    np.testing.assert_array_equal(moved.numpy(), images((7, *IMAGES)).numpy())
    _, tangent = ek.func.jvp(lambda t: t.contiguous(memory_format=ek.channels_last), (images(),), (weight,))
    np.testing.assert_array_equal(tangent.numpy(), weight.numpy())


def test_modules_convert_their_weights():
    model = ek.nn.Sequential(ek.nn.Conv2d(3, 8, 3), ek.nn.Flatten(), ek.nn.Linear(8, 2))
    model.to(memory_format=ek.channels_last)
    assert model[0].weight.is_contiguous(memory_format=ek.channels_last)
    assert model[2].weight.is_contiguous()


def test_misuse_is_explained():
    with pytest.raises(RuntimeError, match="required rank 4 tensor to use channels_last format"):
        ek.zeros(3).contiguous(memory_format=ek.channels_last)
    with pytest.raises(TypeError, match="memory_format must be"):
        ek.zeros(3).contiguous(memory_format="channels_last")


@pytest.mark.torch
@pytest.mark.parametrize("shape", [IMAGES, (1, 3, 4, 5), (2, 1, 4, 5), (2, 3, 1, 1), (2, 3, 4, 1)])
def test_is_contiguous_agrees_with_pytorch(shape):
    import torch

    for last in (False, True):
        ours, theirs = images(shape), torch.zeros(shape)
        if last:
            ours, theirs = ours.to(memory_format=ek.channels_last), theirs.to(memory_format=torch.channels_last)
        assert ours.is_contiguous() == theirs.is_contiguous()
        assert ours.is_contiguous(memory_format=ek.channels_last) == theirs.is_contiguous(
            memory_format=torch.channels_last
        )


IN_OWN_ORDER = {
    "softmax": lambda m, x, i: m.softmax(x, 1),
    "log_softmax": lambda m, x, i: m.log_softmax(x, 0),
    "cumsum": lambda m, x, i: m.cumsum(x, 1),
    "cumprod": lambda m, x, i: m.cumprod(x, 0),
    "gather": lambda m, x, i: m.gather(x, 0, i),
    "index_select": lambda m, x, i: m.index_select(x, 1, i[:, 0]),
    "take_along_dim": lambda m, x, i: m.take_along_dim(x, i, 1),
    "masked_fill": lambda m, x, i: m.masked_fill(x, x > 0, 0.5),
    "scatter": lambda m, x, i: m.scatter(x, 0, i, x),
    "scatter_add": lambda m, x, i: m.scatter_add(x, 0, i, x),
    "scatter_reduce": lambda m, x, i: m.scatter_reduce(x, 0, i, x, "amax"),
    "layer_norm": lambda m, x, i: m.nn.functional.layer_norm(x, (3,)),
    "rms_norm": lambda m, x, i: m.nn.functional.rms_norm(x, (3,)),
    "roll": lambda m, x, i: m.roll(x, 1, 0),
}


@pytest.mark.parametrize("name", IN_OWN_ORDER)
def test_results_can_be_viewed_whatever_the_operands_order(name, torch):
    values, index = np.linspace(-1, 1, 12).reshape(3, 4), np.array([[0, 1, 2], [2, 0, 1], [1, 2, 0], [0, 0, 1]])
    results = [
        IN_OWN_ORDER[name](m, m.from_numpy(values.copy()).T, m.from_numpy(index.T.copy()).T).view(-1)
        for m in (ek, torch)
    ]
    np.testing.assert_allclose(results[0].numpy(), results[1].numpy(), rtol=1e-7, atol=1e-12)
