"""The tape: accumulation, freeing, hooks, retained gradients, modes, several outputs. Each scenario as in PyTorch."""

import gc
import threading
import weakref

import numpy as np
import pytest

import expkit as ek
from expkit.errors import AutogradError
from tests.autograd.scenarios import both_ways
from tests.autograd.table_tape import scenario

test_as_in_pytorch, test_it_runs = both_ways(scenario)


# ---- without PyTorch -------------------------------------------------------------------------------------------------


def test_modes_are_per_thread():
    seen = {}

    def look():
        seen["grad"] = ek.is_grad_enabled()
        with ek.no_grad():
            seen["inside"] = ek.is_grad_enabled()

    with ek.no_grad():
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert not ek.is_grad_enabled()
    assert seen == {"grad": True, "inside": False}


def test_threads_record_and_run_backward_at_once():
    results = {}

    def work(k):
        x = ek.full((4,), float(k), dtype=ek.float64, requires_grad=True)
        for _ in range(20):
            y = x
            for _ in range(10):
                y = y * 1.01 + x
            y.sum().backward()
        results[k] = x.grad.numpy() / 20

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(results) == 4
    for value in results.values():
        np.testing.assert_allclose(value, results[0], rtol=1e-12)


@pytest.mark.parametrize("step", [lambda y, x: y + x, lambda y, x: y * 1.0, lambda y, x: y.reshape(1).reshape(())])
def test_ten_thousand_operations_deep(step):
    x = ek.tensor(1.0, dtype=ek.float64, requires_grad=True)
    y = x
    for _ in range(10_000):
        y = step(y, x)
    y.backward()
    assert np.isfinite(x.grad.item())
    (g,) = ek.autograd.grad(step(y, x), x, create_graph=False, allow_unused=True, retain_graph=True)
    assert g is not None
    del y, g  # freeing the chain must not overflow the stack either


def test_a_deep_chain_of_views_survives_a_write_to_its_base():
    base = ek.zeros(2, 3, dtype=ek.float64)
    view = base
    for _ in range(5_000):
        view = view.transpose(0, 1)
    base.add_(1.0)
    assert view.sum().item() == 6.0
    w = ek.ones(2, 3, dtype=ek.float64, requires_grad=True)
    base.mul_(w)
    view.sum().backward()
    assert w.grad.tolist() == [[1.0] * 3] * 2


def test_deep_double_backward():
    x = ek.tensor(1.0, dtype=ek.float64, requires_grad=True)
    y = x
    for _ in range(500):
        y = y * 1.001
    (g,) = ek.autograd.grad(y * y, x, create_graph=True)
    g.backward()
    assert x.grad.item() == pytest.approx(2 * 1.001**1000)


# ---- memory ----------------------------------------------------------------------------------------------------------


def _programs():
    def forward(x):
        return (x * 2).exp().sum()

    def trained(x):
        y = (x * 2).exp().sum()
        y.backward()
        return y

    def hooked(x):
        y = x * 2
        y.register_hook(lambda g: g * 2)
        y.retain_grad()
        z = y.exp().sum()
        z.backward()
        return z

    def twice(x):
        (g,) = ek.autograd.grad((x**3).sum(), x, create_graph=True)
        return g.sum()

    def viewed(x):
        y = x * 1
        y[0] = y[1] * 2
        y.view(-1)[0].mul_(3)
        return y.sum()

    def transformed(x):
        return ek.func.grad(lambda v: (v**3).sum())(x) + ek.vmap(lambda v: v * 2)(x)

    def several(x):
        return x.max(0).values + x.sort().values.sum()

    return {fn.__name__: fn for fn in (forward, trained, hooked, twice, viewed, transformed, several)}


PROGRAMS = _programs()


@pytest.mark.parametrize("name", PROGRAMS)
def test_everything_is_freed_without_the_cycle_collector(name):
    gc.collect()
    gc.disable()
    try:
        x = ek.tensor([1.0, 2.0, 3.0], dtype=ek.float64, requires_grad=True)
        out = PROGRAMS[name](x)
        held = [weakref.ref(out), weakref.ref(x)]
        node = out.grad_fn
        if node is not None:
            held.append(weakref.ref(node))
        del out, node, x
        assert [ref() for ref in held] == [None] * len(held)
    finally:
        gc.enable()


def test_backward_frees_what_was_saved():
    x = ek.ones(3, requires_grad=True)
    saved = x.exp()
    out = (saved * saved).sum()
    held = weakref.ref(saved)
    del saved
    assert held() is not None
    out.backward()
    assert held() is None


def test_a_leaf_that_is_gone_is_passed_over():
    x, w = ek.ones(2, requires_grad=True), ek.ones(2, requires_grad=True)
    out = (x + w).sum()
    del x
    out.backward()
    assert w.grad.tolist() == [1.0, 1.0]


def test_the_message_of_a_second_backward_says_what_to_do():
    x = ek.ones(2, requires_grad=True)
    y = x.exp().sum()
    y.backward()
    with pytest.raises(AutogradError, match=r"exp a second time.*retain_graph=True"):
        y.backward()


def test_what_cannot_be_the_gradient_is_refused():
    x = ek.ones(2, requires_grad=True)
    for wrong, kind in (
        (ek.ones(3), RuntimeError),
        (3.0, TypeError),
        (x, RuntimeError),
        (ek.ones(2).double(), RuntimeError),
    ):
        with pytest.raises(kind, match="assigned"):
            x.grad = wrong
    assert x.grad is None
    x.grad = ek.ones(2)
    x.data = ek.ones(3)
    with pytest.raises(AutogradError, match=r"the .grad of a tensor of shape \(3,\) was set"):
        (x * 2).sum().backward()
