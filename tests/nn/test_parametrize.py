"""nn.utils.parametrize and parametrizations, and the older hooks: state, values, gradients and errors as PyTorch's."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest

import expkit as ek
from expkit import nn
from expkit.nn.utils import parametrize as P


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).mT

    def right_inverse(self, x):
        return x.triu()


class Double(nn.Module):
    def forward(self, x):
        return x * 2


class Product(nn.Module):
    """Of two tensors."""

    def forward(self, a, b):
        return a * b

    def right_inverse(self, x):
        return x, ek.ones_like(x)


class Wider(nn.Module):
    def forward(self, x):
        return ek.cat([x, x], 0)


# ---- against PyTorch ------------------------------------------------------------------------------------------------


def linear(m):
    return m.nn.Linear(3, 4), (5, 3)


def square(m):
    return m.nn.Linear(3, 3), (5, 3)


def wide(m):
    return m.nn.Linear(4, 3), (5, 4)


def conv(m):
    return m.nn.Conv2d(2, 3, 2), (1, 2, 4, 4)


def parametrized(kind, make, **options):
    def build(m):
        module, shape = make(m)
        return getattr(m.nn.utils.parametrizations, kind)(module, **options), shape

    return build


def hooked(kind, make, **options):
    def build(m):
        module, shape = make(m)
        return getattr(m.nn.utils, kind)(module, **options), shape

    return build


CASES = {
    "weight_norm": parametrized("weight_norm", linear),
    "weight_norm of a dimension": parametrized("weight_norm", conv, dim=1),
    "weight_norm of everything": parametrized("weight_norm", linear, dim=None),
    "weight_norm of the bias": parametrized("weight_norm", linear, name="bias"),
    "spectral_norm": parametrized("spectral_norm", linear),
    "spectral_norm of a convolution": parametrized("spectral_norm", conv, n_power_iterations=3),
    "spectral_norm of a vector": parametrized("spectral_norm", linear, name="bias"),
    "orthogonal, square": parametrized("orthogonal", square),
    "orthogonal, tall": parametrized("orthogonal", linear),
    "orthogonal, wide": parametrized("orthogonal", wide),
    "orthogonal, cayley": parametrized("orthogonal", linear, orthogonal_map="cayley"),
    "orthogonal, tall matrix_exp": parametrized("orthogonal", linear, orthogonal_map="matrix_exp"),
    "orthogonal, plain householder": parametrized(
        "orthogonal", linear, orthogonal_map="householder", use_trivialization=False
    ),
    "hook: weight_norm": hooked("weight_norm", linear),
    "hook: weight_norm of a dimension": hooked("weight_norm", conv, dim=1),
    "hook: spectral_norm": hooked("spectral_norm", conv),
    "hook: spectral_norm, slower": hooked("spectral_norm", linear, n_power_iterations=2, dim=1),
}


def both(torch, build):
    """The module in both libraries, with the state of PyTorch's, and inputs."""
    torch.manual_seed(0)
    theirs, shape = build(SimpleNamespace(nn=torch.nn))
    ours, _ = build(SimpleNamespace(nn=nn))
    state = {name: ek.tensor(value.numpy().copy()) for name, value in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return ours, theirs, ek.tensor(x), torch.tensor(x)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("training", [True, False])
def test_values_gradients_and_state_are_pytorchs(name, training, torch):
    ours, theirs, x, y = both(torch, CASES[name])
    ours.train(training)
    theirs.train(training)
    for _ in range(2):  # the second time with what the first one left in the buffers
        got, expected = ours(x), theirs(y)
        np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)
        (got * got).sum().backward()
        (expected * expected).sum().backward()
    names = dict(theirs.named_parameters())
    assert list(dict(ours.named_parameters())) == list(names)
    for key, param in ours.named_parameters():
        np.testing.assert_allclose(param.grad.numpy(), names[key].grad.numpy(), rtol=1e-3, atol=1e-4, err_msg=key)
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[key].numpy(), value.numpy(), rtol=1e-4, atol=1e-5, err_msg=key)


@pytest.mark.torch
@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("hook")])
def test_a_state_dict_goes_to_pytorch_and_a_copy_is_independent(name, torch):
    ours, theirs, x, y = both(torch, CASES[name])
    twin = copy.deepcopy(ours)
    assert type(twin) is type(ours)
    with ek.no_grad():
        for param in twin.parameters():
            param.mul_(1.5)
    theirs.load_state_dict({key: torch.tensor(value.numpy()) for key, value in twin.state_dict().items()})
    twin.eval(), theirs.eval()
    np.testing.assert_allclose(twin(x).detach().numpy(), theirs(y).detach().numpy(), rtol=1e-4, atol=1e-5)
    assert any((a != b).any() for a, b in zip(twin.parameters(), ours.parameters(), strict=True))


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_older_names_of_weight_norm_load_into_the_parametrization(torch):
    older = torch.nn.utils.weight_norm(torch.nn.Linear(3, 4))
    ours = nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))
    ours.load_state_dict({key: ek.tensor(value.numpy().copy()) for key, value in older.state_dict().items()})
    np.testing.assert_allclose(ours.weight.detach().numpy(), older.weight.detach().numpy(), rtol=1e-6)


# ---- registering and removing ---------------------------------------------------------------------------------------


def test_a_tensor_is_computed_when_it_is_read():
    m = nn.Linear(3, 3)
    before = m.weight
    P.register_parametrization(m, "weight", Symmetric())
    assert type(m).__name__ == "ParametrizedLinear"
    assert P.type_before_parametrizations(m) is nn.Linear
    assert P.is_parametrized(m)
    assert P.is_parametrized(m, "weight")
    assert not P.is_parametrized(m, "bias")
    assert m.parametrizations.weight.original is before  # an optimizer still holds the right one
    assert (m.weight == m.weight.mT).all()
    assert "weight" not in dict(m.named_parameters(recurse=False))
    m.weight.sum().backward()
    assert before.grad is not None


def test_assigning_goes_through_the_right_inverse():
    m = P.register_parametrization(nn.Linear(3, 3), "weight", Symmetric())
    m.weight = ek.eye(3) * 2
    assert (m.weight == ek.eye(3) * 2).all()
    P.register_parametrization(m, "weight", Double())
    assert (m.weight == ek.eye(3) * 4).all()
    with pytest.raises(RuntimeError, match="Double does not implement right_inverse"):
        m.weight = ek.eye(3)


def test_several_originals():
    m = P.register_parametrization(nn.Linear(2, 2), "weight", Product())
    assert [*m.state_dict()] == ["bias", "parametrizations.weight.original0", "parametrizations.weight.original1"]
    m.weight = ek.zeros(2, 2)
    assert (m.weight == 0).all()
    with pytest.raises(ValueError, match="sequence of tensors"):
        P.remove_parametrizations(m, "weight", leave_parametrized=False)
    P.remove_parametrizations(m, "weight")
    assert isinstance(m.weight, nn.Parameter)
    assert type(m) is nn.Linear


def test_a_buffer_stays_a_buffer():
    m = nn.BatchNorm1d(3)
    P.register_parametrization(m, "running_var", Double())
    assert "running_var" in dir(type(m))
    assert "parametrizations.running_var.original" in dict(m.named_buffers())
    P.remove_parametrizations(m, "running_var")
    assert (m.running_var == 2).all()
    assert "running_var" in dict(m.named_buffers())


@pytest.mark.parametrize("leave", [True, False])
def test_removing(leave):
    m = nn.Linear(3, 3)
    param, value = m.weight, m.weight.detach().clone()
    P.register_parametrization(m, "weight", Double())
    P.register_parametrization(m, "bias", Double())
    twin = copy.deepcopy(m)
    P.remove_parametrizations(m, "weight", leave_parametrized=leave)
    assert m.weight is param
    assert (m.weight == (value * 2 if leave else value)).all()
    assert P.is_parametrized(m, "bias")
    P.remove_parametrizations(m, "bias")
    assert type(m) is nn.Linear
    assert [*m.state_dict()] == ["weight", "bias"]
    assert (twin.weight == value * 2).all()


def test_cached_computes_once():
    m = P.register_parametrization(nn.Linear(3, 3), "weight", Double())
    assert m.weight is not m.weight
    with P.cached():
        first = m.weight
        assert m.weight is first
        with P.cached():
            assert m.weight is first
        assert m.weight is first
    assert m.weight is not first


def test_transfer():
    m = P.register_parametrization(nn.Linear(3, 3), "weight", Symmetric())
    other = nn.Linear(3, 3)
    P.transfer_parametrizations_and_params(m, other)
    assert (other.weight == m.weight).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: P.register_parametrization(m, "nope", Double()), "does not have a parameter, a buffer"),
        (lambda m: P.register_parametrization(m, "weight", Wider()), "may not change the shape"),
        (lambda m: P.remove_parametrizations(m, "weight"), "does not have a parametrization on weight"),
        (lambda m: nn.utils.parametrizations.orthogonal(m, "bias"), "matrix or batch of matrices"),
        (lambda m: nn.utils.parametrizations.orthogonal(m, orthogonal_map="x"), "orthogonal_map has to be one of"),
        (lambda m: nn.utils.parametrizations.spectral_norm(m, n_power_iterations=0), "n_power_iterations"),
        (lambda m: nn.utils.remove_weight_norm(m), "weight_norm of 'weight' not found"),
        (lambda m: nn.utils.remove_spectral_norm(m), "spectral_norm of 'weight' not found"),
        (lambda m: nn.utils.weight_norm(m, "nope"), "no parameter with name 'nope'"),
    ],
)
def test_refused(call, message):
    m = nn.Linear(3, 4)
    before = m.weight.detach().clone()
    with pytest.raises(ValueError, match=message):
        call(m)
    assert (m.weight == before).all()
    assert type(m) is nn.Linear


def test_unsafe_may_change_the_shape():
    m = P.register_parametrization(nn.Linear(3, 4), "weight", Wider(), unsafe=True)
    assert tuple(m.weight.shape) == (8, 3)


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_hooks_come_once_and_go(name):
    m = nn.Linear(3, 4)
    value = m.weight.detach().clone()
    add, remove = getattr(nn.utils, name), getattr(nn.utils, f"remove_{name}")
    add(m)
    with pytest.raises(RuntimeError, match="Cannot register two"):
        add(m)
    remove(m)
    assert [*m.state_dict()] == ["bias", "weight"]
    if name == "weight_norm":
        np.testing.assert_allclose(m.weight.detach().numpy(), value.numpy(), rtol=1e-6)
    assert m(ek.ones(1, 3)).requires_grad
