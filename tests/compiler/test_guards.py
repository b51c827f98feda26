"""What a compiled function's program takes for granted, and that it notices when that changes."""

import copy
from collections import deque

import numpy as np
import pytest

import expkit as ek
from expkit import nn


def randn(*shape: int, seed: int = 0) -> ek.Tensor:
    return ek.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def same(a: ek.Tensor, b: ek.Tensor) -> None:
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=2e-5, atol=1e-6)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.scale, self.options = nn.Linear(3, 2), 1.0, {"sign": 1.0}

    def forward(self, x):
        return self.linear(x) * self.scale * self.options["sign"]


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen, self.last, self.log = 0, ek.zeros(4, 3), []

    def forward(self, x):
        self.seen += 1
        self.last = self.last + x
        self.log.append(self.seen)
        return self.last * self.seen * len(self.log)


class Holder:
    factor = 1.0


def scaled(y):
    return y * LEVELS["level"]


LEVELS = {"level": 1.0}


def test_numbers_around_a_function_are_looked_at_before_each_call():
    number, holder, module, drop = 1.0, Holder(), Scaled(), nn.Dropout(0.0)

    @ek.compile
    def f(x):
        return scaled(drop(module(x)) * number * holder.factor)

    changes = [
        lambda: setattr(module, "scale", 2.0), lambda: module.options.update(sign=-1.0),
        lambda: setattr(holder, "factor", 3.0), lambda: LEVELS.update(level=0.5), lambda: setattr(drop, "p", 1.0),
    ]  # fmt: skip
    x = randn(4, 3)
    try:
        for change in changes:
            for _ in range(3):
                same(f(x), f.fn(x))
            change()
            same(f(x), f.fn(x))
        drop.p, number = 0.0, 7.0
        same(f(x), f.fn(x))
    finally:
        LEVELS["level"] = 1.0


def test_a_module_that_changes_its_own_attributes_runs_eagerly():
    plain, module = Counting(), Counting()
    compiled = ek.compile(module)
    same(compiled(ek.ones(4, 3)), plain(ek.ones(4, 3)))
    with pytest.warns(UserWarning, match="Counting.seen, Counting.last"):
        got = compiled(ek.ones(4, 3))
    same(got, plain(ek.ones(4, 3)))
    same(compiled(ek.ones(4, 3)), plain(ek.ones(4, 3)))
    assert module.log == plain.log


def test_a_function_that_changes_what_is_around_it_runs_eagerly():
    total, log = ek.zeros(4, 3), []

    @ek.compile
    def f(x):
        nonlocal total
        total = total + x
        log.append(x.sum())
        return total * len(log)

    f(ek.ones(4, 3))
    with pytest.warns(UserWarning, match="changes what it reads"):
        f(ek.ones(4, 3))
    same(f(ek.ones(4, 3)), ek.full((4, 3), 9.0))


class Averaging(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", ek.zeros(3))

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return x - self.mean


def test_a_module_that_binds_a_buffer_anew_runs_eagerly():
    module, plain = Averaging(), Averaging()
    compiled = ek.compile(module)
    plain(ek.ones(4, 3)), compiled(ek.ones(4, 3))
    with pytest.warns(UserWarning, match=r"changes what it reads: Averaging\.mean"):
        same(compiled(ek.ones(4, 3)), plain(ek.ones(4, 3)))
    same(compiled(ek.ones(4, 3)), plain(ek.ones(4, 3)))
    same(module.mean, plain.mean)


class Gathering(nn.Module):
    """Keeps what it saw in a container, maybe inside of others."""

    def __init__(self, where, put):
        super().__init__()
        self.where, self.put = where, put

    def forward(self, x):
        y = x * 2
        self.put(self.where, y)
        return y


CONTAINERS = {
    "a deque": (deque(), deque.append, list),
    "a set": (set(), set.add, list),
    "a list in a dict": ({"a": []}, lambda where, y: where["a"].append(y), lambda where: where["a"]),
    "a dict in a list": ([{}], lambda where, y: where[0].setdefault(len(where[0]), y), lambda where: where[0].values()),
    "a list in a tuple": ((1, []), lambda where, y: where[1].append(y), lambda where: where[1]),
}


@pytest.mark.parametrize(("where", "put", "kept"), CONTAINERS.values(), ids=CONTAINERS.keys())
@pytest.mark.filterwarnings("ignore:.*changes what it reads")
def test_what_is_put_into_containers_is_there(where, put, kept):
    compiled = ek.compile(Gathering(copy.deepcopy(where), put))
    for _ in range(4):
        compiled(ek.ones(2))
    values = [float(y.sum()) for y in kept(compiled.where)]
    assert values == [4.0] * 4


def test_autocast_and_signs_of_zero_make_signatures():
    linear = nn.Linear(3, 2)
    compiled = ek.compile(linear)
    for enabled in (False, False, True, True, False):
        with ek.autocast("cpu", dtype=ek.bfloat16, enabled=enabled):
            assert compiled(randn(4, 3)).dtype is (ek.bfloat16 if enabled else ek.float32)
    f = ek.compile(lambda x, s: x / s)
    for s in (0.0, -0.0, 0.0, -0.0):
        assert f(ek.ones(1), s).item() == (np.inf if np.copysign(1, s) > 0 else -np.inf)


def test_hooks_of_parameters_run_once():
    linear = nn.Linear(3, 2)
    linear.weight.register_hook(lambda g: g * 3)
    compiled = ek.compile(linear)
    for _ in range(3):
        linear.zero_grad()
        compiled(ek.ones(1, 3)).sum().backward()
        same(linear.weight.grad, ek.full((2, 3), 3.0))


def test_hooks_that_come_later_are_seen():
    linear = nn.Linear(3, 2)

    @ek.compile
    def step(x):
        linear.zero_grad()
        linear(x).sum().backward()

    for _ in range(3):
        step(ek.ones(1, 3))
    linear.bias.register_hook(lambda g: g * 5)
    linear.register_full_backward_hook(lambda module, into, out: None)
    for _ in range(2):
        step(ek.ones(1, 3))
        same(linear.bias.grad, ek.full((2,), 5.0))


def test_an_argument_that_is_returned_is_itself():
    f = ek.compile(lambda x, y: (x, y.mul_(2)))
    for _ in range(3):
        x, y = ek.ones(3), ek.ones(3)
        a, b = f(x, y)
        assert a is x
        assert b is y
        same(y, ek.full((3,), 2.0))


def test_a_copy_has_programs_of_its_own():
    compiled = ek.compile(nn.Linear(3, 2))
    for _ in range(2):
        compiled(ek.ones(1, 3))
    copied = copy.deepcopy(compiled)
    with ek.no_grad():
        copied.weight.zero_()
    for _ in range(3):
        same(copied(ek.ones(1, 3)), copied.bias[None])
        same(compiled(ek.ones(1, 3)), compiled.fn(ek.ones(1, 3)))


def test_writes_through_detach_reach_the_tensor():
    x, y = ek.zeros(3), ek.zeros(3)

    @ek.compile(fullgraph=True)
    def step():
        x.detach().add_(1)
        y.detach().copy_(x.detach())

    for count in range(1, 5):
        step()
        assert x.tolist() == y.tolist() == [count] * 3
