"""Gradient clipping, by the norm of all gradients together or value by value.

`foreach` says in PyTorch whether one kernel takes all gradients; here it does where there is one, whatever it says.
"""

import math
from collections.abc import Iterable

from expkit.autograd.mode import MODE, open_trace
from expkit.errors import NonFiniteError, TraceError
from expkit.tensor import Tensor, no_grad, promote_types, stack, zeros
from expkit.tensor.generated.update import apply_all, sum_all
from expkit.tensor.ops.distance import norm
from expkit.tensor.ops.segments import record_all, record_sum

INF = float("inf")


def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all `tensors` taken as one vector: a 0-d tensor (zero when there are none).

    NonFiniteError for one that is not finite where `error_if_nonfinite`, which asks for its value: no trace can.
    """
    if error_if_nonfinite and MODE.special and open_trace() is not None:
        raise TraceError(
            "error_if_nonfinite asks for the value of the gradients' norm, which a function that is being traced "
            "cannot. Leave it out, and check the norm that is returned."
        )
    with no_grad():
        total = _total([tensors] if isinstance(tensors, Tensor) else list(tensors), float(norm_type))
    if error_if_nonfinite and not abs(total.item()) < INF:
        raise NonFiniteError(
            f"the total norm of order {norm_type} of the gradients is {total.item()}, so they cannot be clipped. "
            "Lower the learning rate, or look for the first layer that gives such values."
        )
    return total


def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scales all gradients in place by max_norm / total_norm, where that is less than 1."""
    grads = _grads(parameters)
    with no_grad():
        scale = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
        if MODE.special:
            done = record_all("scale", [grads], scale, left=scale == 1)
        else:
            done = scale.item() == 1 or apply_all("scale", [grads], scale.item())
        if not done:
            for grad in grads:
                grad.mul_(scale.to(grad.device))


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scales all gradients in place so that their common norm is at most `max_norm`; returns the norm before.

    NonFiniteError for a norm that is not finite where `error_if_nonfinite`; otherwise such gradients stay so.
    """
    held = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    total = get_total_norm(_grads(held), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(held, max_norm, total)
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Clamps every gradient in place to [-clip_value, clip_value]."""
    grads, limit = _grads(parameters), float(clip_value)
    with no_grad():
        if not (apply_all("clamp", [grads], -limit, limit) or record_all("clamp", [grads], -limit, limit)):
            for grad in grads:
                grad.clamp_(-limit, limit)


def _grads(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    tensors = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in tensors if p.grad is not None]


def _total(tensors: list[Tensor], order: float) -> Tensor:
    """The norm of all tensors; that of order 2 in one pass of a kernel where there is one."""
    if order == 2:
        squared = sum_all("squares", tensors)
        if squared is not None:
            return Tensor.of(math.sqrt(squared), like=tensors[0])
        recorded = record_sum("squares", tensors)
        if recorded is not None:
            return recorded.sqrt().to(tensors[0].dtype)
    if not tensors:
        return zeros(())
    norms = [norm(tensor, order) for tensor in tensors]
    widest = norms[0].dtype
    for each in norms:
        widest = promote_types(widest, each.dtype)
    return norm(stack([each.to(norms[0].device, widest) for each in norms]), order)
