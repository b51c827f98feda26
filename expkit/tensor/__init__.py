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
from expkit.tensor.ops.addmm import addbmm, addmm, addmv, addr, baddbmm
from expkit.tensor.ops.complex import (
    conj,
    conj_physical,
    imag,
    is_complex,
    real,
    resolve_conj,
    resolve_neg,
    view_as_complex,
    view_as_real,
)  # fmt: skip
from expkit.tensor.ops.contract import einsum, ger, inner, outer, tensordot, trace, vdot
from expkit.tensor.ops.conv import conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d
from expkit.tensor.ops.create import as_tensor, asarray, from_dlpack, from_numpy, scalar_tensor, tensor
from expkit.tensor.ops.cross_entropy import nll_from_logits
from expkit.tensor.ops.differences import cumulative_trapezoid, diff, gradient, trapezoid, trapz
from expkit.tensor.ops.distance import dist, norm
from expkit.tensor.ops.elementwise import (
    abs,
    acos,
    acosh,
    add,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    ceil,
    cos,
    cosh,
    div,
    eq,
    erf,
    erfc,
    exp,
    exp2,
    expm1,
    floor,
    floor_divide,
    fmax,
    fmin,
    fmod,
    ge,
    gt,
    hypot,
    isfinite,
    isinf,
    isnan,
    le,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logaddexp2,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    maximum,
    minimum,
    mul,
    ne,
    neg,
    pow,
    reciprocal,
    relu,
    remainder,
    round,
    rsqrt,
    rsub,
    sgn,
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
from expkit.tensor.ops.filled import (
    empty,
    empty_like,
    empty_permuted,
    empty_strided,
    full,
    full_like,
    ones,
    ones_like,
    zeros,
    zeros_like,
)
from expkit.tensor.ops.floats import (
    copysign,
    deg2rad,
    float_power,
    frac,
    frexp,
    heaviside,
    isneginf,
    isposinf,
    isreal,
    ldexp,
    nan_to_num,
    nextafter,
    positive,
    rad2deg,
    signbit,
    sinc,
)  # fmt: skip
from expkit.tensor.ops.fused import gelu, mse_loss, silu
from expkit.tensor.ops.generator import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)  # fmt: skip
from expkit.tensor.ops.histogram import bincount, histc, histogram, histogramdd
from expkit.tensor.ops.index import argwhere, gather, nonzero, take_along_dim, where
from expkit.tensor.ops.inquire import (
    allclose,
    equal,
    is_floating_point,
    is_nonzero,
    is_same_size,
    is_signed,
    is_tensor,
    numel,
)
from expkit.tensor.ops.integers import (
    bitwise_left_shift,
    bitwise_right_shift,
    gcd,
    lcm,
)  # fmt: skip
from expkit.tensor.ops.join import block_diag, cat, column_stack, dstack, hstack, stack, vstack
from expkit.tensor.ops.linalg.older import (
    cholesky,
    cholesky_inverse,
    cholesky_solve,
    det,
    geqrf,
    inverse,
    logdet,
    lu,
    lu_solve,
    lu_unpack,
    matrix_exp,
    matrix_power,
    orgqr,
    ormqr,
    pca_lowrank,
    pinverse,
    qr,
    slogdet,
    svd,
    svd_lowrank,
    triangular_solve,
    vander,
)
from expkit.tensor.ops.linalg.pairs import cdist, pdist
from expkit.tensor.ops.linalg.products import chain_matmul, cross, kron
from expkit.tensor.ops.linalg.statistics import corrcoef, cov, renorm
from expkit.tensor.ops.matmul import bmm, dot, linear, matmul, mm, mv
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
from expkit.tensor.ops.order import argsort, kthvalue, msort, sort, topk
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
from expkit.tensor.ops.polar import (
    angle,
    complex,
    polar,
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
    bernoulli,
    multinomial,
    normal,
    poisson,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
)  # fmt: skip
from expkit.tensor.ops.ranges import (
    arange,
    cartesian_prod,
    combinations,
    eye,
    linspace,
    logspace,
    meshgrid,
    tril_indices,
    triu_indices,
)
from expkit.tensor.ops.ranks import median, mode, nanmedian, nanquantile, quantile
from expkit.tensor.ops.reduce import all, amax, amin, any, argmax, argmin, count_nonzero, mean, prod, sum
from expkit.tensor.ops.repeat import fliplr, flipud, repeat_interleave, roll, rot90, tile
from expkit.tensor.ops.replace import (
    diagonal_scatter,
    put,
    select_scatter,
    slice_scatter,
    take,
    unravel_index,
)
from expkit.tensor.ops.scan import cummax, cummin, cumprod, cumsum, logcumsumexp
from expkit.tensor.ops.scatter import (
    fill,
    index_add,
    index_copy,
    index_fill,
    index_reduce,
    masked_fill,
    masked_scatter,
    scatter,
    scatter_add,
    scatter_reduce,
)
from expkit.tensor.ops.search import bucketize, searchsorted
from expkit.tensor.ops.sets import isin, unique, unique_consecutive
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
from expkit.tensor.ops.special_functions import (
    digamma,
    erfinv,
    i0,
    lgamma,
    logit,
    mvlgamma,
    polygamma,
    xlogy,
)  # fmt: skip
from expkit.tensor.ops.statistics import nanmean, nansum, std, std_mean, var, var_mean
from expkit.tensor.ops.strided import as_strided, as_strided_scatter
from expkit.tensor.ops.subscript import index_put, index_select, masked_select
from expkit.tensor.ops.ternary import addcdiv, addcmul, clamp, clamp_max, clamp_min, isclose, lerp
from expkit.tensor.ops.triangle import diag, diag_embed, diagflat, tril, triu
from expkit.tensor.parts import Size
from expkit.tensor.precision import casting
from expkit.tensor.printing import set_printoptions


class _CallableModule(ModuleType):
    """`expkit.tensor` is PyTorch's function and a package at once."""

    def __call__(self, data: Any, **options: Any) -> Tensor:
        return tensor(data, **options)


sys.modules[__name__].__class__ = _CallableModule

for _name, _target in (methods.ALIASES | methods.FUNCTION_ALIASES).items():
    if _target in globals():
        globals()[_name] = globals()[_target]

# The hottest functions check their arguments themselves.
_QUICK = {"add", "sub", "mul", "div", "matmul", "linear", "relu"}
for _name, _fn in list(globals().items()):
    if isinstance(_fn, FunctionType) and not _name.startswith("_") and _name not in _QUICK:
        globals()[_name] = casting(_name, refusing(_fn))

_INTERNAL = {"sys", "Any", "FunctionType", "ModuleType", "casting", "methods", "refusing"}
_INTERNAL.add("tensor")  # the package itself stands for it
__all__ = [name for name in dir() if not name.startswith("_") and name not in _INTERNAL]
