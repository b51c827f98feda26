"""Complex numbers: as PyTorch's, and gradcheck in all ways. Each scenario as in PyTorch."""

import pytest

import expkit as ek
from expkit.autograd.check import GradcheckError
from tests.autograd.scenarios import both_ways
from tests.autograd.table_complex import scenario

test_as_in_pytorch, test_it_runs = both_ways(scenario)


FUNCTIONS = {
    "square": lambda z, _w: z * z,
    "abs": lambda z, _w: z.abs(),
    "mixed": lambda z, w: z * w,
    "parts": lambda z, w: (z.real * w, z.imag.sin()),
    "conjugate": lambda z, w: z.conj() * z.exp() + w,
}


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradcheck(name, fast):
    z = (ek.rand(3, dtype=ek.float64) + ek.rand(3, dtype=ek.float64) * 1j).requires_grad_()
    w = ek.rand(3, dtype=ek.float64).requires_grad_()
    ways = {"check_forward_ad": True, "check_batched_grad": True, "check_batched_forward_grad": True}
    assert ek.autograd.gradcheck(FUNCTIONS[name], (z, w), fast_mode=fast, **ways)
    assert ek.autograd.gradgradcheck(FUNCTIONS[name], (z, w), fast_mode=fast, check_fwd_over_rev=True)


class Turned(ek.autograd.Function):
    """Lacks the conjugate in its gradient."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        return g * 2 * ctx.saved_tensors[0]


def test_a_gradient_that_lacks_its_conjugate_is_found():
    z = ek.tensor([1 + 2j, 0.5 - 1j], dtype=ek.complex128, requires_grad=True)
    with pytest.raises(GradcheckError):
        ek.autograd.gradcheck(Turned.apply, (z,))
    with pytest.raises(ValueError, match="too rough"):
        ek.autograd.gradcheck(lambda v: v, (z.detach().to(ek.complex64).requires_grad_(),))
