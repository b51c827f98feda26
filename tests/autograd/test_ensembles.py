"""Modules as functions under transforms: ensembles by vmap, linearize."""

import numpy as np
import pytest

import expkit as ek
from expkit import nn
from expkit.func import functional_call, grad, linearize, stack_module_state


def models(count=3):
    ek.manual_seed(0)
    return [nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).eval() for _ in range(count)]


def test_an_ensemble_is_its_models():
    made, x = models(), ek.randn(5, 3)
    parameters, buffers = stack_module_state(made)
    assert all(p.is_leaf and p.requires_grad and p.shape[0] == 3 for p in parameters.values())
    run = lambda p, b: functional_call(made[0], (p, b), (x,))  # noqa: E731
    together = ek.vmap(run)(parameters, buffers)
    for out, model in zip(together, made, strict=True):
        np.testing.assert_allclose(out.detach().numpy(), model(x).detach().numpy(), rtol=1e-5)


def test_gradients_of_an_ensemble():
    made, x = models(), ek.randn(5, 3)
    parameters, buffers = stack_module_state(made)
    slopes = ek.vmap(grad(lambda p, b: functional_call(made[0], (p, b), x).square().mean()))(parameters, buffers)
    for i, model in enumerate(made):
        model(x).square().mean().backward()
        for name, p in model.named_parameters():
            np.testing.assert_allclose(slopes[name][i].detach().numpy(), p.grad.numpy(), rtol=1e-4, atol=1e-7)


def test_ensembles_that_do_not_fit():
    one, two = models(2)
    for wrong in ([], [one, nn.ReLU().eval()], [one, two.train()]):
        with pytest.raises(RuntimeError, match="stack_module_state"):
            stack_module_state(wrong)
    frozen = models(2)
    frozen[0][0].weight.requires_grad_(False)
    with pytest.raises(RuntimeError, match="some of the models"):
        stack_module_state(frozen)


def test_dictionaries_that_overlap():
    (model,) = models(1)
    tensors = dict(model.named_parameters())
    with pytest.raises(ValueError, match="more than one"):
        functional_call(model, (tensors, tensors), ek.ones(1, 3))
    with pytest.raises(ValueError, match="expected a dict"):
        functional_call(model, 3.0, ek.ones(1, 3))


def test_linearize():
    x, t = ek.tensor([1.0, 2.0]), ek.tensor([0.5, -1.0])
    value, push = linearize(lambda v: {"a": v.sin()}, x)
    np.testing.assert_allclose(value["a"].numpy(), np.sin([1.0, 2.0]), rtol=1e-6)
    np.testing.assert_allclose(push(t)["a"].numpy(), np.cos([1.0, 2.0]) * [0.5, -1.0], rtol=1e-6)
