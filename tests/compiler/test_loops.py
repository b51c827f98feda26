"""Whole training loops around a compiled step: what is done to models and optimizers between its calls is seen."""

import numpy as np
import pytest

import expkit as ek
from expkit import nn
from expkit.nn import functional as F


def randn(*shape, seed=0):
    return ek.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def net():
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def usual(model, optimizer, between=None, zero=True):
    """(step, what is compared, what happens before call k)"""

    def step(x, y):
        if zero:
            optimizer.zero_grad(set_to_none=zero != "fill")
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step, lambda: [*model.parameters(), *(p.grad for p in model.parameters() if p.grad is not None)], between


def moving_average():
    model = net()
    step, _, _ = usual(model, ek.optim.Adam(model.parameters(), lr=0.01))
    averages = [p.detach().clone() for p in model.parameters()]

    def averaged(x, y):
        loss = step(x, y)
        with ek.no_grad():
            for a, p in zip(averages, model.parameters(), strict=True):
                a.lerp_(p.detach(), 0.1)
        return loss

    return averaged, lambda: averages, None


def thawed():
    model = net()
    model[0].requires_grad_(False)
    return usual(model, ek.optim.Adam(model.parameters(), lr=0.05), lambda k: model[0].requires_grad_(k >= 4))


def groups():
    model = net()
    optimizer = ek.optim.SGD(model[0].parameters(), lr=0.05, momentum=0.9)

    def between(k):
        if k == 4:
            optimizer.add_param_group({"params": list(model[2].parameters()), "lr": 0.2})
        if k == 6:
            optimizer.param_groups[0].update(lr=0.0, momentum=0.5, weight_decay=0.1)

    return usual(model, optimizer, between)


def replaced():
    model = net()

    def between(k):
        if k == 3:
            model[0].weight.data = randn(8, 6, seed=77)
        if k == 5:
            model[2].weight.data.mul_(2)
        if k == 6:
            model.load_state_dict({name: value * 0.5 for name, value in model.state_dict().items()})

    return usual(model, ek.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), between)


def gathered():
    model = net()
    optimizer = ek.optim.SGD(model.parameters(), lr=0.05)

    def between(k):
        if k in (2, 5):
            optimizer.zero_grad()
        if k == 6:
            model[0].weight.grad.mul_(3)

    return usual(model, optimizer, between, zero=False)


def filled():
    model = net()
    return usual(model, ek.optim.SGD(model.parameters(), lr=0.05), zero="fill")


def two_optimizers():
    g, d = nn.Linear(4, 6), nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
    of_g, of_d = ek.optim.Adam(g.parameters(), lr=0.01), ek.optim.Adam(d.parameters(), lr=0.01)

    def step(x, _):
        fake = g(ek.randn(8, 4))
        of_d.zero_grad()
        loss = F.softplus(-d(x)).mean() + F.softplus(d(fake.detach())).mean()
        loss.backward()
        of_d.step()
        of_g.zero_grad()
        fooled = F.softplus(-d(fake)).mean()
        fooled.backward()
        of_g.step()
        return (loss + fooled).detach()

    return step, lambda: [*g.parameters(), *d.parameters()], None


def penalty():
    model = net()
    optimizer = ek.optim.SGD(model.parameters(), lr=0.05)

    def step(x, y):
        x = x.detach().requires_grad_()
        optimizer.zero_grad()
        out = model(x)
        (slope,) = ek.autograd.grad(out.sum(), x, create_graph=True)
        loss = F.cross_entropy(out, y) + (slope.norm(dim=1) - 1).square().mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step, lambda: list(model.parameters()), None


def carried():
    """The state of a recurrent layer goes from call to call."""
    cells, head, state = nn.LSTM(6, 5), nn.Linear(5, 3), [ek.zeros(1, 8, 5), ek.zeros(1, 8, 5)]
    params = [*cells.parameters(), *head.parameters()]
    optimizer = ek.optim.RMSprop(params, lr=0.01)

    def step(x, y):
        optimizer.zero_grad()
        out, (h, c) = cells(x[None], (state[0], state[1]))
        loss = F.cross_entropy(head(out[-1]), y)
        loss.backward()
        optimizer.step()
        state[0].copy_(h.detach())
        state[1].copy_(c.detach())
        return loss.detach()

    return step, lambda: [*params, *state], None


LOOPS = [moving_average, thawed, groups, replaced, gathered, filled, two_optimizers, penalty, carried]


@pytest.mark.parametrize("build", LOOPS, ids=lambda build: build.__name__)
def test_the_loop_is_that_of_the_plain_step(build):
    found = []
    for compiled in (False, True):
        ek.manual_seed(0)
        step, compared, between = build()
        run = ek.compile(step, fullgraph=True) if compiled else step
        losses = []
        for k in range(8):
            if between is not None:
                between(k)
            losses.append(run(randn(8, 6, seed=k), ek.arange(8) % 3).item())
        found.append((losses, [x.detach().numpy() for x in compared()]))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-4)
    for a, b in zip(found[1][1], found[0][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4)
