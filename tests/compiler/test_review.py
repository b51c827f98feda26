"""Calls that differ from the one that was traced: arguments that share memory, other layouts, errors in between."""

import numpy as np
import pytest

import expkit as ek
from expkit import nn
from expkit.nn import functional as F


def randn(*shape: int, seed: int = 0) -> ek.Tensor:
    return ek.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def same(a: ek.Tensor, b: ek.Tensor) -> None:
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=2e-5, atol=2e-6)


def test_one_tensor_as_two_arguments_and_then_two_tensors():
    f = ek.compile(lambda x, y: (2 * x + y).sum(0) @ y.T.exp())
    a, b, c = (randn(4, 4, seed=n) for n in range(3))
    for x, y in [(a, a), (a, a), (a, b), (b, a), (c, b), (c, c), (b, c)]:
        same(f(x, y), f.fn(x, y))


def test_arguments_that_look_into_one_array_in_several_layouts():
    f = ek.compile(lambda x, y: x @ y + 2 * x)
    base, row = randn(8, 8), randn(1, 4)
    views = [base[:4, :4], base[2:6, 2:6], base.t()[:4, :4], base[::2, ::2], base[1::2, ::2], row.expand(4, 4)]
    for x in views:
        for y in views:
            same(f(x, y), f.fn(x, y))


def test_values_arrive_where_the_traced_argument_was_repeated_in_memory():
    f = ek.compile(lambda x: (2 * x).sum(0))
    views = [randn(1, 8).expand(8, 8), randn(8, 8), randn(8, 1).expand(8, 8), randn(16, 16)[::2, ::2], randn(8, 8).t()]
    for x in views:
        same(f(x), f.fn(x))


def test_after_several_indices_out_of_range_the_next_call_is_good():
    first, second = nn.Embedding(5, 3), nn.Embedding(5, 3)
    f = ek.compile(lambda a, b: first(a) + second(b))
    good, bad = ek.tensor([1, 2]), ek.tensor([1, 9])
    for a, b in [(good, good), (good, good), (bad, bad), (bad, good), (good, bad)]:
        if a is good and b is good:
            same(f(a, b), f.fn(a, b))
            continue
        with pytest.raises(IndexError, match="out of bounds"):
            f(a, b)
        same(f(good, good), f.fn(good, good))


def test_an_update_that_forgets_gradients_which_came_before():
    def made():
        ek.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer = ek.optim.Adam(model.parameters(), lr=0.1)

        def gather(x):
            loss = F.mse_loss(model(x), x[:, :2])
            loss.backward()
            return loss

        def update():
            optimizer.step()
            optimizer.zero_grad()

        return model, gather, update

    (model, gather, update), (plain, plain_gather, plain_update) = made(), made()
    gather, update = ek.compile(gather, fullgraph=True), ek.compile(update, fullgraph=True)
    for n in range(9):
        x = randn(5, 3, seed=n)
        same(gather(x), plain_gather(x))
        same(model.weight.grad, plain.weight.grad)
        if n % 3 == 2:
            update()
            plain_update()
            same(model.weight, plain.weight)
            assert model.weight.grad is None


def test_gradients_of_what_the_function_has_written_before_are_left_behind():
    def made():
        ek.manual_seed(0)
        model = nn.Linear(3, 2)

        def decay(x):
            with ek.no_grad():
                model.weight.mul_(0.5)
            loss = (model(x) ** 2).mean()
            loss.backward()
            return loss

        return model, decay

    (model, decay), (plain, plain_decay) = made(), made()
    decay = ek.compile(decay, fullgraph=True)
    for n in range(4):
        same(decay(randn(5, 3, seed=n)), plain_decay(randn(5, 3, seed=n)))
        same(model.weight, plain.weight)
        same(model.weight.grad, plain.weight.grad)
