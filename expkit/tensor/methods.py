"""Which functions are methods of Tensor, which have an in-place form, and the operators. Tables only."""

import builtins
from typing import Any

import numpy as np

from expkit.autograd.handle import Value
from expkit.autograd.tape import apply2
from expkit.errors import ShapeError
from expkit.tensor import casts, dtypes
from expkit.tensor import inplace as ip
from expkit.tensor import inplace_random as ip_random
from expkit.tensor.core import Tensor
from expkit.tensor.ops import (
    addmm,
    complex,
    contract,
    create,
    differences,
    distance,
    extremum,
    filled,
    floats,
    histogram,
    index,
    inquire,
    integers,
    join,
    matmul,
    memory_format,
    movement,
    order,
    pieces,
    polar,
    random,
    ranks,
    reduce,
    repeat,
    replace,
    scan,
    scatter,
    sets,
    shape,
    softmax,
    special_functions,
    statistics,
    strided,
    subscript,
    ternary,
    triangle,
)
from expkit.tensor.ops import elementwise as ew
from expkit.tensor.ops import pointwise as pw
from expkit.tensor.ops.convert import cast_p
from expkit.tensor.ops.functions import F32, F64
from expkit.tensor.ops.linalg import older, products
from expkit.tensor.ops.linalg import statistics as statistics_of_rows
from expkit.tensor.relaid import refused, relaid

METHODS = {
    casts: "to cpu cuda type type_as new_tensor",
    inquire: "is_floating_point is_signed is_nonzero is_same_size equal allclose",
    ew: """abs acos asin atan bitwise_not ceil cos cosh erf erfc exp expm1 floor isfinite isinf isnan log log10
        log1p log2 logical_not neg reciprocal relu round rsqrt sigmoid sign sin sinh sqrt square tan
        acosh asinh atanh exp2 sgn fmax fmin logaddexp2 hypot
        tanh trunc add sub mul div floor_divide remainder fmod pow maximum minimum atan2 logaddexp
        logical_and logical_or logical_xor bitwise_and bitwise_or
        bitwise_xor eq ne lt le gt ge""",
    ternary: "clamp clamp_min clamp_max lerp addcmul addcdiv isclose",
    floats: """copysign deg2rad float_power frac frexp heaviside isneginf isposinf isreal ldexp nan_to_num nextafter
        positive rad2deg signbit sinc""",
    integers: "bitwise_left_shift bitwise_right_shift gcd lcm",
    polar: "angle",
    special_functions: "digamma erfinv i0 lgamma logit mvlgamma xlogy",
    reduce: "sum mean prod amax amin argmax argmin all any count_nonzero",
    extremum: "max min aminmax",
    statistics: "var std nansum nanmean",
    distance: "norm dist",
    scan: "cumprod cumsum cummax cummin logcumsumexp",
    order: "argsort kthvalue msort sort topk",
    ranks: "median nanmedian mode quantile nanquantile",
    differences: "diff",
    histogram: "bincount histc histogram",
    sets: "unique unique_consecutive",
    movement: """reshape flatten unflatten squeeze unsqueeze transpose permute t movedim expand expand_as
        broadcast_to narrow select flip diagonal""",
    pieces: """chunk split split_with_sizes tensor_split unbind hsplit vsplit dsplit unsafe_chunk unsafe_split
        unsafe_split_with_sizes""",
    repeat: "repeat repeat_interleave tile roll fliplr flipud rot90",
    shape: "view_as reshape_as sum_to_size ravel adjoint narrow_copy",
    strided: "view unfold as_strided as_strided_scatter storage_offset",
    memory_format: "contiguous clone",
    filled: "new_zeros new_ones new_full new_empty new_empty_strided",
    index: "gather take_along_dim nonzero argwhere",
    scatter: """scatter scatter_add scatter_reduce index_add index_copy index_fill index_reduce masked_fill
        masked_scatter""",
    replace: "select_scatter slice_scatter diagonal_scatter fill_diagonal_ take put",
    triangle: "diag diag_embed diagflat tril triu",
    subscript: "index_select index_put masked_select",
    softmax: "softmax log_softmax logsumexp",
    complex: "conj conj_physical resolve_conj resolve_neg",
    matmul: "matmul mm bmm mv dot",
    contract: "outer ger vdot inner trace",
    addmm: "addmm addmv addbmm baddbmm addr",
    older: """det logdet slogdet inverse pinverse cholesky cholesky_solve cholesky_inverse qr svd lu lu_solve matrix_exp
        matrix_power geqrf ormqr orgqr triangular_solve""",
    products: "cross kron",
    statistics_of_rows: "cov corrcoef renorm",
    random: "bernoulli multinomial",
}

INPLACE = {
    ew: """abs acos asin atan bitwise_not ceil cos cosh erf erfc exp expm1 floor log log10 log1p log2 logical_not
        neg reciprocal relu round rsqrt sigmoid sign sin sinh sqrt square tan tanh trunc add sub mul acosh asinh atanh
        exp2 sgn hypot atan2
        div floor_divide remainder fmod pow logical_and logical_or
        logical_xor bitwise_and bitwise_or bitwise_xor eq ne lt le gt ge""",
    floats: "copysign deg2rad float_power frac heaviside ldexp nan_to_num nextafter rad2deg sinc",
    integers: "bitwise_left_shift bitwise_right_shift gcd lcm",
    ternary: "clamp clamp_min clamp_max",
    special_functions: "digamma erfinv i0 lgamma logit mvlgamma xlogy",
    complex: "conj_physical",
    scan: "cumprod cumsum",
    scatter: "scatter scatter_add scatter_reduce index_copy index_fill index_reduce masked_fill masked_scatter",
    replace: "put",
    triangle: "tril triu",
    addmm: "addmm addmv addbmm baddbmm addr",
    statistics_of_rows: "renorm",
}

RELAID = {movement: "squeeze unsqueeze transpose t", strided: "as_strided"}
REFUSED = {
    "resize_": "Make a tensor of the new size, or use reshape().",
    "resize_as_": "Make a tensor of the new size, or use reshape_as().",
    "set_": "Assign to .data, or use copy_().",
}
ALIASES = {
    "absolute": "abs", "arccos": "acos", "arcsin": "asin", "arctan": "atan", "negative": "neg", "multiply": "mul",
    "divide": "div", "true_divide": "div", "subtract": "sub", "clip": "clamp", "greater": "gt", "greater_equal": "ge",
    "less": "lt", "less_equal": "le", "not_equal": "ne", "fix": "trunc",
    "swapaxes": "transpose", "swapdims": "transpose", "moveaxis": "movedim",
    "arccosh": "acosh", "arcsinh": "asinh", "arctanh": "atanh", "arctan2": "atan2",
}  # fmt: skip

# Of functions that are no methods.
FUNCTION_ALIASES = {"concat": "cat", "concatenate": "cat", "row_stack": "vstack"}

UFUNCS = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide, "truediv": np.true_divide}

COMPARE = {"__eq__": ew.eq, "__ne__": ew.ne, "__lt__": ew.lt, "__le__": ew.le, "__gt__": ew.gt, "__ge__": ew.ge}
FORWARD: dict[str, Any] = {
    "truediv": ew.div, "floordiv": ew.floor_divide, "mod": ew.remainder, "pow": ew.pow, "matmul": matmul.matmul,
    "and": ew.bitwise_and, "or": ew.bitwise_or, "xor": ew.bitwise_xor,
    "lshift": integers.bitwise_left_shift, "rshift": integers.bitwise_right_shift,
}  # fmt: skip
AUGMENTED: dict[str, Any] = {
    "iadd": ew.add, "isub": ew.sub, "imul": ew.mul, "itruediv": ew.div, "ifloordiv": ew.floor_divide,
    "imod": ew.remainder,
    "ipow": ew.pow, "iand": ew.bitwise_and, "ior": ew.bitwise_or, "ixor": ew.bitwise_xor,
    "ilshift": integers.bitwise_left_shift, "irshift": integers.bitwise_right_shift,
}  # fmt: skip

_NUMBERS = (int, float, builtins.complex)


def _fast(prim: Any, slow: Any) -> Any:
    """An operator that goes straight to the tape where both operands have one dtype, or the other is a weak number."""

    def op(self: Any, other: Any) -> Any:
        if isinstance(other, Tensor):
            if self.raw.dtype is other.raw.dtype:
                return apply2(prim, self, other)
        elif other.__class__ is float:
            d = self.raw.dtype
            if d is F32 or d is F64:
                return apply2(prim, self, other)
        elif not isinstance(other, _NUMBERS):
            return _foreign(slow, self, other)
        return slow(self, other)

    return op


def _foreign(fn: Any, self: Any, other: Any, swap: bool = False) -> Any:
    """Operands that are neither Tensors nor numbers: NumPy arrays become tensors, the rest is Python's to refuse."""
    if hasattr(other, "__array_interface__") or type(other).__module__ == "numpy":
        other = create.tensor(other, device=self.device)
        return fn(other, self) if swap else fn(self, other)
    return NotImplemented


def _plain(fn: Any, swap: bool = False) -> Any:
    def op(self: Any, other: Any) -> Any:
        if not isinstance(other, Tensor) and not isinstance(other, _NUMBERS):
            return _foreign(fn, self, other, swap)
        return fn(other, self) if swap else fn(self, other)

    return op


def _rsub(self: Any, other: Any) -> Any:
    if other.__class__ is float and (self.raw.dtype is F32 or self.raw.dtype is F64):
        return apply2(pw.sub_p, other, self)
    return ew.sub(other, self) if isinstance(other, (Tensor, *_NUMBERS)) else _foreign(ew.sub, self, other, swap=True)


def _part(fn: Any) -> Any:
    """real and imag: properties that can be written."""
    return property(fn, lambda self, value: ip.copy_(fn(self), value))


def _adjoint(x: Any) -> Any:
    """The conjugate of the last two dimensions exchanged."""
    return complex.conj(x.mT)


def _hermitian(x: Any) -> Any:
    """The conjugate transpose of a matrix. ShapeError for another number of dimensions."""
    if x.ndim not in (0, 2):
        raise ShapeError(f"tensor.H is only supported on matrices (2-D tensors), got {x.ndim} dimensions. Use .mH")
    return complex.conj(x.T)


def _where(self: Any, condition: Any, other: Any) -> Any:
    """The tensor where the condition holds, other elsewhere."""
    return index.where(condition, self, other)


WRITING = {
    ip: "copy_ fill_ zero_ addcmul_ addcdiv_ lerp_",
    ip_random: "uniform_ normal_ log_normal_ exponential_ cauchy_ geometric_ bernoulli_ random_",
}


def polygamma(self: Any, n: int) -> Any:
    """The n-th derivative of digamma."""
    return special_functions.polygamma(n, self)


def attach() -> None:
    """Puts the functions above onto Tensor."""
    for module, names in METHODS.items():
        for name in names.split():
            setattr(Tensor, name, getattr(module, name))
    for module, names in INPLACE.items():
        for name in names.split():
            setattr(Tensor, f"{name}_", ip.inplace(getattr(module, name), UFUNCS.get(name)))
    for module, names in RELAID.items():
        for name in names.split():
            setattr(Tensor, f"{name}_", relaid(getattr(module, name)))
    for module, names in WRITING.items():
        for name in names.split():
            setattr(Tensor, name, getattr(module, name))
    for name, d in casts.NAMES.items():
        setattr(Tensor, name, casts.cast(d))
    for name, instead in REFUSED.items():
        setattr(Tensor, name, refused(name, instead))
    for name, target in ALIASES.items():
        setattr(Tensor, name, getattr(Tensor, target))
        if hasattr(Tensor, f"{target}_"):
            setattr(Tensor, f"{name}_", getattr(Tensor, f"{target}_"))


def attach_operators() -> None:
    """Arithmetic, comparisons, subscripts, and what else has no function of its own."""
    for name, prim, slow in (("add", pw.add_p, ew.add), ("sub", pw.sub_p, ew.sub), ("mul", pw.mul_p, ew.mul)):
        setattr(Tensor, f"__{name}__", _fast(prim, slow))
    for name, fn in COMPARE.items():
        setattr(Tensor, name, _plain(fn))
    for name, fn in FORWARD.items():
        setattr(Tensor, f"__{name}__", _plain(fn))
        setattr(Tensor, f"__r{name}__", _plain(fn, swap=True))
    for name, fn in AUGMENTED.items():
        setattr(Tensor, f"__{name}__", ip.inplace(fn, UFUNCS.get(name[1:])))
    for name, value in {
        "__radd__": Tensor.__add__, "__rmul__": Tensor.__mul__, "__rsub__": _rsub, "__neg__": ew.neg, "__abs__": ew.abs,
        "__invert__": ew.bitwise_not, "__getitem__": subscript.getitem, "__setitem__": subscript.setitem,
        "__hash__": object.__hash__, "index_add_": subscript.index_add_, "index_put_": subscript.index_put_,
        "cat": staticmethod(join.cat), "where": _where, "real": _part(complex.real), "imag": _part(complex.imag),
        "polygamma": polygamma, "polygamma_": ip.inplace(polygamma), "__rdiv__": Tensor.__rtruediv__,
        "H": property(_hermitian), "mH": property(_adjoint),
    }.items():  # fmt: skip
        setattr(Tensor, name, value)


# Between raw values of an interpreter the same operators mean the primitives.
VALUE_OPERATORS = {
    "add": pw.add_p, "sub": pw.sub_p, "mul": pw.mul_p, "truediv": pw.div_p, "pow": pw.pow_p,
    "floordiv": pw.floor_divide_p,
}  # fmt: skip
VALUE_COMPARE = {"__lt__": pw.lt_p, "__le__": pw.le_p, "__gt__": pw.gt_p, "__ge__": pw.ge_p}


def attach_values() -> None:
    """Arithmetic for Value, so that gradient rules run on Vars, Duals, ... as they do on arrays."""
    for name, prim in VALUE_OPERATORS.items():
        setattr(Value, f"__{name}__", lambda self, other, prim=prim: _bind(prim, self, other))
        setattr(Value, f"__r{name}__", lambda self, other, prim=prim: _bind(prim, other, self))
    for name, prim in VALUE_COMPARE.items():
        setattr(Value, name, lambda self, other, prim=prim: prim.bind(self, other))
    setattr(Value, "__neg__", lambda self: pw.neg_p.bind(self))  # noqa: B010, PLW0108


def _bind(prim: Any, a: Any, b: Any) -> Any:
    """Raw arithmetic; a bool operand takes the other's dtype first, as NumPy would do (rules write `mask * g`)."""
    a, b = _unbool(a, b), _unbool(b, a)
    return prim.bind(a, b)


def _unbool(x: Any, other: Any) -> Any:
    if getattr(x, "dtype", None) == np.bool_:
        if isinstance(other, float):
            return cast_p.bind(x, dtype=dtypes.float64.dtype)
        if getattr(other, "dtype", np.bool_) != np.bool_:
            return cast_p.bind(x, dtype=other.dtype)
    return x


attach()
attach_operators()
attach_values()
