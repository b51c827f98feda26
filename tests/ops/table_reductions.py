"""Rows for reductions and statistics beyond the first ones of table.py."""

from typing import Any

import numpy as np

from tests.ops.rows import ALL, FLOATS, INTS, Bad, Maker, Row, Sample

S = Sample
NAN = np.nan


def with_nan(g: Maker, *shape: int) -> np.ndarray:
    """Distinct numbers, every third of them NaN."""
    x = g.distinct(*shape)
    x.reshape(-1)[::3] = NAN
    return x


def nan_samples(g: Maker) -> list[Sample]:
    return [
        S(with_nan(g, 5)),
        S(with_nan(g, 2, 4), 0),
        S(with_nan(g, 2, 4), 1, True),
        S(with_nan(g, 2, 2, 4), (0, 2)),
        S(g(3)),
        S(g()),
    ]


SUMMARIES = [
    Row("aminmax", lambda g: [S(g.distinct(5)), S(g.distinct(2, 3)), S(g.distinct(2, 3), dim=0), S(g.distinct(2, 3), dim=-1, keepdim=True), S(g.distinct()),
                              S(g.distinct(), dim=0), Bad(g(0)), Bad(g(2, 0), dim=1)],
        lambda x, dim=None, keepdim=False: (x.min(dim if x.ndim else None, keepdims=keepdim), x.max(dim if x.ndim else None, keepdims=keepdim)), dtypes=ALL),
    Row("std_mean", lambda g: [S(g(4)), S(g(2, 3), dim=0), S(g(2, 3), dim=(0, 1), correction=0, keepdim=True), S(g(5), False)], dtypes=FLOATS),
    Row("std", lambda g: [S(g(4), False), S(g(2, 3), 1, False, True), S(g(4), unbiased=True), Bad(g(4), True, True), Bad(g(4), 0, True, correction=1)], dtypes=FLOATS),
    Row("var", lambda g: [S(g(4), False), S(g(2, 3), 1, False, True), S(g(4), unbiased=True)], dtypes=FLOATS),
    Row("nansum", nan_samples, lambda x, dim=None, keepdim=False: np.nansum(x, axis=dim, keepdims=keepdim), dtypes=f"{FLOATS} {INTS}"),
    Row("nanmean", nan_samples, lambda x, dim=None, keepdim=False: np.nanmean(x, axis=dim, keepdims=keepdim), dtypes=FLOATS),
    Row("dist", lambda g: [S(g(4), g(4)), S(g(2, 3), g(3), 1), S(g(2, 3), g(2, 1), p=3), S(g(), g())],
        lambda x, y, p=2: np.sum(np.abs(x - y) ** p) ** (1 / p), dtypes=FLOATS),
    Row("norm", lambda g: [S(g(3, 4), "nuc"), S(g(2, 3, 4), "nuc", (1, 2)), S(g(2, 3, 4), "nuc", (0, 2), True), Bad(g(3), "nuc"), Bad(g(3), "frob")],
        dtypes="float64 float32", tolerance=10.0, gaps={"versions": "the singular values' rule keeps the matrix, where PyTorch keeps its parts"}),
]  # fmt: skip


def running(name: str, numpy: Any) -> list[Row]:
    """cummax and cummin: where no two elements are equal, and where some are, or NaN."""
    ties = [
        S(np.array([1.0, 3.0, 3.0, NAN, NAN, 2.0]), 0),
        S(np.array([3.0, 3.0, 1.0, 1.0]), 0),
        S(np.zeros((2, 0)), 1),
    ]
    return [
        Row(name, lambda g: [S(g.distinct(6), 0), S(g.distinct(3, 4), 0), S(g.distinct(3, 4), -1), S(g.distinct(2, 3, 2), 1), S(g.distinct(), 0), Bad(g(2), 1)]),
        Row(name, lambda _g: ties, grad=False, dtypes=FLOATS),
    ]  # fmt: skip


def log_sums(x: np.ndarray, dim: int) -> np.ndarray:
    return np.logaddexp.accumulate(x, dim) if x.ndim else x


SCANS = [
    *running("cummax", np.maximum), *running("cummin", np.minimum),
    Row("logcumsumexp", lambda g: [S(g(5), 0), S(g(3, 4), 0), S(g(3, 4), -1), S(g(2, 3, 2), 1), S(g(), 0), S(g(4) + 900, 0), S(g(0), 0)], log_sums, dtypes=FLOATS),
    Row("logcumsumexp", lambda g: [S(np.array([-np.inf, -np.inf, 1.0, 2.0]), 0), S(np.array([1.0, np.inf, 1.0]), 0)], log_sums, grad=False, dtypes="float64 float32"),
]  # fmt: skip


def quantile_oracle(fn: Any) -> Any:
    def oracle(
        x: np.ndarray, q: Any, dim: int | None = None, keepdim: bool = False, interpolation: str = "linear"
    ) -> Any:
        return fn(x, q, axis=dim if x.ndim else None, keepdims=keepdim, method=interpolation)

    return oracle


def quantile_samples(g: Maker) -> list[Sample]:
    ways = [S(g.distinct(6), 0.3, interpolation=how) for how in ("linear", "lower", "higher", "midpoint", "nearest")]
    q = np.array([0.1, 0.55, 0.9])
    return [*ways, S(g.distinct(7), q), S(g.distinct(3, 5), 0.4, 0), S(g.distinct(3, 5), q, 1), S(g.distinct(3, 5), q, dim=0, keepdim=True), S(g.distinct(2, 5), 0.7, keepdim=True),
            S(g.distinct(), 0.5), S(g.distinct(2, 3, 5), q, 1)]  # fmt: skip


NO_NUMBER = [S(np.array([[NAN, NAN, NAN], [1.0, 2.0, 3.0]]), 0.5, 1), S(np.array([1.0, NAN, 3.0, 0.0]), 0.4)]
RANKS = [
    Row("nanmedian", lambda g: [S(with_nan(g, 6)), S(with_nan(g, 2, 5), 1), S(with_nan(g, 2, 4), 0, True), S(g.distinct(2, 3, 2), -2), S(g.distinct()), S(g.distinct(), 0), Bad(g.distinct(2, 0), 1)],
        dtypes="float64 float32 int64"),
    Row("nanmedian", lambda _g: [S(np.array([NAN, NAN])), S(np.array([[NAN, NAN], [1.0, NAN]]), 1), S(np.zeros(0))], grad=False, dtypes="float64 float32"),
    Row("median", lambda _g: [S(np.array([1.0, 3.0, 2.0, 2.0])), S(np.array([[2.0, 2.0], [1.0, 3.0]]))], dtypes="float64 float32", second=False),
    Row("mode", lambda g: [S(g.distinct(5)), S(g.distinct(3, 4), 0), S(g.distinct(3, 4), -1, True), S(g.distinct(2, 3, 2), 1), S(g.distinct()), Bad(g(2, 0), 1)], dtypes="float64 float32 int64 bool"),
    Row("mode", lambda _g: [S(np.array([3.0, 1.0, 3.0, 1.0, 1.0, 3.0])), S(np.array([[2.0, 2.0, 1.0], [0.0, 5.0, 5.0]]), 1)], dtypes="float64 int64", grad=False),
    Row("quantile", quantile_samples, quantile_oracle(np.quantile), dtypes="float64 float32"),
    Row("nanquantile", lambda g: [*quantile_samples(g), S(with_nan(g, 3, 5), 0.4, 1)], quantile_oracle(np.nanquantile), dtypes="float64 float32"),
    Row("quantile", lambda g: [*NO_NUMBER, Bad(g(3), 1.5), Bad(g(0), 0.5), Bad(g(3), 0.5, interpolation="cubic")], grad=False, dtypes="float64 float32"),
    Row("nanquantile", lambda _g: NO_NUMBER, grad=False, dtypes="float64 float32"),
]  # fmt: skip

ROWS = [*SUMMARIES, *SCANS, *RANKS]
