"""Recurrent layers in one direction: a primitive for each kind of cell, which takes whole sequences.

Rows of time lie flat, as in packed sequences: (rows, features), step t the `sizes[t]` rows after those of the steps
before it, the longest sequences first; sizes never grow. `walk` is the definition, in plain code for arrays and tensors
alike: transforms and higher derivatives go through it. A primitive goes through time once more, backwards, on arrays
alone, where the weights' gradient is one product over all steps; `generated/recurrent.py` has kernels for both ways.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from expkit.autograd.handle import Aval
from expkit.autograd.mode import is_grad_enabled, taken_apart
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.kernels.cells import CELLS, Functions
from expkit.tensor.generated import recurrent as by_kernel
from expkit.tensor.ops.compound import compound, pulled
from expkit.tensor.ops.elementwise import add
from expkit.tensor.ops.join import cat_p
from expkit.tensor.ops.kinds import sum_p, zeros_raw
from expkit.tensor.ops.matmul import linear, linear_p, matmul_p, swap
from expkit.tensor.ops.pointwise import positive_p, relu_p, sigmoid_p, tanh_p
from expkit.tensor.ops.windows import recordable

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


def _impl(
    x: Any, weight: Any, h: Any, *rest: Any, kind: str, sizes: Sizes, reverse: bool, keeps: bool
) -> tuple[Any, ...]:
    cell = CELLS[kind]
    bias, projection, c = by_kernel.parted(kind, rest)
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
    slopes, given = [d for d in g[:count] if d is not None], tuple(d is not None for d in g[:count])
    bias, projection, _ = by_kernel.parted(kind, rest)
    matrices = [weight, *([] if projection is None else [projection])]
    # what is kept, or of cells that keep nothing the result
    saved = [*out[count : count + 1 + cell.carries], out[count + 1 + cell.carries] if cell.kept else out[0]]
    if not recordable(*slopes, *saved, *matrices, h, *rest):
        return _by_tape(g[:count], (x, weight, h, *rest), kind, sizes, reverse)
    dx, dh, *more = GRADS[kind](*slopes, *saved, *matrices, kind=kind, sizes=sizes, reverse=reverse, given=given)
    hidden = more[0] if cell.apart else dx
    found = [dx, matmul_p(swap(hidden), saved[0]), dh, *more[: cell.carries]]
    if projection is not None:
        found.append(matmul_p(swap(more[-1]), out[-1]))
    return [*found, *([] if bias is None else [sum_p(hidden, axes=(0,))])]


def _back(*operands: Any, kind: str, sizes: Sizes, reverse: bool, given: tuple[bool, ...]) -> list[Any]:
    """Backwards through time, for arrays and tensors: the gradients of x, of the first h, and those of `hidden` if it
    is `apart`, of the first c, and of h after each step if projected."""
    cell, at = CELLS[kind], by_kernel.Backward.of(kind, given, operands)
    n, size = sizes[0], at.weight.shape[0] // cell.gates
    shapes = (tuple(at.before.shape), (n, at.before.shape[1]), (n, size))
    dy, dh, *dc = [zeros_raw(at.before, s) if d is None else d for d, s in zip(at.slopes, shapes, strict=False)]
    steps: list[list[Any]] = []
    for span in _spans(sizes, not reverse):
        m = span.stop - span.start
        slope = dh[:m] + dy[span]
        through = slope if at.projection is None else matmul_p(slope, at.projection)
        c, dc_after = (at.carried[span], dc[0][:m]) if cell.carries else (None, None)
        made = cell.slope(FUNCTIONS, _blocks(at.kept[span], cell.kept or 1), at.before[span], c, through, dc_after)
        hidden = _joined(made.hidden, 1)
        steps.append([_joined(made.x, 1), *([hidden] * cell.apart), *([slope] * cell.projects)])
        back = matmul_p(hidden, at.weight)
        dh = _replaced(dh, back if made.h is None else back + made.h)
        if cell.carries:
            dc = [_replaced(dc[0], made.c)]
    dx, *more = (_joined(parts) for parts in zip(*(steps if reverse else steps[::-1]), strict=True))
    return [dx, dh, *more[: cell.apart], *dc, *more[cell.apart :]]


def _back_impl(*operands: Any, kind: str, sizes: Sizes, reverse: bool, given: tuple[bool, ...]) -> list[Any]:
    at = by_kernel.Backward.of(kind, given, operands)
    if by_kernel.has_recurrent(kind, at.kept, at.weight, *operands):
        return by_kernel.backward(kind, at, sizes, reverse)
    return _back(*operands, kind=kind, sizes=sizes, reverse=reverse, given=given)


def _back_shape(*operands: Aval, kind: str, sizes: Sizes, given: tuple[bool, ...], **_: Any) -> tuple[Aval, ...]:
    cell, at = CELLS[kind], by_kernel.Backward.of(kind, given, operands)
    like, (wide, features) = at.before, at.weight.shape
    rows, size = like.shape[0], wide // cell.gates
    shapes = [(rows, wide), (sizes[0], features), *([(rows, wide)] * cell.apart), *([(sizes[0], size)] * cell.carries)]
    shapes += [(rows, features)] * cell.projects
    return tuple(Aval(shape, like.dtype, like.device) for shape in shapes)


def _by_tape(g: Sequence[Any], operands: Sequence[Any], kind: str, sizes: Sizes, reverse: bool) -> list[Any]:
    """The gradients by a backward pass through the definition, of Tensors that are differentiated further."""

    def definition(x: Any, weight: Any, h: Any, *rest: Any) -> tuple[Any, Any, Any]:
        bias, projection, c = by_kernel.parted(kind, rest)
        return walk(kind, x, weight, bias, projection, h, c, sizes, reverse)

    return pulled(definition, g, operands)


def _layer(kind: str) -> Layer:
    cell = CELLS[kind]
    states = 2 + cell.carries
    count = states + 1 + cell.carries + bool(cell.kept) + cell.projects
    saves = range(states, count) if cell.kept else (0, states)
    return Layer(kind, _impl, _shape, joint=_joint, nout=count, saves=saves, materialize=False)


LAYERS = {kind: _layer(kind) for kind in CELLS}
GRADS = {
    kind: compound(f"{kind}_grad", _back_impl, _back_shape, _back, 2 + cell.apart + cell.carries + cell.projects)
    for kind, cell in CELLS.items()
}

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
    rest = [v for v in (bias, c, projection) if v is not None]
    if taken_apart() and not recordable(*(v.raw for v in (x, weight, h, *rest))):
        return walk(kind, x, weight, bias, projection, h, c, sizes, reverse)
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
