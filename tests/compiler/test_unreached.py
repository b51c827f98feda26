"""Gradients of compiled functions where some arguments, or all, are not reached by them."""

import expkit as ek


def test_arguments_that_results_do_not_rest_on_have_no_gradient():
    compiled = ek.compile(lambda x, y, z: y * 3, fullgraph=True)
    for _ in range(3):
        x, y, z = (ek.randn(4).requires_grad_() for _ in range(3))
        compiled(x, y, z).sum().backward()
        assert y.grad.tolist() == [3.0] * 4
        assert x.grad is None
        assert z.grad is None


def test_results_that_need_gradients_of_nothing_outside():
    def fn(x):
        return (x.detach().requires_grad_() * 2).detach(), x.detach().requires_grad_() * 3

    compiled = ek.compile(fn, fullgraph=True)
    for _ in range(3):
        assert compiled(ek.ones(2))[1].tolist() == [3.0, 3.0]
