"""Recorded programs: arrays that move, results that somebody keeps, and Python between the recorded parts."""

import gc
import threading

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit import nn
from expkit.compiler import Compiled
from expkit.compiler.recorded import Recorded
from expkit.compiler.rerun import PythonUnit
from expkit.errors import TraceError


def rerun_of(compiled):
    """The recorded parts of a compiled function's newest program."""
    program = list(compiled.entries.values())[-1].replays[-1].program
    assert isinstance(program, Recorded)
    return program._rerun


def python_units(compiled):
    again = rerun_of(compiled)
    return [part.unit.name for part in (*again.before, *again.after) if isinstance(part, PythonUnit)]


def step_of(model, optimizer):
    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def training(compiled, seed=0):
    ek.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 3))
    optimizer = ek.optim.Adam(model.parameters(), lr=0.01)
    step = step_of(model, optimizer)
    return model, optimizer, ek.compile(step, fullgraph=True) if compiled else step


def batches(count=6, size=8):
    rng = np.random.default_rng(0)
    return [(ek.tensor(rng.normal(size=(size, 6)).astype(np.float32)), ek.tensor(rng.integers(0, 3, size)))
            for _ in range(count)]  # fmt: skip


def test_a_training_step_is_kernel_calls_alone():
    model, _, step = training(compiled=True)
    plain, _, eager = training(compiled=False)
    for x, y in batches():
        assert step(x, y).item() == pytest.approx(eager(x, y).item(), rel=1e-6)
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-4, atol=1e-6)
    assert python_units(step) == []


def test_results_that_are_kept_keep_their_values():
    model, _, step = training(compiled=True)
    (x, y), *_ = batches()
    for _ in range(3):
        step(x, y)
    kept = [step(x, y) for _ in range(4)]
    values = [k.item() for k in kept]
    assert values == sorted(values, reverse=True)
    gradient = model[0].weight.grad
    raw, view = model[2].weight.grad.numpy(), model[2].bias.grad[1:].numpy()
    before = [gradient.numpy().copy(), raw.copy(), view.copy()]
    step(x, y)
    for now, then in zip((gradient.numpy(), raw, view), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert model[0].weight.grad is not gradient


def test_gradients_that_nobody_keeps_are_overwritten():
    model, _, step = training(compiled=True)
    (x, y), *_ = batches()
    for _ in range(4):
        step(x, y)
    addresses = {p.grad.raw.ctypes.data for p in model.parameters()}
    for _ in range(3):
        step(x, y)
        assert {p.grad.raw.ctypes.data for p in model.parameters()} == addresses


def test_nothing_is_allocated_from_step_to_step():
    _, _, step = training(compiled=True)
    (x, y), *_ = batches()
    for _ in range(5):
        step(x, y)
    gc.collect()
    made = []
    empty = np.empty_like
    try:
        np.empty_like = lambda *args, **kw: made.append(args) or empty(*args, **kw)
        for _ in range(3):
            step(x, y)
    finally:
        np.empty_like = empty
    assert made == []


def test_parameters_that_move_are_found():
    model, optimizer, step = training(compiled=True)
    plain, _, eager = training(compiled=False)
    for n, (x, y) in enumerate(batches()):
        if n == 3:
            model[0].weight.data = model[0].weight.data.clone()
            model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()})
            optimizer.load_state_dict(optimizer.state_dict())
        assert step(x, y).item() == pytest.approx(eager(x, y).item(), rel=1e-6)
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "change", [lambda x: x.T.contiguous().T, lambda x: x.repeat_interleave(2, 0)[::2], lambda x: x[::1]]
)
def test_arguments_in_another_order_of_memory(change):
    f = ek.compile(lambda x: (x * 2).softmax(1) @ x.T, fullgraph=True)
    x = ek.arange(12.0).reshape(3, 4) / 7
    expected = (x * 2).softmax(1) @ x.T
    for given in (x, x, x, change(x), x):
        np.testing.assert_allclose(f(given).numpy(), expected.numpy(), rtol=1e-6)


def test_an_operand_that_becomes_another_ones_memory():
    f = ek.compile(lambda x, y: x * 2 + y, fullgraph=True)
    x, y = ek.ones(5), ek.zeros(5)
    for _ in range(3):
        f(x, y)
    both = ek.arange(6.0)
    assert f(both[:5], both[1:]).tolist() == [1.0, 4.0, 7.0, 10.0, 13.0]
    assert f(x, y).tolist() == [2.0] * 5


def test_results_are_memory_of_their_own():
    state = ek.arange(4.0)
    f = ek.compile(lambda x: (x.reshape(2, 2), x.reshape(2, 2).T, state, state + 0), fullgraph=True)
    x = ek.arange(4.0)
    f(x)
    for _ in range(4):
        outs = f(x)
        for out in outs:
            out.add_(100)
        assert x.tolist() == state.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_python_between_recorded_parts():
    f = ek.compile(lambda x: ek.linalg.inv(x + x.mT + 10 * ek.eye(4)) * 2, fullgraph=True)
    rng = np.random.default_rng(0)
    for _ in range(4):
        x = ek.tensor(rng.normal(size=(4, 4)).astype(np.float32))
        np.testing.assert_allclose(f(x).numpy(), (ek.linalg.inv(x + x.mT + 10 * ek.eye(4)) * 2).numpy(), rtol=1e-5)
    assert python_units(f) == ["inv"]


def test_indices_out_of_range_are_told_and_nothing_is_written():
    state, table = ek.zeros(2), ek.arange(6.0).reshape(3, 2)

    def f(i):
        state.add_(1)
        return F.embedding(i, table)

    compiled = ek.compile(f, fullgraph=True)
    for n in range(4):
        assert compiled(ek.tensor([n % 3])).tolist() == [[2.0 * (n % 3), 2.0 * (n % 3) + 1]]
    with pytest.raises(IndexError):
        compiled(ek.tensor([7]))
    assert state.tolist() == [4.0, 4.0]
    assert compiled(ek.tensor([1])).tolist() == [[2.0, 3.0]]


def test_a_check_comes_before_everything_that_is_written():
    model, optimizer, _ = training(compiled=False)

    def check(loss):
        if not np.isfinite(loss.item()):
            raise FloatingPointError

    step = Compiled(step_of(model, optimizer), fullgraph=True, check=check)
    data = batches()
    for x, y in data:
        step(x, y)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(FloatingPointError):
        step(data[0][0] * float("nan"), data[0][1])
    assert all((v == before[k]).all() for k, v in model.state_dict().items())
    assert all(s["step"].item() == len(data) for s in optimizer.state.values())
    step(*data[0])


def test_calls_from_several_threads():
    f = ek.compile(lambda x: (x.exp() + x).sum(1), fullgraph=True)
    x = ek.arange(400.0).reshape(20, 20) / 400
    expected = f(x).numpy()
    f(x)
    wrong = []

    def work():
        for _ in range(50):
            if not np.allclose(f(x).numpy(), expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_forward_only_functions_keep_what_backward_needs():
    """Two calls before the first backward: each has its own saved values."""
    w = ek.ones(3, requires_grad=True)
    f = ek.compile(lambda x: (x * w).tanh() * w, fullgraph=True)
    xs = [ek.tensor([1.0, 2.0, 3.0]) * k for k in (0.1, 0.2, 0.3)]
    for _ in range(3):
        outs = [f(x) for x in xs]
        for x, out in zip(xs, outs, strict=True):
            (g,) = ek.autograd.grad(out.sum(), w)
            (e,) = ek.autograd.grad(((x * w).tanh() * w).sum(), w)
            np.testing.assert_allclose(g.numpy(), e.numpy(), rtol=1e-5)


def test_sizes_that_depend_on_values_are_refused_by_name():
    f = ek.compile(lambda x: x[x > 0], fullgraph=True)
    f(ek.ones(3))
    with pytest.raises(TraceError, match="depends on values"):
        f(ek.ones(3))
