"""Hooks of optimizers, and optimizers that are written as PyTorch's users write them."""

import copy

import pytest

import expkit as ek
from expkit.optim import SGD, Adam, Optimizer
from expkit.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook


def made(kind=SGD):
    p = ek.ones(2, requires_grad=True)
    p.grad = ek.ones(2)
    return p, kind([p], lr=0.5)


def test_a_steps_hooks_see_the_optimizer_first_and_may_change_the_arguments():
    _, optimizer = made()
    seen = []
    optimizer.register_step_pre_hook(
        lambda o, args, kwargs: (seen.append((o, args)), (args, {"closure": lambda: 7}))[1]
    )
    optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append(kwargs))
    assert optimizer.step() == 7
    assert seen[0] == (optimizer, (optimizer,))
    assert list(seen[1]) == ["closure"]


def test_a_pre_hook_that_returns_something_else_is_refused():
    _, optimizer = made()
    optimizer.register_step_pre_hook(lambda o, args, kwargs: 3)
    with pytest.raises(RuntimeError, match="returns None or"):
        optimizer.step()


def test_hooks_of_all_optimizers():
    seen = []
    handles = [
        register_optimizer_step_pre_hook(lambda o, args, kwargs: seen.append("before")),
        register_optimizer_step_post_hook(lambda o, args, kwargs: seen.append("after")),
    ]
    made()[1].step()
    made(Adam)[1].step()
    for handle in handles:
        handle.remove()
    made()[1].step()
    assert seen == ["before", "after"] * 2


def test_hooks_around_saving_and_loading():
    _, optimizer = made(Adam)
    optimizer.step()
    seen = []
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("pre"))
    optimizer.register_state_dict_post_hook(lambda o, state: {**state, "more": 1})
    optimizer.register_state_dict_post_hook(lambda o, state: seen.append(sorted(state)), prepend=True)
    state = optimizer.state_dict()
    assert state["more"] == 1
    assert seen == ["pre", ["param_groups", "state"]]
    optimizer.register_load_state_dict_pre_hook(lambda o, state: {**state, "state": {}})
    handle = optimizer.register_load_state_dict_post_hook(lambda o: seen.append("loaded"))
    optimizer.load_state_dict(state)
    handle.remove()
    optimizer.load_state_dict(state)
    assert seen.count("loaded") == 1
    assert not optimizer.state


def test_a_hook_is_a_function():
    with pytest.raises(TypeError, match="must be callable"):
        made(Adam)[1].register_step_pre_hook("print")


def test_an_optimizer_with_a_step_of_its_own():
    class Mine(Optimizer):
        def __init__(self, params, lr=0.1):
            super().__init__(params, {"lr": lr})

        @ek.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is None:
                        continue
                    state = self.state[p]
                    if len(state) == 0:
                        state["step"], state["sum"] = 0, ek.zeros_like(p)
                    state["step"] += 1
                    state["sum"].add_(p.grad)
                    p.add_(state["sum"], alpha=-group["lr"])

    p, optimizer = made(Mine)
    seen = []
    optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append(1))
    optimizer.step()
    optimizer.step()
    assert p.tolist() == [-0.5, -0.5]
    assert seen == [1, 1]
    other = Mine([ek.ones(2, requires_grad=True)])
    other.load_state_dict(optimizer.state_dict())
    assert other.state[other.param_groups[0]["params"][0]]["step"] == 2


def test_looking_at_a_state_before_the_first_step_does_no_harm():
    p, optimizer = made(Adam)
    assert optimizer.state[p] == {}
    optimizer.step()
    assert optimizer.state[p]["step"].item() == 1


def test_a_copy_is_another_optimizer():
    p, optimizer = made(Adam)
    optimizer.step()
    other = copy.deepcopy(optimizer)
    assert other.param_groups[0]["params"][0] is not p
    assert other.state_dict()["state"][0]["step"].item() == 1
