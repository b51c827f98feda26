"""Rows for reductions and statistics beyond the first ones of table.py."""

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

ROWS = SUMMARIES
