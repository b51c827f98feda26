"""x[key] and x[key] = value: reading, writing, gradients and shared memory, as in PyTorch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import expkit as ek
from tests.autograd.scenarios import assert_same, plain
from tests.tensor.table_indexing import CASES, T


def build(m, key):
    if isinstance(key, T):
        return m.tensor(key.values, dtype=getattr(m, key.dtype) if key.dtype else None)
    return tuple(build(m, k) for k in key) if isinstance(key, tuple) else key


def data(m, shape):
    n = int(np.prod(shape))
    return m.tensor((np.arange(n) * 0.5 - n / 4).reshape(shape).tolist(), dtype=m.float64).reshape(shape)


def case_id(case):
    return f"{list(case[0])}[{case[1]!r}]".replace("slice(None, None, None)", ":").replace(" ", "")


def attempt(fn):
    """fn()'s result, or "refused": only errors that say what is wrong count as a refusal."""
    try:
        return fn()
    except (IndexError, TypeError, ValueError, RuntimeError) as error:
        if not str(error):
            raise
        return "refused"


def read(m, shape, key):
    x = data(m, shape).requires_grad_()
    out = x[build(m, key)]
    grad = None
    if out.requires_grad:
        (grad,) = m.autograd.grad((out * out).sum(), x, allow_unused=True)
    return [out, grad]


def write(m, shape, key, value):
    x, w = data(m, shape).requires_grad_(), m.tensor(value, dtype=m.float64, requires_grad=True)
    y = x * 1
    y[build(m, key)] = w
    return [y, *m.autograd.grad((y * y).sum(), [x, w], allow_unused=True, materialize_grads=True)]


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_reading_as_in_pytorch(case, torch):
    expected = plain(attempt(lambda: read(torch, *case)))
    assert_same(plain(attempt(lambda: read(ek, *case))), expected)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_writing_a_number_as_in_pytorch(case, torch):
    expected = plain(attempt(lambda: write(torch, *case, 2.5)))
    assert_same(plain(attempt(lambda: write(ek, *case, 2.5))), expected)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_writing_a_tensor_as_in_pytorch(case, torch):
    """A value of the shape of the place, where no element is written twice; then one that has to be broadcast."""
    shape, key = case
    place = attempt(lambda: np.arange(np.prod(shape)).reshape(shape)[_numpy(key)])
    if isinstance(place, str) or key is False or len(set(place.ravel())) != place.size:
        return
    for value in (
        np.linspace(1, 2, place.size).reshape(place.shape),
        np.linspace(1, 2, place.shape[-1] if place.ndim else 1),
    ):
        expected = plain(attempt(lambda: write(torch, shape, key, value.tolist())))  # noqa: B023
        if expected != "refused":
            assert_same(plain(attempt(lambda: write(ek, shape, key, value.tolist()))), expected)  # noqa: B023


def _numpy(key):
    if isinstance(key, T):
        return np.array(key.values, dtype=key.dtype) if key.values != [] else np.zeros(0, int)
    return tuple(_numpy(k) for k in key) if isinstance(key, tuple) else key


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_views_and_copies_as_in_pytorch(case, torch):
    shape, key = case
    if attempt(lambda: read(ek, shape, key)) == "refused":
        return
    x, t = data(ek, shape), data(torch, shape)
    out, expected = x[build(ek, key)], t[build(torch, key)]
    if expected.numel():
        assert np.shares_memory(x.numpy(), out.numpy()) == (
            t.untyped_storage().data_ptr() == expected.untyped_storage().data_ptr()
        )


@pytest.mark.parametrize(("shape", "key"), CASES)
def test_reading_as_in_numpy_where_both_agree(shape, key):
    """Without PyTorch: wherever NumPy reads the key too, and no index tensor is separated by a slice."""
    got = attempt(lambda: read(ek, shape, key)[0])
    expected = attempt(lambda: data(ek, shape).numpy()[_numpy(key)])
    if isinstance(got, str) or isinstance(expected, str) or got.shape != expected.shape:
        return
    np.testing.assert_array_equal(got.detach().numpy(), expected)


def test_the_numpy_comparison_compares_something():
    agreeing = [
        key for shape, key in CASES
        if not isinstance(attempt(lambda: read(ek, shape, key)[0]), str)  # noqa: B023
        and not isinstance(attempt(lambda: data(ek, shape).numpy()[_numpy(key)]), str)  # noqa: B023
    ]  # fmt: skip
    assert len(agreeing) > 80


# ---- random keys -----------------------------------------------------------------------------------------------------


@st.composite
def keyed(draw):
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    lengths = draw(st.sampled_from([(2,), (3,), (2, 2), (1, 3), ()]))
    key, axis = [], 0
    while axis < len(shape) and draw(st.integers(0, 5)):
        n = shape[axis]
        kind = draw(st.sampled_from(["int", "slice", "none", "tensor", "tensor", "mask", "ellipsis", "full"]))
        if kind == "none":
            key.append(None)
            continue
        if kind == "ellipsis":
            if ... in [k for k in key if k is ...] or len(key) == 0:
                continue
            key.append(...)
            break
        if kind == "int":
            key.append(draw(st.integers(-n, n - 1)))
        elif kind == "full":
            key.append(slice(None))
        elif kind == "slice":
            key.append(
                slice(
                    draw(st.integers(-n - 1, n + 1) | st.none()),
                    draw(st.integers(-n - 1, n + 1) | st.none()),
                    draw(st.integers(1, 3) | st.none()),
                )
            )
        elif kind == "mask":
            key.append(T(draw(st.lists(st.booleans(), min_size=n, max_size=n))))
        else:
            count = int(np.prod(lengths))
            flat = draw(st.lists(st.integers(-n, n - 1), min_size=count, max_size=count))
            key.append(T(np.array(flat, int).reshape(lengths).tolist()))
        axis += 1
    return shape, tuple(key)


@pytest.mark.torch
@settings(max_examples=250, deadline=None, derandomize=True)
@given(keyed())
def test_random_keys_as_in_pytorch(case):
    import torch

    shape, key = case
    assert_same(plain(attempt(lambda: read(ek, shape, key))), plain(attempt(lambda: read(torch, shape, key))))
    expected = plain(attempt(lambda: write(torch, shape, key, 2.5)))
    assert_same(plain(attempt(lambda: write(ek, shape, key, 2.5))), expected)


# ---- messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (3, "index 3 is out of bounds for dimension 0 with size 3"),
        ((0, -5), "index -5 is out of bounds for dimension 1 with size 4"),
        ((0, 0, 0), "too many indices for tensor of dimension 2"),
        (T([[True, False]]), r"shape of the mask \[1, 2\]"),
        ((T([0, 1]), T([0, 1, 2])), "do not fit"),
        ((..., ...), "single ellipsis"),
        (T([0, 3]), "index 3 is out of bounds"),
        (T([0.5]), "long, int, byte or bool"),
    ],
)
def test_messages_name_what_is_wrong(key, message):
    with pytest.raises((IndexError, RuntimeError), match=message):
        ek.zeros(3, 4)[build(ek, key)]


def test_a_value_that_does_not_fit():
    x = ek.zeros(3, 4)
    with pytest.raises(RuntimeError, match=r"\[4\].*\[3\]|\(3,\)|3"):
        x[0] = ek.zeros(3)
    with pytest.raises(RuntimeError, match="5"):
        x[ek.tensor([0, 1])] = ek.zeros(5)


def test_values_are_converted_to_the_dtype_of_the_tensor():
    x = ek.zeros(3, dtype=ek.int64)
    x[0], x[1], x[2] = 2.7, ek.tensor(3.9), True
    assert x.tolist() == [2, 3, 1]
    y = ek.zeros(2, dtype=ek.float32)
    y[:] = np.array([1.5, 2.5])
    y[ek.tensor([1])] = 7
    assert y.tolist() == [1.5, 7.0]


def test_iteration_length_and_membership():
    x = ek.arange(6).reshape(3, 2)
    assert [row.tolist() for row in x] == [[0, 1], [2, 3], [4, 5]]
    assert len(x) == 3
    assert 5 in x
    assert 7 not in x
    with pytest.raises(TypeError, match="0-d"):
        len(ek.tensor(1))
    with pytest.raises(TypeError, match="0-d"):
        iter(ek.tensor(1))
