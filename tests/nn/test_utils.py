"""nn.utils: clipping is optim's (tests/optim/test_clip.py); parameters as one vector."""

import pytest

import expkit as ek
from expkit import nn, optim
from expkit.errors import ShapeError
from expkit.nn.utils import parameters_to_vector, vector_to_parameters


def test_clipping_is_found_under_pytorchs_names():
    assert nn.utils.clip_grad_norm_ is optim.clip_grad_norm_
    assert nn.utils.clip_grad_value_ is optim.clip_grad_value_


def test_parameters_and_back():
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    vector = parameters_to_vector(model.parameters())
    assert vector.tolist() == [*model.weight.reshape(-1).tolist(), *model.bias.tolist()]
    vector.sum().backward()
    assert model.weight.grad.tolist() == [[1.0] * 3] * 2
    vector_to_parameters(vector, other.parameters())
    assert other.weight.tolist() == model.weight.tolist()
    assert other.bias.tolist() == model.bias.tolist()
    assert other.weight.requires_grad
    assert other.weight.is_leaf


@pytest.mark.parametrize("shape", [(7,), (9,), (2, 4)])
def test_a_vector_that_does_not_fit(shape):
    with pytest.raises(ShapeError, match=r"need \(8,\)"):
        vector_to_parameters(ek.zeros(*shape), nn.Linear(3, 2).parameters())


# ---- fused layers, modules without initialisation, functional_call ---------------------------------------------------


def trained(bn):
    """A batch norm in evaluation mode whose statistics are not those of the start."""
    with ek.no_grad():
        for tensor in (bn.running_mean, bn.running_var, bn.weight, bn.bias):
            if tensor is not None:
                tensor.copy_(ek.rand(*tensor.shape) + 0.5)
    return bn.eval()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_a_convolution_takes_its_batch_norm_in(bias, affine):
    conv, bn = nn.Conv2d(2, 3, 2, bias=bias).eval(), trained(nn.BatchNorm2d(3, affine=affine))
    x = ek.randn(2, 2, 4, 4)
    fused = nn.utils.fuse_conv_bn_eval(conv, bn)
    assert ek.isclose(fused(x), bn(conv(x)), atol=1e-5).all()
    assert fused.weight.requires_grad
    assert fused.weight is not conv.weight


@pytest.mark.parametrize("features", [3, 1])
def test_a_linear_layer_takes_its_batch_norm_in(features):
    linear, bn = nn.Linear(2, 3).eval(), trained(nn.BatchNorm1d(features))
    x = ek.randn(4, 2)
    y = linear(x)
    expected = bn(y) if features == 3 else bn(y.unsqueeze(1)).squeeze(1)
    assert ek.isclose(nn.utils.fuse_linear_bn_eval(linear, bn)(x), expected, atol=1e-5).all()


def test_fusion_is_for_evaluation():
    with pytest.raises(ValueError, match="call eval"):
        nn.utils.fuse_linear_bn_eval(nn.Linear(2, 3), nn.BatchNorm1d(3))
    with pytest.raises(ValueError, match="2 outputs"):
        nn.utils.fuse_linear_bn_eval(nn.Linear(2, 2).eval(), nn.BatchNorm1d(3).eval())


def test_skip_init_draws_no_random_numbers():
    ek.manual_seed(1)
    expected = ek.rand(3)
    ek.manual_seed(1)
    module = nn.utils.skip_init(nn.Linear, 3, 4, bias=False)
    assert tuple(module.weight.shape) == (4, 3)
    assert module.bias is None
    assert (ek.rand(3) == expected).all()
    with pytest.raises(RuntimeError, match="Expected a Module"):
        nn.utils.skip_init(dict)


def test_stateless_functional_call():
    module = nn.Linear(2, 1, bias=False)
    out = nn.utils.stateless.functional_call(module, {"weight": ek.ones(1, 2)}, (ek.ones(1, 2),))
    assert out.item() == 2
