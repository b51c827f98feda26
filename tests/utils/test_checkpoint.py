"""Checkpointing: the same gradients and random numbers as without, less kept on the tape, each kind of misuse named."""

import gc
import weakref
from contextlib import contextmanager

import numpy as np
import pytest

import expkit as ek
from expkit import nn
from expkit.autograd.handle import Handle
from expkit.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential, set_checkpoint_early_stop


def leaf(*shape):
    return ek.rand(*shape, dtype=ek.float64).requires_grad_()


W = leaf(4, 4)


def block(x, scale=1.0):
    return (x @ W).tanh().exp() * scale


def nested(x):
    return checkpoint(block, checkpoint(lambda v: block(v).sin(), x)).cos()


def several(x):
    y = block(x)
    return y.sum(), (y * x, 3.0)


def inplace(x):
    y = (x @ W).mul_(0.5)
    y.sin_()  # keeps what it overwrites
    y.exp_()
    return y[:, :2].clone().add_(1)


FUNCTIONS = {
    "plain": lambda run, x: run(block, x).sum(),
    "keywords": lambda run, x: run(block, x, scale=x.sum()).sum(),
    "closure": lambda run, x: run(lambda: block(x)).sum(),
    "nested": lambda run, x: run(nested, x).sum(),
    "twice nested": lambda run, x: run(lambda v: run(nested, v) * v, x).sum(),
    "several outputs": lambda run, x: run(several, x)[0] * run(several, x)[1][0].sum(),
    "in place": lambda run, x: run(inplace, x).sum(),
    "chain": lambda run, x: run(block, run(block, run(block, x))).sum(),
    "dropout": lambda run, x: run(lambda v: nn.functional.dropout(block(v), 0.5) * ek.rand(4, 4), x).sum(),
    "no tensor needs grad inside": lambda run, x: run(lambda v: v * 2, x.detach()).sum() + x.sum(),
}


def plainly(fn, *args, **kw):
    return fn(*args, **kw)


@pytest.mark.parametrize("early_stop", [True, False])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_the_same(name, early_stop):
    fn, x = FUNCTIONS[name], leaf(4, 4)
    found = []
    for run in (plainly, checkpoint):
        ek.manual_seed(1)
        with set_checkpoint_early_stop(early_stop):
            out = fn(run, x)
            after = ek.get_rng_state()
            found.append([out, *ek.autograd.grad(out, [x, W], allow_unused=True, materialize_grads=True)])
        assert ek.get_rng_state() == after
    for plain, again in zip(*found, strict=True):
        np.testing.assert_array_equal(again.detach().numpy(), plain.detach().numpy())


@pytest.mark.parametrize("name", ["plain", "keywords", "nested", "chain"])
def test_second_derivatives(name):
    fn, x = FUNCTIONS[name], leaf(4, 4)
    found = []
    for run in (plainly, checkpoint):
        (g,) = ek.autograd.grad(fn(run, x), x, create_graph=True)
        found.append(ek.autograd.grad((g * g).sum(), [x, W]))
    for plain, again in zip(*found, strict=True):
        np.testing.assert_allclose(again.numpy(), plain.numpy(), rtol=1e-12)


def test_backward_twice_and_in_parts():
    x = leaf(4, 4)
    a, b = checkpoint(lambda v: (block(v).sum(), v.exp().sum()), x)
    ga, gb = (ek.autograd.grad(out, x, retain_graph=True)[0] for out in (a, b))
    both = ek.autograd.grad(a + b, x, retain_graph=True)[0]
    np.testing.assert_allclose(both.numpy(), (ga + gb).numpy())
    (a + b).backward()
    np.testing.assert_allclose(x.grad.numpy(), both.numpy())
    with pytest.raises(RuntimeError, match="second time"):
        (a + b).backward()


def test_under_transforms():
    x = leaf(4, 4).detach()
    fn = lambda v: checkpoint(block, v).sum()  # noqa: E731
    plain = lambda v: block(v).sum()  # noqa: E731
    for transform in (ek.func.grad, ek.func.hessian, lambda f: ek.func.grad(lambda v: ek.func.grad(f)(v).sum())):
        np.testing.assert_allclose(transform(fn)(x).detach().numpy(), transform(plain)(x).detach().numpy(), rtol=1e-12)
    xs = leaf(3, 4, 4).detach()
    np.testing.assert_allclose(
        ek.vmap(ek.func.grad(fn))(xs).detach().numpy(), ek.vmap(ek.func.grad(plain))(xs).detach().numpy()
    )


def held_by(out):
    """How many elements of tensors the tape below `out` keeps."""
    seen, count, stack = set(), 0, [out.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        saved = [s for s in (*(getattr(node, "saved", None) or ()), getattr(node, "out", None)) if s is not None]
        count += sum(s.numel() if isinstance(s, Handle) else getattr(s, "size", 0) for s in saved)
        stack += [child for child, _ in node.next_functions]
    return count


def test_the_tape_keeps_less():
    layers = [lambda v: (v @ W).tanh().exp().sin() for _ in range(6)]
    x = leaf(4, 4)
    plain, kept = x, x
    for layer in layers:
        plain, kept = layer(plain), checkpoint(layer, kept)
    assert held_by(plain) > 6 * 3 * 16
    assert held_by(kept) == 0


def test_activations_are_really_freed():
    made = []

    def fn(x):
        y = x.exp()
        made.append(weakref.ref(y))
        z = y * y
        made.append(weakref.ref(z))
        return z.sin()

    out = checkpoint(fn, leaf(3))
    gc.collect()
    assert [ref() for ref in made] == [None, None]
    out.sum().backward()
    gc.collect()
    assert [ref() for ref in made] == [None] * len(made)


def test_it_stops_early():
    calls = []

    def fn(x):
        y = x.exp()
        calls.append("middle")
        z = y.sin()
        calls.append("end")
        return z

    checkpoint(fn, leaf(3)).sum().backward()
    assert calls == ["middle", "end", "middle"]
    calls.clear()
    checkpoint(fn, leaf(3), early_stop=False).sum().backward()
    assert calls == ["middle", "end", "middle", "end"]


def test_without_gradients_it_is_a_call():
    with ek.no_grad():
        assert not checkpoint(block, leaf(4, 4)).requires_grad


def test_preserve_rng_state_false_draws_anew():
    x = leaf(64)
    drawn = []

    def fn(v):
        drawn.append(ek.rand(64, dtype=ek.float64))
        return (v * drawn[-1]).exp()

    checkpoint(fn, x, preserve_rng_state=False).sum().backward()
    assert not (drawn[0] == drawn[1]).all()
    drawn.clear()
    checkpoint(fn, x).sum().backward()
    assert (drawn[0] == drawn[1]).all()


def test_contexts():
    entered = []

    @contextmanager
    def named(name):
        entered.append(name)
        yield

    checkpoint(block, leaf(4, 4), context_fn=lambda: (named("first"), named("again"))).sum().backward()
    assert entered == ["first", "again"]


def test_autocast_is_as_it_was():
    net = nn.Linear(4, 4)
    x = ek.randn(3, 4).requires_grad_()
    found = []
    for run in (plainly, checkpoint):
        with ek.autocast("cpu", dtype=ek.bfloat16):
            out = run(lambda v: net(v).exp(), x)
        assert out.dtype is ek.bfloat16
        found.append(ek.autograd.grad(out.float().sum(), [x, net.weight]))
    for plain, again in zip(*found, strict=True):
        np.testing.assert_array_equal(again.numpy(), plain.numpy())


# ---- misuse ----------------------------------------------------------------------------------------------------------


def test_a_function_that_changes_is_found():
    sizes = iter([3, 2])
    x = leaf(3)
    out = checkpoint(lambda v: v[: next(sizes)].exp(), x)
    with pytest.raises(CheckpointError, match=r"shape \[3\].*shape \[2\]"):
        out.sum().backward()
    steps = iter([2, 1])
    out = checkpoint(lambda v: v.exp() if next(steps) == 1 else v.exp().exp(), x)
    with pytest.raises(CheckpointError, match="2 tensors were saved in the forward pass, 1 when"):
        out.sum().backward()


def test_arguments_modified_since():
    x = leaf(3)
    y = x * 2
    out = checkpoint(lambda v: v.exp(), y).sum()
    y.mul_(2)
    with pytest.raises(RuntimeError, match="argument was modified in place"):
        out.backward()


def test_wrong_options():
    with pytest.raises(ValueError, match="determinism_check"):
        checkpoint(block, leaf(4, 4), determinism_check="maybe")
    with pytest.raises(ValueError, match="segments"):
        checkpoint_sequential([block], 2, leaf(4, 4))
    with pytest.raises(ValueError, match="unexpected"):
        checkpoint_sequential([block], 1, leaf(4, 4), debug=True)


# ---- sequences -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("segments", [1, 2, 3, 5])
def test_sequences(segments):
    ek.manual_seed(0)
    net = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(5)))
    x = ek.randn(3, 4).requires_grad_()
    plain = ek.autograd.grad(net(x).sum(), [x, *net.parameters()])
    again = ek.autograd.grad(checkpoint_sequential(net, segments, x).sum(), [x, *net.parameters()])
    for a, b in zip(again, plain, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
