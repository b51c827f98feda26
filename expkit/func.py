"""Function transforms by torch.func's names."""

from expkit.autograd.functional import func_grad as grad
from expkit.autograd.functional import grad_and_value, hessian, jacfwd, jacrev, jvp, vjp
from expkit.autograd.trace import trace
from expkit.autograd.vmap import vmap

__all__ = ["grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "trace", "vjp", "vmap"]
