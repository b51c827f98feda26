"""torch.nn.utils' names: clipping (tensor/clipping.py), parameters as one vector, normalised weights.

rnn: sequences; parametrize, parametrizations: parameters computed from others; stateless: functional_call.
"""

from collections.abc import Iterable

from expkit.errors import ShapeError
from expkit.nn.utils import parametrizations, parametrize, rnn, stateless
from expkit.nn.utils.fusion import (
    fuse_conv_bn_eval,
    fuse_conv_bn_weights,
    fuse_linear_bn_eval,
    fuse_linear_bn_weights,
)
from expkit.nn.utils.init import skip_init
from expkit.nn.utils.norms import remove_spectral_norm, remove_weight_norm, spectral_norm, weight_norm
from expkit.tensor import Tensor, cat, no_grad
from expkit.tensor.clipping import clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm


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
    "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "fuse_conv_bn_eval", "fuse_conv_bn_weights",
    "fuse_linear_bn_eval", "fuse_linear_bn_weights", "get_total_norm", "parameters_to_vector", "parametrizations",
    "parametrize", "remove_spectral_norm", "remove_weight_norm", "rnn", "skip_init", "spectral_norm", "stateless",
    "vector_to_parameters", "weight_norm",
]  # fmt: skip
