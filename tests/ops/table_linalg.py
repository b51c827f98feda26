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


def graded(g: Maker, *shape: int) -> Any:
    """Square matrices with real eigenvalues that lie apart, and eigenvectors that are not orthogonal."""
    n = shape[-1]
    return np.arange(1.0, n + 1) * np.eye(n) + 0.1 * g(*shape, n)


def products_of(w: Any, v: Any) -> Any:
    """Eigenvalues and eigenvectors of any order, length and sign, in forms that do not depend on them."""
    return (w**2).sum(-1).real, (v.abs() ** 2 @ v.mT.abs() ** 2)


def packed(g: Maker, n: int) -> Any:
    """What lu_factor might return."""
    return regular(g, n, n)


def pivots(n: int) -> Any:
    return np.asarray([*range(2, n + 1), n])


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
    row("inv_ex", lambda g: [S(regular(g, 3, 3)), S(regular(g, 2, 2, 2)), Bad(g(2, 3))]),
    row("solve_ex", lambda g: [S(regular(g, 3, 3), g(3, 2)), S(regular(g, 2, 3, 3), g(2, 3)), S(regular(g, 3, 3), g(2, 3), left=False), Bad(g(3, 3), g(2, 2))]),
    of("cholesky_ex", lambda fn, x, **kw: fn(positive(x), **kw), lambda g: [S(regular(g, 3, 3)), S(regular(g, 2, 2, 2), upper=True)]),
    row("lu_factor_ex", lambda g: [S(regular(g, 3, 3)), Bad(g(3))]),
    row("lu_factor", lambda g: [S(regular(g, 3, 3)), S(g(2, 4, 3)), S(g(3, 4)), S(regular(g, 3, 3), pivot=False), Bad(g(3))],
        gaps={"torch": "PyTorch factorises without pivoting on GPUs only"}, dtypes="float64"),
    row("lu", lambda g: [S(regular(g, 3, 3)), S(g(2, 4, 3)), S(g(3, 4)), Bad(g(3))]),
    row("householder_product", lambda g: [S(g(4, 3), g(3)), S(g(2, 3, 3), g(2, 2)), Bad(g(2, 3), g(2)), Bad(g(3, 2), g(3))]),
    of("eigvalsh", lambda fn, x, *a: fn((x + x.mT) / 2, *a), lambda g: [S(spread(g, 3, 3)), S(spread(g, 2, 3, 3), "U"), Bad(g(3)), Bad(g(2, 2), "X")]),
    of("eig", lambda fn, x: products_of(*fn(x)), lambda g: [S(graded(g, 3)), S(graded(g, 2, 3)), Bad(g(2, 3))]),
    of("eigvals", lambda fn, x: (fn(x) ** 3).sum(-1).real, lambda g: [S(g(3, 3)), S(graded(g, 2, 3)), Bad(g(2, 3))]),
    row("lstsq", lambda g: [S(spread(g, 4, 2), g(4, 3)), S(spread(g, 2, 4), g(2, 1)), S(spread(g, 3, 2), g(3)), Bad(g(4, 2), g(3, 2)), Bad(g(4, 2), g(4, 2), driver="x")]),
    of("lstsq", lambda fn, *a, **kw: fn(*a, **kw)[:2], lambda g: [S(spread(g, 4, 2), g(4, 3), driver=d) for d in ("gels", "gelsd", "gelss")], vmap=False, trace=False),
    row("pinv", lambda g: [S(spread(g, 3, 2), rtol=0.1), S(spread(g, 2, 3, 3), atol=0.1), Bad(g(3))]),
    of("pinv", lambda fn, x, **kw: fn((x + x.mT) / 2, **kw), lambda g: [S(spread(g, 3, 3), hermitian=True)]),
    of("pinv", lambda fn, x: fn(x @ x.mT), lambda g: [S(spread(g, 3, 2))]),
    row("cond", lambda g: [S(spread(g, 3, 2)), *(S(regular(g, 3, 3), p) for p in (2, -2, "fro", "nuc", 1, -1, np.inf, -np.inf)), Bad(g(3, 3), 3), Bad(g(3, 2), 1)],
        gaps={"torch_grad": "PyTorch overwrites the inverse that its own backward needs"}),
    row("cross", lambda g: [S(g(2, 3), g(2, 3)), S(g(1, 3), g(4, 3)), S(g(3, 2), g(3, 2), dim=0), Bad(g(2, 2), g(2, 2)), Bad(g(3), g(2, 3))]),
    row("vecdot", lambda g: [S(g(2, 3), g(2, 3)), S(g(3), g(2, 3)), S(g(2, 3), g(2, 3), dim=0), Bad(g(2), g(3))]),
    row("vander", lambda g: [S(g(3)), S(g(2, 3), N=4), Bad(g(3), N=1), Bad(g())]),
    row("matrix_exp", lambda g: [S(g(2, 3, 3)), Bad(g(2, 3))]),
    row("tensorinv", lambda g: [S(g(2, 3, 6)), S(g(4, 2, 2), ind=1), Bad(g(2, 3, 4)), Bad(g(2, 2), ind=0)]),
    row("tensorsolve", lambda g: [S(g(2, 3, 6), g(2, 3)), S(g(2, 6, 3), g(2, 3), dims=(1,)), Bad(g(2, 3, 4), g(2, 3))]),
    row("lu_solve", lambda g: [S(packed(g, 3), pivots(3), g(3, 2)), S(packed(g, 3), pivots(3), g(2, 3), left=False), S(packed(g, 3), pivots(3), g(3, 2), adjoint=True)],
        call=lambda a, p, b, **kw: ek.linalg.lu_solve(a, p.to("int32"), b, **kw),
        torch=lambda torch: lambda a, p, b, **kw: torch.linalg.lu_solve(a, p.int(), b, **kw)),
    row("diagonal", lambda g: [S(g(2, 3)), S(g(2, 3, 4), offset=1), S(g(2, 3, 4), dim1=0, dim2=1)]),
    row("matmul", lambda g: [S(g(2, 3), g(3, 2))], np.matmul),
]  # fmt: skip
