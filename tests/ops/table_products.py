"""Sample rows of products, distances and statistics of rows, and of linear algebra under its names outside ek.linalg."""

import warnings
from typing import Any

import numpy as np

import expkit as ek
from tests.ops.rows import FLOATS, Bad, Row
from tests.ops.rows import Sample as S
from tests.ops.table_linalg import SINGLE, positive, regular, spread

WHOLE = "float64 float32 int64"


def row(name: str, samples: Any, numpy: Any = None, form: Any = None, **kw: Any) -> Row:
    """A row for ek.<name>; `form` calls it where its results are unique only up to signs, or arguments are made."""
    plain = form is None
    form = form or (lambda fn, *args, **kws: fn(*args, **kws))

    def theirs(torch: Any) -> Any:
        def call(*args: Any, **kws: Any) -> Any:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # some of these names are deprecated there
                return form(getattr(torch, name), *args, **kws)

        return call

    kw.update(call=None if plain else lambda *args, **kws: form(getattr(ek, name), *args, **kws), torch=theirs)
    return Row(name, samples, numpy, **{"dtypes": SINGLE, "tolerance": 20.0, **kw})


def _added(product: Any) -> Any:
    return lambda x, a, b, beta=1, alpha=1: beta * x + alpha * product(a, b)


def _symmetric_qr(fn: Any, x: Any) -> Any:
    q, r = fn(x)
    return r.mT @ r, q @ r


def _svd(fn: Any, x: Any, **kw: Any) -> Any:
    u, s, v = fn(x, **kw)
    k = s.shape[-1]
    return s, u[..., :k] @ v[..., :k].mT


def _solved(fn: Any, a: Any, b: Any) -> Any:
    return fn(b, *a.lu())


def _unpacked(fn: Any, a: Any) -> Any:
    return fn(*a.lu())


def _applied(fn: Any, a: Any, tau: Any, other: Any, **kw: Any) -> Any:
    return fn(a.tril(-1), tau, other, **kw)


PRODUCTS = [
    row("addmv", lambda g: [S(g(2), g(2, 3), g(3)), S(g(), g(2, 3), g(3), beta=0.5, alpha=2), Bad(g(3), g(2, 3), g(3)), Bad(g(2), g(2, 3), g(2))],
        _added(np.matmul), dtypes=FLOATS),
    row("addbmm", lambda g: [S(g(2, 2), g(4, 2, 3), g(4, 3, 2)), S(g(1, 2), g(4, 2, 3), g(4, 3, 2), beta=0.5, alpha=2), Bad(g(2, 2), g(3, 2, 3), g(4, 3, 2))],
        _added(lambda a, b: (a @ b).sum(0)), dtypes=FLOATS),
    row("addr", lambda g: [S(g(2, 3), g(2), g(3)), S(g(3), g(2), g(3), beta=0.5, alpha=2), Bad(g(2, 2), g(2), g(3)), Bad(g(2, 3), g(2, 1), g(3))],
        _added(np.outer), dtypes=SINGLE),
    row("vdot", lambda g: [S(g(3), g(3)), S(g(0), g(0)), Bad(g(2), g(3)), Bad(g(2, 2), g(2))], np.vdot, dtypes=WHOLE),
    row("inner", lambda g: [S(g(3), g(3)), S(g(2, 3), g(4, 3)), S(g(2, 3), g()), S(g(2, 2, 3), g(3)), Bad(g(2, 3), g(2))], np.inner, dtypes=WHOLE),
    row("ger", lambda g: [S(g(2), g(3)), Bad(g(2, 2), g(3))], np.outer, dtypes=WHOLE),
    row("kron", lambda g: [S(g(2, 3), g(3, 2)), S(g(2), g(2, 3)), S(g(2, 1, 2), g(2)), S(g(), g(2))], np.kron, dtypes=f"{WHOLE} bool",
        gaps={"versions": "PyTorch takes what was written for what was multiplied"}),
    row("cross", lambda g: [S(g(2, 3), g(2, 3)), S(g(3, 2), g(3, 2), 0), S(g(1, 3), g(4, 3), -1), Bad(g(2, 2), g(2, 2)), Bad(g(2, 3), g(2, 3), 0)],
        lambda a, b, dim=1: np.cross(a, b, axis=dim), dtypes=WHOLE),
    row("chain_matmul", lambda g: [S(g(2, 3), g(3, 4), g(4, 1)), S(g(2, 2)), Bad(g(2)), Bad(g(2, 3), g(2, 3))]),
    row("cdist", lambda g: [
        S(g(3, 2), g(4, 2)), S(g(2, 3, 2), g(4, 2), p=1.0), S(g(3, 2), g(2, 2), p=3.0), S(g(3, 2), g(2, 2), p=0.5), S(g.distinct(3, 2), g.distinct(2, 2), p=np.inf),
        S(g(3, 2), g(4, 2), compute_mode="use_mm_for_euclid_dist"), S(g(30, 2), g(4, 2)), S(g(2, 3, 2), g(2, 4, 2), compute_mode="use_mm_for_euclid_dist"),
        Bad(g(3, 2), g(4, 3)), Bad(g(3, 2), g(4, 2), p=-1.0), Bad(g(3), g(3)),
    ]),
    row("pdist", lambda g: [S(g(4, 2)), S(g(3, 2), p=1.0), S(g(3, 2), p=3.0), S(g.distinct(3, 2), p=np.inf), Bad(g(2, 3, 2)), Bad(g(3, 2), p=-1.0)]),
    row("cov", lambda g: [S(g(2, 4)), S(g(4)), S(g(2, 4), correction=0), S(g(2, 4), aweights=g.positive(4)), S(g(2, 4), fweights=g.ints(3, 4) + 1), Bad(g(2, 2, 2)), Bad(g(2, 4), fweights=g.ints(3, 3))]),
    row("corrcoef", lambda g: [S(g(3, 4)), Bad(g(2, 2, 2))]),
    row("renorm", lambda g: [S(g(3, 4), 2, 0, 1.0), S(g(2, 3, 2), 1, 1, 0.5), S(g(3, 4), 2, -1, 100.0), Bad(g(3), 2, 0, 1.0), Bad(g(3, 4), 2, 0, -1.0)]),
]  # fmt: skip

FACTORS = [
    row("det", lambda g: [S(g(3, 3)), S(g(2, 2, 2)), Bad(g(2, 3))], np.linalg.det),
    row("logdet", lambda g: [S(regular(g, 3, 3)), S(regular(g, 2, 2, 2)), Bad(g(2, 3))]),
    row("slogdet", lambda g: [S(regular(g, 3, 3)), Bad(g(2, 3))]),
    row("inverse", lambda g: [S(regular(g, 3, 3)), Bad(g(2, 3))], np.linalg.inv),
    row("pinverse", lambda g: [S(spread(g, 3, 2)), Bad(g(3))]),
    row("cholesky", lambda g: [S(regular(g, 3, 3)), S(regular(g, 2, 2, 2), upper=True), Bad(g(2))], form=lambda fn, x, **kw: fn(positive(x), **kw)),
    row("cholesky_solve", lambda g: [S(g(3, 2), regular(g, 3, 3)), S(g(2, 3, 1), regular(g, 2, 3, 3), upper=True), Bad(g(2, 2), g(3, 3))],
        form=lambda fn, b, x, upper=False: fn(b, x.triu() if upper else x.tril(), upper)),
    row("cholesky_inverse", lambda g: [S(regular(g, 3, 3)), S(regular(g, 2, 3, 3), upper=True), Bad(g(2, 3))],
        form=lambda fn, x, upper=False: fn(x.triu() if upper else x.tril(), upper)),
    row("qr", lambda g: [S(spread(g, 3, 3)), S(g(2, 4, 2)), Bad(g(3))], form=_symmetric_qr),
    row("svd", lambda g: [S(spread(g, 3, 2)), S(spread(g, 2, 2, 3), some=False), Bad(g(3))], form=_svd),
    row("svd", lambda g: [S(spread(g, 3, 2), compute_uv=False)]),
    row("svd_lowrank", lambda g: [S(spread(g, 3, 2), q=2), S(spread(g, 2, 4), q=2)], form=_svd, vmap=False, trace=False),
    row("svd_lowrank", lambda g: [S(spread(g, 3, 2), q=2, M=g(3, 2))], form=_svd, vmap=False, trace=False),
    row("pca_lowrank", lambda g: [S(spread(g, 4, 2), q=2), S(spread(g, 3, 2), center=False), Bad(g(3, 2), q=3)], form=_svd, vmap=False, trace=False),
    row("lu", lambda g: [S(regular(g, 3, 3)), S(regular(g, 2, 3, 3), get_infos=True), S(g(3, 2)), S(g(2, 3)), Bad(g(3))]),
    row("lu_solve", lambda g: [S(regular(g, 3, 3), g(3, 2)), S(regular(g, 2, 3, 3), g(2, 3, 1))], form=_solved),
    row("lu_unpack", lambda g: [S(regular(g, 3, 3)), S(g(2, 4, 3)), S(g(3, 4))], form=_unpacked),
    row("triangular_solve", lambda g: [
        S(g(3, 2), regular(g, 3, 3)), S(g(3, 2), regular(g, 3, 3), upper=False), S(g(2, 3, 1), regular(g, 3, 3), transpose=True),
        S(g(3, 2), regular(g, 3, 3), unitriangular=True), Bad(g(3), g(3, 3)),
    ]),
    row("geqrf", lambda g: [S(g(3, 2)), S(g(2, 2, 3)), S(g(0, 2)), Bad(g(3))], grad=False),
    row("orgqr", lambda g: [S(g(4, 3), g(3)), S(g(2, 3, 3), g(2, 2)), Bad(g(2, 3), g(2)), Bad(g(3, 2), g(3))]),
    row("ormqr", lambda g: [S(g(3, 2), g(2), g(3, 2)), S(g(3, 2), g(2), g(2, 3), left=False), S(g(3, 2), g(2), g(3, 2), transpose=True), Bad(g(3, 2), g(2), g(2, 2))],
        form=_applied),
    row("matrix_exp", lambda g: [S(g(3, 3)), S(g(2, 2, 2) * 5), S(g(0, 2, 2)), Bad(g(2, 3))]),
    row("matrix_power", lambda g: [S(regular(g, 3, 3), 3), S(regular(g, 2, 3, 3), -2), S(regular(g, 3, 3), 1), Bad(g(3, 3), 1.5)]),
    row("matrix_power", lambda g: [S(g(2, 3, 3), 0)], grad=False),
    row("vander", lambda g: [S(g(3)), S(g(3), 4), S(g(3), 2, increasing=True), Bad(g(2, 2))], np.vander, dtypes=SINGLE,
        gaps={"torch_grad": "PyTorch overwrites what its own backward needs"}),
]  # fmt: skip

ROWS = PRODUCTS + FACTORS
