"""The Tensor, its dtypes and devices, and every function on tensors. `expkit.tensor(...)` makes one."""

import sys
from types import FunctionType, ModuleType
from typing import Any

from expkit.autograd.mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from expkit.tensor import methods
from expkit.tensor.blas import get_num_threads, set_num_threads
from expkit.tensor.core import Tensor
from expkit.tensor.devices import device
from expkit.tensor.dtypes import (
    bfloat16,
    bool_,
    can_cast,
    complex64,
    complex128,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    promote_types,
    result_type,
    set_default_dtype,
    uint8,
    uint32,
    uint64,
)  # fmt: skip
from expkit.tensor.guard import refusing
from expkit.tensor.ops.conv import conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d
from expkit.tensor.ops.create import (
    arange,
    as_tensor,
    empty,
    empty_like,
    eye,
    from_dlpack,
    from_numpy,
    full,
    full_like,
    linspace,
    meshgrid,
    ones,
    ones_like,
    tensor,
    zeros,
    zeros_like,
)  # fmt: skip
from expkit.tensor.ops.cross_entropy import nll_from_logits
from expkit.tensor.ops.distance import dist, norm
from expkit.tensor.ops.distance import dist, norm
from expkit.tensor.ops.elementwise import (
    abs,
    acos,
    add,
    addcdiv,
    addcmul,
    asin,
    atan,
    atan2,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    ceil,
    clamp,
    clamp_max,
    clamp_min,
    cos,
    cosh,
    div,
    eq,
    erf,
    erfc,
    exp,
    expm1,
    floor,
    floor_divide,
    fmod,
    ge,
    gt,
    isclose,
    isfinite,
    isinf,
    isnan,
    le,
    lerp,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    maximum,
    minimum,
    mul,
    nan_to_num,
    ne,
    neg,
    pow,
    reciprocal,
    relu,
    remainder,
    round,
    rsqrt,
    sigmoid,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    sub,
    tan,
    tanh,
    trunc,
)  # fmt: skip
from expkit.tensor.ops.extremum import aminmax, max, min
from expkit.tensor.ops.extremum import aminmax, max, min
from expkit.tensor.ops.fused import gelu, mse_loss, silu
from expkit.tensor.ops.index import (
    gather,
    index_add,
    masked_fill,
    nonzero,
    scatter,
    scatter_add,
    take_along_dim,
    where,
)  # fmt: skip
from expkit.tensor.ops.join import block_diag, cat, column_stack, dstack, hstack, stack, vstack
from expkit.tensor.ops.matmul import addmm, baddbmm, bmm, dot, einsum, linear, matmul, mm, mv, outer, tensordot, trace
from expkit.tensor.ops.memory_format import (
    channels_last,
    channels_last_3d,
    clone,
    contiguous_format,
    memory_format,
    preserve_format,
)  # fmt: skip
from expkit.tensor.ops.movement import (
    broadcast_to,
    detach,
    diagonal,
    flatten,
    flip,
    movedim,
    narrow,
    permute,
    reshape,
    select,
    squeeze,
    t,
    transpose,
    unflatten,
    unsqueeze,
)  # fmt: skip
from expkit.tensor.ops.norm import batch_norm, group_norm, layer_norm
from expkit.tensor.ops.order import argsort, kthvalue, median, msort, sort, topk
from expkit.tensor.ops.pieces import (
    chunk,
    dsplit,
    hsplit,
    split,
    split_with_sizes,
    tensor_split,
    unbind,
    unsafe_chunk,
    unsafe_split,
    unsafe_split_with_sizes,
    vsplit,
)  # fmt: skip
from expkit.tensor.ops.pool import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from expkit.tensor.ops.random import (
    Generator,
    bernoulli,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    multinomial,
    normal,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    set_rng_state,
)  # fmt: skip
from expkit.tensor.ops.reduce import all, amax, amin, any, argmax, argmin, count_nonzero, mean, prod, sum
from expkit.tensor.ops.repeat import fliplr, flipud, repeat_interleave, roll, rot90, tile
from expkit.tensor.ops.scan import cumprod, cumsum
from expkit.tensor.ops.shape import (
    adjoint,
    atleast_1d,
    atleast_2d,
    atleast_3d,
    broadcast_shapes,
    broadcast_tensors,
    narrow_copy,
    ravel,
)
from expkit.tensor.ops.softmax import log_softmax, logsumexp, softmax
from expkit.tensor.ops.statistics import nanmean, nansum, std, std_mean, var, var_mean
from expkit.tensor.ops.strided import as_strided, as_strided_scatter
from expkit.tensor.ops.subscript import index_put, index_select, masked_select
from expkit.tensor.ops.triangle import diag, diag_embed, tril, triu
from expkit.tensor.parts import Size
from expkit.tensor.printing import set_printoptions


class _CallableModule(ModuleType):
    """`expkit.tensor` is PyTorch's function and a package at once."""

    def __call__(self, data: Any, **options: Any) -> Tensor:
        return tensor(data, **options)


sys.modules[__name__].__class__ = _CallableModule

# The hottest functions check their arguments themselves.
_QUICK = {"add", "sub", "mul", "div", "matmul", "linear", "relu"}
for _name, _fn in list(globals().items()):
    if isinstance(_fn, FunctionType) and not _name.startswith("_") and _name not in _QUICK:
        globals()[_name] = refusing(_fn)

_INTERNAL = {"sys", "Any", "FunctionType", "ModuleType", "methods", "refusing"}
_INTERNAL.add("tensor")  # the package itself stands for it
__all__ = [name for name in dir() if not name.startswith("_") and name not in _INTERNAL]
