"""Every layer and loss module, from table_modules: outputs, gradients and state against NumPy and PyTorch."""

import copy

import numpy as np
import pytest

import expkit as ek
from expkit import nn, registry
from tests.nn import table_functions as functions
from tests.nn.table_modules import ELSEWHERE, LOSSES, ROWS
from tests.nn.test_functional import COARSE_IN_TORCH, cotangent, is_real, tensor_of


def build(lib, modules, row):
    return getattr(modules, row.name)(*row.args, **row.kwargs).to(lib.float64)


def arrays_of(module):
    return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}


def run(lib, module, row):
    """One training step: output, input gradients, and the parameters' gradients by name."""
    inputs = [tensor_of(lib, a) for a in row.inputs]
    leaves = [t.requires_grad_() for t, a in zip(inputs, row.inputs, strict=True) if is_real(a)]
    out = module(*inputs)
    if out.requires_grad:
        (out * tensor_of(lib, cotangent(tuple(out.shape)))).sum().backward()
    params = {name: param.grad.numpy() for name, param in module.named_parameters()}
    return out.detach().numpy(), [t.grad.numpy() for t in leaves], params


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_outputs_and_state_against_numpy(row):
    module = build(ek, nn, row)
    assert tuple(module.state_dict()) == row.keys
    expected = row.oracle(arrays_of(module), *row.inputs)
    out, _, _ = run(ek, module, row)
    np.testing.assert_allclose(out, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_state_dict_makes_another_module_the_same(row):
    module, other = build(ek, nn, row), build(ek, nn, row)
    run(ek, module, row)  # moves running statistics
    other.load_state_dict(module.state_dict())
    third = copy.deepcopy(module)
    x = [tensor_of(ek, a) for a in row.inputs]
    expected = module.eval()(*x).detach().numpy()
    for same in (other.eval(), third.eval()):
        np.testing.assert_array_equal(same(*x).detach().numpy(), expected)
        for key, value in arrays_of(module).items():
            np.testing.assert_array_equal(arrays_of(same)[key], value)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_training_against_torch(row, torch):
    """Same weights, three steps of gradient descent: outputs, gradients, parameters and buffers stay PyTorch's."""
    theirs = build(torch, torch.nn, row)
    ours = build(ek, nn, row)
    ours.load_state_dict({name: tensor_of(ek, np.array(a)) for name, a in arrays_of(theirs).items()})
    rtol = 1e-6 if row.name.lower() in COARSE_IN_TORCH else 1e-8
    for _ in range(3):
        (a, a_inputs, a_params), (b, b_inputs, b_params) = run(ek, ours, row), run(torch, theirs, row)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-10)
        for x, y in zip(a_inputs, b_inputs, strict=True):
            np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-10)
        assert list(a_params) == list(b_params)
        for name in a_params:
            np.testing.assert_allclose(a_params[name], b_params[name], rtol=rtol, atol=1e-10, err_msg=name)
        descend(ek, ours)
        descend(torch, theirs)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        for name, value in arrays_of(theirs).items():
            np.testing.assert_allclose(arrays_of(ours)[name], value, rtol=rtol, atol=1e-10, err_msg=name)
    x = [[tensor_of(lib, v) for v in row.inputs] for lib in (ek, torch)]
    a, b = ours.eval()(*x[0]).detach().numpy(), theirs.eval()(*x[1]).detach().numpy()
    np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-10)


def descend(lib, module):
    with lib.no_grad():
        for param in module.parameters():
            param.sub_(param.grad * 0.1)
    module.zero_grad()


# Words that PyTorch leaves out of, or puts into, what a module prints.
PRINTED_OTHERWISE = {"AvgPool1d"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_module_prints_as_in_torch(row, torch):
    if row.name not in PRINTED_OTHERWISE:
        assert repr(build(ek, nn, row)) == repr(build(torch, torch.nn, row))


def test_every_module_has_a_row():
    exported = {name for name, value in vars(nn).items() if isinstance(value, type) and name[0].isupper()}
    rows = {row.name for row in ROWS} | {name for name, _, _ in LOSSES}
    assert exported == rows | set(ELSEWHERE)


LOSS_ROWS = [
    pytest.param(module, name, row, id=f"{module}-{row.id}")
    for module, name, function in LOSSES
    for row in functions.ROWS
    if row.name == function
]


def loss_and_gradient(lib, loss, row):
    x, y = (tensor_of(lib, a) for a in row.args)
    out = loss(x.requires_grad_(), y)
    (out * tensor_of(lib, cotangent(tuple(out.shape)))).sum().backward()
    return out.detach().numpy(), x.grad.numpy()


@pytest.mark.parametrize(("module", "name", "row"), LOSS_ROWS)
def test_losses_against_numpy_and_as_built_from_a_config(module, name, row):
    made = getattr(nn, module)(**{k: tensor_of(ek, v) for k, v in row.kwargs.items()})
    out, _ = loss_and_gradient(ek, made, row)
    np.testing.assert_allclose(out, row.oracle(*row.args, **row.kwargs), rtol=1e-10, atol=1e-12)
    plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in row.kwargs.items()}
    built = registry.build("loss", {"name": name, **plain})
    assert type(built) is type(made)
    np.testing.assert_allclose(loss_and_gradient(ek, built, row)[0], out, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize(("module", "name", "row"), LOSS_ROWS)
def test_losses_against_torch(module, name, row, torch):
    ours = getattr(nn, module)(**{k: tensor_of(ek, v) for k, v in row.kwargs.items()})
    theirs = getattr(torch.nn, module)(**{k: tensor_of(torch, v) for k, v in row.kwargs.items()})
    (a, a_grad), (b, b_grad) = loss_and_gradient(ek, ours, row), loss_and_gradient(torch, theirs, row)
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(a_grad, b_grad, rtol=1e-9, atol=1e-12)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_every_registered_loss_has_a_row():
    assert set(registry.names("loss")) == {name for _, name, _ in LOSSES}
