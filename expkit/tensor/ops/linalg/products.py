"""Products of many matrices or of vectors: chains, powers, the exponential, cross and Kronecker products."""

from itertools import pairwise
from typing import Any

import numpy as np

from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.ops import reduce
from expkit.tensor.ops.arguments import dim_of, require_tensor
from expkit.tensor.ops.complex import conj
from expkit.tensor.ops.convert import as_dtype, promote
from expkit.tensor.ops.elementwise import mul
from expkit.tensor.ops.elementwise import pow as power
from expkit.tensor.ops.join import stack
from expkit.tensor.ops.kinds import broadcast_shapes, spread
from expkit.tensor.ops.linalg.matrices import along, block, eye_like, join, own_batch
from expkit.tensor.ops.linalg.matrices import square as square_matrices
from expkit.tensor.ops.linalg.systems import inv
from expkit.tensor.ops.matmul import matmul, same_dtype, swap
from expkit.tensor.ops.movement import flip, reshape, squeeze, unsqueeze
from expkit.tensor.ops.ranges import arange

# ---- chains ----------------------------------------------------------------------------------------------------------


def multi_dot(tensors: Any) -> Any:
    """The product of several matrices, in the order that costs least; the first and the last may be vectors."""
    xs = list(tensors)
    if len(xs) < 2:
        raise ValueError(f"multi_dot(): expected at least 2 tensors but got {len(xs)}")
    same_dtype("multi_dot", *xs)
    first, last = xs[0].ndim == 1, xs[-1].ndim == 1
    xs[0] = unsqueeze(xs[0], 0) if first else xs[0]
    xs[-1] = unsqueeze(xs[-1], 1) if last else xs[-1]
    for n, x in enumerate(xs):
        if x.ndim != 2:
            raise ShapeError(f"multi_dot(): tensor {n} must be 2D (or 1D, if it is first or last), but got {x.ndim}D")
    for x, y in pairwise(xs):
        if x.shape[1] != y.shape[0]:
            raise ShapeError(f"multi_dot(): tensors of {tuple(x.shape)} and {tuple(y.shape)} cannot be multiplied")
    sizes = [xs[0].shape[0], *(x.shape[1] for x in xs)]
    out = _chain(xs, _best_splits(sizes), 0, len(xs) - 1)
    out = squeeze(out, -1) if last else out
    return squeeze(out, 0) if first else out


def chain_matmul(*matrices: Any) -> Any:
    """The product of one or more matrices, in the order that costs least."""
    xs = list(matrices[0]) if len(matrices) == 1 and isinstance(matrices[0], list | tuple) else list(matrices)
    if not xs:
        raise ValueError("chain_matmul(): Expected one or more matrices")
    for x in xs:
        if require_tensor(x, "chain_matmul").ndim != 2:
            raise ShapeError(f"chain_matmul(): Tensor dimension is {x.ndim}, expected 2 instead")
    return xs[0].clone() if len(xs) == 1 else multi_dot(xs)


def _best_splits(sizes: list[int]) -> dict[tuple[int, int], int]:
    """Where to split each stretch of a chain of matrices (Cormen et al., Introduction to Algorithms, 14.2)."""
    n = len(sizes) - 1
    cost: dict[tuple[int, int], int] = {(i, i): 0 for i in range(n)}
    split: dict[tuple[int, int], int] = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            costs = {k: cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1] for k in range(i, j)}
            split[i, j] = min(costs, key=costs.__getitem__)
            cost[i, j] = costs[split[i, j]]
    return split


def _chain(xs: list[Any], split: dict[tuple[int, int], int], i: int, j: int) -> Any:
    if i == j:
        return xs[i]
    k = split[i, j]
    return matmul(_chain(xs, split, i, k), _chain(xs, split, k + 1, j))


def matrix_power(input: Any, n: int) -> Any:
    """The n-th power of each matrix, by squaring; of its inverse for a negative n."""
    what = "linalg.matrix_power"
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise TypeError(f"{what}: n must be an int, not {type(n).__name__}")
    x = require_tensor(input, what)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"{what}: A must be batches of square matrices, but its shape is {tuple(x.shape)}")
    if n < 0:
        x, n = inv(x), -n
    out = None
    while n:
        if n & 1:
            out = x if out is None else matmul(out, x)
        x, n = (matmul(x, x) if n > 1 else x), n >> 1
    if out is None:
        return x * 0 + eye_like(x.detach()) if x.requires_grad else eye_like(x.detach())
    return out.clone() if out is input else out


# ---- the exponential -------------------------------------------------------------------------------------------------

# Numerator of the [13/13] Padé approximant, and the norm up to which it is exact to rounding in float64.
_PADE = (
    64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000, 10559470521600,
    670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
)  # fmt: skip
_RADIUS = 5.371920351148152
MOST = 32  # squarings: beyond, an exponential is 0 or infinite


def _exponential(x: Any) -> Any:
    """N. Higham, "The Scaling and Squaring Method for the Matrix Exponential Revisited" (2005)."""
    xp = xp_of(x)
    wide = xp.complex128 if x.dtype.kind == "c" else xp.float64
    a = x.astype(wide)
    if not x.size:
        return x.copy()
    size = abs(a).sum(-2).max(-1)[..., None, None]
    finite = xp.isfinite(size)
    rounds = xp.where(finite, xp.ceil(xp.log2(xp.maximum(xp.where(finite, size, 1), 1e-300) / _RADIUS)), 0)
    rounds = xp.clip(rounds, 0, MOST)
    a = a / 2.0**rounds
    eye = xp.eye(x.shape[-1], dtype=wide)
    a2 = a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    b = [float(c) for c in _PADE]
    odd = a @ (a6 @ (b[13] * a6 + b[11] * a4 + b[9] * a2) + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * eye)
    even = a6 @ (b[12] * a6 + b[10] * a4 + b[8] * a2) + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * eye
    out = xp.linalg.solve(even - odd, even + odd)
    for i in range(int(rounds.max()) if xp is np else MOST):  # nothing is read back from a GPU
        out = xp.where(rounds > i, out @ out, out)
    return out.astype(x.dtype)


def _exp_along(t: Any, x: Any) -> Any:
    """The derivative along t: what stands beside exp(x) in the exponential of [[x, t], [0, x]]."""
    n = x.shape[-1]
    whole = matrix_exp_p(join([join([x, t], -1), join([x * 0, x], -1)], -2))
    return block(whole, (0, n), (n, 2 * n))


matrix_exp_p = Primitive(
    "matrix_exp",
    _exponential,
    lambda x: x,
    lambda g, _out, x: _exp_along(g, swap(x)),
    jvp=along(lambda t, _out, x: _exp_along(t, x)),
    batch=own_batch("matrix_exp"),
)


def matrix_exp(input: Any) -> Any:
    """The exponential of each matrix, 1 + A + A²/2! + ..."""
    d = dtypes.of(require_tensor(input, "linalg.matrix_exp").raw)
    if not (d.is_floating_point or d.is_complex):
        raise TypeError(f"linalg.matrix_exp: Expected a floating point or complex tensor as input. Got {d}")
    if d.itemsize == 2:
        return as_dtype(matrix_exp(as_dtype(input, dtypes.float32)), d)
    return apply(matrix_exp_p, square_matrices("linalg.matrix_exp", input))


# ---- of vectors ------------------------------------------------------------------------------------------------------


def _crossed(a: Any, b: Any, at: int) -> Any:
    (a0, a1, a2), (b0, b1, b2) = a.unbind(at), b.unbind(at)
    return stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], at)


def linalg_cross(input: Any, other: Any, *, dim: int = -1) -> Any:
    """The cross product of vectors of three elements along `dim`."""
    what = "linalg.cross"
    a, b = promote(require_tensor(input, what), require_tensor(other, what))
    if a.ndim != b.ndim:
        raise ShapeError(f"{what}: inputs must have the same number of dimensions, got {a.ndim} and {b.ndim}")
    at = dim_of(dim, a.ndim)
    if a.shape[at] != 3 or b.shape[at] != 3:
        raise ShapeError(f"{what}: inputs dimension {dim} must have length 3. Got {a.shape[at]} and {b.shape[at]}")
    shape = broadcast_shapes(tuple(a.shape), tuple(b.shape))
    return _crossed(spread(a, shape), spread(b, shape), at)


def cross(input: Any, other: Any, dim: int | None = None) -> Any:
    """The cross product along `dim`; along the first dimension of size 3 where it is None."""
    if dim is None:
        shape = broadcast_shapes(tuple(input.shape), tuple(other.shape))
        if 3 not in shape:
            raise ShapeError(f"cross: no dimension of size 3 in input of shape {tuple(input.shape)}")
        dim = shape.index(3)
    return linalg_cross(input, other, dim=dim)


def vecdot(x: Any, y: Any, *, dim: int = -1) -> Any:
    """The sums of conj(x) * y along `dim`, broadcast."""
    d = dtypes.of(require_tensor(x, "linalg.vecdot").raw)
    if not (d.is_floating_point or d.is_complex):
        raise TypeError(f"linalg.vecdot: Expected a floating point or complex tensor as input. Got {d}")
    a, b = same_dtype("linalg.vecdot", x, require_tensor(y, "linalg.vecdot"))
    if d.itemsize == 2:
        return as_dtype(vecdot(as_dtype(a, dtypes.float32), as_dtype(b, dtypes.float32), dim=dim), d)
    return reduce.sum(mul(conj(a), b), dim)


def vander(x: Any, N: int | None = None, *, increasing: bool = True) -> Any:
    """Powers of x: (*, n) -> (*, n, N), the exponents 0, 1, ..., N - 1 (backwards where not increasing)."""
    d = dtypes.of(require_tensor(x, "linalg.vander").raw)
    if d is dtypes.bool_:
        raise TypeError("linalg.vander supports floating point, complex, and integer tensors, but got bool")
    if not x.ndim and N is None:
        raise ShapeError("linalg.vander: x must have at least one dimension, or N be given")
    x = x if x.ndim else unsqueeze(x, 0)
    n = x.shape[-1] if N is None else N
    if n <= 1:
        raise ValueError(f"N must be greater than 1, got {n}")
    exponents = arange(n, device=x.device)
    return power(unsqueeze(x, -1), exponents if increasing else flip(exponents, (0,)))


def kron(input: Any, other: Any) -> Any:
    """The Kronecker product: each element of the first tensor times the whole second one."""
    a, b = promote(require_tensor(input, "kron"), require_tensor(other, "kron"))
    rank = max(a.ndim, b.ndim)
    left = (1,) * (rank - a.ndim) + tuple(a.shape)
    right = (1,) * (rank - b.ndim) + tuple(b.shape)
    out = mul(
        reshape(a, tuple(n for size in left for n in (size, 1))),
        reshape(b, tuple(n for size in right for n in (1, size))),
    )
    return reshape(out, tuple(n * m for n, m in zip(left, right, strict=True)))
