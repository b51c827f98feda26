"""Recurrent layers in one direction: a primitive for each kind of cell, which takes whole sequences.

Rows of time lie flat, as in packed sequences: (rows, features), step t the `sizes[t]` rows after those of the steps
before it, the longest sequences first; sizes never grow. `walk` is the definition, in plain code for arrays and tensors
alike: transforms and higher derivatives go through it. A primitive goes through time once more, backwards, on arrays
alone, where the weights' gradient is one product over all steps; `generated/recurrent.py` has kernels for both ways.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from expkit.autograd.handle import Aval, Handle, wrap
from expkit.autograd.mode import MODE, enable_grad, is_grad_enabled
from expkit.autograd.primitive import Primitive
from expkit.autograd.reverse import grad
from expkit.autograd.tape import apply
from expkit.kernels.cells import CELLS, Cell, Functions
from expkit.tensor.devices import xp_of
from expkit.tensor.generated import recurrent as by_kernel
from expkit.tensor.ops.elementwise import add
from expkit.tensor.ops.join import cat_p
from expkit.tensor.ops.kinds import sum_p
from expkit.tensor.ops.matmul import linear, linear_p, matmul_p, swap
from expkit.tensor.ops.pointwise import positive_p, relu_p, sigmoid_p, tanh_p
from expkit.tensor.ops.windows import all_raw

FUNCTIONS = Functions(sigmoid_p, tanh_p, relu_p, positive_p)
Sizes = tuple[int, ...]

# ---- the definition --------------------------------------------------------------------------------------------------


def _blocks(x: Any, count: int) -> list[Any]:
    """The columns of each gate."""
    n = x.shape[-1] // count
    return [x[..., k * n : (k + 1) * n] for k in range(count)]


def _joined(parts: Sequence[Any], axis: int = 0) -> Any:
    return parts[0] if len(parts) == 1 else cat_p(*parts, axis=axis)


def _spans(sizes: Sizes, reverse: bool) -> Iterator[slice]:
    """The rows of each step."""
    spans, stop = [], 0
    for n in sizes:
        spans.append(slice(stop, stop + n))
        stop += n
    return reversed(spans) if reverse else iter(spans)


def walk(
    kind: str, x: Any, weight: Any, bias: Any, projection: Any, h: Any, c: Any, sizes: Sizes, reverse: bool,
    trail: list[list[Any]] | None = None,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """(result, last h, last c). The trail gets what backward needs of each step: h and c before it, what is kept."""
    cell, out = CELLS[kind], []
    for span in _spans(sizes, reverse):
        n = span.stop - span.start
        before, carried = h[:n], None if c is None else c[:n]
        hidden = linear_p(before, weight) if bias is None else linear_p(before, weight, bias)
        made = cell.step(FUNCTIONS, _blocks(x[span], cell.gates), _blocks(hidden, cell.gates), before, carried)
        new = made.h if projection is None else linear_p(made.h, projection)
        out.append(new)
        h = _replaced(h, new)
        if c is not None:
            c = _replaced(c, made.c)
        if trail is not None:
            kept = [_joined(made.kept, 1)] if made.kept else []
            trail.append([before, *([] if c is None else [carried]), *kept, *([made.h] if cell.projects else [])])
    return _joined(out[::-1] if reverse else out), h, c


def _replaced(state: Any, new: Any) -> Any:
    """The first rows of the state become the new ones."""
    n = new.shape[0]
    return new if n == state.shape[0] else cat_p(new, state[n:], axis=0)


# ---- the primitives --------------------------------------------------------------------------------------------------


class Layer(Primitive):
    """(x, weight, h, c?, bias or projection?) -> (result, last h, last c?, and what backward needs)

    That is: h before each step, c before it?, what is kept?, what is projected? Where there is no such thing, as the
    cell has it, it is left out.
    """

    __slots__ = ()


def _operands(cell: Cell, rest: Sequence[Any]) -> tuple[Any, Any, Any]:
    """(bias, projection, c)"""
    bias = rest[0] if cell.apart and rest else None
    return bias, rest[1] if cell.projects else None, rest[0] if cell.carries else None


def _impl(
    x: Any, weight: Any, h: Any, *rest: Any, kind: str, sizes: Sizes, reverse: bool, keeps: bool
) -> tuple[Any, ...]:
    cell = CELLS[kind]
    bias, projection, c = _operands(cell, rest)
    if by_kernel.has_recurrent(kind, x, weight, h, *rest):
        return by_kernel.forward(kind, x, weight, (bias, projection), h, c, sizes, reverse, keeps)
    trail: list[list[Any]] = []
    out, h, c = walk(kind, x, weight, bias, projection, h, c, sizes, reverse, trail)
    saved = zip(*(trail[::-1] if reverse else trail), strict=True)
    h = h.copy() if h is out else h  # after one step: no two results share memory
    return out, h, *([c] if cell.carries else []), *(_joined(parts) for parts in saved)


def _shape(x: Aval, _weight: Aval, h: Aval, *_rest: Aval, kind: str, **_: Any) -> tuple[Aval, ...]:
    cell, rows, features = CELLS[kind], x.shape[0], h.shape[1]
    size = x.shape[1] // cell.gates

    def wide(n: int, count: int = 1) -> list[Aval]:
        return [Aval((rows, n), x.dtype, x.device)] * count

    states = [h, *([Aval((h.shape[0], size), h.dtype, h.device)] if cell.carries else [])]
    kept = wide(cell.kept * size, bool(cell.kept))
    return *wide(features), *states, *wide(features), *wide(size, cell.carries), *kept, *wide(size, cell.projects)


def _joint(
    g: Any, out: Any, x: Any, weight: Any, h: Any, *rest: Any, kind: str, sizes: Sizes, reverse: bool, keeps: bool
) -> list[Any]:
    cell = CELLS[kind]
    count = 2 + cell.carries
    if not all_raw(*(v for v in g[:count] if v is not None), weight, h, *rest):
        return _by_tape(g[:count], (x, weight, h, *rest), kind, sizes, reverse)
    saved, xp = _saved(cell, out), xp_of(weight)
    like = (saved[0], h, *rest[: cell.carries])
    slopes = [xp.zeros(v.shape, v.dtype) if d is None else d for d, v in zip(g, like, strict=False)]
    dy, dh, dc = slopes if cell.carries else (*slopes, None)
    kernel = by_kernel.has_recurrent(kind, saved[2], weight, *(v for v in (dy, dh, dc, *saved, *rest) if v is not None))
    projection = _operands(cell, rest)[1]
    back = by_kernel.backward if kernel else _back
    dx, hidden, dh, dc, projected = back(kind, dy, dh, dc, weight, projection, saved, sizes, reverse)
    extra = [sum_p(hidden, axes=(0,))] if cell.apart and rest else []
    extra = [*([dc] if cell.carries else []), *([matmul_p(swap(projected), out[-1])] if cell.projects else []), *extra]
    return [dx, matmul_p(swap(hidden), saved[0]), dh, *extra]


def _saved(cell: Cell, out: Sequence[Any]) -> tuple[Any, Any, Any]:
    """(h before each step, c before it, what is kept)"""
    at = 2 + cell.carries
    return out[at], out[at + 1] if cell.carries else None, out[at + 1 + cell.carries] if cell.kept else out[0]


def _back(
    kind: str, g: Any, dh: Any, dc: Any, weight: Any, projection: Any, saved: Sequence[Any], sizes: Sizes, reverse: bool
) -> tuple[Any, Any, Any, Any, Any]:
    """Backwards through time on arrays: what `by_kernel.backward` gives."""
    cell, xp, (before, carried, kept) = CELLS[kind], xp_of(g), saved
    dx = xp.empty((len(g), weight.shape[0]), g.dtype)
    hidden = xp.empty(dx.shape, g.dtype) if cell.apart else dx
    projected = xp.empty(g.shape, g.dtype) if cell.projects else None
    dh, dc = dh.copy(), None if dc is None else dc.copy()
    for span in _spans(sizes, not reverse):
        n = span.stop - span.start
        c, dc_after = (None, None) if dc is None else (carried[span], dc[:n])
        slope = dh[:n] + g[span]
        if projected is not None:
            projected[span] = slope
            slope = matmul_p(slope, projection)
        made = cell.slope(FUNCTIONS, _blocks(kept[span], cell.kept or 1), before[span], c, slope, dc_after)
        dx[span] = _joined(made.x, 1)
        if cell.apart:
            hidden[span] = _joined(made.hidden, 1)
        through = matmul_p(hidden[span], weight)
        dh[:n] = through if made.h is None else through + made.h
        if dc is not None:
            dc[:n] = made.c
    return dx, hidden, dh, dc, projected


def _by_tape(g: Sequence[Any], operands: Sequence[Any], kind: str, sizes: Sizes, reverse: bool) -> list[Any]:
    """The gradients by a backward pass through the definition, of Tensors that are differentiated further."""
    boxed = any(isinstance(v, Handle) for v in (*g, *operands))
    with enable_grad():
        # copies: operands may depend on each other, and only the direct paths count here
        leaves = [(v if isinstance(v, Handle) else wrap(v)).clone() for v in operands]
        for leaf in leaves:
            if not leaf.requires_grad:
                leaf.requires_grad_()
        x, weight, h, *rest = leaves
        bias, projection, c = _operands(CELLS[kind], rest)
        made = walk(kind, x, weight, bias, projection, h, c, sizes, reverse)
        pairs = [
            (out, d if isinstance(d, Handle) else wrap(d)) for out, d in zip(made, g, strict=False) if d is not None
        ]
        outs, seeds = zip(*pairs, strict=True)
        grads = grad(outs, leaves, seeds, create_graph=boxed, materialize_grads=True)
    return list(grads) if boxed else [v.raw for v in grads]


def _layer(kind: str) -> Layer:
    cell = CELLS[kind]
    states = 2 + cell.carries
    count = states + 1 + cell.carries + bool(cell.kept) + cell.projects
    saves = range(states, count) if cell.kept else (0, states)
    return Layer(kind, _impl, _shape, joint=_joint, nout=count, saves=saves, materialize=False)


LAYERS = {kind: _layer(kind) for kind in CELLS}

# ---- functions -------------------------------------------------------------------------------------------------------


def recurrent(
    kind: str, input: Any, weights: Sequence[Any], h: Any, c: Any, sizes: Sizes, reverse: bool = False
) -> tuple[Any, Any, Any]:
    """(result, last h, last c) of one layer in one direction; c is None but for lstm.

    input: (rows, features), see above; weights: of the input, of h, their biases, of the projection, each or None.
    """
    w_input, weight, b_input, bias, projection = weights
    x, bias = _of_input(kind, input, w_input, b_input, bias)
    if projection is not None:
        kind = f"{kind}_projected"
    if MODE.special:
        return walk(kind, x, weight, bias, projection, h, c, sizes, reverse)
    rest = [v for v in (bias, c, projection) if v is not None]
    keeps = is_grad_enabled() and any(v.requires_grad for v in (x, weight, h, *rest))
    out, h, *more = apply(LAYERS[kind], x, weight, h, *rest, kind=kind, sizes=sizes, reverse=reverse, keeps=keeps)
    return out, h, more[0] if CELLS[kind].carries else None


def _of_input(kind: str, input: Any, weight: Any, b_input: Any, bias: Any) -> tuple[Any, Any]:
    """The input's part of the gates, for all rows at once, and the bias that is h's own."""
    if b_input is None:
        return linear(input, weight), None
    if CELLS[kind].apart:
        return linear(input, weight, b_input), bias
    return linear(input, weight, add(b_input, bias)), None
