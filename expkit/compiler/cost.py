"""What equations cost: floating-point operations, bytes read and written.

Counted is what the operation means, not what an implementation does: a product of (m, k) and (k, n) is 2 m k n, however
it is computed (Winograd's convolution does fewer, a recomputing gradient more). A multiplication, an addition, an
exponential are one each. Views move nothing. Where a mask cuts attention to a half, half of it is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any, NamedTuple

from expkit.autograd.equations import Equation, Var
from expkit.autograd.handle import Aval, wrap
from expkit.autograd.trace import trace
from expkit.kernels.cells import CELLS

Rule = Callable[[Equation], int]


class Cost(NamedTuple):
    """flops, and bytes that go through memory where nothing stays in a cache."""

    flops: int = 0
    read: int = 0
    written: int = 0

    @property
    def bytes(self) -> int:
        return self.read + self.written

    @property
    def intensity(self) -> float:
        """Operations for each byte."""
        return self.flops / self.bytes if self.bytes else 0.0


def flops(e: Equation) -> int:
    """Operations of an equation: by its rule, one for each element of the result where there is none."""
    if e.prim.aliases:
        return 0
    rule = RULES.get(e.prim.name)
    return prod(e.outs[0].shape) if rule is None else rule(e)


def cost(equations: Iterable[Equation], results: Iterable[Any] | None = None) -> Cost:
    """Of equations that run as one kernel. `results`: which of what they make is kept; by default what none of them
    takes."""
    equations = list(equations)
    made = {v.index: v for e in equations for v in e.outs}
    taken = {a.index: a for e in equations for a in e.args if isinstance(a, Var)}
    if results is None:
        kept = [v for index, v in made.items() if index not in taken]
    else:
        kept = [v for v in results if isinstance(v, Var) and v.index in made]
    if all(e.prim.aliases for e in equations):
        return Cost()
    read = sum(nbytes(a) for index, a in taken.items() if index not in made)
    return Cost(sum(map(flops, equations)), read, sum(map(nbytes, kept)))


def nbytes(v: Any) -> int:
    """Bytes of a value."""
    return prod(v.shape) * v.dtype.itemsize


def behind(outs: Sequence[Any], args: Sequence[Any], makers: dict[int, Equation]) -> list[Equation]:
    """The equations that make `outs` of `args`, in order. makers: the equation of each Var's index."""
    stop = {a.index for a in args if isinstance(a, Var)}
    found: dict[int, Equation] = {}
    stack = [v.index for v in outs if isinstance(v, Var)]
    while stack:
        index = stack.pop()
        e = makers.get(index)
        if e is None or index in stop or e.outs[0].index in found:
            continue
        found[e.outs[0].index] = e
        stack += [a.index for a in e.args if isinstance(a, Var)]
    return [found[index] for index in sorted(found)]


# ---- rules -----------------------------------------------------------------------------------------------------------


def _out(e: Equation) -> int:
    return prod(e.outs[0].shape)


def _in(e: Equation) -> int:
    return prod(e.args[0].shape)


def _none(_: Equation) -> int:
    return 0


def _each(count: int) -> Rule:
    """So many for each element of the first operand."""
    return lambda e: count * _in(e)


def _matmul(e: Equation) -> int:
    return 2 * _out(e) * e.args[0].shape[-1]


def _linear(e: Equation) -> int:
    return _matmul(e) + (_out(e) if len(e.args) > 2 else 0)


def _conv(e: Equation) -> int:
    """Each output is a sum over the channels of its group and the taps of the kernel."""
    weight = e.args[1]
    return 2 * _out(e) * prod(weight.shape[1:]) + (_out(e) if len(e.args) > 2 else 0)


def _conv_input(e: Equation) -> int:
    y, weight = e.args[:2]
    return 2 * prod(y.shape) * prod(weight.shape[1:])


def _conv_weight(e: Equation) -> int:
    y, made = e.args[1], e.outs[0]
    return 2 * prod(y.shape) * prod(made.shape[1:])


def _scores(e: Equation, q: Any, k: Any) -> int:
    """Pairs of a query and a key, over all heads."""
    pairs = prod(q.shape[:-1]) * k.shape[-2]
    return pairs // 2 if e.kw.get("causal") else pairs


def _attention(e: Equation) -> int:
    """Two products, and five operations for each weight: scale, maximum, exponential, sum, quotient."""
    q, k, v = e.args[:3]
    return _scores(e, q, k) * (2 * q.shape[-1] + 2 * v.shape[-1] + 5)


def _window(e: Equation) -> int:
    return _out(e) * max(1, prod(_sizes(e.kw.get("kernel", e.kw.get("size", ())))))


def _sizes(value: Any) -> tuple[int, ...]:
    return value if isinstance(value, tuple) and all(isinstance(n, int) for n in value) else ()


def _recurrent(gates: int) -> Rule:
    """Of each gate a product with the state, and a handful of elementwise operations."""

    def rule(e: Equation) -> int:
        rows, hidden = e.args[0].shape[0], e.args[2].shape[-1]
        return 2 * rows * gates * hidden * hidden + 8 * rows * gates * hidden

    return rule


def _recurrent_grad(gates: int) -> Rule:
    """The gradient through each step: a product with the weights, and the slopes of the gates."""

    def rule(e: Equation) -> int:
        rows, wide = e.outs[0].shape
        return 2 * rows * wide * wide // gates + 12 * rows * wide

    return rule


def _attention_grad(e: Equation) -> int:
    """Five products: the scores again, the gradients of weights, queries, keys and values."""
    q, k, v = e.args[3:6]
    return _scores(e, q, k) * (6 * q.shape[-1] + 4 * v.shape[-1] + 8)


def _update(e: Equation) -> int:
    """The steps of the formula for each element that is overwritten, once for all arrays of a parameter."""
    formula = e.kw["formula"]
    return len(formula.update.steps) * sum(prod(v.shape) for v in e.outs) // max(1, len(formula.written))


def _fused(e: Equation) -> int:
    """Of a composite: its operations, written out."""
    of, kw = e.kw["of"], {name: value for name, value in e.kw.items() if name != "of"}
    avals = [Aval(a.shape, a.dtype, a.device) for a in e.args]
    inner = trace(lambda *xs: of.plain(*xs, **kw), *map(wrap, avals))
    return sum(map(flops, inner.equations))


_MOVES = (
    "copy", "contiguous", "layout", "cat", "pad", "flip", "overwrite", "take", "lookup", "one_hot", "gather", "scatter",
    "placed", "put", "to_device", "filled", "philox", "random", "drop", "pick", "adaptive_place",
    "put_reshape", "put_permute", "put_slice", "put_diagonal", "put_alias", "put_windows", "put_as_strided",
    "put_bitcast", "order",
)  # fmt: skip
_REDUCTIONS = ("sum", "total", "amax", "amin", "max", "min", "prod", "any", "all", "argmax", "argmin", "cumsum")
_GATES = {kind: cell.gates for kind, cell in CELLS.items()}

RULES: dict[str, Rule] = {
    **dict.fromkeys(_MOVES, _none),
    **dict.fromkeys(_REDUCTIONS, _in),
    "matmul": _matmul,
    "linear": _linear,
    "conv": _conv,
    "conv_input": _conv_input,
    "conv_weight": _conv_weight,
    "attention": _attention,
    "attention_grad": _attention_grad,
    "fused": _fused,
    "update": _update,
    "sum_all": lambda e: 2 * sum(prod(a.shape) for a in e.args if isinstance(a, Var)),
    "square_sum": _each(2),
    "squared_error": _each(3),
    "softmax": _each(5),  # maximum, difference, exponential, sum, quotient
    "log_softmax": _each(5),
    "logsumexp": _each(4),
    "cross_entropy": _each(5),
    "cross_entropy_grad": lambda e: 6 * _out(e),
    "normalize": _each(8),  # mean, 3 for the variance, difference, quotient, scale, shift
    **{f"normalize_grad{n}": _each(12) for n in (1, 2, 3)},
    "gelu": _each(5),
    "gelu_slope": _each(9),
    "gelu_tanh": _each(9),
    "gelu_tanh_slope": _each(14),
    "silu": _each(4),
    "silu_slope": _each(7),
    "sigmoid": _each(3),
    "uniform": _each(2),
    "normal": _each(6),
    "max_pool": _window,
    "max_place": _window,
    "window_sum": _window,
    **{kind: _recurrent(gates) for kind, gates in _GATES.items()},
    **{f"{kind}_grad": _recurrent_grad(gates) for kind, gates in _GATES.items()},
}
