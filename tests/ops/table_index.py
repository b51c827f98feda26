"""Rows of scatters, of parts replaced, and of what is made of indices (a part of tests/ops/table.py)."""

import warnings
from typing import Any

import numpy as np

import expkit as ek
from tests.ops.rows import Bad, Row, Sample

S = Sample
DTYPES = "float64 float32 int64"
INDEX = np.array([[0, 2], [0, 1], [0, 2]])


def row(name: str, samples: Any, numpy: Any = None, **kw: Any) -> Row:
    return Row(name, samples, numpy, **{"dtypes": DTYPES, **kw})


def made(name: str, samples: Any, **kw: Any) -> Row:
    """No tensor goes in: only what comes out is checked."""
    return row(name, samples, **{"grad": False, "vmap": False, "trace": False, "dtypes": "float64", **kw})


def quiet(fn: Any) -> Any:
    """PyTorch's function without its advice."""

    def call(*args: Any, **kw: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return fn(*args, **kw)

    return call


def reduced(reduce: str, **kw: Any) -> Row:
    def samples(g: Any) -> list[Sample]:
        return [
            S(g.distinct(3, 2), 0, INDEX, g.distinct(3, 2) * 1.01, reduce),
            S(g.distinct(3, 2), 0, INDEX, g.distinct(3, 2) * 1.01, reduce, include_self=False),
            S(g.distinct(2, 4), -1, np.array([[3, 3], [0, 1]]), g.distinct(2, 2) * 1.01, reduce),
            S(g(), 0, np.array(0), g(), reduce),
            S(g(2), 0, np.zeros(0, int), g(0), reduce),
            Bad(g(3), 0, np.array([3]), g(1), reduce),
            Bad(g(3), 0, np.array([0]), g(1), "median"),
        ]

    return row("scatter_reduce", samples, **{"dtypes": "float64 float32 bfloat16 int64", **kw})


def by_slices(reduce: str) -> Row:
    def samples(g: Any) -> list[Sample]:
        index = np.array([0, 2, 0])
        return [
            S(g.distinct(3, 2), 0, index, g.distinct(3, 2) * 1.01, reduce),
            S(g.distinct(2, 4), -1, index, g.distinct(2, 3) * 1.01, reduce, include_self=False),
            Bad(g(3), 0, index, g(2), reduce),
            Bad(g(3), 0, index, g(3), "sum"),
        ]

    return row("index_reduce", samples, torch=lambda t: quiet(t.index_reduce))


PRODUCTS = [
    S(np.array([2.0, 0.0, 3.0]), 0, np.array([0, 0, 1, 2]), np.array([0.0, 4.0, 5.0, 0.0]), "prod"),
    S(np.array([0.0, 2.0]), 0, np.array([0, 0, 1]), np.array([0.0, 3.0, 4.0]), "prod"),
]
SCATTERED = [
    *(reduced(name) for name in ("sum", "prod", "mean", "amax", "amin")),
    row("scatter_reduce", lambda g: PRODUCTS, dtypes="float64"),
    row("scatter_reduce", lambda g: [S(g.distinct(4, 3), 1, np.array([[1, 1]]), g.distinct(2, 4), r, include_self=False) for r in ("sum", "prod", "mean", "amax")],
        gaps={"torch_grad": "PyTorch has no derivative where the index is smaller than the rest"}),
    row("scatter", lambda g: [S(g(3, 2), 0, INDEX, g(3, 2), reduce="add"), S(g(3), 0, np.array([0, 0, 2]), 2.0, reduce="multiply"), Bad(g(3), 0, np.array([0]), 2.0, reduce="sum")],
        torch=lambda t: quiet(t.scatter), gaps={"torch_grad": "PyTorch has no derivative of scatter with reduce="}),
    *(by_slices(name) for name in ("prod", "mean", "amax", "amin")),
    row("index_copy", lambda g: [S(g(3, 2), 0, np.array([0, 2]), g(2, 2)), S(g(2, 4), 1, np.array([3, 1]), g(2, 2)), S(g(3), 0, np.array(1), g()), S(g(), 0, np.array([0]), g(1)),
                                 Bad(g(3), 0, np.array([3]), g(1)), Bad(g(3), 0, np.array([0]), g(2))]),
    row("index_fill", lambda g: [S(g(3, 2), 0, np.array([0, -1]), 2), S(g(2, 4), -1, np.array([1, 1]), g()), S(g(), 0, np.array(0), 3), S(g(3), 0, np.zeros(0, int), 1),
                                 Bad(g(3), 0, np.array([3]), 1), Bad(g(3), 0, np.array([0]), g(1))]),
    row("masked_scatter", lambda g: [S(g(2, 3), g.bools(2, 3), g(7)), S(g(2, 3), g.bools(3), g(2, 3)), Bad(g(3), np.ones(3, bool), g(2))]),
    row("fill", lambda g: [S(g(2, 3), 2.0), S(g(2), g()), S(g(0), 1)]),
    row("take", lambda g: [S(g(2, 3), np.array([[0, -1], [2, 2]])), S(g(3), np.zeros((0, 2), int)), S(g(2), np.array(1)), Bad(g(3), np.array([3]))]),
    row("put", lambda g: [S(g(2, 3), np.array([0, -1]), g(2)), S(g(2, 3), np.array([[0], [0]]), g(2), accumulate=True), S(g(2), np.zeros(0, int), g(0)), Bad(g(3), np.array([0]), g(2)),
                          Bad(g(3), np.array([4]), g(1))]),
    row("argwhere", lambda g: [S(np.rint(g(5))), S(np.rint(g(2, 3)))], np.argwhere, grad=False, vmap=False, trace=False),
    row("unravel_index", lambda g: [S(np.array([0, 5, 3]), (2, 3)), S(np.array(3), (4,))], grad=False),
]  # fmt: skip


def filled(x: Any, value: Any, wrap: bool = False) -> Any:
    return x.clone().fill_diagonal_(value, wrap)


REPLACED = [
    row("select_scatter", lambda g: [S(g(2, 3), g(3), 0, 1), S(g(2, 3), g(2), -1, -1), Bad(g(2, 3), g(2), 0, 1), Bad(g(2), g(), 0, 2)]),
    row("slice_scatter", lambda g: [S(g(4, 2), g(2, 2), 0, 1, 3), S(g(4), g(2), 0, None, None, 2), S(g(2, 3), g(2, 1), -1, -1), S(g(3), g(0), 0, 5), Bad(g(4), g(3), 0, 1, 3), Bad(g(4), g(4), 0, 0, 4, 0)]),
    row("diagonal_scatter", lambda g: [S(g(3, 3), g(3)), S(g(2, 4), g(2), 1), S(g(2, 3, 2), g(3, 2), 0, 0, 2), Bad(g(3, 3), g(2))]),
    row("Tensor.fill_diagonal_", lambda g: [S(g(3, 3), 2.0), S(g(5, 2), 2.0, True), S(g(5, 2), 1), S(g(2, 2, 2), 1.0), Bad(g(3), 1), Bad(g(2, 3, 2), 1)], call=filled, torch=lambda t: filled),
    row("diag_embed", lambda g: [S(g(2, 3), 0, 0, 2), S(g(2, 3), 1, 1, 0), S(g(2, 3), -1, -1, 0), Bad(g(2, 3), 0, 1, 1)]),
    row("diagflat", lambda g: [S(g(2, 2)), S(g(3), -1), S(g())], np.diagflat),
    row("tril", lambda g: [Bad(g(3)), Bad(g(2, 2), 1.5)], grad=False, vmap=False, trace=False),
]  # fmt: skip

MADE = [
    made("linspace", lambda g: [S(3, 3, 2), S(np.array(1.0), 2, 3), Bad(g(1), 2, 3)]),
    made("logspace", lambda g: [S(0, 2, 3), S(0.5, 2.0, 4, 2.0), S(0, 1, 0), Bad(0, 1, -1)]),
    made("eye", lambda g: [Bad(-1), Bad(2, -1)]),
    made("tril_indices", lambda g: [S(3, 3), S(2, 4, 1), S(4, 2, -1), S(0, 2), Bad(-1, 2)]),
    made("triu_indices", lambda g: [S(3, 3), S(2, 4, 1), S(4, 2, -1), S(0, 2), Bad(-1, 2)]),
    row("cartesian_prod", lambda g: [S(g(2), g(3)), S(g(2)), S(g(2), g(1), g(2)), Bad(g(2, 2))]),
    row("combinations", lambda g: [S(g(4)), S(g(3), 3), S(g(3), 2, True), S(g(2), 3), Bad(g(2, 2))]),
    row("equal", lambda g: [S(g(3), g(3)), S(np.ones(2), np.ones(2))], grad=False, vmap=False, trace=False),
    row("allclose", lambda g: [S(g(3), g(3)), S(np.ones(2), np.ones(2) + 1e-9), S(np.array([np.nan]), np.array([np.nan]), equal_nan=True), Bad(g(2), g(3))],
        grad=False, vmap=False, trace=False, dtypes="float64 float32"),
]  # fmt: skip


def emptied(name: str) -> Any:
    return lambda *a: ek.zeros_like(getattr(ek, name)(*a))


MADE += [
    made("empty_permuted", lambda g: [S((2, 3), (1, 0)), Bad((2, 3), (0, 0))], call=emptied("empty_permuted"), torch=lambda t: lambda *a: t.empty_permuted(*a).zero_()),
    made("empty_strided", lambda g: [S((2, 3), (1, 2)), S((2,), (0,)), Bad((2,), (1, 1))], call=emptied("empty_strided"), torch=lambda t: lambda *a: t.zeros(a[0]) * t.empty_strided(*a).numel() * 0),
]  # fmt: skip

ROWS = [*SCATTERED, *REPLACED, *MADE]
