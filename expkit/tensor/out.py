"""out=: a function's result put into a tensor that the caller brings, as PyTorch's functions take it."""

import warnings
from typing import Any

import numpy as np

from expkit.autograd.handle import Handle
from expkit.autograd.mode import MODE, tick
from expkit.errors import AutogradError, DeviceError, ShapeError
from expkit.tensor import dtypes
from expkit.tensor.inplace import assign

# The public functions that have it. Methods have none.
_NAMES = """
    abs absolute acos acosh add addbmm addcdiv addcmul addmm addmv addr all amax amin aminmax angle any arange arccos
    arccosh arcsin arcsinh arctan arctan2 arctanh argmax argmin argsort asin asinh atan atan2 atanh baddbmm bernoulli
    bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor bmm bucketize cat ceil clamp
    clamp_max clamp_min clip column_stack complex concat concatenate conj_physical copysign cos cosh cross cummax
    cummin cumprod cumsum deg2rad diag diff digamma div divide dot dstack empty eq erf erfc erfinv exp exp2 expm1 eye
    fix float_power floor floor_divide fmax fmin fmod frac frexp full gather gcd ge ger greater greater_equal gt
    heaviside histc histogram hstack hypot i0 igamma igammac index_add index_copy index_reduce index_select inner
    inverse isin isneginf isposinf kron kthvalue lcm ldexp le lerp less less_equal lgamma linspace log log10 log1p
    log2 log_softmax logaddexp logaddexp2 logcumsumexp logical_and logical_not logical_or logical_xor logit logspace
    logsumexp lt masked_select matmul matrix_power max maximum mean median min minimum mm mode msort mul multinomial
    multiply mv mvlgamma nan_to_num nanmean nanmedian nanquantile nansum ne neg negative nextafter nonzero norm normal
    not_equal ones outer polar polygamma pow prod quantile rad2deg rand randint randn randperm range reciprocal
    remainder renorm round row_stack rsqrt scatter scatter_add scatter_reduce searchsorted sgn sigmoid sign signbit
    sin sinc sinh softmax sort sqrt square stack std sub subtract sum take take_along_dim tan tanh tensordot topk tril
    triu true_divide trunc var vdot vstack where xlogy zeros
"""
TAKING = frozenset(_NAMES.split())
# Their out shares no memory with what they read, in which it would be overwritten on the way.
APART = frozenset({"cat", "concat", "concatenate", "gather", "index_select", "kthvalue", "masked_select", "take"})
PLACES = frozenset(
    {
        *("argmax", "argmin", "argsort", "bucketize", "gather", "index_select", "masked_select", "multinomial"),
        *("nonzero", "searchsorted", "take", "complex", "polar"),
    }
)  # not converted


def deliver(result: Any, out: Any, name: str, arguments: tuple[Any, ...] = ()) -> Any:
    """`out` (a Tensor, or several for several results), holding the result.

    A tensor of another shape takes the result's, with a warning unless it was empty. Several results are not converted.
    TypeError where `out` is no tensor or its dtype cannot hold the result, AutogradError where something would have to
    be differentiated.
    """
    if not isinstance(result, tuple):
        return _into(result, out, name, arguments)
    if not isinstance(out, tuple | list) or len(out) != len(result):
        raise TypeError(f"{name}(): out must be a tuple of {len(result)} Tensors")
    for part, target in zip(result, out, strict=True):
        if isinstance(target, Handle) and target.raw.dtype != part.raw.dtype:
            raise TypeError(f"{name}(): expected out of dtype {dtypes.of(part.raw)}, got {dtypes.of(target.raw)}")
        _into(part, target, name, arguments)
    return result._make(out) if hasattr(result, "_make") else tuple(out)


def _into(result: Any, out: Any, name: str, arguments: tuple[Any, ...]) -> Any:
    if not isinstance(out, Handle):
        raise TypeError(f"{name}(): out must be a Tensor, not {type(out).__name__}")
    if MODE.grad and (result.node is not None or out.node is not None):
        raise AutogradError(
            f"{name}(): a result in out= has no gradient, but an argument or out requires one; detach it"
        )
    if result.device != out.device:
        raise DeviceError(f"{name}(): the result is on {result.device} and out on {out.device}")
    have, want = dtypes.of(result.raw), dtypes.of(out.raw)
    if not dtypes.can_cast(have, want) or (name in PLACES and have is not want):
        raise TypeError(f"{name}(): result type {have} can't be cast to the desired output type {want}")
    if name in APART and any(_meet(a, out) for a in arguments):
        raise AutogradError(f"{name}(): out shares memory with an argument; clone() one of them")
    if _repeats(out):
        raise AutogradError(f"{name}(): several elements of out are one place in memory; clone() it")
    if tuple(result.shape) != tuple(out.shape):
        if any(a is out for a in arguments):
            raise ShapeError(f"{name}(): out is an argument as well, and cannot take the shape {tuple(result.shape)}")
        _resize(out, result, name)
    return assign(out, result, fresh=False)


def _repeats(out: Any) -> bool:
    """Whether out is expanded: a stride of zero along more than one element."""
    strides = getattr(out.raw, "strides", ())  # a traced tensor has none
    return any(n > 1 and not step for n, step in zip(out.shape, strides, strict=False)) and bool(out.numel())


def _meet(argument: Any, out: Any) -> bool:
    """Whether a tensor, or one of a list, looks into out's memory."""
    if isinstance(argument, list | tuple):
        return any(_meet(a, out) for a in argument)
    if not isinstance(argument, Handle) or not isinstance(argument.raw, np.ndarray):
        return False
    return isinstance(out.raw, np.ndarray) and bool(np.may_share_memory(argument.raw, out.raw))


def _resize(out: Any, like: Any, name: str) -> None:
    """New memory of the result's shape for a tensor that is no view."""
    if out.chain is not None:
        raise ShapeError(f"{name}(): out is a view of shape {tuple(out.shape)}, the result has {tuple(like.shape)}")
    if out.numel():
        warnings.warn(
            f"{name}(): out of shape {tuple(out.shape)} takes the result's shape {tuple(like.shape)}; "
            "empty it before, or pass one that fits",
            stacklevel=4,
        )
    out.raw = like.new_empty(tuple(like.shape), dtype=out.dtype).raw
    out.written = tick()
