"""vmap of the convolution primitives: the batch is folded into an axis that the convolution has already.

Axes by letter: n samples, g groups, c and o the channels of one group; x = (n, gc), w = (go, c), y = (n, go), spatial
axes behind. The batch b goes where the letters say, for (first mapped?, second mapped?); groups take in both.
"""

from typing import Any

from expkit.autograd.primitive import Primitive
from expkit.tensor.ops.kinds import reshape_p
from expkit.tensor.ops.movement import permute_p
from expkit.tensor.ops.windows import numel

Term = tuple[str, str]  # the letters of the first two axes
Fold = tuple[Term, Term, Term]  # of both operands and of the result

FOLDS: dict[str, dict[tuple[bool, bool], Fold]] = {
    "conv": {
        (True, False): (("bn", "gc"), ("go", "c"), ("bn", "go")),
        (False, True): (("n", "gc"), ("gbo", "c"), ("n", "gbo")),
        (True, True): (("n", "bgc"), ("bgo", "c"), ("n", "bgo")),
    },
    "conv_input": {
        (True, False): (("bn", "go"), ("go", "c"), ("bn", "gc")),
        (False, True): (("n", "go"), ("go", "bc"), ("n", "gbc")),
        (True, True): (("n", "bgo"), ("bgo", "c"), ("n", "bgc")),
    },
    "conv_weight": {
        (True, False): (("n", "gbc"), ("n", "go"), ("go", "bc")),
        (False, True): (("n", "gc"), ("n", "gbo"), ("gbo", "c")),
        (True, True): (("n", "bgc"), ("n", "bgo"), ("bgo", "c")),
    },
}


def fold(prim: Primitive, size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any]) -> Any:
    """The batch rule of a convolution primitive without a bias."""
    groups = kw["groups"]
    *terms, result = FOLDS[prim.name][mapped[0], mapped[1]]
    operands = [_merge(v, t, size, groups) if m else v for v, t, m in zip(values, terms, mapped, strict=True)]
    return _split(prim(*operands, **{**kw, "groups": groups * size if all(mapped) else groups}), result, size, groups)


def _extents(shape: tuple[int, ...], term: Term, size: int, groups: int, whole: bool) -> dict[str, int]:
    """The size of each letter; `whole`: the shape's two axes have the batch inside."""
    known = {"b": size, "g": groups}
    found = dict(known)
    for n, letters in zip(shape, term, strict=True):
        others = numel(tuple(known[c] for c in letters if c in known and (whole or c != "b")))
        found.update({c: n // others for c in letters if c not in known})
    return found


def _merge(x: Any, term: Term, size: int, groups: int) -> Any:
    """(b, axis, axis, *spatial) -> (axis, axis, *spatial), the batch inside."""
    extents = _extents(tuple(x.shape[1:3]), term, size, groups, whole=False)
    letters, spatial = "".join(term), tuple(x.shape[3:])
    apart = "b" + letters.replace("b", "")
    x = reshape_p(x, shape=(*(extents[c] for c in apart), *spatial))
    x = permute_p(x, axes=_order(apart, letters, len(spatial)))
    return reshape_p(x, shape=(*(numel(tuple(extents[c] for c in part)) for part in term), *spatial))


def _split(y: Any, term: Term, size: int, groups: int) -> Any:
    """The opposite of _merge."""
    extents = _extents(tuple(y.shape[:2]), term, size, groups, whole=True)
    letters, spatial = "".join(term), tuple(y.shape[2:])
    y = reshape_p(y, shape=(*(extents[c] for c in letters), *spatial))
    y = permute_p(y, axes=_order(letters, "b" + letters.replace("b", ""), len(spatial)))
    parts = (numel(tuple(extents[c] for c in part if c != "b")) for part in term)
    return reshape_p(y, shape=(size, *parts, *spatial))


def _order(have: str, wanted: str, rest: int) -> tuple[int, ...]:
    return (*(have.index(c) for c in wanted), *range(len(have), len(have) + rest))
