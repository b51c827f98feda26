"""autograd.Function: gradients of every kind through operations with derivatives of their own."""

import numpy as np
import pytest

import expkit as ek
from expkit.autograd.function import Function, once_differentiable
from expkit.errors import AutogradError, InplaceError


class Cube(Function):
    """x³, with setup_context, jvp and a generated vmap rule; backward is differentiable."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x * x * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * x * x * g

    @staticmethod
    def jvp(ctx, t):
        (x,) = ctx.saved_tensors
        return 3 * x * x * t


class Exp(Function):
    """exp by ctx in forward; saves its result."""

    @staticmethod
    def forward(ctx, x):
        out = x.exp()
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]


class Scale(Function):
    """x times a number: an argument that is no tensor."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x * factor

    @staticmethod
    def backward(ctx, g):
        return g * ctx.factor, None


class SumAndProduct(Function):
    """Two operands, two results and a count; maps by a vmap method."""

    @staticmethod
    def forward(x, y):
        return x + y, x * y

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, s, p):
        x, y = ctx.saved_tensors
        return s + p * y, s + p * x

    @staticmethod
    def vmap(info, in_dims, x, y):
        assert info.batch_size == 4
        assert in_dims == (0, None)
        return SumAndProduct.apply(x, y), (0, 0)


def leaf(*values):
    return ek.tensor(values, dtype=ek.float64, requires_grad=True)


@pytest.mark.parametrize("fn", [Cube, Exp])
def test_first_and_second_derivatives(fn):
    x = leaf(0.5, -1.0, 2.0)
    (g,) = ek.autograd.grad(fn.apply(x).sum(), [x], create_graph=True)
    (gg,) = ek.autograd.grad(g.sum(), [x])
    v = x.detach().numpy()
    first, second = (3 * v**2, 6 * v) if fn is Cube else (np.exp(v), np.exp(v))
    np.testing.assert_allclose(g.detach().numpy(), first)
    np.testing.assert_allclose(gg.numpy(), second)


def test_arguments_that_are_no_tensors_and_needs_input_grad():
    seen = []

    class Spy(Scale):
        @staticmethod
        def backward(ctx, g):
            seen.append(ctx.needs_input_grad)
            return Scale.backward(ctx, g)

    x = leaf(1.0, 2.0)
    Spy.apply(x, 3.0).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [3.0, 3.0])
    assert seen == [(True, False)]


def test_several_results_and_what_nothing_depends_on():
    x, y = leaf(1.0, 2.0), leaf(3.0, 5.0)
    _, p = SumAndProduct.apply(x, y)
    p.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [3.0, 5.0])
    got = []

    class Lazy(SumAndProduct):
        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.set_materialize_grads(False)

        @staticmethod
        def backward(ctx, s, p):
            got.append((s is None, p is None))
            return s, None

    s, _ = Lazy.apply(x, y)
    s.sum().backward()
    assert got == [(False, True)]


def test_transforms():
    v = ek.tensor([0.5, -1.0, 2.0], dtype=ek.float64)
    grad = ek.func.grad(lambda x: Cube.apply(x).sum())
    np.testing.assert_allclose(grad(v).numpy(), 3 * v.numpy() ** 2)
    twice = ek.func.grad(lambda x: grad(x).sum())
    np.testing.assert_allclose(twice(v).numpy(), 6 * v.numpy())
    _, t = ek.func.jvp(Cube.apply, (v,), (ek.ones_like(v),))
    np.testing.assert_allclose(t.numpy(), 3 * v.numpy() ** 2)
    np.testing.assert_allclose(ek.vmap(Cube.apply)(v).numpy(), v.numpy() ** 3)
    each = ek.vmap(ek.func.grad(Cube.apply))
    np.testing.assert_allclose(each(v).numpy(), 3 * v.numpy() ** 2)
    through = ek.func.grad(lambda x: ek.vmap(Cube.apply)(x).sum())
    np.testing.assert_allclose(through(v).numpy(), 3 * v.numpy() ** 2)
    np.testing.assert_allclose(ek.func.hessian(lambda x: Cube.apply(x).sum())(v).numpy(), np.diag(6 * v.numpy()))


def test_a_vmap_method_and_gradients_below_it():
    x, y = ek.randn(4, 3, requires_grad=True), ek.randn(3)
    s, p = ek.vmap(SumAndProduct.apply, in_dims=(0, None))(x, y)
    np.testing.assert_allclose(s.detach().numpy(), x.detach().numpy() + y.numpy())
    p.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.broadcast_to(y.numpy(), (4, 3)))


def test_traced_and_run_again():
    graph = ek.func.trace(lambda x: Cube.apply(x).sum(), ek.ones(3))
    assert "mul" in str(graph)


def test_in_place_forward():
    class AddOne(Function):
        @staticmethod
        def forward(ctx, x):
            x.add_(1.0)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 10

    x = leaf(1.0, 2.0)
    y = x * 2
    z = AddOne.apply(y)
    assert z is y
    z.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [20.0, 20.0])
    with pytest.raises((AutogradError, InplaceError)):
        AddOne.apply(leaf(1.0))


def test_an_input_that_is_returned_and_results_without_gradient():
    class Same(Function):
        @staticmethod
        def forward(ctx, x):
            index = x.argmax()
            ctx.mark_non_differentiable(index)
            return x, index

        @staticmethod
        def backward(ctx, g, _):
            return g * 5

    x = leaf(1.0, 2.0)
    y, index = Same.apply(x)
    assert y is not x
    assert not index.requires_grad
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [5.0, 5.0])


class Once(Cube):
    backward = staticmethod(once_differentiable(Cube.backward))


def test_misuse_is_explained():
    x = leaf(1.0, 2.0)
    (g,) = ek.autograd.grad(Once.apply(x).sum(), [x], create_graph=True)
    with pytest.raises(AutogradError, match="once_differentiable"):
        ek.autograd.grad(g.sum(), [x])
    y = Cube.apply(x)
    y.sum().backward()
    with pytest.raises(AutogradError, match="second time"):
        y.sum().backward()
    a = x * 1
    y = Cube.apply(a)
    a.mul_(2.0)
    with pytest.raises(InplaceError, match="modified by an in-place operation"):
        y.sum().backward()
    with pytest.raises(AutogradError, match="setup_context"):
        ek.func.grad(lambda t: Exp.apply(t).sum())(x.detach())

    class Short(SumAndProduct):
        @staticmethod
        def backward(ctx, s, p):
            return s

    with pytest.raises(AutogradError, match=r"incorrect number of gradients \(expected 2, got 1\)"):
        Short.apply(x, x)[0].sum().backward()

    class Unsaved(Function):
        @staticmethod
        def forward(ctx, x, power=1):
            ctx.save_for_backward(power)
            return x * 1

    with pytest.raises(TypeError, match="can only save tensors"):
        Unsaved.apply(x)

    class Wrong(Function):
        @staticmethod
        def forward(ctx, x, power=1):
            return x**power

        @staticmethod
        def backward(ctx, g):
            return ek.ones(5), None  # None: of the argument that was left at its default

    with pytest.raises(AutogradError, match=r"invalid gradient at index 0 - got \[5\]"):
        Wrong.apply(x).sum().backward()
    with pytest.raises(NotImplementedError, match="static method forward"):
        Function.apply(x)


@pytest.mark.torch
def test_hooks_and_names_as_in_pytorch():
    import torch

    class Theirs(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    class Ours(Function):
        forward = staticmethod(Theirs.forward)
        backward = staticmethod(Theirs.backward)

    for lib, fn in ((torch, Theirs), (ek, Ours)):
        x = lib.ones(2, requires_grad=True)
        y = fn.apply(x)
        seen = []
        y.register_hook(lambda g, seen=seen: seen.append(g.tolist()))
        y.sum().backward()
        assert seen == [[1.0, 1.0]]
        assert x.grad.tolist() == [2.0, 2.0]
        assert (fn.__name__ + "Backward") in str(y.grad_fn)
