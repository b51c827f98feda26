"""Memory shared with NumPy, PyTorch and through DLPack; NumPy's functions on Tensors."""

import warnings

import ml_dtypes
import numpy as np
import pytest

import expkit as ek
from expkit.errors import DeviceError
from expkit.tensor import exchange

DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128", "bool", "uint8", "int8", "int16",
          "int32", "int64")  # fmt: skip


@pytest.mark.torch
@pytest.mark.parametrize("dtype", DTYPES)
def test_pytorch_and_we_see_one_memory(torch, dtype):
    mine = ek.ones(2, 3, dtype=getattr(ek, dtype))
    theirs = torch.from_dlpack(mine)
    assert str(theirs.dtype) == f"torch.{dtype}"
    theirs[0, 1] = 0
    assert mine[0, 1].item() == 0
    back = ek.from_dlpack(theirs.t())
    assert (back.dtype, back.shape, back.stride()) == (mine.dtype, (3, 2), (1, 3))
    assert back.data_ptr() == mine.data_ptr() == theirs.data_ptr()
    again = ek.from_dlpack(torch.utils.dlpack.to_dlpack(theirs))
    assert again.dtype is mine.dtype
    assert again.data_ptr() == mine.data_ptr()


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3)])
def test_shapes_without_elements_or_dimensions(shape):
    assert ek.from_dlpack(ek.ones(*shape)).shape == shape


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_versioned_capsules_and_old_ones(dtype):
    x = ek.ones(2, dtype=getattr(ek, dtype))
    assert "dltensor_versioned" in repr(x.__dlpack__(max_version=(1, 0)))
    assert ek.from_dlpack(x.__dlpack__(max_version=(1, 0))).tolist() == [1, 1]
    capsule = x.__dlpack__()
    assert "dltensor_versioned" not in repr(capsule)
    assert ek.from_dlpack(capsule).dtype is x.dtype
    with pytest.raises(BufferError, match="taken before"):
        ek.from_dlpack(capsule)
    assert tuple(map(int, x.__dlpack_device__())) == (1, 0)


def test_read_only_memory_stays_read_only():
    fixed = np.ones(3)
    fixed.flags.writeable = False
    x = ek.from_dlpack(fixed)
    with pytest.raises(RuntimeError, match="read-only"):
        x.add_(1)
    with pytest.warns(UserWarning, match="read-only"):
        ek.from_numpy(fixed)


def test_copies_and_devices():
    x = ek.ones(2)
    assert ek.from_dlpack(x, copy=True).data_ptr() != x.data_ptr()
    assert ek.from_dlpack(x, device="cpu", copy=False).data_ptr() == x.data_ptr()
    assert x.__dlpack__(copy=True) is not None


def test_what_cannot_be_shared():
    with pytest.raises(BufferError, match="detach"):
        ek.ones(2, requires_grad=True).__dlpack__()
    with pytest.raises(TypeError, match="list has no __dlpack__"):
        ek.from_dlpack([1])

    class Elsewhere:
        def __dlpack__(self, **_options):
            raise AssertionError

        def __dlpack_device__(self):
            return 8, 0

    with pytest.raises(DeviceError, match="kind 8"):
        ek.from_dlpack(Elsewhere())


WRONG = [
    (np.arange(4)[::-1], ValueError, "negative strides"),
    (np.zeros(2, ">f4"), ValueError, "byte order"),
    (np.zeros(2, [("a", "u1"), ("b", "<f4")])["b"], ValueError, "multiples"),
    (np.zeros(2, "U3"), TypeError, "not supported"),
    ([1, 2], TypeError, "expected np.ndarray"),
]


@pytest.mark.parametrize(("array", "error", "message"), WRONG)
def test_arrays_that_are_refused(array, error, message):
    with pytest.raises(error, match=message):
        ek.from_numpy(array)


def test_bfloat16_arrays():
    raw = np.array([1, 2], ml_dtypes.bfloat16)
    x = ek.from_numpy(raw)
    assert x.dtype is ek.bfloat16
    assert x.numpy() is not None
    assert exchange.as_array(x, np.float32).tolist() == [1, 2]


# ---------------------------------------------------------------------- NumPy's side


def test_arrays_of_tensors():
    x = ek.tensor([1.0, 2.0])
    assert np.shares_memory(np.asarray(x), x.numpy())
    assert not np.shares_memory(np.array(x), x.numpy())
    assert np.asarray(x, dtype=np.int64).dtype == np.int64
    with pytest.raises(ValueError, match="copy"):
        np.asarray(x, dtype=np.int64, copy=False)
    with pytest.raises(RuntimeError, match="requires grad"):
        np.asarray(x.requires_grad_())
    assert x.numpy(force=True).tolist() == [1, 2]
    assert np.concatenate([x.detach(), x.detach()]).tolist() == [1, 2, 1, 2]


UFUNCS = [
    lambda xp, x: np.sin(x),
    lambda xp, x: np.isfinite(x),
    lambda xp, x: np.modf(x)[0],
    lambda xp, x: np.maximum(x, np.zeros(3)),
    lambda xp, x: np.add(np.ones(3), x),
    lambda xp, x: np.add.reduce(x),
    lambda xp, x: np.float64(2) * x,
    lambda xp, x: np.ones(3) == x,
]


@pytest.mark.torch
@pytest.mark.parametrize("fn", UFUNCS)
def test_numpys_functions_give_tensors_as_pytorchs_do(torch, fn):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = fn(torch, torch.tensor([1.5, -0.5, 2.0]))
    got = fn(ek, ek.tensor([1.5, -0.5, 2.0]))
    assert isinstance(got, ek.Tensor)
    np.testing.assert_allclose(np.asarray(got), np.asarray(want))


def test_operators_with_arrays_are_differentiated():
    x = ek.tensor([1.0, 2.0], requires_grad=True)
    for product in (np.array([3.0, 4.0]) * x, np.multiply(np.array([3.0, 4.0]), x), x * np.array([3.0, 4.0])):
        x.grad = None
        product.sum().backward()
        assert x.grad.tolist() == [3, 4]
    assert (np.eye(2) @ x).tolist() == [1, 2]


def test_results_go_where_out_says():
    out = np.zeros(2)
    assert np.sin(ek.zeros(2, dtype=ek.float64), out=out) is out
