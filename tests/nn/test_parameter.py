"""Parameter and Buffer."""

import copy

import numpy as np
import pytest

import expkit as ek
from expkit import nn


def test_a_parameter_is_a_leaf_that_requires_a_gradient_and_shares_memory():
    data = ek.ones(3)
    p = nn.Parameter(data)
    assert isinstance(p, ek.Tensor)
    assert p.requires_grad
    assert p.is_leaf
    assert np.shares_memory(p.detach().numpy(), data.numpy())
    (p * 2).sum().backward()
    assert p.grad.tolist() == [2, 2, 2]
    assert type(p * 2) is ek.Tensor
    assert repr(p).startswith("Parameter containing:\ntensor(")


def test_a_parameter_of_a_computed_value_starts_anew():
    x = ek.ones(2, requires_grad=True)
    p = nn.Parameter(x * 3)
    assert p.is_leaf
    (p * 2).sum().backward()
    assert x.grad is None
    assert nn.Parameter(ek.ones(2), requires_grad=False).requires_grad is False
    assert nn.Parameter(ek.arange(3), requires_grad=False).dtype == ek.int64
    assert nn.Parameter().shape == (0,)


def test_an_in_place_write_to_a_parameter_is_not_recorded():
    p = nn.Parameter(ek.ones(2))
    with ek.no_grad():
        p.add_(1)
    assert p.tolist() == [2, 2]
    assert p.is_leaf
    with pytest.raises(RuntimeError):
        p.add_(1)  # a leaf that requires a gradient


def test_copies_keep_the_class():
    p = nn.Parameter(ek.ones(2), requires_grad=False)
    b = nn.Buffer(ek.ones(2), persistent=False)
    twin, other = copy.deepcopy(p), copy.deepcopy(b)
    assert type(twin) is nn.Parameter
    assert twin.requires_grad is False
    assert type(other) is nn.Buffer
    assert other.persistent is False
    both = copy.deepcopy([p, p])
    assert both[0] is both[1]


def test_only_tensors_become_parameters():
    with pytest.raises(TypeError, match=r"Parameter takes a Tensor, got list: write Parameter\(ek.tensor"):
        nn.Parameter([1.0])
    with pytest.raises(RuntimeError, match="floating point"):
        nn.Parameter(ek.arange(3))


def test_a_transformed_model_is_trained_through_functional_call():
    """ek.func.functional_call puts other tensors in place of the parameters and puts the parameters back."""
    m = nn.Sequential(nn.Linear(2, 1, bias=False))
    weight = m[0].weight
    out = ek.func.functional_call(m, {"0.weight": ek.full((1, 2), 3.0)}, (ek.ones(1, 2),))
    assert out.tolist() == [[6.0]]
    assert m[0].weight is weight
    x = ek.ones(4, 2)
    grads = ek.func.grad(lambda p: ek.func.functional_call(m, p, (x,)).sum())(dict(m.named_parameters()))
    assert grads["0.weight"].tolist() == [[4.0, 4.0]]


def test_a_copied_model_begins_without_gradients():
    layer = nn.Linear(2, 2)
    layer(ek.ones(1, 2)).sum().backward()
    copied = copy.deepcopy(layer)
    assert copied.weight.grad is None
    assert layer.weight.grad is not None
    assert copied.weight.requires_grad
