"""One row for each public operation on tensors. A function without a row fails the discovery test.

`g(2, 3)` makes a float64 array (see rows.Maker); the oracle is the function's definition in NumPy, on float64.
"""

import math
from typing import Any

import numpy as np

import expkit as ek
from expkit.tensor.methods import ALIASES
from expkit.tensor.ops.elementwise import softplus_1
from tests.ops.rows import ALL, FLOATS, INTS, Bad, Maker, Row, Sample
from tests.ops.table_elementwise import ROWS as ELEMENTWISE
from tests.ops.table_index import ROWS as INDEXED
from tests.ops.table_linalg import ROWS as LINALG
from tests.ops.table_nn import ROWS as NEURAL
from tests.ops.table_products import ROWS as FACTORED
from tests.ops.table_reductions import ROWS as SUMMARIES
from tests.ops.table_sets import ROWS as SETS
from tests.ops.table_shape import ROWS as SHAPED

S = Sample
FLOAT_INT = f"{FLOATS} {INTS}"
erf = np.vectorize(math.erf, otypes=[float])
erfc = np.vectorize(math.erfc, otypes=[float])


# ---- elementwise, one argument ---------------------------------------------------------------------------------------


def shapes(make: Any) -> list[Sample]:
    """One array in the shapes that matter: scalar, vector, matrix, empty ones, three axes."""
    return [S(make(*shape)) for shape in ((), (4,), (2, 3), (0,), (2, 0, 3), (2, 1, 3))]


def unary(name: str, numpy: Any, domain: str = "__call__", **kw: Any) -> Row:
    return Row(name, lambda g: shapes(getattr(g, domain)), numpy, **kw)


EDGES = np.array([0.0, -0.0, 0.5, 1.5, -0.5, -2.5, 3.7, -3.7, np.inf, -np.inf, np.nan])


def special(name: str, numpy: Any, grad: bool = True, dtypes: str = FLOAT_INT, **kw: Any) -> list[Row]:
    """A predicate or rounding: off the steps, then on halves, infinities and NaN."""
    return [
        Row(name, lambda g: shapes(g.off_integers), numpy, grad=grad, dtypes=dtypes, **kw),
        Row(name, lambda g: [S(EDGES), S(np.array(np.nan))], numpy, grad=False, dtypes=dtypes, **kw),
    ]


UNIT = lambda g: shapes(lambda *s: g(*s, lo=-0.9, hi=0.9))  # noqa: E731
UNARY = [
    unary("abs", np.abs, "off_zero", dtypes=FLOAT_INT),
    Row("acos", UNIT, np.arccos),
    Row("asin", UNIT, np.arcsin),
    unary("atan", np.arctan),
    unary("cos", np.cos),
    unary("cosh", np.cosh),
    unary("erf", erf),
    unary("erfc", erfc),
    unary("exp", np.exp),
    unary("expm1", np.expm1),
    unary("log", np.log, "positive"),
    unary("log10", np.log10, "positive"),
    unary("log1p", np.log1p, "positive"),
    unary("log2", np.log2, "positive"),
    unary("neg", np.negative),
    unary("reciprocal", lambda x: 1 / x, "off_zero"),
    unary("relu", lambda x: np.maximum(x, 0), "off_zero", dtypes=FLOAT_INT),
    unary("rsqrt", lambda x: 1 / np.sqrt(x), "positive"),
    unary("sigmoid", lambda x: 1 / (1 + np.exp(-x))),
    unary("sin", np.sin),
    unary("sinh", np.sinh),
    unary("sqrt", np.sqrt, "positive"),
    unary("square", np.square),
    unary("tan", lambda x: np.tan(x), "positive", tolerance=100.0),
    unary("tanh", np.tanh),
    unary("softplus", lambda x: np.logaddexp(x, 0), call=softplus_1, torch=lambda t: t.nn.functional.softplus, dtypes=FLOATS),
    unary("clone", lambda x: x),
    unary("detach", lambda x: x, grad=False, torch=lambda t: lambda x: x.detach()),
    *special("ceil", np.ceil),
    *special("floor", np.floor),
    *special("trunc", np.trunc),
    *special("sign", lambda x: np.nan_to_num(np.sign(x), nan=0.0), dtypes=ALL),
    *special("isfinite", np.isfinite, grad=False, dtypes=ALL),
    *special("isinf", np.isinf, grad=False, dtypes=ALL),
    *special("isnan", np.isnan, grad=False, dtypes=ALL),
    *special("logical_not", np.logical_not, grad=False, dtypes=ALL),
    *special(
        "nan_to_num", lambda x: np.nan_to_num(x, nan=0.5, posinf=2.0, neginf=-2.0), dtypes=ALL,
        call=lambda x: ek.nan_to_num(x, 0.5, 2.0, -2.0), torch=lambda t: lambda x: t.nan_to_num(x, 0.5, 2.0, -2.0),
    ),
    Row("nan_to_num", lambda g: [S(EDGES)], grad=False, dtypes=ALL),
    *special("round", np.rint),
    Row("round", lambda g: [S(g.off_integers(5), decimals=1), S(g.off_integers(2, 3), decimals=-1), S(g(3) * 100, decimals=2)],
        lambda x, decimals: np.round(x, decimals), dtypes="float64 float32", grad=False, tolerance=3.0),
    Row("bitwise_not", lambda g: [S(g.ints(9, 4)), S(g.bools(2, 3)), S(np.asarray(5))], np.invert, grad=False,
        dtypes="int64"),
]  # fmt: skip


# ---- elementwise, several arguments ----------------------------------------------------------------------------------

PAIRS = (((), ()), ((3,), (3,)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2, 2)), ((2, 3), ()), ((0,), (1,)), ((2, 0), (2, 1)))


def pairs(first: Any, second: Any) -> list[Sample]:
    return [S(first(*a), second(*b)) for a, b in PAIRS]


def binary(name: str, numpy: Any, first: str = "__call__", second: str = "__call__", scalars: tuple = (2, 0.5, -1), **kw: Any) -> Row:
    """Broadcast pairs, and Python numbers on the right."""

    def samples(g: Maker) -> list[Sample]:
        return pairs(getattr(g, first), getattr(g, second)) + [S(getattr(g, first)(2, 3), s) for s in scalars]

    return Row(name, samples, numpy, **kw)


def compare(name: str, numpy: Any) -> Row:
    def samples(g: Maker) -> list[Sample]:
        tie = np.array([1.0, 2.0, np.nan, np.inf])
        return pairs(g, g) + [S(tie, np.array([1.0, 1.0, np.nan, np.inf])), S(tie, 1), S(tie, 1.5)]

    return Row(name, samples, numpy, grad=False)


def ties(fn: Any) -> Any:
    """Pairs without ties for numeric derivatives, then NaN and infinities (in values only)."""
    return lambda g: [*pairs(lambda *s: np.abs(g.off_zero(*s)), lambda *s: -np.abs(g.off_zero(*s))), S(g.distinct(4), g.distinct(4) * 1.01)]


def logical(name: str, numpy: Any) -> Row:
    return Row(name, lambda g: [S(np.rint(g(*a)), np.rint(g(*b))) for a, b in PAIRS], numpy, grad=False)


def bitwise(name: str, numpy: Any) -> Row:
    return Row(
        name, lambda g: [S(g.ints(99, 2, 3), g.ints(99, 3)), S(g.bools(3), g.bools(2, 1)), S(g.ints(9, 4), 6)], numpy, grad=False, dtypes="int64"
    )


BINARY = [
    binary("add", np.add),
    Row("add", lambda g: [S(g(2, 3), g(3), alpha=2), S(g(3), 2, alpha=3)], lambda x, y, alpha: x + alpha * y, dtypes=FLOAT_INT),
    binary("sub", np.subtract),
    Row("sub", lambda g: [S(g(2, 3), g(3), alpha=2), S(g(3), 2, alpha=3)], lambda x, y, alpha: x - alpha * y, dtypes=FLOAT_INT),
    binary("mul", np.multiply),
    binary("div", np.true_divide, second="off_zero"),
    *(
        Row("div", lambda g, mode=mode: [S(g.off_integers(2, 3), np.ones(3), rounding_mode=mode), S(g.off_integers(4), 0.5, rounding_mode=mode),
                                         S(g.off_integers(4) * 4, np.array([2.0, -2.0, 1.0, -1.0]), rounding_mode=mode)],
            lambda x, y, rounding_mode, fn=fn: fn(x / y), dtypes=FLOAT_INT, grad=True, second=True)
        for mode, fn in (("floor", np.floor), ("trunc", np.trunc))
    ),
    binary("atan2", np.arctan2, "off_zero", "off_zero", scalars=()),
    binary("logaddexp", np.logaddexp, scalars=(), dtypes=FLOATS),
    Row("maximum", ties(np.maximum), np.maximum),
    Row("minimum", ties(np.minimum), np.minimum),
    binary("pow", np.power, "positive", scalars=(2, 0.5, -1, 0, 3, 1), dtypes=FLOATS),
    Row("pow", lambda g: [S(np.array([0.0, -1.5, 2.0, 0.0]), k) for k in (1, 2, 3, 0)] + [S(2.0, g(3)), S(0.5, g()), S(3, g(2, 2))],
        np.power, dtypes="float64 float32 int64 uint8"),
    Row("floor_divide", lambda g: [S(g.off_integers(4) * 3, np.array([2.0, -2.0, 1.5, 3.0])), S(g.off_integers(2, 3), 0.5), S(g.off_integers(3), 2)],
        lambda x, y: np.floor(x / y), grad=False, dtypes=FLOAT_INT),
    Row("remainder", lambda g: [S(g.off_integers(4), np.array([2.0, -2.0, 1.0, 3.0])), S(g.off_integers(2, 3), 2), S(g.off_integers(2, 1), np.array([0.7, -0.7]))],
        np.remainder, dtypes=FLOAT_INT, tolerance=30.0),
    Row("remainder", lambda g: [S(7.3, g.positive(3) + 0.5)], np.remainder, dtypes=FLOATS, tolerance=30.0,
        gaps={"torch_grad": "PyTorch has no derivative for a number on the left"}),
    Row("fmod", lambda g: [S(g.off_integers(4), np.array([2.0, -2.0, 1.0, 3.0])), S(g.off_integers(2, 3), 2)], np.fmod, dtypes=FLOAT_INT, tolerance=30.0),
    compare("eq", np.equal), compare("ne", np.not_equal), compare("lt", np.less), compare("le", np.less_equal), compare("gt", np.greater),
    compare("ge", np.greater_equal),
    logical("logical_and", np.logical_and), logical("logical_or", np.logical_or), logical("logical_xor", np.logical_xor),
    bitwise("bitwise_and", np.bitwise_and), bitwise("bitwise_or", np.bitwise_or), bitwise("bitwise_xor", np.bitwise_xor),
    Row("isclose", lambda g: [S(g(3), g(3)), S(np.array([1.0, np.nan, np.inf]), np.array([1 + 1e-7, np.nan, np.inf])),
                              S(np.array([1.0, np.nan]), np.array([1.0, np.nan]), equal_nan=True), S(g(2, 1), g(3), rtol=0.5, atol=0.1)],
        np.isclose, grad=False, dtypes="float64 float32 int64"),
    Row("where", lambda g: [S(g.bools(2, 3), g(2, 3), g(2, 3)), S(g.bools(3), g(2, 1), g()), S(g.bools(2, 1), g(3), 1.5), S(g.bools(3), 2, g(3)),
                            S(g.bools(), g(2), g(2)), S(g.bools(0), g(0), g(0))], np.where),
    Row("where", lambda g: [S(g.bools(3), 1.5, 2.5), S(g.bools(3), 1, 0), S(g.bools(3), True, False), S(g.bools(2), 1, 2.5)],
        grad=False, dtypes="float64"),
    Row("clamp", lambda g: [S(g.distinct(4), -0.6, 0.6), S(g.distinct(2, 3), min=0.1), S(g.distinct(2, 3), max=0.1), S(g.distinct(2, 3), g(3) - 2.1, g(3) + 2.1),
                            S(g.distinct(3), None, g(3)), S(g(0), 0.0, 1.0)],
        lambda x, min=None, max=None: np.clip(x, min, max), dtypes=FLOAT_INT),
    Row("clamp_min", lambda g: [S(g.distinct(4), 0.1), S(g.distinct(2, 3), g(3))], np.maximum, dtypes=FLOAT_INT),
    Row("clamp_max", lambda g: [S(g.distinct(4), 0.1), S(g.distinct(2, 3), g(3))], np.minimum, dtypes=FLOAT_INT),
    Row("lerp", lambda g: [S(g(3), g(3), 0.25), S(g(2, 3), g(3), g(2, 1)), S(g(), g(2), 0.8), S(g(3), g(3), 1.0)], lambda x, y, w: x + w * (y - x),
        dtypes=FLOATS),
    Row("addcmul", lambda g: [S(g(2, 3), g(3), g(2, 1)), S(g(2), g(2), g(2), value=2), S(g(), g(), g(), value=-1)],
        lambda x, a, b, value=1: x + value * a * b, dtypes=FLOAT_INT),
    Row("addcdiv", lambda g: [S(g(2, 3), g(3), g.positive(2, 1)), S(g(2), g(2), g.off_zero(2), value=0.5)],
        lambda x, a, b, value=1: x + value * a / b, dtypes=FLOATS),
]  # fmt: skip


# ---- reductions, scans, order ----------------------------------------------------------------------------------------


def axes(dim: Any) -> Any:
    return tuple(dim) if isinstance(dim, list) else dim


def reduce_samples(make: Any, empty: bool = True, lists: bool = True) -> list[Sample]:
    found = [S(make()), S(make(4)), S(make(2, 3)), S(make(2, 3), 0), S(make(2, 3), -1, True), S(make(2, 3, 2), dim=1), S(make(1, 3), 0), S(make(), 0),
             S(make(), -1, True)]  # fmt: skip
    if lists:
        found += [S(make(2, 3, 2), (0, 2)), S(make(2, 3, 2), [-1, 0], keepdim=True), S(make(2, 3), ())]
    return found + ([S(make(0)), S(make(2, 0), 1), S(make(0, 3), 0), S(make(0, 3), 1)] if empty else [S(make(2, 0), 0)])


def reduction(name: str, numpy: Any, domain: str = "__call__", empty: bool = True, lists: bool = True, **kw: Any) -> Row:
    def oracle(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
        dim = None if dim == () or (x.ndim == 0) else axes(dim)
        return numpy(x, axis=dim, keepdims=keepdim)

    return Row(name, lambda g: reduce_samples(getattr(g, domain), empty, lists), oracle, **kw)


def variance(name: str, numpy: Any) -> Row:
    def oracle(x: Any, dim: Any = None, keepdim: bool = False, correction: int = 1) -> Any:
        return numpy(x, axis=axes(dim), ddof=correction, keepdims=keepdim)

    def samples(g: Maker) -> list[Sample]:
        return [S(g(4)), S(g(2, 3), 0), S(g(2, 3), dim=(0, 1)), S(g(2, 3), dim=-1, keepdim=True), S(g(2, 3, 2), dim=[0, 2], correction=0),
                S(g(5), dim=0, correction=2)]  # fmt: skip

    return Row(name, samples, oracle, dtypes=FLOATS)


def norm_oracle(x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Any:
    a = np.abs(x)
    p = 2 if p == "fro" else p
    if p == np.inf:
        return a.max(axes(dim), keepdims=keepdim)
    if p == -np.inf:
        return a.min(axes(dim), keepdims=keepdim)
    if p == 0:
        return (a != 0).sum(axes(dim), keepdims=keepdim).astype(float)
    return (a**p).sum(axes(dim), keepdims=keepdim) ** (1 / p)


def softmax_oracle(x: Any, dim: int) -> Any:
    e = np.exp(x - x.max(dim, keepdims=True)) if x.size else x
    return e / e.sum(dim, keepdims=True)


def extremum(name: str, numpy: Any, arg: Any) -> list[Row]:
    """max and min: of all elements, along a dim with indices, and of two tensors."""

    def along(x: Any, dim: int, keepdim: bool = False) -> Any:
        k = arg(x, dim) if x.ndim else np.asarray(0)
        values = np.take_along_axis(x, np.expand_dims(k, dim), dim).squeeze(dim) if x.ndim else x
        return (np.expand_dims(values, dim), np.expand_dims(k, dim)) if keepdim else (values, k)

    return [
        Row(name, lambda g: [S(g.distinct()), S(g.distinct(4)), S(g.distinct(2, 3)), Bad(g.distinct(2, 0, 3))], None),
        Row(name, lambda g: [S(g.distinct(2, 3), 0), S(g.distinct(2, 3), -1, True), S(g.distinct(3, 2, 2), dim=1), S(g.distinct(), 0), S(g.distinct(0, 3), 1)],
            None),
        Row(name, lambda g: [S(g.distinct(2, 3), 0), S(g.distinct(2, 3), 1, True), S(g.distinct(5), -1)], along, grad=False),
        Row(name, lambda g: [S(g.distinct(4), g.distinct(4) * 1.01), S(g.distinct(2, 3), g(3) + 5)], numpy),
    ]  # fmt: skip


def sort_oracle(x: Any, dim: int = -1, descending: bool = False) -> Any:
    k = np.argsort(-x if descending else x, axis=dim, kind="stable")
    return np.take_along_axis(x, k, dim), k


REDUCE = [
    reduction("sum", np.sum),
    reduction("mean", np.mean, empty=False, dtypes=FLOAT_INT),
    Row("mean", lambda g: [S(g(0)), S(g(2, 0), 1), S(g(0, 2), 0), S(g(0, 3), 1)], grad=False, dtypes=FLOATS),
    reduction("prod", lambda x, axis, keepdims: np.prod(x, axis=axis, keepdims=keepdims and axis is not None), lists=False,
              gaps={}),
    Row("prod", lambda g: [S(np.array([0.0, 2.0, 3.0])), S(np.array([0.0, 2.0, 0.0]), 0), S(np.array([[0.0, 1.5], [2.0, -1.0]]), 1)],
        lambda x, dim=None: np.prod(x, axis=dim), dtypes="float64"),
    Row("sum", lambda g: [S(g(2, 3), dtype="float64"), S(g(3), 0, dtype="float64")], call=lambda x, *d, dtype: ek.sum(x, *d, dtype=ek.float64),
        torch=lambda t: lambda x, *d, dtype: t.sum(x, *d, dtype=t.float64)),
    variance("var", np.var), variance("std", np.std),
    Row("var_mean", lambda g: [S(g(4)), S(g(2, 3), dim=0), S(g(2, 3), dim=(0, 1), correction=0, keepdim=True)], dtypes=FLOATS),
    reduction("amax", np.max, "distinct", empty=False, dtypes=ALL), reduction("amin", np.min, "distinct", empty=False, dtypes=ALL),
    *extremum("max", np.maximum, np.argmax), *extremum("min", np.minimum, np.argmin),
    *(
        Row(name, lambda g: [S(g.distinct()), S(g.distinct(5)), S(g.distinct(2, 3)), S(g.distinct(2, 3), 0), S(g.distinct(2, 3), -1, True), S(g.distinct(), 0),
                             S(g.distinct(2, 3), keepdim=True), S(np.array([1.0, 3.0, 3.0, -1.0, -1.0])), S(np.array([1.0, np.nan, 3.0, np.nan])),
                             S(g.distinct(0, 3), 1)], grad=False, dtypes=FLOAT_INT)
        for name in ("argmax", "argmin")
    ),
    *(Row(name, lambda g: [*reduce_samples(lambda *s: np.rint(g(*s))), S(np.array([0.0, np.nan]))], grad=False) for name in ("all", "any")),
    Row("count_nonzero", lambda g: [S(np.rint(g(4))), S(np.rint(g(2, 3)), 0), S(np.rint(g(2, 3, 2)), dim=(0, 2)), S(g(0))],
        lambda x, dim=None: np.count_nonzero(x, axis=dim), grad=False),
    Row("cumsum", lambda g: [S(g(4), 0), S(g(2, 3), 1), S(g(2, 3), -2), S(g(), 0), S(g(0), 0), S(g(2, 0), 0)],
        lambda x, dim: np.cumsum(x, dim) if x.ndim else x),
    Row("cumprod", lambda g: [S(g(4), 0), S(g(2, 3), 1), S(g(2, 3), -2), S(g(), 0), S(g(0), 0), S(g(2, 0), 0), S(np.array([2.0, 0.0, 3.0, 0.0, 5.0]), 0)],
        lambda x, dim: np.cumprod(x, dim) if x.ndim else x),
    Row("logsumexp", lambda g: [S(g(4), 0), S(g(2, 3), 1), S(g(2, 3), (0, 1)), S(g(2, 3), -1, True), S(g(), 0), S(g(3) + 1000, 0)],
        lambda x, dim, keepdim=False: np.log(np.sum(np.exp(x - x.max()), axes(dim) if x.ndim else None, keepdims=keepdim)) + x.max(),
        dtypes=FLOAT_INT),
    Row("logsumexp", lambda g: [S(np.array([-np.inf, -np.inf]), 0), S(np.array([np.inf, 1.0]), 0), S(np.array([-np.inf, 1.0]), 0), S(g(0), 0), S(g(2, 0), 1)],
        grad=False, dtypes=FLOATS),
    Row("norm", lambda g: [S(g.off_zero(4)), S(g.off_zero(2, 3), dim=0), S(g.off_zero(2, 3), dim=(0, 1)), S(g.off_zero(2, 3), 1), S(g.off_zero(2, 3), 3, 1, True),
                           S(g.distinct(4) + 0.05, np.inf), S(g.distinct(5) + 0.05, -np.inf, 0), S(g.off_zero(3), 0.5), S(g.off_zero(2, 3), "fro"),
                           S(g())],
        norm_oracle, dtypes=FLOATS),
    Row("norm", lambda g: [S(np.array([0.0, 2.0, -1.0]), p) for p in (-1, -0.5, 0, 0.5, 1, 1.5, 2, 3)] + [S(np.zeros(3), p) for p in (1, 1.5, 2, 3, np.inf)],
        norm_oracle, dtypes="float64 float32", grad=False),
    Row("softmax", lambda g: [S(g(4), 0), S(g(2, 3), 1), S(g(2, 3, 2), dim=-2), S(g(3) * 1000, 0), S(g(2, 0), 0)], softmax_oracle,
        dtypes=FLOATS),
    Row("log_softmax", lambda g: [S(g(4), 0), S(g(2, 3), 1), S(g(2, 3, 2), dim=-2), S(g(3) * 100, 0)], lambda x, dim: np.log(softmax_oracle(x, dim)),
        dtypes=FLOATS),
    Row("softmax", lambda g: [S(g(), 0), S(g(2, 0), 1), S(g(0, 3), 0)], dtypes="float64 float32"),
    Row("log_softmax", lambda g: [S(g(), 0), S(g(2, 0), 1), S(g(0, 3), 0)], dtypes="float64 float32"),
    Row("sort", lambda g: [S(g.distinct(5)), S(g.distinct(2, 3), 0), S(g.distinct(2, 3), -1, True), S(g.distinct(2, 0))], sort_oracle, dtypes=FLOAT_INT,
        torch=lambda t: lambda x, dim=-1, descending=False: t.sort(x, dim=dim, descending=descending, stable=True)),
    Row("sort", lambda g: [S(np.array([2.0, np.nan, 1.0, np.nan, np.inf]), 0, d) for d in (False, True)] + [S(g.distinct())], grad=False, dtypes=FLOATS,
        torch=lambda t: lambda x, dim=-1, descending=False: t.sort(x, dim=dim, descending=descending, stable=True)),
    Row("argsort", lambda g: [S(g.distinct(5)), S(g.distinct(2, 3), 0), S(g.distinct(2, 3), descending=True), S(np.array([1.0, 0.0, 1.0, 0.0])), S(g.distinct()),
                              S(np.array([1.0, 0.0, 1.0, 0.0]), descending=True)],
        grad=False, torch=lambda t: lambda x, dim=-1, descending=False: t.argsort(x, dim=dim, descending=descending, stable=True)),
    Row("topk", lambda g: [S(g.distinct(6), 3), S(g.distinct(2, 4), 2, 1), S(g.distinct(3, 2), 1, dim=0, largest=False), S(g.distinct(), 1), S(g.distinct(4), 0)],
        dtypes="float64 float32 int64"),
    Row("msort", lambda g: [S(g.distinct(5)), S(g.distinct(4, 3)), S(g.distinct(0, 3))], lambda x: np.sort(x, 0), dtypes=FLOAT_INT),
    Row("kthvalue", lambda g: [S(g.distinct(6), 3), S(g.distinct(2, 4), 2, 0), S(g.distinct(3, 2), 1, dim=-1, keepdim=True), S(g.distinct(), 1), Bad(g.distinct(3), 4), Bad(g.distinct(3), 0)],
        dtypes="float64 float32 int64"),
    Row("median", lambda g: [S(g.distinct(6)), S(g.distinct(2, 5), 1), S(g.distinct(2, 4), 0, True), S(g.distinct(2, 3, 2), -2), S(g.distinct()), S(g.distinct(), 0), Bad(g.distinct(2, 0), 1)],
        dtypes="float64 float32 int64"),
    Row("median", lambda g: [S(np.array([[2.0, np.nan, 1.0, np.nan], [1.0, 2.0, 0.0, np.inf]]), 1), S(np.array([np.nan, 1.0])), S(np.zeros(0))], grad=False, dtypes="float64 float32"),
]  # fmt: skip


# ---- shape and layout ------------------------------------------------------------------------------------------------


def layout(name: str, samples: Any, numpy: Any = None, **kw: Any) -> Row:
    return Row(name, samples, numpy, **{"dtypes": "float64 float32 bfloat16 int64 bool", **kw})


def roll_oracle(x: Any, shifts: Any, dims: Any = None) -> Any:
    return np.roll(x, shifts, dims)


MOVEMENT = [
    layout("reshape", lambda g: [S(g(2, 3), (3, 2)), S(g(2, 3), (-1,)), S(g(4), (2, -1)), S(g(1), ()), S(g(), (1, 1)), S(g(0, 2), (0, 5)), Bad(g(2, 3), (7,)), Bad(g(2, 3), (-1, -1)),
                               Bad(g(0), (-1, 0))], None),
    layout("Tensor.reshape", lambda g: [S(g(2, 3), 3, 2), S(g(2, 3), -1)], None),
    layout("Tensor.view", lambda g: [S(g(2, 3), 3, 2), S(g(2, 3), (-1,)), Bad(g(2, 3), 4)], None, gaps={"layout": "view() refuses strides that do not fit, as PyTorch does"}),
    layout("Tensor.expand", lambda g: [S(g(3), 2, 3), S(g(2, 1), -1, 4), S(g(), 2, 2), S(g(1, 3), (2, -1)), Bad(g(2), 3), Bad(g(2, 3), 3)], None),
    layout("Tensor.expand", lambda g: [S(g(1), 0), S(g(1, 3), 0, 3)], None, grad=False),
    layout("Tensor.expand_as", lambda g: [S(g(3), g(2, 3)), S(g(2, 1), g(2, 4))], None, grad=False),
    layout("broadcast_to", lambda g: [S(g(3), (2, 3)), S(g(2, 1), (2, 4)), S(g(), (2,)), S(g(3), (3,))], np.broadcast_to),
    layout("Tensor.contiguous", lambda g: [S(g(3)), S(g(2, 3)), S(g())], lambda x: x),
    layout("Tensor.contiguous", lambda g: [S(g(2, 3)), S(g(2, 0))], lambda x: x.T, call=lambda x: x.t().contiguous(), torch=lambda t: lambda x: x.t().contiguous()),
    layout("flatten", lambda g: [S(g(2, 3)), S(g(2, 3, 2), 1), S(g(2, 3, 2), 0, 1), S(g()), S(g(2, 3, 2, 1), -3, -2), Bad(g(2, 3), 1, 0), S(g(2, 0))], None),
    layout("unflatten", lambda g: [S(g(6), 0, (2, 3)), S(g(2, 6), -1, (3, -1)), Bad(g(6), 0, (4, 2))], None),
    layout("squeeze", lambda g: [S(g(1, 3, 1)), S(g(1, 3, 1), 0), S(g(1, 3, 1), 1), S(g(1, 3, 1), (0, 2)), S(g()), S(g(), 0), S(g(2, 1), -1), Bad(g(2, 1), 2)], None),
    layout("unsqueeze", lambda g: [S(g(3), 0), S(g(3), 1), S(g(2, 3), -1), S(g(), 0), S(g(2, 3), -3), Bad(g(2), 3)], None),
    layout("transpose", lambda g: [S(g(2, 3), 0, 1), S(g(2, 3, 4), -1, 0), S(g(), 0, -1), Bad(g(2, 3), 0, 2)], None),
    layout("t", lambda g: [S(g(2, 3)), S(g(3)), S(g()), Bad(g(2, 2, 2))], None),
    layout("permute", lambda g: [S(g(2, 3, 4), (2, 0, 1)), S(g(2, 3), (-1, 0)), S(g(), ()), Bad(g(2, 3), (0,)), Bad(g(2, 3), (0, 0))], None),
    layout("movedim", lambda g: [S(g(2, 3, 4), 0, 2), S(g(2, 3, 4), (0, 1), (-1, 0)), S(g(2, 3), 0, 0), Bad(g(2, 3), 0, 5)], None),
    layout("narrow", lambda g: [S(g(5), 0, 1, 3), S(g(2, 4), -1, -3, 2), S(g(3), 0, 3, 0), Bad(g(3), 0, 2, 2)], None),
    layout("select", lambda g: [S(g(2, 3), 0, 1), S(g(2, 3), -1, -1), Bad(g(2, 3), 1, 3)], None),
    layout("flip", lambda g: [S(g(4), (0,)), S(g(2, 3), (0, 1)), S(g(2, 3), (-1,)), S(g(2, 0), (0,))], lambda x, dims: np.flip(x, dims)),
    layout("diagonal", lambda g: [S(g(3, 3)), S(g(2, 4), 1), S(g(3, 2), -1), S(g(2, 3, 3), 0, 1, 2), S(g(2, 3, 2), 0, 0, -1), S(g(2, 2), 5), Bad(g(2, 2), 0, 1, 1)], None),
    layout("split", lambda g: [S(g(5), 2), S(g(2, 5), 3, 1), S(g(5), [1, 0, 4]), S(g(2, 3), 1, dim=-1), Bad(g(4), [1, 1]), S(g(0), 2)], None),
    layout("chunk", lambda g: [S(g(5), 2), S(g(2, 5), 3, 1), S(g(3), 5), S(g(0, 2), 3), Bad(g(4), 0)], None),
    layout("unbind", lambda g: [S(g(3)), S(g(2, 3), 1), S(g(2, 3, 2), -2), S(g(0, 2))], None),
    layout("cat", lambda g: [S([g(2, 3), g(1, 3)]), S([g(2, 1), g(2, 2), g(2, 0)], 1), S([g(3), g(0)]), S((g(2, 3), g(2, 3)), dim=-1), S([g(2)]), Bad([g(2, 3), g(3)]),
                           Bad([g(), g()])], None),
    layout("stack", lambda g: [S([g(2, 3), g(2, 3)]), S([g(3), g(3)], 1), S([g(), g()]), S([g(2), g(2)], -1), Bad([g(2), g(3)])], None),
    layout("hstack", lambda g: [S([g(2), g(3)]), S([g(2, 1), g(2, 2)]), S([g(), g()])], np.hstack),
    layout("vstack", lambda g: [S([g(3), g(3)]), S([g(2, 2), g(1, 2)]), S([g(), g()])], np.vstack),
    layout("roll", lambda g: [S(g(5), 2), S(g(2, 3), -1), S(g(2, 3), 1, 1), S(g(2, 3), (1, -1), (0, 1)), S(g(2, 3), (5, 2), (0, 0)), S(g(0), 1)], roll_oracle),
    layout("Tensor.repeat", lambda g: [S(g(3), 2), S(g(2, 1), 1, 3), S(g(2), 2, 2), S(g(), 3), S(g(2), 0), Bad(g(2, 2), 2)], None),
    layout("tile", lambda g: [S(g(3), (2,)), S(g(2, 1), (3,)), S(g(2), (2, 2)), S(g(), (2,))], np.tile),
    layout("repeat_interleave", lambda g: [S(g(3), 2), S(g(2, 3), 2, 1), S(g(2, 3), 2), S(g(), 3), S(g(2), 0)], lambda x, n, dim=None: np.repeat(x, n, dim)),
    layout("meshgrid", lambda g: [S(g(2), g(3)), S(g(2), g(3), g(2))], call=lambda *xs: ek.meshgrid(*xs, indexing="ij"),
           torch=lambda t: lambda *xs: t.meshgrid(*xs, indexing="ij")),
    layout("meshgrid", lambda g: [S(g(2), g(3)), S(g(2), g(3), g(2)), S(g(2))], call=lambda *xs: ek.meshgrid(*xs, indexing="xy"),
           torch=lambda t: lambda *xs: t.meshgrid(*xs, indexing="xy")),
]  # fmt: skip


# ---- indexing --------------------------------------------------------------------------------------------------------


def placed(name: str) -> Any:
    """scatter and its like: distinct indices along dim 0, then along dim 1 with a smaller index."""

    def samples(g: Maker) -> list[Sample]:
        order = np.stack([g.rng.permutation(4)[:3] for _ in range(2)], 1)
        return [S(g(4, 2), 0, order, g(3, 2)), S(g(2, 4), 1, order.T.copy(), g(2, 3)), S(g(4, 3), 0, order, g(3, 2)), S(g(4), -1, np.array([3, 0]), g(2)),
                S(g(2, 2), 0, np.zeros((0, 2), int), g(0, 2))]  # fmt: skip

    return samples


def scatter_add_oracle(x: Any, dim: int, index: Any, src: Any) -> Any:
    out = x.copy()
    for place in np.ndindex(*index.shape):
        where = list(place)
        where[dim] = index[place]
        out[tuple(where)] += src[place]
    return out


def scatter_oracle(x: Any, dim: int, index: Any, src: Any) -> Any:
    out = x.copy()
    for place in np.ndindex(*index.shape):
        where = list(place)
        where[dim] = index[place]
        out[tuple(where)] = src[place] if isinstance(src, np.ndarray) else src
    return out


def keyed(*key: Any) -> Any:
    """x[key] as a function of x alone."""
    return lambda x: x[key if len(key) != 1 else key[0]]


def get(name: str, samples: Any, **kw: Any) -> Row:
    """Subscripts: index arrays are arguments, so that vmap may map them."""
    fn = lambda x, *key: x[tuple(key)]  # noqa: E731
    return Row(name, samples, fn, **{"call": fn, "torch": lambda t: fn, "dtypes": "float64 float32 bfloat16 int64 bool", **kw})


def assigned(x: Any, value: Any, *key: Any) -> Any:
    out = x.copy() if isinstance(x, np.ndarray) else x.clone()
    out[tuple(key)] = value
    return out


FULL = slice(None)
INDEX = [
    Row("gather", lambda g: [S(g(4, 2), 0, g.ints(4, 3, 2)), S(g(2, 4), -1, g.ints(4, 2, 3)), S(g(4, 3), 0, g.ints(4, 2, 2)), S(g(4), 0, np.array([3, 3, 0])),
                             S(g(), 0, np.zeros((), int)), S(g(2, 3), 0, np.zeros((0, 3), int))], None),
    Row("take_along_dim", lambda g: [S(g(4, 2), g.ints(4, 3, 2), 0), S(g(2, 4), g.ints(4, 1, 3), 1), S(g(2, 3), g.ints(6, 4))], None,
        gaps={"versions": "PyTorch keeps a copy of the index"}),
    Row("scatter", placed("scatter"), scatter_oracle),
    Row("scatter", lambda g: [S(g(3, 2), 0, np.array([[0, 2], [1, 0]]), 1.5), S(g(3), 0, np.array([1]), value=2)],
        lambda x, d, i, src=None, value=None: scatter_oracle(x, d, i, value if src is None else src)),
    Row("scatter_add", lambda g: [*placed("scatter_add")(g), S(g(3), 0, np.array([0, 0, 2, 0]), g(4)), S(g(2, 3), 1, np.zeros((2, 5), int), g(2, 5))], scatter_add_oracle),
    Row("index_select", lambda g: [S(g(4, 3), 0, np.array([2, 2, 0])), S(g(2, 4), -1, np.array([3, 0])), S(g(4), 0, np.zeros(0, int)), Bad(g(3), 0, np.array([3]))], None),
    Row("index_add", lambda g: [S(g(3, 2), 0, np.array([0, 2, 0]), g(3, 2)), S(g(2, 4), 1, np.array([1, 1]), g(2, 2), alpha=2), S(g(4), -1, np.array([3]), g(1))], None),
    Row("index_put", lambda g: [S(g(4, 3), (np.array([0, 2]), np.array([1, 1])), g(2)), S(g(4, 3), (np.array([3, 1]),), g(2, 3)), S(g(4, 3), (np.array([3, 1]),), g(3)),
                                S(g(4), (np.array([-1, 0]),), g())], None, dtypes="float64 float32 int64"),
    Row("index_put", lambda g: [S(g(4), (np.array([1, 1, 0]),), g(3), True), S(g(4, 3), (np.array([0, 0]), np.array([1, 1])), g(2), accumulate=True)], None,
        dtypes="float64 float32 int64"),
    Row("masked_fill", lambda g: [S(g(2, 3), g.bools(2, 3), 1.5), S(g(2, 3), g.bools(3), g()), S(g(3), g.bools(2, 3), 2), S(g(), g.bools(), 1)],
        lambda x, m, v: np.where(m, v, x), dtypes="float64 float32 bfloat16 int64"),
    Row("masked_select", lambda g: [S(g(2, 3), g.bools(2, 3)), S(g(3), g.bools(2, 3)), S(g(2, 3), g.bools(3))], lambda x, m: np.broadcast_arrays(x, m)[0][np.broadcast_arrays(x, m)[1]],
        vmap=False, trace=False),
    Row("nonzero", lambda g: [S(np.rint(g(5))), S(np.rint(g(2, 3))), S(np.zeros((2, 2))), S(np.ones(())), S(np.zeros(()))], None, grad=False, vmap=False, trace=False),
    Row("nonzero", lambda g: [S(np.rint(g(5))), S(np.rint(g(2, 3)))], np.nonzero, grad=False, vmap=False, trace=False,
        call=lambda x: ek.nonzero(x, as_tuple=True), torch=lambda t: lambda x: t.nonzero(x, as_tuple=True)),
    Row("diag", lambda g: [S(g(3)), S(g(3), 1), S(g(2), -2), S(g(3, 3)), S(g(2, 4), 1), S(g(3, 2), -1)], np.diag),
    Row("diag_embed", lambda g: [S(g(3)), S(g(2, 3)), S(g(2, 2), 1), S(g(2), -1)], None),
    Row("tril", lambda g: [S(g(3, 3)), S(g(2, 3, 2), 1), S(g(3, 4), -1)], lambda x, k=0: np.tril(x, k)),
    Row("triu", lambda g: [S(g(3, 3)), S(g(2, 3, 2), 1), S(g(3, 4), -1)], lambda x, k=0: np.triu(x, k)),
    get("Tensor.__getitem__", lambda g: [S(g(4, 3), 1), S(g(4, 3), FULL, -1), S(g(4, 3), slice(1, None, 2)), S(g(4, 3), None, Ellipsis, 0), S(g(2, 3, 4), Ellipsis, slice(None, -1)),
                                         S(g(2, 3), Ellipsis), S(g(4), slice(3, 1))]),
    get("Tensor.__getitem__", lambda g: [S(g(4, 3), np.array([2, -1, 2])), S(g(4, 3), FULL, np.array([[0, 2], [1, 1]])), S(g(4, 3), np.array([0, 1]), np.array([2, -3])),
                                         S(g(2, 3, 4), FULL, np.array([[0], [2]]), np.array([1, 3])), S(g(4, 3), np.array(1))]),
    get("Tensor.__getitem__", lambda g: [S(g(4, 3), g.rng.permutation(4) < 2), S(g(2, 3), np.array([[True, False, True], [False, False, True]])),
                                         S(g(2, 3), FULL, np.array([True, False, True]))], vmap=False, trace=False),
    Row("Tensor.__setitem__", lambda g: [S(g(4, 3), g(3), 1), S(g(4, 3), g(4), FULL, -1), S(g(4, 3), g(1, 3), slice(None, None, 2)), S(g(2, 3), g(), Ellipsis), S(g(2, 3), 2.5, 0, 1),
                                         S(g(2, 3, 4), g(2, 4), FULL, 1), S(g(3), g(0), slice(0, 0))],
        assigned, call=assigned, torch=lambda t: assigned, dtypes="float64 float32 bfloat16 int64 bool"),
    Row("Tensor.__setitem__", lambda g: [S(g(4, 3), g(2, 3), np.array([3, 1])), S(g(4, 3), g(4, 2), FULL, np.array([2, 0])), S(g(4, 3), g(), np.array([0, 1]), np.array([2, -3])),
                                         S(g(2, 3, 4), g(2, 2), FULL, np.array([0, 2]), np.array([1, 3])), S(g(4, 3), g(3), np.array(2))],
        assigned, call=assigned, torch=lambda t: assigned, dtypes="float64 float32 int64"),
]  # fmt: skip


def through_a_view(x: Any, value: Any) -> Any:
    """A copy of x, written through its transpose and an alias of it."""
    out = x.clone()
    out.t()[...].mul_(value)
    return out


WRITTEN = [
    Row("Tensor.copy_", lambda g: [S(g(2, 3), g(2, 3)), S(g(2, 3), g(3)), S(g(2, 3), g()), S(g(0), g(0)), Bad(g(3), g(2)), Bad(g(3), g(2, 3))],
        lambda x, y: np.broadcast_to(y, x.shape), call=lambda x, y: x.clone().copy_(y), torch=lambda t: lambda x, y: x.clone().copy_(y)),
    Row("Tensor.mul_", lambda g: [S(g(2, 3), g(2)), S(g(2, 2), g()), S(g(3), g(3))], lambda x, y: (x.T * y).T, call=through_a_view,
        torch=lambda t: through_a_view, dtypes="float64 float32 int64"),
]  # fmt: skip


# ---- matrix products -------------------------------------------------------------------------------------------------

EINSUMS = [
    ("ij,jk->ik", (2, 3), (3, 2)), ("bij,bjk->bik", (2, 2, 3), (2, 3, 2)), ("i,i->", (3,), (3,)), ("i,j->ij", (2,), (3,)), ("ij->ji", (2, 3)), ("ij->", (2, 3)),
    ("ii->i", (3, 3)), ("ii", (3, 3)), ("ij,jk", (2, 3), (3, 2)), ("...ij,...jk->...ik", (2, 2, 3), (3, 2)), ("ij,ij->ij", (2, 3), (2, 3)),
    ("bhqd,bhkd->bhqk", (1, 2, 2, 3), (1, 2, 2, 3)), ("ij,jk,kl->il", (2, 3), (3, 2), (2, 2)), ("ba", (2, 3)), ("ij,j", (2, 3), (3,)), ("ijk->ik", (2, 3, 2)),
    ("i...->...i", (2, 3, 2)), ("ij,kl->", (2, 3), (2, 2)), ("ik,jk->ij", (2, 0), (3, 0)),
]  # fmt: skip


def addmm_oracle(x: Any, a: Any, b: Any, beta: float = 1, alpha: float = 1) -> Any:
    return beta * x + alpha * (a @ b)


PRODUCTS = [
    Row("matmul", lambda g: [S(g(3), g(3)), S(g(2, 3), g(3)), S(g(2), g(2, 3)), S(g(2, 3), g(3, 4)), S(g(2, 2, 3), g(3, 2)), S(g(2, 3), g(2, 3, 2)), S(g(2, 1, 2, 3), g(3, 3, 2)),
                             S(g(3), g(2, 3, 2)), S(g(2, 2, 3), g(3)), S(g(0, 3), g(3, 2)), S(g(2, 0), g(0, 3)), Bad(g(2, 3), g(2, 3)), Bad(g(), g(3))],
        None, dtypes=f"{FLOATS} int64", gaps={"versions": "PyTorch multiplies copies of broadcast operands"}),
    Row("matmul", lambda g: [S(g(3), g(3)), S(g(2, 3), g(3, 4)), S(g(2, 1, 2, 3), g(3, 3, 2)), S(g(3), g(2, 3, 2))], np.matmul, dtypes="float64", tolerance=3.0,
        gaps={"versions": "PyTorch multiplies copies of broadcast operands"}),
    Row("mm", lambda g: [S(g(2, 3), g(3, 2)), Bad(g(2, 3), g(3))], None, dtypes="float64 float32 int64"),
    Row("bmm", lambda g: [S(g(2, 2, 3), g(2, 3, 2)), Bad(g(2, 2, 3), g(3, 3, 2)), S(g(0, 2, 3), g(0, 3, 1))], None, dtypes="float64 float32"),
    Row("mv", lambda g: [S(g(2, 3), g(3)), Bad(g(3), g(3))], None, dtypes="float64 float32"),
    Row("dot", lambda g: [S(g(3), g(3)), S(g(0), g(0)), Bad(g(2), g(3))], None, dtypes="float64 float32 int64"),
    Row("outer", lambda g: [S(g(2), g(3)), S(g(0), g(2)), Bad(g(2, 2), g(2))], None, dtypes="float64 float32 int64"),
    Row("addmm", lambda g: [S(g(2, 2), g(2, 3), g(3, 2)), S(g(2), g(2, 3), g(3, 2), beta=0.5, alpha=2)], addmm_oracle, dtypes=FLOATS, tolerance=3.0),
    Row("addmm", lambda g: [S(g(1, 2), g(2, 3), g(3, 2), beta=0), S(np.full((2, 2), np.nan), g(2, 3), g(3, 2), beta=0), Bad(g(3, 2, 2), g(2, 3), g(3, 2))], None, dtypes=FLOATS, grad=False),
    Row("baddbmm", lambda g: [S(g(2, 2, 2), g(2, 2, 3), g(2, 3, 2)), S(g(2, 1, 2), g(2, 2, 3), g(2, 3, 2), beta=0.5, alpha=2)], addmm_oracle, dtypes="float64 float32", tolerance=3.0),
    Row("tensordot", lambda g: [S(g(2, 3, 4), g(3, 4, 2)), S(g(2, 3), g(3, 2), 1), S(g(2, 3), g(3, 2), 0), S(g(2, 3), g(2, 3), ([0, 1], [0, 1])), S(g(2, 3), g(4, 2), ([0], [-1]))],
        lambda a, b, dims=2: np.tensordot(a, b, dims), dtypes="float64 float32", tolerance=3.0,
        torch=lambda t: lambda a, b, dims=2: t.tensordot(a, b, dims=dims)),
    Row("einsum", lambda g: [S(spec, *(g(*s) for s in shapes_)) for spec, *shapes_ in EINSUMS], np.einsum, dtypes="float64 float32", tolerance=10.0),
    Row("linear", lambda g: [S(g(2, 3), g(4, 3), g(4)), S(g(2, 3), g(4, 3)), S(g(3), g(2, 3), g(2)), S(g(2, 2, 3), g(1, 3), g(1)), S(g(0, 3), g(2, 3), g(2)),
                             S(g(2, 0), g(3, 0)), Bad(g(2, 3), g(3, 2)), Bad(g(2, 3), g(2, 3), g(3))],
        lambda x, w, b=0: x @ w.T + b, dtypes=FLOATS, tolerance=3.0, torch=lambda t: t.nn.functional.linear),
    Row("trace", lambda g: [S(g(3, 3)), S(g(2, 4)), Bad(g(3))], None, dtypes="float64 float32 int64"),
]  # fmt: skip


# ---- making tensors --------------------------------------------------------------------------------------------------


def created(name: str, samples: Any, **kw: Any) -> Row:
    """No tensor goes in: only what comes out is checked."""
    return Row(name, samples, **{"grad": False, "vmap": False, "trace": False, "dtypes": "float64", **kw})


def like(name: str, samples: Any) -> Row:
    return Row(name, samples, grad=False, vmap=False, dtypes="float64 float32 int64 bool")


CREATION = [
    created("zeros", lambda g: [S(2, 3), S((2, 3)), S(()), S(0), S([]), Bad(-1)]),
    created("ones", lambda g: [S(2, 3), S((2, 3)), S(()), S(0)]),
    created("empty", lambda g: [S(2, 3), S((2, 3)), S(())], call=lambda *a: ek.empty(*a) * 0, torch=lambda t: lambda *a: t.zeros(*a)),
    created("full", lambda g: [S((2, 3), 1.5), S((2,), 3), S((), True), S((0,), 2.0)]),
    created("arange", lambda g: [S(5), S(1, 5), S(1, 8, 3), S(5, 0, -2), S(0.0, 1.0, 0.3), S(3.0), S(2, 2), Bad(5, 1), Bad(0, 5, 0), S(1, 2.5), S(0, -1, -0.25)]),
    created("linspace", lambda g: [S(0, 1, 5), S(-1.0, 2.0, 4), S(0, 1, 1), S(0, 1, 0), S(1, 0, 3), Bad(0, 1, -1)]),
    created("eye", lambda g: [S(3), S(2, 3), S(0), S(3, 1)]),
    like("zeros_like", lambda g: [S(g(2, 3)), S(g()), S(g(0))]),
    like("ones_like", lambda g: [S(g(2, 3)), S(g()), S(g(0))]),
    like("full_like", lambda g: [S(g(2, 3), 2), S(g(), 1), S(g(2), 1.5)]),
    Row("empty_like", lambda g: [S(g(2, 3)), S(g())], grad=False, vmap=False, call=lambda x: ek.empty_like(x) * 0, torch=lambda t: lambda x: t.zeros_like(x) * 0),
]  # fmt: skip

# Random numbers have a test of their own (tests/tensor/test_random.py); here: tracing and the primitives behind them.
RANDOM = [
    Row("normal", lambda g: [S(g(2, 3), 2.0), S(g(3), g.positive(3))], grad=False, vmap=False, trace=False, dtypes="",
        call=lambda m, s: ek.normal(m, s, generator=ek.Generator().manual_seed(1))),
    *(
        Row(name, lambda g: [S(g(2, 3)), S(g(0)), S(g())], grad=False, vmap=False, dtypes="",
            call=lambda x, name=name: getattr(ek, name)(x, generator=ek.Generator().manual_seed(1)))
        for name in ("rand_like", "randn_like")
    ),
]  # fmt: skip


def _bare(name: str) -> Any:
    return lambda *a: getattr(ek, name)(*a, generator=ek.Generator().manual_seed(1))


RANDOM += [
    Row("bernoulli", lambda g: [S(np.abs(g(4)) / 3)], grad=False, vmap=False, dtypes="", call=_bare("bernoulli")),
    Row("multinomial", lambda g: [S(g.positive(5), 3), S(g.positive(2, 5), 3)], grad=False, vmap=False, dtypes="", call=_bare("multinomial")),
    *(created(name, lambda g: [S(2, 3), S((2, 3)), S()], dtypes="", call=_bare(name), trace=True) for name in ("rand", "randn")),
    created("randint", lambda g: [S(10, (2, 3)), S(-3, 4, (5,))], dtypes="", call=_bare("randint"), trace=True),
    created("randperm", lambda g: [S(7), S(0)], dtypes="", call=_bare("randperm"), trace=True),
]

# What is on the way between dtypes and devices has no function of its own.
CONVERSIONS = [
    Row("Tensor.to", lambda g: [S(g(2, 3)), S(g())], call=lambda x: x.to(ek.float32).to(ek.float64), torch=lambda t: lambda x: x.to(t.float32).to(t.float64),
        dtypes=ALL, gaps=dict.fromkeys(("vjp", "jvp"), "float32's rounding hides a numeric derivative's step")),
    Row("Tensor.contiguous", lambda g: [S(g(2, 3, 4, 2)), S(g(1, 2, 1, 3)), Bad(g(2, 3))], dtypes=ALL,
        call=lambda x: x.contiguous(memory_format=ek.channels_last), torch=lambda t: lambda x: x.contiguous(memory_format=t.channels_last)),
    Row("Tensor.long", lambda g: [S(g(2, 3))], lambda x: np.trunc(x).astype(int), grad=False),
]  # fmt: skip

ROWS = [*UNARY, *ELEMENTWISE, *BINARY, *REDUCE, *MOVEMENT, *INDEX, *WRITTEN, *PRODUCTS, *CREATION, *RANDOM, *SUMMARIES, *SETS, *CONVERSIONS, *NEURAL, *LINALG, *FACTORED, *SHAPED, *INDEXED]

# Public names that are no operation on tensors: where they are tested instead.
ELSEWHERE = {
    "tests/autograd/test_tape.py": "no_grad enable_grad set_grad_enabled is_grad_enabled inference_mode is_inference_mode_enabled",
    "tests/structure": "get_num_threads set_num_threads",
    "tests/tensor/test_create.py": """tensor as_tensor asarray from_numpy from_dlpack scalar_tensor new_zeros new_ones new_full new_empty
        new_empty_strided new_tensor""",
    "tests/tensor/test_tensor.py": """Tensor Size device set_printoptions to cpu cuda type type_as is_floating_point is_signed is_nonzero is_same_size
        is_tensor numel""",
    "tests/ops/test_elementwise.py": f"is_complex {' '.join(ALIASES)}",
    "tests/tensor/test_shapes.py": "broadcast_shapes storage_offset",
    "tests/tensor/test_made.py": "concat concatenate row_stack",
    "tests/tensor/test_dtypes.py": """can_cast dtype finfo iinfo get_default_dtype set_default_dtype promote_types result_type
        bool_ uint8 int8 int16 int32 int64 uint32 uint64 float16 bfloat16 float32 float64 complex64 complex128""",
    "tests/tensor/test_memory_format.py": "memory_format channels_last channels_last_3d contiguous_format preserve_format",
    "tests/tensor/test_random.py": """poisson randint_like seed Generator default_generator manual_seed initial_seed get_rng_state set_rng_state""",
}
