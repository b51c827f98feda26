"""Making tensors from data and as ranges: values, dtypes, shared memory, refusals, as in PyTorch."""

import itertools

import numpy as np
import pytest

import expkit as ek
from tests.autograd.scenarios import assert_same, plain
from tests.tensor.table_create import BAD, DATA, WRONG


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("make", ["tensor", "as_tensor"])
def test_tensor_from_data(name, make, torch):
    data = DATA[name]
    assert_same(plain(getattr(ek, make)(data)), plain(getattr(torch, make)(data)))


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "dtype"),
    list(
        itertools.product(
            ["int", "floats", "nested", "bools", "array", "empty"],
            ["float32", "float64", "int64", "int32", "bool", "uint8"],
        )
    ),
)
def test_tensor_with_a_dtype(name, dtype, torch):
    ours, theirs = (
        ek.tensor(DATA[name], dtype=getattr(ek, dtype)),
        torch.tensor(DATA[name], dtype=getattr(torch, dtype)),
    )
    assert_same(plain(ours), plain(theirs))


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_become_a_tensor(name):
    with pytest.raises((TypeError, ValueError), match=r"tensor\(\)|not supported"):
        ek.tensor(BAD[name])


def test_numbers_that_do_not_fit():
    with pytest.raises((OverflowError, RuntimeError, TypeError, ValueError)):
        ek.tensor([2**70])
    with pytest.raises((OverflowError, RuntimeError, TypeError, ValueError)):
        ek.tensor(2**63, dtype=ek.int64)


def test_tensor_copies_and_as_tensor_shares():
    array = np.array([1.0, 2.0], np.float32)
    copy, shared, converted = ek.tensor(array), ek.as_tensor(array), ek.as_tensor(array, dtype=ek.float64)
    array[0] = 9.0
    assert [x[0].item() for x in (copy, shared, converted)] == [1.0, 9.0, 1.0]
    x = ek.ones(2)
    assert ek.as_tensor(x) is x
    assert ek.as_tensor(x, dtype=ek.float64).dtype is ek.float64
    y = ek.tensor(x)
    y.zero_()
    assert x.tolist() == [1.0, 1.0]


def test_from_numpy_shares_memory_both_ways():
    array = np.zeros((2, 2), np.float32)
    x = ek.from_numpy(array.T)
    x[0, 1] = 5.0
    assert array[1, 0] == 5.0
    array[0, 0] = 7.0
    assert x[0, 0].item() == 7.0
    assert x.numpy() is not None
    assert np.shares_memory(x.numpy(), array)
    with pytest.raises(TypeError, match=r"expected np.ndarray \(got list\)"):
        ek.from_numpy([1.0])
    with pytest.raises(TypeError, match="not supported"):
        ek.from_numpy(np.zeros(2, np.uint16))


def test_a_read_only_array_is_not_written_to():
    array = np.zeros(2)
    array.flags.writeable = False
    with pytest.warns(UserWarning, match="read-only"):
        x = ek.from_numpy(array)
    with pytest.raises(RuntimeError, match="read-only"):
        x.add_(1.0)


def test_dlpack_round_trip():
    x = ek.arange(6).reshape(2, 3)
    y = ek.from_dlpack(x)
    y[0, 0] = 9
    assert x[0, 0].item() == 9
    assert np.from_dlpack(x).tolist() == x.tolist()


@pytest.mark.torch
def test_tensors_of_the_other_library(torch):
    t = torch.arange(4, dtype=torch.float32)
    x = ek.from_dlpack(t)
    x[0] = 5.0
    assert t[0].item() == 5.0
    assert ek.tensor(t.numpy()).tolist() == t.tolist()
    assert torch.from_dlpack(ek.ones(2)).tolist() == [1.0, 1.0]


def test_requires_grad_is_given():
    for x in (
        ek.tensor([1.0], requires_grad=True),
        ek.zeros(1, requires_grad=True),
        ek.full((1,), 2.0, requires_grad=True),
        ek.rand(1, requires_grad=True),
        ek.arange(2.0, requires_grad=True),
        ek.eye(1, requires_grad=True),
        ek.linspace(0, 1, 2, requires_grad=True),
        ek.ones_like(ek.ones(1), requires_grad=True),
    ):
        assert x.requires_grad
        assert x.is_leaf
    with pytest.raises(RuntimeError, match="floating point"):
        ek.tensor([1], requires_grad=True)
    source = ek.ones(2, requires_grad=True)
    assert not ek.tensor(source).requires_grad
    assert not ek.zeros_like(source * 2).requires_grad


@pytest.mark.torch
def test_ranges(torch):
    whole = [(5,), (2, 7), (7, 2, -1), (0, 10, 3), (10, 0, -4), (3, 3), (-5, 5, 2), (True,)]
    broken = [(0.0, 1.0, 0.1), (1.0,), (0, 1, 0.25), (1.5, 4), (5, 0, -1.5), (0.0, 0.3, 0.1), (1e-3, 1e-2, 1e-3)]
    for args in whole + broken:
        assert_same(plain(ek.arange(*args)), plain(torch.arange(*args)), f"arange{args}")
    for args, dtype in itertools.product([(5,), (0, 4, 1.5), (0.5, 3)], ["float64", "int32", "float16"]):
        assert_same(
            plain(ek.arange(*args, dtype=getattr(ek, dtype))),
            plain(torch.arange(*args, dtype=getattr(torch, dtype))),
            f"arange{args} {dtype}",
        )
    for args in [(0, 1, 3), (0.0, 10.0, 7), (-1, 1, 2), (5, 5, 4), (1, 0, 5), (0, 1, 1), (0, 1, 0)]:
        np.testing.assert_allclose(ek.linspace(*args).numpy(), torch.linspace(*args).numpy(), rtol=1e-6, atol=1e-7)
    assert ek.linspace(0, 1, 101)[-1].item() == 1.0


@pytest.mark.parametrize("call", WRONG)
def test_wrong_arguments_are_refused(call):
    with pytest.raises((TypeError, ValueError, RuntimeError)) as caught:
        call()
    assert str(caught.value)


@pytest.mark.torch
def test_like_and_new(torch):
    for m in (ek, torch):
        x = m.ones(2, 3, dtype=m.float64)
        made = [
            x.new_zeros(2),
            x.new_ones((1, 2)),
            x.new_full((2,), 3),
            x.new_tensor([1, 2]),
            m.full_like(x, 2),
            m.zeros_like(x, dtype=m.int64),
            m.ones_like(m.tensor([True])),
        ]
        results = [plain(t) for t in made]
        if m is ek:
            ours = results
    assert_same(ours, results)
    assert x.new_empty(2, 2).shape == (2, 2)
