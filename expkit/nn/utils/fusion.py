"""A layer and the batch normalisation after it as one layer, for evaluation."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from expkit.nn.module import Module
from expkit.nn.parameter import Parameter
from expkit.tensor import Tensor, ones_like, rsqrt, zeros_like

M = TypeVar("M", bound=Module)


def _scale(bn_rv: Tensor, bn_eps: float, bn_w: Tensor | None) -> Tensor:
    scale = rsqrt(bn_rv + bn_eps)
    return scale if bn_w is None else scale * bn_w


def _bias(b: Tensor | None, bn_rm: Tensor, scale: Tensor, bn_b: Tensor | None) -> Tensor:
    b = zeros_like(bn_rm) if b is None else b
    return (b - bn_rm) * scale + (zeros_like(bn_rm) if bn_b is None else bn_b)


def _parameters(weight: Tensor, bias: Tensor, like: Tensor, like_bias: Any) -> tuple[Parameter, Parameter]:
    return (
        Parameter(weight.to(like.dtype), like.requires_grad),
        Parameter(bias.to(like.dtype), like.requires_grad if like_bias is None else like_bias.requires_grad),
    )


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """(weight, bias) of the convolution that does what a convolution and a batch norm in evaluation mode do."""
    scale = _scale(bn_rv, bn_eps, ones_like(bn_rm) if bn_w is None else bn_w)
    shape = (1, -1) if transpose else (-1, 1)
    weight = conv_w * scale.reshape((*shape, *(1,) * (conv_w.ndim - 2)))
    return _parameters(weight.detach(), _bias(conv_b, bn_rm, scale, bn_b).detach(), conv_w, conv_b)


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:
    """(weight, bias) of the linear layer that does what a linear layer and a batch norm in evaluation mode do."""
    scale = _scale(bn_rv, bn_eps, bn_w)
    weight, bias = linear_w * scale.unsqueeze(-1), _bias(linear_b, bn_rm, scale, bn_b)
    return _parameters(weight.detach(), bias.detach(), linear_w, linear_b)


def _evaluating(what: str, layer: Any, bn: Any) -> None:
    if layer.training or bn.training:
        raise ValueError(f"{what}: fusion is for evaluation only; call eval() on both modules first")
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError(f"{what}: the batch norm must have computed running statistics (track_running_stats=True)")


def fuse_conv_bn_eval(conv: M, bn: Module, transpose: bool = False) -> M:
    """A copy of the (if `transpose`, transposed) convolution that does what `conv` and `bn` do one after the other."""
    _evaluating("fuse_conv_bn_eval", conv, bn)
    fused: Any = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, transpose
    )
    return fused


def fuse_linear_bn_eval(linear: M, bn: Module) -> M:
    """A copy of the linear layer that does what `linear` and `bn` do one after the other."""
    _evaluating("fuse_linear_bn_eval", linear, bn)
    fused: Any = copy.deepcopy(linear)
    if fused.out_features != bn.num_features and bn.num_features != 1:
        raise ValueError(
            f"fuse_linear_bn_eval: {fused.out_features} outputs of the linear layer, {bn.num_features} features of the "
            "batch norm: to fuse, they must be equal (or the latter 1)"
        )
    fused.weight, fused.bias = fuse_linear_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return fused
