"""Calls that differ from the one that was traced: arguments that share memory, other layouts, errors in between."""

import sys
import threading
from collections import OrderedDict, namedtuple

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


def added(x, y):
    x.add_(1)
    return x.sum() * y


@pytest.mark.parametrize(
    "shared", [lambda x: x, lambda x: x[:], lambda x: x.view(2, 2).t().reshape(4), lambda x: x[1:]]
)
def test_arguments_that_come_to_share_memory_which_is_written(shared):
    f = ek.compile(added)
    for n in range(6):
        x, plain = randn(4, seed=n), randn(4, seed=n)
        if n < 3:
            y = z = randn(*shared(x).shape, seed=n + 9)
        else:
            y, z = shared(x), shared(plain)
        if n == 3 and np.shares_memory(x.raw, y.raw):
            with pytest.warns(UserWarning, match="in two ways"):
                same(f(x, y), added(plain, z))
        else:
            same(f(x, y), added(plain, z))
        same(x, plain)


def test_columns_of_one_array_are_apart():
    f = ek.compile(added, fullgraph=True)
    for n in range(4):
        x, plain = randn(4, 6, seed=n), randn(4, 6, seed=n)
        same(f(x[:, ::2], x[:, 1::2]), added(plain[:, ::2], plain[:, 1::2]))
        same(x, plain)


def test_parameters_that_share_an_array():
    def made():
        ek.manual_seed(0)
        first, second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        second.weight.data = first.weight.data
        optimizer = ek.optim.SGD([first.weight, second.weight], lr=0.1)

        def step(x):
            optimizer.zero_grad()
            loss = (second(first(x).tanh()) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        return first, step

    (layer, step), (plain, plain_step) = made(), made()
    step = ek.compile(step)
    with pytest.warns(UserWarning, match="arrays that share memory"):
        step(step(randn(4, 3)).detach() * randn(4, 3))
    plain_step(plain_step(randn(4, 3)).detach() * randn(4, 3))
    for n in range(3):
        same(step(randn(4, 3, seed=n)), plain_step(randn(4, 3, seed=n)))
        same(layer.weight, plain.weight)


def test_threads_that_write_into_their_own_arguments():
    f, failed = ek.compile(added), []

    def work(number: int) -> None:
        try:
            for n in range(100):
                x, y = randn(64, seed=100 * number + n), randn(64, seed=n)
                expected = x.clone()
                same(f(x, y), added(expected, y))
                same(x, expected)
        except AssertionError as error:
            failed.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not failed


def test_a_penalty_on_gradients_of_a_compiled_function_is_an_error():
    critic = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    f = ek.compile(critic)
    for n in range(3):
        x = randn(5, 3, seed=n).requires_grad_()
        scores = f(x).sum()
        (slope,) = ek.autograd.grad(scores, x, create_graph=True)
        expected = ek.autograd.grad(critic(x).sum(), x)[0]
        same(slope, expected)
        with pytest.raises(RuntimeError, match="cannot be differentiated again"):
            (scores + (slope.norm(dim=1) - 1).square().mean()).backward()


class Settings:
    level = 1.0


Options = namedtuple("Options", "level")
AROUND = {"options": Options(1.0), "ordered": OrderedDict(level=1.0), "chosen": {1.0}, "number": np.float32(1)}
OPTIONS = AROUND["options"]


def helper(x):
    return x


def defaulted(x, *, level=1.0):
    return x * level


def test_classes_functions_and_containers_of_all_kinds_are_looked_at():
    def around(x):
        level = Settings.level * OPTIONS.level * AROUND["ordered"]["level"] * sum(AROUND["chosen"])
        return helper(defaulted(x)) * level * float(AROUND["number"])

    space, f, x = globals(), ek.compile(around, fullgraph=True), randn(3)
    changes = {
        "class": lambda: setattr(Settings, "level", 2.0),
        "named tuple": lambda: space.update(OPTIONS=Options(3.0)),
        "ordered dict": lambda: AROUND["ordered"].update(level=4.0),
        "set": lambda: AROUND.update(chosen={5.0}),
        "number of NumPy": lambda: AROUND.update(number=np.float32(6)),
        "function": lambda: space.update(helper=lambda x: x * 7),
        "default": lambda: defaulted.__kwdefaults__.update(level=8.0),
    }
    for change in changes.values():
        for _ in range(2):
            same(f(x), around(x))
        change()
        same(f(x), around(x))


@pytest.mark.parametrize("compiled", [False, True])
def test_classes_that_are_none_are_one_kind_of_error(compiled):
    f = (lambda x, y: F.cross_entropy(x, y)) if not compiled else ek.compile(lambda x, y: F.cross_entropy(x, y))
    for _ in range(3):
        f(ek.randn(2, 3), ek.tensor([0, 2]))
    with pytest.raises(IndexError, match="out of range"):
        f(ek.randn(2, 3), ek.tensor([0, 3]))
