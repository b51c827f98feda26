"""Tensor: attributes, conversions, operators with other types, methods that PyTorch has, copies."""

import operator

import numpy as np
import pytest

import expkit as ek
from expkit.errors import DeviceError
from tests.autograd.scenarios import both_ways
from tests.tensor.table_tensor import scenario

test_as_in_pytorch, test_it_runs = both_ways(scenario)


# ---- NumPy -----------------------------------------------------------------------------------------------------------


def test_numpy_arrays_in_operators():
    x, a = ek.tensor([1.0, 2.0]), np.array([10.0, 20.0])
    for fn, expected in (
        (operator.add, [11.0, 22.0]),
        (operator.mul, [10.0, 40.0]),
        (operator.sub, [-9.0, -18.0]),
        (operator.truediv, [0.1, 0.1]),
    ):
        assert isinstance(fn(x, a), ek.Tensor)
        np.testing.assert_allclose(fn(x, a).numpy(), expected, rtol=1e-6)
    for fn, expected in ((operator.add, [11.0, 22.0]), (operator.sub, [9.0, 18.0]), (operator.truediv, [10.0, 10.0])):
        assert isinstance(fn(a, x), ek.Tensor)
        np.testing.assert_allclose(fn(a, x).numpy(), expected, rtol=1e-6)
    assert isinstance(np.float64(2.0) * x, ek.Tensor)
    assert isinstance(x * np.float32(2.0), ek.Tensor)
    assert (x > np.array([1.5, 1.5])).tolist() == [False, True]


def test_conversion_to_numpy():
    x = ek.ones(2, 3)
    assert np.asarray(x) is not None
    assert np.shares_memory(np.asarray(x), x.numpy())
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert not np.shares_memory(np.array(x), x.numpy())
    assert x.numpy().dtype == np.float32
    assert isinstance(ek.tensor(1.0).numpy(), np.ndarray)
    w = ek.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="detach"):
        w.numpy()
    assert w.numpy(force=True).tolist() == [1.0, 1.0]
    assert w.detach().numpy().tolist() == [1.0, 1.0]


def test_results_are_arrays_even_of_rank_zero():
    for x in (
        ek.ones(3).sum(),
        ek.ones(3)[0],
        ek.tensor(1.0) + 1,
        ek.ones(3) @ ek.ones(3),
        ek.ones(3).max(),
        -ek.tensor(1.0),
        ek.tensor(2.0) ** 2,
        ek.ones(2).mean(),
    ):
        assert isinstance(x.raw, np.ndarray)
        assert x.numpy().shape == ()


def test_no_warnings_for_ieee_arithmetic():
    x = ek.tensor([0.0, -1.0])
    assert (1 / x).isinf().tolist() == [True, False]
    assert x.log().isinf()[0]
    assert x.sqrt()[1].isnan()
    assert (ek.tensor([1e38]) * 10).isinf().all()


# ---- devices ---------------------------------------------------------------------------------------------------------


def test_devices():
    assert ek.zeros(1).device == ek.device("cpu")
    assert str(ek.device("cuda:1")) == "cuda:1"
    assert ek.device("cuda", 1) == ek.device("cuda:1")
    assert ek.device("cuda") == ek.device("cuda:0")
    assert ek.device(ek.device("cpu")).type == "cpu"
    assert (ek.device("cuda:1").type, ek.device("cuda:1").index) == ("cuda", 1)
    assert len({ek.device("cpu"), ek.device("cpu")}) == 1
    assert not ek.zeros(1).is_cuda
    for wrong in ("gpu", "cuda:x", "cpux", ""):
        with pytest.raises(DeviceError, match=r"expected cpu, cuda|device index"):
            ek.device(wrong)
    with pytest.raises(TypeError):
        ek.device(1.5)
    with pytest.raises(DeviceError, match="Did you mean 'cuda'"):
        ek.device("cuad")


def test_a_gpu_that_is_not_there():
    if ek.cuda.is_available():
        pytest.skip("there is a GPU")
    assert ek.cuda.device_count() == 0
    for ask in (
        lambda: ek.zeros(1, device="cuda"),
        lambda: ek.ones(1).cuda(),
        lambda: ek.ones(1).to("cuda:0"),
        lambda: ek.rand(2, device="cuda"),
    ):
        with pytest.raises(DeviceError, match=r"CuPy|GPU"):
            ask()


# ---- sizes -----------------------------------------------------------------------------------------------------------


def test_size_is_a_tuple():
    s = ek.zeros(2, 3).shape
    assert s == (2, 3)
    assert isinstance(s, tuple)
    assert s.numel() == 6
    assert repr(s) == "expkit.Size([2, 3])"
    assert ek.zeros(*s).shape == ek.zeros(s).shape == s
    assert s + (4,) == (2, 3, 4)


def test_tensors_are_hashed_by_identity():
    a, b = ek.ones(1), ek.ones(1)
    assert len({a, b, a}) == 2


def test_results_of_operators_are_refused_for_other_types():
    x = ek.ones(2)
    for other in ("a", None, [1.0, 2.0], {}, object()):
        for fn in (operator.add, operator.sub, operator.mul, operator.truediv, operator.matmul, operator.lt):
            with pytest.raises(TypeError):
                fn(x, other)
            with pytest.raises(TypeError):
                fn(other, x)


def test_the_tensor_package_is_the_tensor_function():
    import expkit.tensor.ops.elementwise  # noqa: F401  (importing a submodule must not rebind the name)

    assert ek.tensor([1.0]).tolist() == [1.0]
    assert ek.tensor.exp is ek.exp
