"""PyTorch's own test data for optimizers: every input over ten steps, every wrong argument; state dicts both ways."""

import warnings

import numpy as np
import pytest

import expkit as ek
from expkit.errors import ExpkitError

torch = pytest.importorskip("torch")
from torch.testing._internal.common_optimizers import optim_db  # noqa: E402

INFOS = {
    info.optim_cls.__name__: info for info in optim_db if info.optim_cls.__name__ != "SparseAdam"
}  # no sparse here
SHAPES = [(3, 4), (4, 2), (1, 5)]  # matrices: Muon takes nothing else


def both(value):
    """A keyword argument's value for us."""
    if isinstance(value, torch.Tensor):
        return ek.tensor(value.numpy(), dtype=getattr(ek, str(value.dtype).removeprefix("torch.")))
    if isinstance(value, tuple | list):
        return type(value)(both(x) for x in value)
    if isinstance(value, dict):
        return {key: both(x) for key, x in value.items()}
    return value


def switched(info):
    """Keyword arguments for each input of an optimizer, alone and with each switch that PyTorch tries with it."""
    for given in info.optim_inputs_func(device="cpu"):
        tensors = any(isinstance(v, torch.Tensor) for v in given.kwargs.values())
        for switch in (None, *info.supported_impls):
            if switch != "differentiable" and not (switch == "foreach" and tensors):
                yield {**given.kwargs, **({switch: True} if switch else {})}


CASES = [(name, kwargs) for name, info in INFOS.items() for kwargs in switched(info)]
IDS = [f"{name}-{'-'.join(f'{k}={v}' for k, v in kwargs.items()) or 'default'}" for name, kwargs in CASES]


def train(lib, name, kwargs, arrays, steps=10, optimizer=None, params=None):
    """(parameters, optimizer) after the steps of a small regression."""
    made = params or [lib.tensor(a, dtype=lib.float64, requires_grad=True) for a in arrays]
    optimizer = optimizer or getattr(lib.optim, name)(made, **kwargs)

    def closure():
        optimizer.zero_grad()
        loss = sum(((0.7 * p).sin() * p.cos()).sum() for p in made)
        loss.backward()
        return loss

    for _ in range(steps):
        if name == "LBFGS":
            optimizer.step(closure)
        else:
            closure()
            with lib.no_grad():
                optimizer.step()
    return made, optimizer


def start():
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape) for shape in SHAPES]


@pytest.mark.parametrize(("name", "kwargs"), CASES, ids=IDS)
def test_ten_steps_and_their_state(name, kwargs):
    theirs, reference = train(torch, name, kwargs, start())
    ours, optimizer = train(ek, name, both(kwargs), start())
    tolerance = 1e-2 if name == "Muon" else 1e-7  # bfloat16 rounds in a chain; PyTorch's ASGD keeps eta in float32
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance)
    got, want = optimizer.state_dict(), reference.state_dict()
    assert got["param_groups"][0].keys() == want["param_groups"][0].keys()
    assert got["state"].keys() == {
        key for key, state in want["state"].items() if any(v is not None for v in state.values())
    }
    if name == "LBFGS":
        return
    for key, state in got["state"].items():
        assert state.keys() == want["state"][key].keys()
        for part, value in state.items():
            np.testing.assert_allclose(
                value.numpy(), want["state"][key][part].numpy(), rtol=max(tolerance, 1e-6), atol=tolerance
            )


@pytest.mark.parametrize("name", [name for name in INFOS if name != "LBFGS"])
def test_pytorch_goes_on_from_our_state(name):
    ours, optimizer = train(ek, name, {}, start(), 4)
    saved = optimizer.state_dict()
    theirs = {
        "param_groups": saved["param_groups"],
        "state": {n: {k: torch.tensor(v.numpy()) for k, v in s.items()} for n, s in saved["state"].items()},
    }
    copies = [torch.tensor(p.detach().numpy(), requires_grad=True) for p in ours]
    reference = getattr(torch.optim, name)(copies)
    reference.load_state_dict(theirs)
    train(torch, name, {}, None, 4, reference, copies)
    train(ek, name, {}, None, 4, optimizer, ours)
    for a, b in zip(ours, copies, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-6)


ERRORS = [
    (name, error)
    for name, info in INFOS.items()
    for error in info.optim_error_inputs_func(device="cpu", dtype=torch.float32)
    if "omplex" not in str(error.error_regex)
]


@pytest.mark.parametrize(("name", "error"), ERRORS, ids=[f"{n}-{e.optimizer_error_input.desc}" for n, e in ERRORS])
def test_wrong_arguments(name, error):
    given, warned = error.optimizer_error_input, issubclass(error.error_type, Warning)
    params = [ek.ones(2, 2, requires_grad=True)] if given.params is None else ours_of(given.params)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((ExpkitError, ValueError, TypeError, error.error_type) if not warned else error.error_type):
            getattr(ek.optim, name)(params, **both(given.kwargs))


def ours_of(params):
    """PyTorch's parameters in any of their forms as ours; the same one stays the same."""
    known = {}

    def convert(value):
        if isinstance(value, torch.Tensor):
            if id(value) not in known:
                data = value.detach().float().numpy()
                known[id(value)] = ek.nn.Parameter(ek.tensor(data))
            return known[id(value)]
        if isinstance(value, list | tuple):
            return type(value)(convert(x) for x in value)
        return {key: convert(x) for key, x in value.items()} if isinstance(value, dict) else value

    return convert(params)


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad", "Rprop", "ASGD"])
def test_complex_parameters_are_pairs_of_real_ones(name):
    def steps(lib):
        p = lib.tensor([1 + 2j, -0.5j], dtype=lib.complex128)
        p = p.requires_grad_() if lib is torch else p
        optimizer = getattr(lib.optim, name)([p], **({"momentum": 0.9} if name == "SGD" else {}))
        for k in range(3):
            p.grad = lib.tensor([0.3 - 0.1j * k, 1j + k], dtype=lib.complex128)
            optimizer.step()
        return p.detach().numpy()

    np.testing.assert_allclose(steps(ek), steps(torch), rtol=1e-6)


@pytest.mark.parametrize("name", ["Adafactor", "Muon"])
def test_complex_parameters_are_refused_by_some(name):
    p = ek.ones(2, 2, dtype=ek.complex64)
    p.grad = ek.ones(2, 2, dtype=ek.complex64)
    with pytest.raises(RuntimeError, match="does not support complex parameters"):
        getattr(ek.optim, name)([p]).step()


DIFFERENTIABLE = [name for name, info in INFOS.items() if "differentiable" in info.supported_impls]


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_flow_through_steps(name):
    def loss(lib, p, g):
        w = p.clone()
        optimizer = getattr(lib.optim, name)([w], differentiable=True)
        for _ in range(1 if name in ("Rprop", "Adamax") else 2):  # PyTorch cannot go back through two of these
            w.grad = g * w.clone()
            optimizer.step()
        return (w * w).sum()

    found = []
    for lib in (ek, torch):
        p = lib.tensor([0.5, -0.7, 1.1], dtype=lib.float64, requires_grad=True)
        g = lib.tensor([0.3, 0.2, -0.9], dtype=lib.float64, requires_grad=True)
        made = lib.autograd.grad(loss(lib, p, g), [p, g])
        found.append([x.numpy() for x in made])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_gradients_flow_to_the_learning_rate(name):
    found = []
    for lib in (ek, torch):
        lr = lib.tensor(0.1, requires_grad=True, dtype=lib.float64)
        w = lib.tensor([1.0, 2.0], dtype=lib.float64, requires_grad=True).clone()
        optimizer = getattr(lib.optim, name)([w], lr=lr, differentiable=True)
        for _ in range(2):
            w.grad = w.clone() * 3
            optimizer.step()
        found.append(lib.autograd.grad((w * w).sum(), lr)[0].item())
    assert found[0] == pytest.approx(found[1], rel=1e-4)
