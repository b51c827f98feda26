"""Rules of views: two in a row are one, and what changes nothing goes."""

from __future__ import annotations

from expkit.autograd.equations import Equation
from expkit.compiler.passes.rewrite import Found, Known, rule, same


@rule("reshape", "expand", "alias")
def as_it_is(e: Equation, _known: Known) -> Found:
    """A view of the shape that x has."""
    return same(e.args[0], e)


@rule("permute")
def in_order(e: Equation, _known: Known) -> Found:
    """Axes that stay where they are."""
    return same(e.args[0], e) if tuple(e.kw["axes"]) == tuple(range(len(e.kw["axes"]))) else None


@rule("slice")
def whole(e: Equation, _known: Known) -> Found:
    """A slice of everything."""
    return same(e.args[0], e) if all(step == 1 for *_, step in e.kw["spans"]) else None


@rule("reshape")
def there_and_back(e: Equation, known: Known) -> Found:
    """The shape that x had before it was given others. Other chains stay: the first may copy, the next ones do not."""
    inner = known.by(e.args[0], "reshape")
    while inner is not None:
        if same(inner.args[0], e):
            return inner.args[0]
        inner = known.by(inner.args[0], "reshape")
    return None


@rule("expand")
def expanded_twice(e: Equation, known: Known) -> Found:
    """Of two expansions the last one counts."""
    inner = known.by(e.args[0], "expand")
    return Equation(e.prim, inner.args, e.kw, e.outs) if inner is not None else None


@rule("permute")
def permuted_twice(e: Equation, known: Known) -> Found:
    """Two permutations are one."""
    inner = known.by(e.args[0], "permute")
    if inner is None:
        return None
    axes = tuple(inner.kw["axes"][a] for a in e.kw["axes"])
    return Equation(e.prim, inner.args, {"axes": axes}, e.outs)


@rule("slice")
def sliced_twice(e: Equation, known: Known) -> Found:
    """A slice of a slice is one of what lies below."""
    inner = known.by(e.args[0], "slice")
    if inner is None:
        return None
    spans = tuple(_within(*pair) for pair in zip(inner.kw["spans"], e.kw["spans"], strict=True))
    return Equation(e.prim, inner.args, {"spans": spans}, e.outs)


def _within(below: tuple[int, int, int], span: tuple[int, int, int]) -> tuple[int, int, int]:
    start, _, step = below
    places = range(*span)
    first = start + span[0] * step
    return first, first + (len(places) - 1) * span[2] * step + 1 if places else first, span[2] * step


@rule("slice")
def what_was_padded(e: Equation, known: Known) -> Found:
    """A slice of exactly what padding is around."""
    inner = known.by(e.args[0], "pad")
    if inner is None:
        return None
    x = inner.args[0]
    core = tuple((low, low + n, 1) for n, (low, _) in zip(x.shape, inner.kw["widths"], strict=True))
    return same(x, e) if tuple(map(tuple, e.kw["spans"])) == core else None


@rule("slice")
def a_part_of_many(e: Equation, known: Known) -> Found:
    """A slice of exactly one of the parts that were joined."""
    inner = known.by(e.args[0], "cat")
    if inner is None:
        return None
    axis, at = inner.kw["axis"], 0
    for part in inner.args:
        span = (at, at + part.shape[axis], 1)
        at = span[1]
        if tuple(e.kw["spans"][axis]) == span and same(part, e):
            return part
    return None


@rule("reshape")
def rows_of_a_product(e: Equation, known: Known) -> Found:
    """A product of rows that were brought together, and are taken apart again, is one of the rows as they were."""
    product, out = known.by(e.args[0], "matmul"), e.outs[0]
    together = known.by(product.args[0], "reshape") if product is not None else None
    if product is None or together is None:
        return None
    x, y = together.args[0], product.args[1]
    if len(y.shape) != 2 or len(product.outs[0].shape) != 2 or out.shape != (*x.shape[:-1], y.shape[-1]):
        return None
    return Equation(product.prim, (x, y), {}, e.outs) if len(x.shape) > 1 and x.shape[-1] == y.shape[0] else None
