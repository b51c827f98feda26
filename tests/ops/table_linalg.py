"""Sample rows of linear algebra. What is unique only up to signs is compared in a form that does not depend on them."""

from typing import Any

import numpy as np

import expkit as ek
from tests.ops.rows import Bad, Maker, Row
from tests.ops.rows import Sample as S

SINGLE = "float64 float32"


def regular(g: Maker, *shape: int) -> Any:
    """Square matrices far from singular."""
    return g(*shape) * 0.5 + 2 * np.eye(shape[-1])


def spread(g: Maker, *shape: int) -> Any:
    """Matrices whose singular values lie apart."""
    u, _, vh = np.linalg.svd(g(*shape), full_matrices=False)
    return (u * np.arange(1.0, u.shape[-1] + 1)) @ vh


def symmetric(x: Any) -> Any:
    return (x + x.swapaxes(-1, -2)) / 2


def positive(x: Any) -> Any:
    return x @ x.mT


def weighted(parts: Any) -> Any:
    """Factors whose columns have any sign, as products that have not."""
    w, v = parts
    return w, (v * (v * 0 + 1).cumsum(-1)) @ v.mT


def row(name: str, samples: Any, numpy: Any = None, **kw: Any) -> Row:
    def theirs(torch: Any) -> Any:
        return getattr(torch.linalg, name)

    options = {"call": getattr(ek.linalg, name), "torch": theirs, "dtypes": SINGLE, "tolerance": 20.0, **kw}
    return Row(f"linalg.{name}", samples, numpy, **options)


def of(name: str, form: Any, samples: Any, **kw: Any) -> Row:
    """A row for form(function, *args) in both libraries."""
    return row(
        name,
        samples,
        call=lambda *args, **kws: form(getattr(ek.linalg, name), *args, **kws),
        torch=lambda torch: lambda *args, **kws: form(getattr(torch.linalg, name), *args, **kws),
        **kw,
    )


ROWS = [
    row("inv", lambda g: [S(regular(g, 3, 3)), S(regular(g, 2, 2, 2)), S(g(0, 2, 2)), Bad(g(2, 3)), Bad(g(3))], np.linalg.inv),
    row("det", lambda g: [S(g(3, 3)), S(g(2, 2, 2)), S(g(1, 1)), Bad(g(2, 3))], np.linalg.det),
    row("slogdet", lambda g: [S(regular(g, 3, 3)), S(-regular(g, 2, 3, 3)), Bad(g(2, 3))]),
    row("solve", lambda g: [
        S(regular(g, 3, 3), g(3, 2)), S(regular(g, 3, 3), g(3)), S(regular(g, 2, 3, 3), g(2, 3)), S(regular(g, 3, 3), g(2, 3, 1)),
        S(regular(g, 2, 1, 3, 3), g(4, 3, 2)), S(regular(g, 3, 3), g(2, 3), left=False), Bad(g(2, 3), g(2)), Bad(g(3, 3), g(2, 2)),
        Bad(g(2, 3, 3), g(3, 2), left=False),
    ]),
    row("solve_triangular", lambda g: [
        S(regular(g, 3, 3), g(3, 2), upper=True), S(regular(g, 3, 3), g(3, 2), upper=False),
        S(regular(g, 2, 3, 3), g(2, 2, 3), upper=True, left=False), S(regular(g, 3, 3), g(3, 2), upper=True, unitriangular=True),
        S(regular(g, 3, 3, 3), g(3, 3), upper=True), S(regular(g, 3, 3, 3), g(3, 3), upper=False, left=False),
        Bad(g(2, 3), g(2, 1), upper=True), Bad(g(3, 3), g(3), upper=True), Bad(g(2, 3, 3), g(3, 2), upper=True, left=False),
    ]),
    of("cholesky", lambda fn, x, **kw: fn(positive(x), **kw), lambda g: [S(regular(g, 3, 3)), S(regular(g, 2, 2, 2), upper=True), Bad(g(2))]),
    of("eigh", lambda fn, x, *a: weighted(fn((x + x.mT) / 2, *a)), lambda g: [S(spread(g, 3, 3)), S(spread(g, 2, 3, 3), "U"), Bad(g(3)), Bad(g(2, 2), "X")]),
    of("qr", lambda fn, x: (lambda q, r: (q @ q.mT[..., :1], r.mT @ r, q @ r))(*fn(x)), lambda g: [S(spread(g, 3, 3)), S(g(2, 4, 2)), S(g(2, 4)), Bad(g(3))],
       gaps={}),
    of("svd", lambda fn, x: (lambda u, s, vh: (s, u @ vh))(*fn(x, full_matrices=False)), lambda g: [S(spread(g, 3, 3)), S(spread(g, 2, 4, 3)), S(spread(g, 3, 4)), Bad(g(3))]),
    row("svdvals", lambda g: [S(spread(g, 4, 3)), Bad(g(3))]),
    row("vector_norm", lambda g: [S(g.off_zero(2, 3)), S(g.off_zero(2, 3), 1, 1), S(g.off_zero(2, 3), 3.0, (0, 1), True), S(g.distinct(2, 3), np.inf, 0), Bad(g(2), "fro")]),
    row("matrix_norm", lambda g: [
        S(g(2, 3)), S(spread(g, 3, 2), "nuc"), S(g.distinct(2, 3), 1), S(g.distinct(2, 3), -1), S(spread(g, 3, 3), 2), S(spread(g, 3, 3), -2),
        S(g.distinct(2, 3), np.inf), S(g.distinct(2, 3, 2), -np.inf, (0, 2), True), S(spread(g, 3, 2, 2), 2, (2, 1), True), Bad(g(3)), Bad(g(2, 2), 5),
    ]),
    row("norm", lambda g: [S(g(2, 3)), S(g(3)), S(g.off_zero(4), 1), S(g(2, 3), "fro"), S(spread(g, 3, 2), 2), S(g(2, 3, 4), dim=(1, 2)), S(g.off_zero(2, 3), 1, 1), Bad(g(2, 2, 2), 2)]),
    row("matrix_power", lambda g: [S(regular(g, 3, 3), n) for n in (1, 2, 5, -2)]),
    row("matrix_power", lambda g: [S(g(2, 3, 3), 0)], grad=False),
    row("matrix_rank", lambda g: [S(g(3, 2)), S(np.ones((3, 3))), S(np.ones((2, 3, 3)), atol=0.1)], grad=False),
    row("pinv", lambda g: [S(spread(g, 3, 2)), S(spread(g, 2, 2, 3))]),
    row("multi_dot", lambda g: [S([g(2, 3), g(3, 4), g(4, 1)]), S([g(3), g(3, 4), g(4)]), S([g(2, 2), g(2, 2)]), Bad([g(2, 2)])]),
]  # fmt: skip
