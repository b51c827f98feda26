"""Gradient clipping against PyTorch's."""

import numpy as np
import pytest

import expkit as ek
from expkit.errors import NonFiniteError
from expkit.optim import clip_grad_norm_, clip_grad_value_
from expkit.tensor.clipping import clip_grads_with_norm_, get_total_norm

INF = float("inf")
GRADS = [np.array([[1.0, -2.0], [0.5, 0.0]]), None, np.array(3.0), np.array([-0.1, 4.0, -5.0])]


def parameters(scale=1.0):
    found = []
    for grad in GRADS:
        p = ek.zeros(() if grad is None else grad.shape, dtype=ek.float64, requires_grad=True)
        p.grad = None if grad is None else ek.tensor(grad * scale, dtype=ek.float64)
        found.append(p)
    return found


def torch_parameters(torch, scale=1.0):
    found = []
    for grad in GRADS:
        p = torch.zeros(() if grad is None else grad.shape, dtype=torch.float64, requires_grad=True)
        p.grad = None if grad is None else torch.tensor(grad * scale)
        found.append(p)
    return found


def same_gradients(got, want):
    for p, q in zip(got, want, strict=True):
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("scale", [0.01, 1.0])
@pytest.mark.parametrize("order", [1, 2, 3.5, INF])
def test_norms_are_clipped_as_in_pytorch(torch, order, scale):
    got, want = parameters(scale), torch_parameters(torch, scale)
    norm = clip_grad_norm_(got, 2.0, order)
    assert norm.item() == pytest.approx(torch.nn.utils.clip_grad_norm_(want, 2.0, order).item(), rel=1e-12)
    assert norm.shape == ()
    same_gradients(got, want)


def test_values_are_clipped_as_in_pytorch(torch):
    got, want = parameters(), torch_parameters(torch)
    clip_grad_value_(got, 1.5)
    torch.nn.utils.clip_grad_value_(want, 1.5)
    same_gradients(got, want)


def test_one_tensor_and_a_generator_will_do():
    p = parameters()[0]
    clip_grad_value_(p, 0.5)
    assert p.grad.abs().max().item() == 0.5
    assert clip_grad_norm_((q for q in parameters()), 1.0).item() > 1


def test_without_gradients_the_norm_is_zero():
    assert clip_grad_norm_([ek.ones(2, requires_grad=True)], 1.0).item() == 0


@pytest.mark.parametrize("value", [INF, float("nan")])
def test_a_norm_that_is_not_finite_is_an_error_on_demand(value):
    p = ek.ones(2, requires_grad=True)
    p.grad = ek.tensor([value, 1.0])
    with pytest.raises(NonFiniteError, match="cannot be clipped"):
        clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
    assert not np.isfinite(clip_grad_norm_([p], 1.0).item())


@pytest.mark.torch
@pytest.mark.parametrize("order", [0, -1, 0.5, 1, 2, 3, INF, -INF])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_any_order_gives_pytorchs_norm(order, kind, torch):
    values = [np.array([3.0, -4.0, 0.0]), np.array([[1.0, -2.0]])]
    theirs = [torch.tensor(v, dtype=getattr(torch, kind if i else "float32")) for i, v in enumerate(values)]
    ours = [ek.tensor(t.numpy()) for t in theirs]
    expected = torch.nn.utils.get_total_norm(theirs, order)
    got = get_total_norm(ours, order)
    assert got.dtype.name == kind
    np.testing.assert_allclose(got.item(), expected.item(), rtol=1e-6)


def test_scaling_by_a_norm_that_is_known():
    p = ek.ones(2, requires_grad=True)
    p.grad = ek.tensor([3.0, 4.0])
    clip_grads_with_norm_([p], 1.0, ek.tensor(5.0))
    np.testing.assert_allclose(p.grad.numpy(), [0.6, 0.8], rtol=1e-5)
    clip_grads_with_norm_(p, 1.0, ek.tensor(0.5), foreach=False)
    np.testing.assert_allclose(p.grad.numpy(), [0.6, 0.8], rtol=1e-5)
