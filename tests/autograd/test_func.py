"""grad, vjp, jvp, vmap, Jacobians and Hessians, nested in each other. Each scenario as in torch.func."""

import numpy as np
import pytest

import expkit as ek
from expkit.errors import AutogradError, TraceError
from tests.autograd.scenarios import both_ways
from tests.autograd.table_func import scenario

test_as_in_pytorch, test_it_runs = both_ways(scenario)


# ---- randomness under vmap -------------------------------------------------------------------------------------------

DRAWS = {
    "rand": lambda x: ek.rand(3),
    "randn": lambda x: ek.randn(3),
    "randint": lambda x: ek.randint(0, 1000, (3,)),
    "randn_like": lambda x: ek.randn_like(x),
    "bernoulli": lambda x: ek.bernoulli(ek.full((64,), 0.5)),
    "normal_": lambda x: ek.zeros(3).normal_(),
    "randperm": lambda x: ek.randperm(50),
}


@pytest.mark.parametrize("name", DRAWS)
def test_random_numbers_under_vmap(name):
    draw, x = DRAWS[name], ek.zeros(4, 3)
    with pytest.raises(AutogradError, match="randomness="):
        ek.vmap(draw)(x)
    same = ek.vmap(draw, randomness="same")(x)
    assert same.shape[0] == 4
    assert (same == same[:1]).all()
    different = ek.vmap(draw, randomness="different")(x)
    assert different.shape == same.shape
    assert all(not (different[i] == different[j]).all() for i in range(4) for j in range(i))


def test_different_draws_are_those_of_one_large_draw():
    ek.manual_seed(3)
    whole = ek.rand(4, 3)
    ek.manual_seed(3)
    assert (ek.vmap(lambda x: ek.rand(3), randomness="different")(ek.zeros(4)) == whole).all()


def test_randomness_of_nested_vmaps():
    f = lambda x: ek.vmap(lambda y: ek.rand(()), randomness="different")(ek.zeros(2))  # noqa: E731
    both = ek.vmap(f, randomness="different")(ek.zeros(3))
    assert len(set(both.flatten().tolist())) == 6
    inner = ek.vmap(f, randomness="same")(ek.zeros(3))
    assert len(set(inner.flatten().tolist())) == 2


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_values_cannot_be_looked_at_inside():
    with pytest.raises(TraceError, match=r"item\(\) asks for the value.*where"):
        ek.vmap(lambda v: v.sum().item())(ek.ones(3, 2))
    with pytest.raises(TraceError, match="bool"):
        ek.func.grad(lambda v: v.sum() if v.sum() > 0 else -v.sum())(ek.ones(3))
    with pytest.raises(TraceError):
        ek.func.jvp(lambda v: ek.tensor(v.numpy()), (ek.ones(3),), (ek.ones(3),))


def test_a_transform_leaks_nothing_into_tensors_from_outside():
    outside = ek.zeros(2)
    with pytest.raises(AutogradError, match="from outside"):
        ek.vmap(lambda v: outside.add_(v))(ek.ones(3, 2))
    with pytest.raises(AutogradError, match="from outside"):
        ek.func.jvp(lambda v: outside.copy_(v), (ek.ones(2),), (ek.ones(2),))
    leaf = ek.ones(2, requires_grad=True)
    with pytest.raises(AutogradError, match=r"backward\(\) inside a transform"):
        ek.vmap(lambda v: (v * leaf).sum().backward())(ek.ones(3, 2))
    assert outside.tolist() == [0.0, 0.0]
    assert leaf.grad is None


def test_a_function_that_raises_leaves_no_interpreter_behind():
    for transform in (ek.vmap, ek.func.grad, ek.func.jacrev, ek.func.jacfwd):
        with pytest.raises(ZeroDivisionError):
            transform(lambda v: 1 / 0)(ek.ones(3))
    x = ek.ones(2)
    assert (x + 1).tolist() == [2.0, 2.0]
    assert x.sum().item() == 2.0


def test_inplace_under_vmap_on_what_was_made_inside():
    """PyTorch refuses to write a mapped value into an unmapped tensor; here the tensor becomes mapped."""

    def f(v):
        y = ek.zeros(3)
        y[1] = v.sum()
        return y

    assert ek.vmap(f)(ek.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist() == [[0.0, 3.0, 0.0], [0.0, 7.0, 0.0]]


def test_plain_tape_inside_a_transform():
    """autograd.grad works inside vmap (PyTorch refuses requires_grad_ there)."""

    def slope(v):
        v = v.detach().requires_grad_()
        return ek.autograd.grad((v**3).sum(), v)[0]

    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_allclose(ek.vmap(slope)(ek.tensor(x)).numpy(), 3 * x**2)


def test_writes_into_mapped_arguments_are_seen_outside():
    x = ek.ones(3, 2)
    out = ek.vmap(lambda v: v.mul_(2).add_(v[0]), in_dims=1, out_dims=1)(x)
    assert out.tolist() == x.tolist() == [[4.0, 4.0]] * 3
    y = ek.zeros(4)
    ek.vmap(lambda v: v.add_(1), chunk_size=3)(y)
    assert y.tolist() == [1.0] * 4


def test_what_cannot_be_differentiated():
    with pytest.raises(RuntimeError, match="an argument must be of floating point"):
        ek.func.grad(lambda v: (v * 1.0).sum())(ek.arange(3))
    with pytest.raises(RuntimeError, match="an output of the function"):
        ek.func.vjp(lambda v: v > 0, ek.ones(2))
    for argnums in (3, (0, 0), (), "a"):
        with pytest.raises(RuntimeError, match="argnums"):
            ek.func.grad(lambda v: v.sum(), argnums=argnums)(ek.ones(2))
    with pytest.raises(TypeError, match="tangents"):
        ek.func.jvp(lambda v: v, (ek.ones(2),), (1.0,))


def test_functions_that_look_at_values_run_for_each_element():
    repeats = ek.tensor([[1, 2, 1], [2, 0, 2]])
    x = ek.arange(6.0).reshape(2, 3)
    out = ek.vmap(ek.repeat_interleave)(x, repeats)
    assert out.tolist() == [[0.0, 1.0, 1.0, 2.0], [3.0, 3.0, 5.0, 5.0]]
    both = ek.vmap(lambda r: ek.vmap(lambda v: ek.repeat_interleave(v, r))(x))(repeats)
    assert both[1].tolist() == [[0.0, 0.0, 2.0, 2.0], [3.0, 3.0, 5.0, 5.0]]
    slope = ek.vmap(ek.func.grad(lambda v, r: (ek.repeat_interleave(v, r) ** 2).sum()))(x, repeats)
    assert slope.tolist() == [[0.0, 4.0, 4.0], [12.0, 0.0, 20.0]]
