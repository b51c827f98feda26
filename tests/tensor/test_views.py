"""Random chains of views with in-place writes: the values of all aliases, and gradients, as in PyTorch.

A program is a list of steps (what, which tensor, numbers); each step's numbers are read in terms of the shape that it
meets, so that every program has a meaning. It runs on expkit and on PyTorch alike.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import expkit as ek

REFUSED = (RuntimeError, IndexError, ValueError)


def _narrow(x, a, b):
    d = a % x.ndim
    start = b % (x.shape[d] + 1)
    return x.narrow(d, start, (x.shape[d] - start + 1) // 2)


def _windows(x, a, b):
    d = a % x.ndim
    size = b % x.shape[d] + 1 if x.shape[d] else 0
    return x.unfold(d, size, max(size, 1))


def _half(x, a, b):
    n = x.shape[a % x.ndim]
    return x.unflatten(a % x.ndim, (2, n // 2)) if n and n % 2 == 0 else x[...]


VIEWS = {
    "select": lambda x, a, b: x.select(a % x.ndim, b % x.shape[a % x.ndim]) if x.numel() else x[...],
    "narrow": _narrow,
    "step": lambda x, a, b: x[:: a % 2 + 1],
    "inner": lambda x, a, b: x[..., b % 2 :: a % 3 + 1],
    "transpose": lambda x, a, b: x.transpose(a % x.ndim, b % x.ndim),
    "movedim": lambda x, a, b: x.movedim(a % x.ndim, b % x.ndim),
    "unsqueeze": lambda x, a, b: x.unsqueeze(a % (x.ndim + 1)),
    "squeeze": lambda x, a, b: x.squeeze(),
    "flat": lambda x, a, b: x.view(-1),
    "diagonal": lambda x, a, b: x.diagonal(a % 3 - 1) if x.ndim > 1 else x[...],
    "windows": _windows,
    "half": _half,
    "piece": lambda x, a, b: x.chunk(2, a % x.ndim)[0],
    "alias": lambda x, a, b: x[...],
    "strides": lambda x, a, b: x.as_strided((min(x.numel(), 2),), (1,)) if x.is_contiguous() else x[...],
}
WRITES = {
    "mul_": lambda m, x, a, b: x.mul_(a % 3 + 0.5),
    "add_": lambda m, x, a, b: x.add_(row(m, x)),
    "sin_": lambda m, x, a, b: x.sin_(),
    "zero_": lambda m, x, a, b: x.zero_(),
    "copy_": lambda m, x, a, b: x.copy_(row(m, x) * 2),
    "square": lambda m, x, a, b: x.pow_(2),
    "masked_fill_": lambda m, x, a, b: x.masked_fill_(row(m, x) > 0, 0.25),
    "clamp_": lambda m, x, a, b: x.clamp_(-0.5, 1.0),
    "first": lambda m, x, a, b: x.__setitem__(0, 2.0),
    "rest": lambda m, x, a, b: x.__setitem__((..., slice(1, None)), x[..., :-1].clone() * 0.5),
    "chosen": lambda m, x, a, b: x.__setitem__(m.tensor([0, -1]), -1.5),
    "itself": lambda m, x, a, b: x.copy_(x.flip(0)),
    "unsqueeze_": lambda m, x, a, b: x.unsqueeze_(a % (x.ndim + 1)),
    "transpose_": lambda m, x, a, b: x.transpose_(a % x.ndim, b % x.ndim),
    "squeeze_": lambda m, x, a, b: x.squeeze_(),
}


def row(m: Any, x: Any) -> Any:
    """A constant that depends on the shape alone."""
    n = x.shape[-1] if x.ndim else 1
    return m.tensor(np.cos(np.arange(n) + 1.0).tolist(), dtype=m.float64)


def run(m: Any, shape: tuple[int, ...], steps: list[tuple[str, int, int, int]], leaf_grad: bool = True) -> list[Any]:
    """The values of all tensors and the gradient, or "refused" where something raised."""
    n = int(np.prod(shape))
    leaf = m.tensor(np.sin(np.arange(n)).reshape(shape).tolist(), dtype=m.float64, requires_grad=leaf_grad)
    known, loss = [leaf * 1.5], []
    try:
        for what, which, a, b in steps:
            x = known[which % len(known)]
            if what == "read":
                loss.append((x * (x if a % 2 else row(m, x))).sum())
            elif x.ndim == 0:
                continue
            elif what in VIEWS:
                known.append(VIEWS[what](x, a, b))
            else:
                WRITES[what](m, x, a, b)
        total = sum((k * (i + 1.0)).sum() for i, k in enumerate(known)) + sum(loss)
        if leaf_grad:
            total.backward()
    except REFUSED as error:
        return ["refused" if str(error) else f"{type(error).__name__} without a message"]
    return [np.array(k.detach().numpy()) for k in known] + ([np.array(leaf.grad.numpy())] if leaf_grad else [])


STEPS = st.tuples(
    st.sampled_from([*VIEWS, *WRITES, *WRITES, "read"]), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)
)
SHAPES = st.sampled_from([(4,), (2, 3), (3, 2, 2), (4, 1), (2, 2), (1, 4, 2)])


def same(shape: Any, steps: Any, torch: Any, leaf_grad: bool) -> None:
    expected = run(torch, shape, steps, leaf_grad)
    got = run(ek, shape, steps, leaf_grad)
    if isinstance(expected[0], str):
        return  # what PyTorch refuses may work here; the next test says that it is right then
    assert len(got) == len(expected), f"{shape} {steps}: {got}, PyTorch has {expected}"
    for i, (g, e) in enumerate(zip(got, expected, strict=True)):
        assert g.shape == e.shape, f"{shape} {steps}: tensor {i} is of shape {g.shape}, PyTorch's of {e.shape}"
        np.testing.assert_allclose(g, e, rtol=1e-9, atol=1e-11, err_msg=f"{shape} {steps}: tensor {i}")


@pytest.mark.torch
@settings(max_examples=400, deadline=None, derandomize=True)
@given(SHAPES, st.lists(STEPS, min_size=2, max_size=9))
def test_chains_of_views_and_writes_as_in_pytorch(shape, steps):
    import torch

    same(shape, steps, torch, True)


@pytest.mark.torch
@settings(max_examples=150, deadline=None, derandomize=True)
@given(SHAPES, st.lists(STEPS, min_size=2, max_size=9))
def test_without_gradients(shape, steps):
    import torch

    same(shape, steps, torch, False)
