"""Random programs, compiled and as they are: results and gradients agree.

A program is up to 30 operations on earlier values, of many shapes and dtypes: elementwise functions, reductions,
products, views, joins, conversions, choices. Values stay within a few units, so one tolerance holds for all of them:
1e-3, for float32 values that have gone through 30 operations in another order of rounding.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import expkit as ek
import expkit.nn.functional as F

SHAPES = [(4, 6), (6,), (4, 1), (), (2, 4, 6), (6, 6), (33, 40), (1, 40)]
TOLERANCE = {"rtol": 1e-3, "atol": 1e-3}


def fit(x: ek.Tensor, like: ek.Tensor) -> ek.Tensor:
    """x, or its mean where it does not broadcast with the other."""
    pairs = zip(x.shape[::-1], like.shape[::-1], strict=False)
    return x if all(a == b or 1 in (a, b) for a, b in pairs) else x.mean()


def matrix(x: ek.Tensor) -> ek.Tensor:
    return x.reshape(-1, x.shape[-1]) if x.ndim else x.reshape(1, 1)


def product(x: ek.Tensor, y: ek.Tensor) -> ek.Tensor:
    a, b = matrix(x), matrix(y.to(x.dtype))
    right = b if a.shape[1] == b.shape[0] else b.t() if a.shape[1] == b.shape[1] else a.t()
    return a @ right / a.shape[1]


def layer(x: ek.Tensor, y: ek.Tensor) -> ek.Tensor:
    a = matrix(x)
    weight = a[:5] * 0.5
    return F.linear(a, weight, weight[:, 0]) * 0.3


def rows_first(x: ek.Tensor) -> ek.Tensor:
    return x.transpose(0, -1) if x.ndim > 1 else x


UNARY = {
    "tanh": ek.tanh, "sigmoid": ek.sigmoid, "relu": ek.relu, "neg": ek.neg, "gelu": F.gelu, "silu": F.silu,
    "exp": lambda x: ek.exp(ek.tanh(x)), "log": lambda x: ek.log(ek.abs(x) + 0.5), "half": lambda x: x * 0.5,
    "square": lambda x: ek.tanh(x).square(), "sqrt": lambda x: ek.sqrt(ek.abs(x) + 0.25), "abs": ek.abs,
    "clamp": lambda x: x.clamp(-0.75, 0.8), "whole": lambda x: (x * 3).to(ek.int64).to(x.dtype) * 0.3 + x,
    "sum": lambda x: ek.tanh(x.sum(-1)) if x.ndim else x, "mean": lambda x: x.mean(0, keepdim=True) if x.ndim else x,
    "columns": lambda x: ek.tanh(x.sum(0)) if x.ndim else x, "all": lambda x: x.mean(),
    "amax": lambda x: x.amax(-1, keepdim=True) if x.ndim else x, "amin": lambda x: x.amin(0) if x.ndim else x,
    "softmax": lambda x: ek.softmax(x, -1) if x.ndim else x, "logsumexp": lambda x: x.logsumexp(-1) if x.ndim else x,
    "centred": lambda x: x - x.mean(-1, keepdim=True) if x.ndim else x,
    "norm": lambda x: F.layer_norm(x, x.shape[-1:], eps=0.1) if x.ndim else x,
    "flat": lambda x: x.reshape(-1), "turned": rows_first, "more": lambda x: x.unsqueeze(0) if x.ndim < 3 else x[0],
    "part": lambda x: x[..., : max(1, x.shape[-1] // 2)] if x.ndim else x,
    "twice": lambda x: x.reshape(-1).repeat(2)[: x.numel()],
    "every other": lambda x: x[::2] if x.ndim else x, "padded": lambda x: F.pad(x, (1, 0))[..., :-1] if x.ndim else x,
    "wider": lambda x: x.to(ek.float64), "narrower": lambda x: x.to(ek.float32),
    "flipped": lambda x: x.flip(0) if x.ndim else x,
}  # fmt: skip
BINARY = {
    "add": lambda x, y: x + fit(y, x), "sub": lambda x, y: x - fit(y, x), "mul": lambda x, y: x * ek.tanh(fit(y, x)),
    "div": lambda x, y: x / (ek.abs(fit(y, x)) + 1), "maximum": lambda x, y: ek.maximum(x, fit(y, x).to(x.dtype)),
    "where": lambda x, y: ek.where(x > 0.123, x, fit(y, x).to(x.dtype)), "layer": layer, "product": product,
    "joined": lambda x, y: ek.cat([x.reshape(-1), y.reshape(-1)[:7].to(x.dtype)]) if x.numel() < 500 else x,
    "stacked": lambda x, y: ek.stack([x, x * y.mean().to(x.dtype)]) if x.ndim < 3 else x,
    "filled": lambda x, y: x.masked_fill(x > 0.7, 0.5),
}  # fmt: skip
OPERATIONS: dict[str, Any] = UNARY | BINARY


class Plan:
    """A program over some inputs: operations with the numbers of their operands, counted from the newest value."""

    def __init__(self, shapes: list[tuple[int, ...]], steps: list[tuple[str, int, int]]) -> None:
        self.shapes, self.steps = shapes, steps

    def __repr__(self) -> str:
        return f"Plan({self.shapes}, {self.steps})"

    def inputs(self, seed: int) -> list[ek.Tensor]:
        numbers = np.random.default_rng(seed)
        return [ek.tensor(numbers.uniform(-1, 1, shape).astype(np.float32)) for shape in self.shapes]

    def __call__(self, *inputs: ek.Tensor) -> list[ek.Tensor]:
        """Each value that nobody reads, and a loss of all of them."""
        values, read = list(inputs), set()
        for name, i, j in self.steps:
            places = [len(values) - 1 - i % len(values), len(values) - 1 - j % len(values)]
            count = 1 if name in UNARY else 2
            read.update(places[:count])
            values.append(OPERATIONS[name](*[values[p] for p in places[:count]]))
        ends = [v for n, v in enumerate(values) if n not in read]
        return [sum(ek.tanh(v).mean().to(ek.float32) for v in ends), *ends]

    def with_gradients(self, *inputs: ek.Tensor) -> list[ek.Tensor]:
        """A whole step: the results, and the gradients of all inputs."""
        leaves = [x.detach().requires_grad_() for x in inputs]
        loss, *ends = self(*leaves)
        loss.backward()
        return [loss, *(x.detach() for x in ends), *(ek.zeros_like(x) if x.grad is None else x.grad for x in leaves)]


PLANS = st.builds(
    Plan,
    st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3),
    st.lists(
        st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 5), st.integers(0, 9)), min_size=2, max_size=30
    ),
)


def agree(found: list[ek.Tensor], expected: list[ek.Tensor], what: str) -> None:
    assert len(found) == len(expected)
    for n, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert (a.shape, a.dtype) == (b.shape, b.dtype), f"{what} {n}"
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), **TOLERANCE, err_msg=f"{what} {n}")


def check(plan: Plan) -> None:
    """The traced call and a replay with other values; gradients of a whole step, and into a compiled function."""
    step = ek.compile(plan.with_gradients, fullgraph=True)
    for seed in (0, 0, 1):
        agree(step(*plan.inputs(seed)), plan.with_gradients(*plan.inputs(seed)), f"step {seed}: result")
    forward = ek.compile(plan.__call__, fullgraph=True)
    for seed in (0, 0, 1):
        plain, compiled = ([x.requires_grad_() for x in plan.inputs(seed)] for _ in range(2))
        expected, found = plan(*plain), forward(*compiled)
        agree(found, expected, f"call {seed}: result")
        expected[0].backward()
        found[0].backward()
        both = [(a.grad, b.grad) for a, b in zip(compiled, plain, strict=True) if b.grad is not None]
        agree(*map(list, zip(*both, strict=True)) if both else ([], []), f"call {seed}: gradient")


QUICK = (Phase.explicit, Phase.generate)  # each program has kernels of its own: to shrink one takes minutes


@settings(max_examples=10, deadline=None, derandomize=True, phases=QUICK)
@given(PLANS)
def test_random_programs(plan):
    check(plan)


@pytest.mark.soak
@settings(max_examples=2000, deadline=None)
@given(PLANS)
def test_many_random_programs(plan):
    check(plan)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_each_operation_of_random_programs(name):
    """So that a failure of one is told apart from one of many together."""
    check(Plan([(4, 6), (2, 4, 6)], [("tanh", 0, 0), (name, 1, 0), (name, 0, 2), ("half", 0, 0)]))
