"""Matrix products and what is made of them."""

import math
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval, Handle
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply, apply2
from expkit.errors import ShapeError
from expkit.tensor import blas, dtypes
from expkit.tensor.generated.matmul import product
from expkit.tensor.ops.convert import require_tensor
from expkit.tensor.ops.elementwise import add, mul
from expkit.tensor.ops.kinds import broadcast_shapes, push_bilinear, reshape_p, spread, sum_p
from expkit.tensor.ops.movement import diagonal, permute, permute_p, reshape, squeeze, unsqueeze
from expkit.tensor.ops.reduce import sum as sum_
from expkit.tensor.ops.special import is_float

# ---- primitives ------------------------------------------------------------------------------------------------------


def swap(x: Any) -> Any:
    """The last two axes swapped (raw or Tensor)."""
    n = len(x.shape)
    return permute_p(x, axes=(*range(n - 2), n - 1, n - 2))


def rows(x: Any) -> Any:
    """All axes but the last folded into one."""
    return x if len(x.shape) == 2 else reshape_p(x, shape=(_rows(x.shape), x.shape[-1]))


def _matmul_shape(x: Aval, y: Aval) -> Aval:
    return Aval((*broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1]), x.dtype, x.device)


def _for_right(g: Any, _out: Any, x: Any, _y: Any) -> Any:
    if len(_y.shape) == 2 and len(x.shape) > 2:  # one right operand for all batches: one product of tall matrices
        return matmul_p(swap(rows(x)), rows(g))
    return matmul_p(swap(x), g)


def _matmul_batch(_size: int, values: list[Any], mapped: list[bool], _kw: dict[str, Any]) -> Any:
    rank = max(len(v.shape) - m for v, m in zip(values, mapped, strict=True))
    aligned = []
    for v, m in zip(values, mapped, strict=True):
        short = rank - (len(v.shape) - m)
        aligned.append(reshape_p(v, shape=(v.shape[0],) + (1,) * short + tuple(v.shape[1:])) if m and short else v)
    return matmul_p(*aligned)


def _plain(x: Any, y: Any, bias: Any = None) -> Any:
    """x @ y + bias; one right operand for all batches makes one product of tall matrices."""
    if x.itemsize == 2 and is_float(x) and x.__class__ is np.ndarray:  # summed in float32, rounded once
        return _product(*(a if a is None else a.astype(np.float32) for a in (x, y, bias))).astype(x.dtype)
    fold = x.ndim > 2 and y.ndim == 2
    out = blas.matmul(x.reshape(_rows(x.shape), x.shape[-1]) if fold else x, y)
    if bias is not None:
        out += bias
    return out.reshape(*x.shape[:-1], y.shape[-1]) if fold else out


_product = product(_plain)


def _rows(shape: Any) -> int:
    return math.prod(shape[:-1])


matmul_p = Primitive(  # operands of two axes or more; the leading ones are broadcast
    "matmul",
    _product,
    _matmul_shape,
    (lambda g, _out, _x, y: matmul_p(g, swap(y)), _for_right),
    batch=_matmul_batch,
)
matmul_p.jvp = push_bilinear(matmul_p)


def _linear(x: Any, w: Any, b: Any = None) -> Any:
    if x.ndim == 1:
        return _product(x.reshape(1, -1), w.T, b).reshape(-1)
    return _product(x, w.T, b)


def _linear_push(tangents: list[Any], out: Any, primals: list[Any], _kw: dict[str, Any]) -> Any:
    x, w = primals[:2]
    parts = []
    if tangents[0] is not None:
        parts.append(linear_p(tangents[0], w))
    if tangents[1] is not None:
        parts.append(linear_p(x, tangents[1]))
    if len(tangents) > 2 and tangents[2] is not None:
        parts.append(spread(tangents[2], tuple(out.shape)))
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _linear_batch(size: int, values: list[Any], mapped: list[bool], _kw: dict[str, Any]) -> Any:
    x, w, *b = values
    if not mapped[1]:
        if mapped[0] and not (b and mapped[2]):
            return linear_p(*values)
        out = linear_p(x, w)
        out = out if mapped[0] else reshape_p(out, shape=(1, *out.shape))
    else:
        n = _rows(x.shape[1:] if mapped[0] else x.shape)
        flat = matmul_p(reshape_p(x, shape=(x.shape[0] if mapped[0] else 1, n, x.shape[-1])), swap(w))
        lead = tuple(x.shape[1:-1] if mapped[0] else x.shape[:-1])
        out = reshape_p(flat, shape=(size, *lead, flat.shape[-1]))
    if b:
        shape = (size,) + (1,) * (len(out.shape) - 2) + (b[0].shape[-1],) if mapped[2] else tuple(b[0].shape)
        out = out + reshape_p(b[0], shape=shape)
    return out


linear_p = Primitive(  # x Wᵀ + b
    "linear",
    _linear,
    lambda x, w, b=None: Aval((*x.shape[:-1], w.shape[0]), x.dtype, x.device),
    (
        lambda g, _out, _x, w, _b=None: reshape_p(matmul_p(rows(g), w), shape=tuple(_x.shape)),
        lambda g, _out, x, _w, _b=None: matmul_p(swap(rows(g)), rows(x)),
        lambda g, _out, _x, _w, _b=None: sum_p(g, axes=tuple(range(len(g.shape) - 1))),
    ),
    jvp=_linear_push,
    batch=_linear_batch,
)

# ---- functions -------------------------------------------------------------------------------------------------------


def matmul(input: Any, other: Any) -> Any:
    """The matrix product: vectors count as a row on the left and a column on the right; leading axes are broadcast."""
    x, y = _same("matmul", input, other)
    m, n = x.raw.shape, y.raw.shape
    if len(m) > 1 < len(n) and m[-1] == n[-2]:
        return apply2(matmul_p, x, y)
    if x.ndim == 0 or y.ndim == 0:
        raise ShapeError("both arguments to matmul need to be at least 1D")
    if x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        raise ShapeError(f"mat1 and mat2 shapes cannot be multiplied ({_times(x)} and {_times(y)})")
    left, right = x.ndim == 1, y.ndim == 1
    out = apply2(matmul_p, unsqueeze(x, 0) if left else x, unsqueeze(y, 1) if right else y)
    if right:
        out = squeeze(out, -1)
    return squeeze(out, out.ndim - 1 if right else -2) if left else out


def _same(what: str, *xs: Any) -> tuple[Any, ...]:
    """The operands, if they are Tensors of one dtype: products do not promote."""
    first = None
    for x in xs:
        dtype = x.raw.dtype if isinstance(x, Handle) else require_tensor(x, what).raw.dtype
        first = dtype if first is None else first
        if dtype is not first and dtype != first:
            raise TypeError(
                f"{what}: expected tensors of one dtype, got {dtypes.of(xs[0].raw)} and {dtypes.of(x.raw)}. "
                "Convert one of them with .to(dtype)."
            )
    return xs


def _times(x: Any) -> str:
    return "x".join(map(str, x.shape))


def _ranks(x: Any, y: Any, n: int, name: str) -> None:
    if x.ndim != n or y.ndim != n:
        raise ShapeError(f"{name}: expected {n}-dimensional tensors, got shapes {tuple(x.shape)} and {tuple(y.shape)}")


def mm(input: Any, mat2: Any) -> Any:
    """The product of two matrices."""
    _ranks(input, mat2, 2, "mm")
    return matmul(input, mat2)


def bmm(input: Any, mat2: Any) -> Any:
    """The products of two batches of matrices."""
    _ranks(input, mat2, 3, "bmm")
    if input.shape[0] != mat2.shape[0]:
        raise ShapeError(f"bmm: the batches have {input.shape[0]} and {mat2.shape[0]} matrices")
    return matmul(input, mat2)


def mv(input: Any, vec: Any) -> Any:
    """The product of a matrix and a vector."""
    if input.ndim != 2 or vec.ndim != 1:
        raise ShapeError(f"mv: expected a matrix and a vector, got shapes {tuple(input.shape)} and {tuple(vec.shape)}")
    return matmul(input, vec)


def dot(input: Any, tensor: Any) -> Any:
    """The sum of products of two vectors."""
    _ranks(input, tensor, 1, "dot")
    return matmul(input, tensor)


def outer(input: Any, vec2: Any) -> Any:
    """All products of elements of two vectors."""
    _ranks(input, vec2, 1, "outer")
    return mul(unsqueeze(input, 1), unsqueeze(vec2, 0))


def addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * (mat1 @ mat2)."""
    _ranks(mat1, mat2, 2, "addmm")
    return _added(input, matmul(mat1, mat2), beta, alpha)


def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * (batch1 @ batch2)."""
    return _added(input, bmm(batch1, batch2), beta, alpha)


def _added(input: Any, product: Any, beta: Any, alpha: Any) -> Any:
    if broadcast_shapes(tuple(input.shape), tuple(product.shape)) != tuple(product.shape):
        raise ShapeError(f"the input of shape {tuple(input.shape)} does not broadcast to {tuple(product.shape)}")
    product = product if alpha == 1 else mul(product, alpha)
    return product if beta == 0 else add(product, input if beta == 1 else mul(input, beta))


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """x Wᵀ + b.   input: (..., in), weight: (out, in) or (in,), bias: (out,) -> (..., out)"""
    operands = _same("linear", input, weight) if bias is None else _same("linear", input, weight, bias)
    x, w = input.raw.shape, weight.raw.shape
    if len(w) == 2 and x[-1:] == w[1:] and (bias is None or bias.raw.shape == w[:1]):
        return apply(linear_p, *operands)
    if input.ndim == 0 or weight.ndim not in (1, 2) or input.shape[-1] != weight.shape[-1]:
        raise ShapeError(
            f"linear: the input's last dimension is {input.shape[-1] if input.ndim else 'missing'} "
            f"(input {tuple(input.shape)}), the weight {tuple(weight.shape)} expects {weight.shape[-1]}"
        )
    if weight.ndim == 1:
        out = matmul(input, weight)
        return out if bias is None else add(out, bias)
    raise ShapeError(f"linear: the bias has shape {tuple(bias.shape)}, expected ({weight.shape[0]},)")


def tensordot(a: Any, b: Any, dims: Any = 2) -> Any:
    """The contraction over the last n axes of a and the first n of b, or over two given lists of axes."""
    first, second = (
        (list(range(a.ndim - dims, a.ndim)), list(range(dims))) if isinstance(dims, int) else map(list, dims)
    )
    first, second = [d % a.ndim for d in first], [d % b.ndim for d in second]
    free_a = [d for d in range(a.ndim) if d not in first]
    free_b = [d for d in range(b.ndim) if d not in second]
    if [a.shape[d] for d in first] != [b.shape[d] for d in second]:
        raise ShapeError(
            f"tensordot: contracted sizes differ: {[a.shape[d] for d in first]} and {[b.shape[d] for d in second]}"
        )
    k = int(np.prod([a.shape[d] for d in first], dtype=int))
    left = reshape(permute(a, (*free_a, *first)), int(np.prod([a.shape[d] for d in free_a], dtype=int)), k)
    right = reshape(permute(b, (*second, *free_b)), k, int(np.prod([b.shape[d] for d in free_b], dtype=int)))
    return reshape(matmul(left, right), (*(a.shape[d] for d in free_a), *(b.shape[d] for d in free_b)))


def einsum(equation: str, *operands: Any) -> Any:
    """Sums of products by index letters, pair by pair as batched matrix products: einsum("bij,bjk->bik", x, y)."""
    xs = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], list | tuple) else list(operands)
    terms, out = _parse(equation, xs)
    x, left = _reduce_repeats(xs[0], terms[0])
    for n, (y, term) in enumerate(zip(xs[1:], terms[1:], strict=True)):
        y, right = _reduce_repeats(y, term)
        later = set(out).union(*terms[n + 2 :])
        x, left = _contract(x, left, y, right, later)
    drop = [i for i, c in enumerate(left) if c not in out]
    if drop:
        x, left = sum_(x, drop), [c for c in left if c in out]
    return permute(x, [left.index(c) for c in out]) if left != list(out) else x


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _parse(equation: str, xs: list[Any]) -> tuple[list[list[str]], list[str]]:
    spec = equation.replace(" ", "")
    inputs, arrow, output = spec.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(xs):
        raise ValueError(f"einsum(): {len(terms)} subscripts for {len(xs)} operands in {equation!r}")
    wide = 0
    for term, x in zip(terms, xs, strict=True):
        n = x.ndim - len(term.replace("...", ""))
        if n < 0 or (n and "..." not in term):
            raise ValueError(f"einsum(): the subscripts {term!r} do not match a tensor of {x.ndim} dimensions")
        wide = max(wide, n if "..." in term else 0)
    free = [c for c in _LETTERS if c not in spec][:wide]
    full = [
        list(t.replace("...", "".join(free[wide - (x.ndim - len(t) + 3) :]) if "..." in t else ""))
        for t, x in zip(terms, xs, strict=True)
    ]
    if arrow:
        return full, list(output.replace("...", "".join(free)))
    counts = "".join(terms).replace(".", "")
    return full, [*free, *sorted(c for c in set(counts) if counts.count(c) == 1)]


def _reduce_repeats(x: Any, term: list[str]) -> tuple[Any, list[str]]:
    """Takes the diagonal for letters that occur twice in one term."""
    while len(set(term)) != len(term):
        c = next(c for c in term if term.count(c) > 1)
        i = term.index(c)
        j = term.index(c, i + 1)
        x = diagonal(x, 0, i, j)
        term = [t for k, t in enumerate(term) if k not in (i, j)] + [c]
    return x, term


def _contract(x: Any, left: list[str], y: Any, right: list[str], later: set[str]) -> tuple[Any, list[str]]:
    """One pair as a batched matrix product: (batch, rows, sum) @ (batch, sum, columns)."""
    batch = [c for c in left if c in right and c in later]
    summed = [c for c in left if c in right and c not in later]
    x, left = _sum_out(x, left, [c for c in left if c not in right and c not in later])
    y, right = _sum_out(y, right, [c for c in right if c not in left and c not in later and c not in summed])
    rows_ = [c for c in left if c not in right]
    columns = [c for c in right if c not in left]
    size = {c: n for t, s in ((left, x.shape), (right, y.shape)) for c, n in zip(t, s, strict=True)}
    size.update({c: max(x.shape[left.index(c)], y.shape[right.index(c)]) for c in (*batch, *summed)})

    def shaped(t: Any, term: list[str], *groups: list[str]) -> Any:
        order = [c for group in groups for c in group]
        t = permute(t, [term.index(c) for c in order])
        t = t.expand(*(size[c] for c in order))
        return reshape(t, tuple(int(np.prod([size[c] for c in group], dtype=int)) for group in groups))

    out = matmul(shaped(x, left, batch, rows_, summed), shaped(y, right, batch, summed, columns))
    term = [*batch, *rows_, *columns]
    return reshape(out, tuple(size[c] for c in term)), term


def _sum_out(x: Any, term: list[str], letters: list[str]) -> tuple[Any, list[str]]:
    if not letters:
        return x, term
    return sum_(x, [term.index(c) for c in letters]), [c for c in term if c not in letters]


def trace(input: Any) -> Any:
    """The sum of a matrix's diagonal."""
    if input.ndim != 2:
        raise ShapeError(f"trace: expected a matrix, but got tensor with dim {input.ndim}")
    return sum_(diagonal(input))
