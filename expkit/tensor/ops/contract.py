"""Products summed over chosen dimensions: of vectors, over lists of axes, by index letters."""

import math
from collections.abc import Sequence
from typing import Any

from expkit.errors import ShapeError
from expkit.tensor import dtypes
from expkit.tensor.ops.arguments import dim_of, require_tensor
from expkit.tensor.ops.complex import conj
from expkit.tensor.ops.convert import promote2
from expkit.tensor.ops.elementwise import mul
from expkit.tensor.ops.matmul import dot, matmul, of_rank, same_dtype
from expkit.tensor.ops.movement import diagonal, permute, reshape, unsqueeze
from expkit.tensor.ops.reduce import sum as sum_

# ---- vectors ---------------------------------------------------------------------------------------------------------


def outer(input: Any, vec2: Any) -> Any:
    """All products of elements of two vectors."""
    x, y = promote2(*of_rank("outer", 1, input, vec2))
    return mul(unsqueeze(x, 1), unsqueeze(y, 0))


ger = outer


def vdot(input: Any, other: Any) -> Any:
    """The sum of products of two vectors, the first one conjugated."""
    return dot(conj(require_tensor(input, "vdot")), other)


def inner(input: Any, other: Any) -> Any:
    """The sums of products along the last dimension of both; the product, where one of them is 0-d."""
    x, y = same_dtype("inner", input, other)
    if x.ndim == 0 or y.ndim == 0:
        return mul(x, y)
    if x.shape[-1] != y.shape[-1]:
        raise ShapeError(f"inner() the last dimension must match, got shapes {tuple(x.shape)} and {tuple(y.shape)}")
    return tensordot(x, y, ([-1], [-1]))


def trace(input: Any) -> Any:
    """The sum of a matrix's diagonal."""
    if require_tensor(input, "trace").ndim != 2:
        raise ShapeError(f"trace: expected a matrix, but got tensor with dim {input.ndim}")
    if dtypes.of(input.raw) is dtypes.bool_:
        raise TypeError("trace: not implemented for bool")
    return sum_(diagonal(input))


# ---- lists of axes ---------------------------------------------------------------------------------------------------


def _axes(a: Any, b: Any, dims: Any) -> tuple[list[int], list[int]]:
    """Which axes of a meet which of b."""
    if isinstance(dims, int) or hasattr(dims, "raw"):
        n = int(dims)
        if n < 0:
            raise ValueError(f"tensordot expects dims >= 0, but got dims={n}")
        if n > min(a.ndim, b.ndim):
            raise ValueError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={n}")
        return list(range(a.ndim - n, a.ndim)), list(range(n))
    first, second = ([d] if isinstance(d, int) else list(d) for d in dims)
    if len(first) != len(second):
        raise ShapeError(f"tensordot: both dimension lists should have the same length, got {first} and {second}")
    axes = [dim_of(d, a.ndim) for d in first], [dim_of(d, b.ndim) for d in second]
    if any(len(set(side)) != len(side) for side in axes):
        raise ValueError(f"tensordot: a dimension appears twice in {dims}")
    return axes


def tensordot(a: Any, b: Any, dims: Any = 2) -> Any:
    """The contraction over the last n axes of a and the first n of b, or over two given lists of axes."""
    same_dtype("tensordot", a, b)
    first, second = _axes(a, b, dims)
    for i, j in zip(first, second, strict=True):
        n, m = a.shape[i], b.shape[j]
        if n != m and n != 1 and m != 1:
            raise ShapeError(
                f"tensordot: contracted sizes differ: {n} in dimension {i} of a, {m} in dimension {j} of b"
            )
        if n != m:  # one number for all of the other's
            a = a if n == 1 else sum_(a, i, keepdim=True, dtype=a.dtype)
            b = b if m == 1 else sum_(b, j, keepdim=True, dtype=b.dtype)
    free_a = [d for d in range(a.ndim) if d not in first]
    free_b = [d for d in range(b.ndim) if d not in second]
    k = math.prod(a.shape[d] for d in first)
    left = reshape(permute(a, (*free_a, *first)), math.prod(a.shape[d] for d in free_a), k)
    right = reshape(permute(b, (*second, *free_b)), k, math.prod(b.shape[d] for d in free_b))
    return reshape(matmul(left, right), (*(a.shape[d] for d in free_a), *(b.shape[d] for d in free_b)))


# ---- index letters ---------------------------------------------------------------------------------------------------


def einsum(*args: Any) -> Any:
    """Sums of products by index letters, pair by pair as batched matrix products: einsum("bij,bjk->bik", x, y).

    Also with lists of numbers (below 52) instead of letters: einsum(x, [0, 1], y, [1, 2], [0, 2]).
    """
    equation, xs = _arguments(args)
    terms, out = _parse(equation, xs)
    same_dtype("einsum", *xs)
    x, left = _without_repeats(xs[0], terms[0])
    for n, (y, term) in enumerate(zip(xs[1:], terms[1:], strict=True)):
        y, right = _without_repeats(y, term)
        later = set(out).union(*terms[n + 2 :])
        x, left = _contract(x, left, y, right, later)
    x, left = _sum_out(x, left, [c for c in left if c not in out])
    return permute(x, [left.index(c) for c in out]) if left != list(out) else x


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _arguments(args: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """(the equation, the operands) of either form of call."""
    if not args:
        raise TypeError("einsum(): needs an equation and operands")
    if isinstance(args[0], str):
        rest = args[1:]
        xs = list(rest[0]) if len(rest) == 1 and isinstance(rest[0], list | tuple) else list(rest)
    else:
        xs, lists = list(args[: len(args) // 2 * 2 : 2]), list(args[1::2])
        terms = [_letters(numbers) for numbers in lists]
        args = (",".join(terms) + (f"->{_letters(args[-1])}" if len(args) % 2 else ""),)
    if not xs:
        raise ValueError("einsum(): must provide at least one operand")
    for x in xs:
        require_tensor(x, "einsum")
    return args[0].replace(" ", ""), xs


def _letters(numbers: Any) -> str:
    if not isinstance(numbers, list | tuple):
        raise TypeError(f"einsum(): expected a list of subscripts, got {type(numbers).__name__}")
    for n in numbers:
        if n is not Ellipsis and not (isinstance(n, int) and 0 <= n < len(_LETTERS)):
            raise ValueError(f"einsum(): subscripts in a list must be in the range [0, 52), got {n!r}")
    return "".join("..." if n is Ellipsis else _LETTERS[n] for n in numbers)


def _parse(equation: str, xs: list[Any]) -> tuple[list[list[str]], list[str]]:
    """The letters of each operand's dimensions and of the result's; an ellipsis becomes letters not used otherwise."""
    inputs, arrow, output = equation.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(xs):
        raise ValueError(f"einsum(): {len(terms)} subscripts for {len(xs)} operands in {equation!r}")
    for term in (*terms, output):
        if term.count("...") > 1 or any(c not in _LETTERS for c in term.replace("...", "")):
            raise ValueError(f"einsum(): {term!r} in {equation!r} is neither letters nor one ellipsis")
    named = [term.replace("...", "") for term in terms]
    hidden = [x.ndim - len(letters) for letters, x in zip(named, xs, strict=True)]
    for term, n, x in zip(terms, hidden, xs, strict=True):
        if n < 0 or (n and "..." not in term):
            raise ShapeError(f"einsum(): the subscripts {term!r} do not match a tensor of {x.ndim} dimensions")
    wide = max(hidden)
    free = [c for c in _LETTERS if c not in equation][:wide]
    full = [list(t.replace("...", "".join(free[wide - n :]))) for t, n in zip(terms, hidden, strict=True)]
    _check_sizes(equation, full, xs, set(free))
    if not arrow:
        letters = "".join(named)
        return full, [*free, *sorted(c for c in set(letters) if letters.count(c) == 1)]
    out = list(output.replace("...", "".join(free)))
    for c in out:
        if out.count(c) > 1 or not any(c in term for term in full):
            raise ValueError(f"einsum(): the output subscript {c!r} of {equation!r} must be one of the inputs', once")
    return full, out


def _check_sizes(equation: str, terms: list[list[str]], xs: list[Any], free: set[str]) -> None:
    """All dimensions of one letter have one size, or 1."""
    sizes: dict[str, int] = {}
    for term, x in zip(terms, xs, strict=True):
        for c, n in zip(term, x.shape, strict=True):
            if sizes.setdefault(c, n) == 1:
                sizes[c] = n
            elif n not in (1, sizes[c]):
                what = "an ellipsis's dimension" if c in free else f"subscript {c!r}"
                raise ShapeError(f"einsum(): {what} has sizes {sizes[c]} and {n} in {equation!r}")


def _without_repeats(x: Any, term: list[str]) -> tuple[Any, list[str]]:
    """Takes the diagonal for letters that occur twice in one term."""
    while len(set(term)) != len(term):
        c = next(c for c in term if term.count(c) > 1)
        i = term.index(c)
        j = term.index(c, i + 1)
        if x.shape[i] != x.shape[j]:
            raise ShapeError(f"einsum(): subscript {c!r} is repeated, but has sizes {x.shape[i]} and {x.shape[j]}")
        x = diagonal(x, 0, i, j)
        term = [t for k, t in enumerate(term) if k not in (i, j)] + [c]
    return x, term


def _contract(x: Any, left: list[str], y: Any, right: list[str], later: set[str]) -> tuple[Any, list[str]]:
    """One pair as a batched matrix product: (batch, rows, sum) @ (batch, sum, columns)."""
    batch = [c for c in left if c in right and c in later]
    summed = [c for c in left if c in right and c not in later]
    x, left = _sum_out(x, left, [c for c in left if c not in right and c not in later])
    y, right = _sum_out(y, right, [c for c in right if c not in left and c not in later and c not in summed])
    x, y = promote2(x, y)  # sums of whole numbers are in int64, as in PyTorch
    rows = [c for c in left if c not in right]
    columns = [c for c in right if c not in left]
    if not summed:
        term = [*batch, *rows, *columns]
        return mul(_placed(x, left, term), _placed(y, right, term)), term
    size = dict(zip(left, x.shape, strict=True)) | dict(zip(right, y.shape, strict=True))
    size.update({c: max(x.shape[left.index(c)], y.shape[right.index(c)]) for c in (*batch, *summed)})
    size.update({c: 0 for c in (*batch, *summed) if 0 in (x.shape[left.index(c)], y.shape[right.index(c)])})

    def shaped(t: Any, term: list[str], *groups: list[str]) -> Any:
        order = [c for group in groups for c in group]
        t = permute(t, [term.index(c) for c in order])
        t = t.expand(*(size[c] for c in order))
        return reshape(t, tuple(math.prod(size[c] for c in group) for group in groups))

    out = matmul(shaped(x, left, batch, rows, summed), shaped(y, right, batch, summed, columns))
    term = [*batch, *rows, *columns]
    return reshape(out, tuple(size[c] for c in term)), term


def _placed(x: Any, term: list[str], whole: Sequence[str]) -> Any:
    """x with its dimensions in the order of `whole`, and ones for those that it lacks."""
    x = permute(x, [term.index(c) for c in whole if c in term])
    sizes = iter(x.shape)
    return reshape(x, tuple(next(sizes) if c in term else 1 for c in whole))


def _sum_out(x: Any, term: list[str], letters: list[str]) -> tuple[Any, list[str]]:
    if not letters:
        return x, term
    return sum_(x, [term.index(c) for c in letters]), [c for c in term if c not in letters]
