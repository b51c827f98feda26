"""Rows for sets, searches, differences of neighbours and histograms."""

from typing import Any

import numpy as np

import expkit as ek
from tests.ops.rows import ALL, FLOATS, INTS, Bad, Maker, Row, Sample

S = Sample
FLOAT_INT = f"{FLOATS} {INTS}"
FEW = np.array([[2.0, 1.0, 1.0], [2.0, 1.0, 1.0], [0.0, 1.0, 1.0]])


def unique_samples(g: Maker) -> list[Sample]:
    values = [np.array([3.0, 1.0, 1.0, 2.0, 3.0]), FEW, g.distinct(4), np.array(2.0), np.zeros(0)]
    extras = [{}, {"return_inverse": True}, {"return_inverse": True, "return_counts": True}]
    along = [S(FEW, dim=d, return_inverse=True, return_counts=True) for d in (0, 1, -1)]
    return [S(x, **kw) for x in values for kw in extras] + along + [Bad(np.zeros((2, 0)), dim=0), Bad(g(3), dim=1)]


DYNAMIC = {"grad": False, "vmap": False, "trace": False}
SETS = [
    Row("unique", unique_samples, dtypes=ALL, **DYNAMIC),
    Row("unique", lambda _g: [S(np.array([1.0, np.nan, 0.0, np.nan]), return_counts=True)], dtypes="float64 float32", **DYNAMIC),
    Row("unique_consecutive", unique_samples, dtypes=ALL, **DYNAMIC),
    Row("isin", lambda g: [S(FEW, np.array([1.0, 2.5])), S(g(4), np.zeros(0)), S(FEW, 2), S(FEW, np.array([0.0]), invert=True), S(np.array(1.0), FEW), S(np.array([1.0, np.nan]), np.array([np.nan, 1.0]))],
        lambda x, tests, invert=False: np.isin(x, tests, invert=invert), dtypes="float64 float32 int64", grad=False),
]  # fmt: skip

EDGES = np.array([-1.0, 0.0, 0.0, 2.0])
ROWS_OF_EDGES = np.array([[0.0, 1.0, 2.0], [-2.0, 0.0, 0.5]])


def searches(g: Maker) -> list[Sample]:
    return [S(EDGES, g(3, 2)), S(EDGES, EDGES), S(EDGES, EDGES, right=True), S(EDGES, EDGES, side="right"), S(EDGES, 0.5), S(ROWS_OF_EDGES, g(2, 4)), S(EDGES, g(0)), S(np.zeros(0), g(2)),
            S(ROWS_OF_EDGES, ROWS_OF_EDGES, right=True), S(EDGES, np.array([np.nan, 1.0])), Bad(EDGES, g(2), side="left", right=True), Bad(ROWS_OF_EDGES, g(3, 2))]  # fmt: skip


SEARCHES = [
    Row("searchsorted", searches, grad=False, dtypes="float64 float32"),
    Row("bucketize", lambda g: [S(g(3, 2), EDGES), S(EDGES, EDGES), S(EDGES, EDGES, right=True), S(g(3), EDGES, out_int32=True), S(0.5, EDGES), Bad(g(2), ROWS_OF_EDGES)],
        grad=False, dtypes="float64 float32"),
    Row("searchsorted", lambda _g: [S(np.array([2.0, 0.0, 1.0]), np.array([0.5, 1.5]), sorter=np.array([1, 2, 0]))], grad=False, dtypes="float64", vmap=False),
]  # fmt: skip


def integral(y: np.ndarray, x: Any = None, dx: float = 1.0, dim: int = -1) -> np.ndarray:
    return np.asarray(np.trapezoid(y, x, dx, dim))


def differences(x: np.ndarray, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> np.ndarray:
    extra = {k: v for k, v in (("prepend", prepend), ("append", append)) if v is not None}
    return np.diff(x, n, dim, **extra)


SPACED = np.array([0.0, 0.5, 2.0, 2.5])
INTEGRALS = [
    S(SPACED * 2),
    S(np.outer(SPACED, [1.0, -1.0, 2.0]), dim=0),
    S(np.outer([1.0, 2.0], SPACED), SPACED),
    S(np.outer(SPACED, [1.0, 2.0]), SPACED, dim=0),
    S(SPACED, dx=0.5),
]
NEIGHBOURS = [
    Row("diff", lambda g: [S(g(5)), S(g(2, 4), 2), S(g(3, 2), 1, 0), S(g(3, 2), 1, 0, g(1, 2), g(2, 2)), S(g(4), append=g(1)), S(g(3), 5), Bad(g()), Bad(g(3), -1), Bad(g(2, 3), prepend=g(1, 3))],
        differences, dtypes=ALL),
    Row("trapezoid", lambda _g: [*INTEGRALS, Bad(SPACED, SPACED[:2])], integral, dtypes=FLOATS),
    Row("trapz", lambda _g: INTEGRALS, integral, dtypes=FLOATS),
    Row("cumulative_trapezoid", lambda _g: INTEGRALS, dtypes=FLOATS),
    Row("gradient", lambda g: [S(g(4)), S(g(3, 4)), S(g(3, 4), dim=1), S(g(4), edge_order=2), S(g(4), spacing=0.5), S(g(3, 4), spacing=[2.0, 0.5]), S(g(4), spacing=(SPACED,)),
                               S(g(4), spacing=(SPACED,), edge_order=2), S(g(2)), Bad(g(1)), Bad(g(2), edge_order=2), Bad(g(3), spacing=[1.0, 2.0])], dtypes="float64 float32"),
]  # fmt: skip

WHOLE = np.array([0, 3, 1, 1, 3, 3])
POINTS = np.array([[0.1, 0.2], [0.9, 0.4], [0.5, 0.5], [1.0, 1.0]])
BORDERS = np.array([-2.0, -0.5, 0.0, 1.0, 2.0])
COUNTS = [
    Row("bincount", lambda g: [S(WHOLE), S(WHOLE, minlength=7), S(WHOLE, g(6)), S(WHOLE[:0]), S(WHOLE[:0], minlength=2), Bad(WHOLE - 2), Bad(FEW), Bad(WHOLE, g(2)), Bad(WHOLE, minlength=-1)],
        dtypes="float64 float32", grad=False, trace=False, vmap=False),
    Row("histc", lambda g: [S(g(30), 5, -1, 2), S(g(4, 5), 4), S(g(20), bins=3, min=-2, max=2), S(np.ones(3), 4), S(np.zeros(0), 3), Bad(g(3), 0), Bad(g(3), 3, 2, 1),
                            Bad(np.array([np.inf, 1.0]))], dtypes="float64 float32", grad=False, trace=False),
    Row("histogram", lambda g: [S(g(30), 5), S(g(4, 5), BORDERS), S(g(20), 4, range=(-1.0, 1.0)), S(g(6), BORDERS, weight=np.abs(g(6))), S(g(20), 4, density=True), S(np.ones(3), 4), S(BORDERS, BORDERS),
                                Bad(g(3), BORDERS, range=(0.0, 1.0)), Bad(g(3), 2, weight=g(4))], dtypes="float64 float32", grad=False, trace=False, vmap=False),
    Row("histogramdd", lambda g: [S(POINTS, [2, 3]), S(POINTS, 2, range=[0.0, 1.0, 0.0, 2.0]), S(POINTS, [2, 2], weight=np.abs(g(4)), density=True), Bad(g(4), [2]), Bad(POINTS, [2])],
        dtypes="float64 float32", grad=False, trace=False, vmap=False, call=lambda *a, **kw: [ek.histogramdd(*a, **kw)[0], *ek.histogramdd(*a, **kw)[1]],
        torch=lambda t: lambda *a, **kw: [t.histogramdd(*a, **kw)[0], *t.histogramdd(*a, **kw)[1]]),
]  # fmt: skip

ROWS = [*SETS, *SEARCHES, *NEIGHBOURS, *COUNTS]
