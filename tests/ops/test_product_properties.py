"""Products of random shapes, strides and dtypes: matmul, einsum and tensordot against NumPy and PyTorch."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import expkit as ek
from expkit.errors import ShapeError

KINDS = ("float64", "float32", "int64", "int32", "uint8", "complex128")
SIZES = st.integers(0, 4)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def values(draw: Any, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Small whole numbers, so that no order of summation matters, in any layout."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.integers(0, 4, shape)
    x = (x + 1j * rng.integers(0, 4, shape)) if kind == "complex128" else x
    return laid_out(draw, x.astype(kind))


def laid_out(draw: Any, x: np.ndarray) -> np.ndarray:
    """The same values: dense, with gaps, with axes in another order, or repeated."""
    how = draw(st.sampled_from(("dense", "gaps", "order", "repeated")))
    if how == "gaps" and x.ndim:
        room = np.zeros((*x.shape[:-1], x.shape[-1] * 2), x.dtype)
        room[..., ::2] = x
        return room[..., ::2]
    if how == "order" and x.ndim:
        return np.asfortranarray(x)
    if how == "repeated" and x.ndim > 1 and x.shape[0]:
        return np.broadcast_to(x[:1], x.shape)
    return x


def to_ek(x: np.ndarray) -> Any:
    return ek.from_numpy(x) if x.flags.writeable else ek.tensor(x)


def agree(got: Any, expected: Any) -> None:
    """Values, shape and dtype."""
    expected = np.asarray(expected)
    assert tuple(got.shape) == expected.shape
    assert got.dtype.name == str(expected.dtype)
    np.testing.assert_array_equal(got.numpy(), expected)


@st.composite
def factors(draw: Any) -> tuple[np.ndarray, np.ndarray]:
    """Two operands of matmul: vectors, matrices, batches that broadcast."""
    kind = draw(st.sampled_from(KINDS))
    n, k, m = draw(SIZES), draw(SIZES), draw(SIZES)
    batch = draw(st.lists(st.integers(1, 3), max_size=2))
    left = [draw(st.sampled_from((1, b))) for b in batch][draw(st.integers(0, len(batch))) :]
    right = [draw(st.sampled_from((1, b))) for b in batch][draw(st.integers(0, len(batch))) :]
    a = (k,) if draw(st.booleans()) and not left else (*left, n, k)
    b = (k,) if draw(st.booleans()) and not right else (*right, k, m)
    return values(draw, a, kind), values(draw, b, kind)


@pytest.mark.torch
@QUICK
@given(factors())
def test_matmul(torch: Any, pair: Any) -> None:
    a, b = pair
    got = to_ek(a) @ to_ek(b)
    agree(got, a @ b)
    agree(got, torch.tensor(a.copy()).matmul(torch.tensor(b.copy())).numpy())


@QUICK
@given(factors())
def test_gradients_of_matmul_have_the_shapes_and_values_of_sums(pair: Any) -> None:
    a, b = (ek.tensor(x.real.astype(np.float64), requires_grad=True) for x in pair)
    (a @ b).sum().backward()
    ones = np.ones((a @ b).shape)
    x, y = a.detach().numpy(), b.detach().numpy()
    rows = x[None] if x.ndim == 1 else x
    columns = y[:, None] if y.ndim == 1 else y
    g = ones[..., None, :] if x.ndim == 1 and y.ndim > 1 else ones
    g = g[..., None] if y.ndim == 1 else g
    g = g[None] if x.ndim == y.ndim == 1 else g
    for got, full, shape in (
        (a.grad, g @ columns.swapaxes(-1, -2), rows.shape),
        (b.grad, rows.swapaxes(-1, -2) @ g, columns.shape),
    ):
        extra = full.ndim - len(shape)
        full = full.sum(tuple(range(extra)))
        full = full.sum(tuple(i for i, n in enumerate(shape) if n == 1 and full.shape[i] != 1), keepdims=True)
        np.testing.assert_array_equal(got.numpy(), full.reshape(got.shape))


@st.composite
def contractions(draw: Any) -> tuple[str, list[np.ndarray]]:
    """An equation of einsum with its operands: letters shared or not, repeated, summed, an ellipsis, size 1."""
    kind = draw(st.sampled_from(("float64", "float32", "int64", "complex128")))  # of others PyTorch refuses some sums
    size = {c: draw(st.integers(0, 3)) for c in "abcd"}
    terms, operands = [], []
    for _ in range(draw(st.integers(1, 3))):
        letters = draw(st.lists(st.sampled_from("abcd"), max_size=3))
        dots = draw(st.booleans())
        at = draw(st.integers(0, len(letters)))
        lead = [draw(st.sampled_from((1, 2)))] if dots else []
        shape = [size[c] for c in letters[:at]] + lead + [size[c] for c in letters[at:]]
        terms.append("".join(letters[:at]) + ("..." if dots else "") + "".join(letters[at:]))
        operands.append(values(draw, tuple(shape), kind))
    equation = ",".join(terms)
    if draw(st.booleans()):
        used = sorted({c for c in equation if c.isalpha()})
        kept = draw(st.permutations(used))[: draw(st.integers(0, len(used)))]
        equation += "->" + ("..." if "..." in equation else "") + "".join(kept)
    return equation, operands


@pytest.mark.torch
@QUICK
@given(contractions())
def test_einsum(torch: Any, case: Any) -> None:
    equation, operands = case
    got = ek.einsum(equation, *map(to_ek, operands))
    np.testing.assert_array_equal(got.numpy(), np.einsum(equation, *(x.astype(np.complex128) for x in operands)))
    theirs = torch.einsum(equation, *(torch.tensor(x.copy()) for x in operands))
    assert tuple(got.shape) == tuple(theirs.shape)
    assert got.dtype.name == str(theirs.dtype).removeprefix("torch.")
    np.testing.assert_array_equal(got.numpy(), theirs.numpy())


@st.composite
def axes(draw: Any) -> tuple[np.ndarray, np.ndarray, Any]:
    """Two operands of tensordot and the dimensions to contract, as a number or as two lists."""
    kind = draw(st.sampled_from(KINDS))
    shared = draw(st.lists(st.integers(0, 3), max_size=2))
    left, right = draw(st.lists(st.integers(1, 3), max_size=2)), draw(st.lists(st.integers(1, 3), max_size=2))
    if draw(st.booleans()):
        a, b = (*left, *shared), (*shared, *right)
        return values(draw, a, kind), values(draw, b, kind), len(shared)
    a_order = draw(st.permutations(range(len(left) + len(shared))))
    b_order = draw(st.permutations(range(len(shared) + len(right))))
    a, b = np.array([*left, *shared], int)[list(a_order)], np.array([*shared, *right], int)[list(b_order)]
    first = [list(a_order).index(len(left) + i) - (len(a) if draw(st.booleans()) else 0) for i in range(len(shared))]
    second = [list(b_order).index(i) for i in range(len(shared))]
    return values(draw, tuple(a), kind), values(draw, tuple(b), kind), (first, second)


@pytest.mark.torch
@QUICK
@given(axes())
def test_tensordot(torch: Any, case: Any) -> None:
    a, b, dims = case
    got = ek.tensordot(to_ek(a), to_ek(b), dims)
    expected = np.tensordot(a, b, dims)
    agree(got, expected.astype(a.dtype))
    agree(got, torch.tensordot(torch.tensor(a.copy()), torch.tensor(b.copy()), dims=dims).numpy())


@pytest.mark.parametrize(
    "call",
    [
        lambda: ek.ones(2, 3) @ ek.ones(2, 3),
        lambda: ek.ones(2, 3) @ ek.ones(()),
        lambda: ek.ones(2, 2, 3) @ ek.ones(3, 3, 2),
        lambda: ek.tensordot(ek.ones(2, 3), ek.ones(2, 3), 1),
        lambda: ek.tensordot(ek.ones(2, 3), ek.ones(2, 3), ([0, 1], [0])),
        lambda: ek.einsum("ij,jk->ik", ek.ones(2, 3), ek.ones(2, 3)),
        lambda: ek.einsum("ii", ek.ones(2, 3)),
        lambda: ek.einsum("ijk", ek.ones(2, 3)),
    ],
)
def test_what_does_not_fit_is_a_shape_error(call: Any) -> None:
    with pytest.raises(ShapeError):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: ek.einsum("ij,jk", ek.ones(2, 3)),
        lambda: ek.einsum("ij->k", ek.ones(2, 3)),
        lambda: ek.einsum("ij->ii", ek.ones(2, 3)),
        lambda: ek.einsum("i.j", ek.ones(2, 3)),
        lambda: ek.einsum("ij"),
        lambda: ek.einsum(ek.ones(2, 3), [0, 52]),
        lambda: ek.tensordot(ek.ones(2, 3), ek.ones(2, 3), 3),
        lambda: ek.tensordot(ek.ones(2, 3), ek.ones(2, 3), -1),
        lambda: ek.tensordot(ek.ones(2, 2), ek.ones(2, 2), ([0, 0], [0, 1])),
    ],
)
def test_what_makes_no_sense_is_a_value_error(call: Any) -> None:
    with pytest.raises(ValueError):
        call()


def test_lists_of_subscripts_are_letters() -> None:
    a, b = ek.randn(2, 3), ek.randn(3, 4)
    assert ek.isclose(ek.einsum(a, [0, 1], b, [1, 2], [0, 2]), a @ b).all()
    assert ek.isclose(ek.einsum(a, [..., 1], b, [1, 2]), a @ b).all()
    assert ek.isclose(ek.einsum("ij,jk->ik", [a, b]), a @ b).all()
