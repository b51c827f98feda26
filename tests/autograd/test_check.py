"""gradcheck and gradgradcheck: right derivatives pass, wrong ones are found, each kind of check by itself."""

import pytest

import expkit as ek
from expkit.autograd.check import GradcheckError
from expkit.autograd.function import Function

gradcheck, gradgradcheck = ek.autograd.gradcheck, ek.autograd.gradgradcheck
ALL = {"check_forward_ad": True, "check_batched_grad": True, "check_grad_dtypes": True}


def leaf(*shape):
    return ek.rand(*shape, dtype=ek.float64).add_(0.5).requires_grad_()


FUNCTIONS = {
    "one operand": (lambda x: x.exp() * x.sin(), (3, 2)),
    "two operands": (lambda x, y: x @ y, (3, 2), (2, 4)),
    "broadcast": (lambda x, y: x / y, (3, 2), (2,)),
    "two results": (lambda x: (x * x, x.sum()), (4,)),
    "unused operand": (lambda x, y: x * 2, (3,), (2,)),
    "no elements": (lambda x: x * x, (0,)),
    "scalar": (lambda x: x.log(), ()),
}


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_right_derivatives_pass(name, fast):
    fn, *shapes = FUNCTIONS[name]
    assert gradcheck(fn, tuple(leaf(*s) for s in shapes), fast_mode=fast, **ALL)


@pytest.mark.parametrize("name", ["one operand", "two operands", "broadcast", "two results", "scalar"])
@pytest.mark.parametrize("spread", [False, True])
def test_right_second_derivatives_pass(name, spread):
    fn, *shapes = FUNCTIONS[name]
    assert gradgradcheck(fn, [leaf(*s) for s in shapes], gen_non_contig_grad_outputs=spread)


class WrongBackward(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0] * 2.01


class WrongSecond(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].detach() * 2


class WrongForward(Function):
    @staticmethod
    def forward(x):
        return x * 2

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, g):
        return g * 2

    @staticmethod
    def jvp(ctx, t):
        return t * 2.5


class Restless(Function):
    calls = 0

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        Restless.calls += 1
        return g * (2 + 1e-9 * Restless.calls)


@pytest.mark.parametrize("fast", [False, True])
def test_wrong_derivatives_are_found(fast):
    with pytest.raises(GradcheckError, match="Jacobian mismatch"):
        gradcheck(WrongBackward.apply, leaf(3), fast_mode=fast)
    assert not gradcheck(WrongBackward.apply, leaf(3), fast_mode=fast, raise_exception=False)
    assert gradcheck(WrongForward.apply, leaf(3), fast_mode=fast)
    with pytest.raises(GradcheckError, match="forward mode"):
        gradcheck(WrongForward.apply, leaf(3), fast_mode=fast, check_forward_ad=True)
    assert gradcheck(WrongSecond.apply, leaf(3), fast_mode=fast)
    with pytest.raises(GradcheckError, match="Jacobian mismatch"):
        gradgradcheck(WrongSecond.apply, leaf(3), fast_mode=fast)


def test_backward_that_differs_from_run_to_run():
    with pytest.raises(GradcheckError, match="not reentrant"):
        gradcheck(Restless.apply, leaf(3))
    assert gradcheck(Restless.apply, leaf(3), nondet_tol=1e-6)


def test_inputs_that_cannot_be_checked():
    with pytest.raises(ValueError, match="at least one input"):
        gradcheck(lambda x: x, ek.ones(2, dtype=ek.float64))
    with pytest.raises(ValueError, match="too rough"):
        gradcheck(lambda x: x, ek.ones(2, requires_grad=True))
    with pytest.raises(ValueError, match="no Tensor among"):
        gradcheck(lambda x: x.detach(), leaf(2))


def test_the_inputs_are_as_they_were():
    x = leaf(3)
    before = x.detach().clone()
    gradcheck(lambda t: t.exp(), x)
    assert (x == before).all().item()
