"""torch.nn.utils' names: clipping (from tensor/clip.py, as in `optim`), parameters as one vector; rnn: sequences."""

from collections.abc import Iterable

from expkit.errors import ShapeError
from expkit.nn.utils import rnn
from expkit.tensor import Tensor, cat, no_grad
from expkit.tensor.clip import clip_grad_norm_, clip_grad_value_, get_total_norm


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All `parameters`, one after the other, as one vector (differentiable)."""
    return cat([param.reshape(-1) for param in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Writes what `parameters_to_vector` gave back into `parameters`. ShapeError where the lengths differ."""
    params = list(parameters)
    wanted = sum(param.numel() for param in params)
    if vec.ndim != 1 or vec.numel() != wanted:
        raise ShapeError(f"vector_to_parameters: vec has shape {tuple(vec.shape)}, the parameters need ({wanted},).")
    start = 0
    with no_grad():
        for param in params:
            param.copy_(vec[start : start + param.numel()].reshape(param.shape))
            start += param.numel()


__all__ = [
    "clip_grad_norm_", "clip_grad_value_", "get_total_norm", "parameters_to_vector", "rnn", "vector_to_parameters",
]  # fmt: skip
