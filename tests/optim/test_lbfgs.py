"""L-BFGS against PyTorch's, step by step, with and without the line search; state; refusals."""

import numpy as np
import pytest

import expkit as ek
from expkit.errors import ConfigError
from expkit.optim import LBFGS

OPTIONS = [
    {"lr": 1e-3},
    {"line_search_fn": "strong_wolfe"},
    {"line_search_fn": "strong_wolfe", "history_size": 3, "max_iter": 7},
    {"line_search_fn": "strong_wolfe", "lr": 0.1, "max_iter": 4, "max_eval": 6},
    {"lr": 0.5, "max_iter": 50, "tolerance_grad": 1.0},
]


def start(lib):
    return [lib.tensor(x, dtype=lib.float64, requires_grad=True) for x in ([-1.2, 1.0], [[0.5, 2.0]])]


def problem(lib, params, optimizer, calls):
    """Rosenbrock's valley."""

    def closure():
        calls.append(1)
        optimizer.zero_grad()
        x = lib.cat([params[0], params[1].reshape(-1)])
        a, b = x[:-1], x[1:]
        loss = (100 * (b - a * a) ** 2 + (1 - a) ** 2).sum()
        loss.backward()
        return loss

    return closure


def train(lib, optimizer, params, steps):
    found, calls = [], []
    closure = problem(lib, params, optimizer, calls)
    for _ in range(steps):
        loss = optimizer.step(closure).item()
        found.append([loss, len(calls), *params[0].detach().tolist(), *params[1].detach().reshape(-1).tolist()])
    return np.array(found)


@pytest.mark.torch
@pytest.mark.parametrize("options", OPTIONS)
def test_steps_and_evaluations_are_pytorchs(torch, options):
    theirs, ours = start(torch), start(ek)
    want = train(torch, torch.optim.LBFGS(theirs, **options), theirs, 6)
    got = train(ek, LBFGS(ours, **options), ours, 6)
    np.testing.assert_array_equal(got[:, 1], want[:, 1])
    np.testing.assert_allclose(got, want, rtol=1e-8)


def test_it_finds_a_minimum_and_a_saved_state_goes_on():
    params = start(ek)
    whole = train(ek, LBFGS(params, line_search_fn="strong_wolfe", max_iter=5), params, 12)
    assert whole[-1, 0] < 4.0
    params = start(ek)
    first = LBFGS(params, line_search_fn="strong_wolfe", max_iter=5)
    train(ek, first, params, 4)
    second = LBFGS(params, line_search_fn="strong_wolfe", max_iter=5)
    second.load_state_dict(first.state_dict())
    np.testing.assert_array_equal(train(ek, second, params, 8)[:, 2:], whole[4:, 2:])


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="closure"):
        LBFGS(start(ek)).step()
    with pytest.raises(ConfigError, match="parameter groups"):
        LBFGS([{"params": [p]} for p in start(ek)])
    with pytest.raises(ConfigError, match="line_search_fn='armijo'"):
        LBFGS(start(ek), line_search_fn="armijo")
