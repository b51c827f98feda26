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
