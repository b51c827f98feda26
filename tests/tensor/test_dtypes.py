"""dtypes and promotion: every pair of dtypes, tensors of rank 0 and 1, and Python numbers, as PyTorch has them."""

import copy
import itertools
import operator

import numpy as np
import pytest

import expkit as ek
from expkit.tensor import dtypes

NAMES = [
    "bool",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]
REAL = NAMES[:10]
PAIRS = list(itertools.product(NAMES, repeat=2))
ids = lambda pair: "-".join(pair)  # noqa: E731


def name_of(x):
    return str(x if not hasattr(x, "dtype") or isinstance(x, dtypes.dtype) else x.dtype).rpartition(".")[2]


def outcome(fn):
    """The dtype of fn()'s result, or "error"."""
    try:
        return name_of(fn().dtype)
    except (TypeError, RuntimeError, ValueError, NotImplementedError, OverflowError):
        return "error"


@pytest.mark.torch
@pytest.mark.parametrize("pair", PAIRS, ids=ids)
def test_promote_types(pair, torch):
    a, b = pair
    assert name_of(ek.promote_types(getattr(ek, a), getattr(ek, b))) == name_of(
        torch.promote_types(getattr(torch, a), getattr(torch, b))
    )
    assert ek.can_cast(getattr(ek, a), getattr(ek, b)) == torch.can_cast(getattr(torch, a), getattr(torch, b))


def of_rank(m, name, rank):
    values = {0: 1, 1: [1, 1]}[rank]
    return m.tensor(values, dtype=getattr(m, name))


OPERATORS = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "pow": operator.pow,
    "eq": operator.eq,
    "lt": operator.lt,
    "and": operator.and_,
    "xor": operator.xor,
}
# What PyTorch has no kernel for may exist here: these results are only compared where PyTorch has one.
ORDERED = {"floordiv", "mod", "lt", "pow"}


@pytest.mark.torch
@pytest.mark.parametrize("op", OPERATORS)
def test_tensors_with_tensors(op, torch):
    fn, different = OPERATORS[op], []
    for (a, b), (r, s) in itertools.product(itertools.product(REAL, repeat=2), itertools.product((0, 1), repeat=2)):
        theirs = outcome(lambda: fn(of_rank(torch, a, r), of_rank(torch, b, s)))  # noqa: B023
        ours = outcome(lambda: fn(of_rank(ek, a, r), of_rank(ek, b, s)))  # noqa: B023
        if theirs != ours and not (theirs == "error" and op in ORDERED):
            different.append((a, r, b, s, ours, theirs))
    assert different == []


SCALARS = [True, 2, 1.5]


@pytest.mark.torch
@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_tensors_with_python_numbers(op, side, torch):
    fn, different = OPERATORS[op], []
    for a, r, number in itertools.product(REAL, (0, 1), SCALARS):
        both = (lambda m: fn(of_rank(m, a, r), number)) if side == "right" else (lambda m: fn(number, of_rank(m, a, r)))  # noqa: B023
        theirs, ours = outcome(lambda: both(torch)), outcome(lambda: both(ek))  # noqa: B023
        if theirs != ours and not (theirs == "error" and op in ORDERED):
            different.append((a, r, number, ours, theirs))
    assert different == []


@pytest.mark.torch
def test_complex_arithmetic(torch):
    names = [name for name in NAMES if "16" not in name or "int" in name]  # PyTorch has half-precision complex numbers
    different = []
    for op, a, b in itertools.product(("add", "mul", "truediv"), names, ("complex64", "complex128")):
        theirs = outcome(lambda: OPERATORS[op](of_rank(torch, a, 1), of_rank(torch, b, 1)))  # noqa: B023
        ours = outcome(lambda: OPERATORS[op](of_rank(ek, a, 1), of_rank(ek, b, 1)))  # noqa: B023
        if theirs != ours:
            different.append((op, a, b, ours, theirs))
    different += [
        (a, outcome(lambda: of_rank(ek, a, 1) * 1j), outcome(lambda: of_rank(torch, a, 1) * 1j))  # noqa: B023
        for a in names
        if outcome(lambda: of_rank(ek, a, 1) * 1j) != outcome(lambda: of_rank(torch, a, 1) * 1j)  # noqa: B023
    ]
    assert different == []


FUNCTIONS = {
    "where": lambda m, x, y: m.where(m.tensor(True), x, y),
    "maximum": lambda m, x, y: m.maximum(x, y),
    "cat": lambda m, x, y: m.cat([x.reshape(-1), y.reshape(-1)]),
    "stack": lambda m, x, y: m.stack([x, y]),
    "atan2": lambda m, x, y: m.atan2(x, y),
    "result_type": lambda m, x, y: m.zeros((), dtype=m.result_type(x, y)),
}


@pytest.mark.torch
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_that_promote(name, torch):
    fn, different = FUNCTIONS[name], []
    for (a, b), (r, s) in itertools.product(itertools.product(REAL, repeat=2), ((0, 0), (1, 1), (0, 1))):
        if name == "stack" and r != s:
            continue
        theirs = outcome(lambda: fn(torch, of_rank(torch, a, r), of_rank(torch, b, s)))  # noqa: B023
        ours = outcome(lambda: fn(ek, of_rank(ek, a, r), of_rank(ek, b, s)))  # noqa: B023
        if theirs not in (ours, "error"):
            different.append((a, r, b, s, ours, theirs))
    assert different == []


PRODUCTS = {
    "matmul": lambda m, x, y: x @ y,
    "dot": lambda m, x, y: m.dot(x, y),
    "linear": lambda m, x, y: m.nn.functional.linear(x.reshape(1, -1), y.reshape(1, -1)),
}


@pytest.mark.torch
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_do_not_promote(name, torch):
    fn, different = PRODUCTS[name], []
    for a, b in itertools.product(("int64", "float16", "float32", "float64"), repeat=2):
        theirs = outcome(lambda: fn(torch, of_rank(torch, a, 1), of_rank(torch, b, 1)))  # noqa: B023
        ours = outcome(lambda: fn(ek, of_rank(ek, a, 1), of_rank(ek, b, 1)))  # noqa: B023
        if theirs != ours:
            different.append((a, b, ours, theirs))
    assert different == []


@pytest.mark.torch
@pytest.mark.parametrize("op", ["add_", "mul_", "div_", "copy_"])
def test_in_place_results_are_cast_only_upwards(op, torch):
    different = []
    for (a, b), r in itertools.product(itertools.product(REAL, repeat=2), (0, 1)):
        theirs = outcome(lambda: getattr(of_rank(torch, a, 1), op)(of_rank(torch, b, r)))  # noqa: B023
        ours = outcome(lambda: getattr(of_rank(ek, a, 1), op)(of_rank(ek, b, r)))  # noqa: B023
        if theirs != ours:
            different.append((a, b, r, ours, theirs))
    assert different == []


REDUCTIONS = {
    "sum": lambda m, x: x.sum(),
    "prod": lambda m, x: x.prod(),
    "cumsum": lambda m, x: x.cumsum(0),
    "mean": lambda m, x: x.mean(),
    "amax": lambda m, x: x.amax(),
    "argmax": lambda m, x: x.argmax(),
    "any": lambda m, x: x.any(),
    "var": lambda m, x: x.var(),
    "exp": lambda m, x: x.exp(),
    "floor": lambda m, x: x.floor(),
    "abs": lambda m, x: x.abs(),
    "sign": lambda m, x: x.sign(),
    "neg": lambda m, x: -x,
    "invert": lambda m, x: ~x,
    "sort": lambda m, x: x.sort().values,
    "sigmoid": lambda m, x: x.sigmoid(),
    "square": lambda m, x: x.square(),
    "relu": lambda m, x: x.relu(),
    "reciprocal": lambda m, x: x.reciprocal(),
    "isnan": lambda m, x: m.isnan(x),
    "clamp": lambda m, x: x.clamp(0, 1),
    "clamp to float": lambda m, x: x.clamp(max=0.5),
    "round": lambda m, x: x.round(),
    "softmax": lambda m, x: x.softmax(0),
    "norm": lambda m, x: x.norm(),
}
# PyTorch has no kernel; the result here is the natural one.
LACKING = {
    ("argmax", "bool"),
    ("abs", "bool"),
    ("floor", "bool"),
    ("sort", "bool"),
    ("round", "bool"),
    ("round", "int"),
    ("softmax", "int"),
}


@pytest.mark.torch
@pytest.mark.parametrize("name", REDUCTIONS)
def test_functions_of_one_tensor(name, torch):
    fn, different = REDUCTIONS[name], []
    for a in REAL:
        theirs = outcome(lambda: fn(torch, of_rank(torch, a, 1)))  # noqa: B023
        ours = outcome(lambda: fn(ek, of_rank(ek, a, 1)))  # noqa: B023
        kind = "bool" if a == "bool" else "int" if "int" in a else "float"
        lacking = theirs == "error" and ((name, kind) in LACKING or (name == "softmax" and kind == "bool"))
        if theirs != ours and not lacking:
            different.append((a, ours, theirs))
    assert different == []


# ---- the dtype objects -----------------------------------------------------------------------------------------------


def test_dtypes_are_numpy_dtypes_to_numpy():
    assert np.dtype(ek.float32) == np.float32
    assert np.zeros(2, dtype=ek.int16).dtype == np.int16
    assert ek.float32 == np.dtype("f4")
    assert ek.float32 != ek.float64
    assert len({ek.float32, ek.float32, ek.int64}) == 2
    assert copy.deepcopy(ek.float32) is ek.float32


def test_names_and_aliases():
    assert repr(ek.float32) == str(ek.float32) == "expkit.float32"
    assert (ek.float, ek.double, ek.half, ek.long, ek.int, ek.short) == (
        ek.float32,
        ek.float64,
        ek.float16,
        ek.int64,
        ek.int32,
        ek.int16,
    )
    assert ek.bool is ek.bool_
    assert (ek.float32.itemsize, ek.bfloat16.itemsize, ek.bool.itemsize) == (4, 2, 1)
    assert ek.bfloat16.is_floating_point
    assert not ek.int8.is_floating_point
    assert ek.complex64.is_complex
    assert not ek.uint8.is_signed
    assert ek.int8.is_signed


@pytest.mark.parametrize("spec", ["float32", "expkit.float32", float, np.float32, np.dtype("f4"), "float"])
def test_ways_to_name_a_dtype(spec):
    assert ek.zeros(1, dtype=spec).dtype is ek.float32


@pytest.mark.parametrize("spec", ["float33", "", object, np.dtype("M8[s]"), 3, "U5"])
def test_what_is_no_dtype(spec):
    with pytest.raises(TypeError, match="no dtype of expkit; there are bool, uint8"):
        ek.zeros(1, dtype=spec)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_finfo(name, torch):
    ours, theirs = ek.finfo(getattr(ek, name)), torch.finfo(getattr(torch, name))
    for what in ("bits", "eps", "max", "min", "tiny", "smallest_normal"):
        assert getattr(ours, what) == getattr(theirs, what)
    assert ours.dtype == theirs.dtype


@pytest.mark.torch
@pytest.mark.parametrize("name", ["uint8", "int8", "int16", "int32", "int64"])
def test_iinfo(name, torch):
    ours, theirs = ek.iinfo(getattr(ek, name)), torch.iinfo(getattr(torch, name))
    assert (ours.bits, ours.max, ours.min) == (theirs.bits, theirs.max, theirs.min)


def test_limits_of_the_wrong_kind():
    with pytest.raises(TypeError, match="floating-point"):
        ek.finfo(ek.int32)
    with pytest.raises(TypeError, match="integer"):
        ek.iinfo(ek.float32)


def test_the_default_dtype():
    assert ek.get_default_dtype() is ek.float32
    try:
        ek.set_default_dtype(ek.float64)
        assert ek.zeros(1).dtype is ek.float64
        assert ek.tensor(1.5).dtype is ek.float64
        assert (ek.tensor([1, 2]) / 2).dtype is ek.float64
        assert ek.arange(3).dtype is ek.int64
        assert (ek.tensor([1]) * 1j).dtype is ek.complex128
    finally:
        ek.set_default_dtype(ek.float32)
    with pytest.raises(TypeError, match="floating-point"):
        ek.set_default_dtype(ek.int64)


@pytest.mark.torch
def test_conversions_of_values(torch):
    values = [0.0, -0.0, 1.7, -1.7, 255.4, 300.0]
    for a, b in itertools.product(("float64", "float32", "int64", "int32"), NAMES[:10]):
        if b in ("uint8", "int8"):
            continue  # what does not fit is undefined in C
        ours = ek.tensor(values, dtype=getattr(ek, a)).to(getattr(ek, b))
        theirs = torch.tensor(values, dtype=getattr(torch, a)).to(getattr(torch, b))
        assert ours.to(ek.float64).tolist() == theirs.to(torch.float64).tolist(), (a, b)


@pytest.mark.parametrize(
    ("method", "dtype"),
    [
        ("float", "float32"),
        ("double", "float64"),
        ("half", "float16"),
        ("bfloat16", "bfloat16"),
        ("long", "int64"),
        ("int", "int32"),
        ("short", "int16"),
        ("char", "int8"),
        ("byte", "uint8"),
        ("bool", "bool"),
    ],
)
def test_conversion_methods(method, dtype):
    x = ek.tensor([0.0, 1.0, 2.0])
    out = getattr(x, method)()
    assert out.dtype is getattr(ek, dtype)
    assert (out is x) == (dtype == "float32")
    assert ek.tensor([0, 1]).type_as(x).dtype is ek.float32
