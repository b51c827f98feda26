"""Tensor: attributes, conversions, operators with other types, methods that PyTorch has, copies."""

import copy
import operator

import numpy as np
import pytest

import expkit as ek
from expkit.errors import DeviceError
from tests.autograd.scenarios import Table, compare

scenario = Table()


@scenario
def shapes_and_sizes(m):
    x = m.zeros(2, 3, dtype=m.float64)
    return [list(x.shape), list(x.size()), x.size(0), x.size(-1), x.dim(), x.ndim, x.numel(), x.nelement(), x.element_size(), x.itemsize, x.nbytes, x.shape.numel(), len(x)]


@scenario
def strides(m):
    x = m.zeros(2, 3, 4)
    return [list(x.stride()), x.stride(0), x.stride(-1), list(x.transpose(0, 2).stride()), x.is_contiguous(), x.transpose(0, 1).is_contiguous(),
            x.transpose(0, 1).contiguous().is_contiguous(), x[:, 1:].is_contiguous(), list(x[:, ::2].stride()), m.zeros(1, 3).t().is_contiguous()]  # fmt: skip


@scenario
def kinds_of_numbers(m):
    return [m.ones(1).is_floating_point(), m.tensor([1]).is_floating_point(), m.tensor([1j]).is_complex(), m.ones(1, dtype=m.bfloat16).is_floating_point()]


@scenario
def transposes(m):
    x = m.arange(6).reshape(2, 3)
    return [x.T, x.mT, x.t(), m.arange(12).reshape(2, 2, 3).mT]


@scenario
def python_numbers(m):
    x = m.tensor([[2.5]])
    return [x.item(), float(x), int(x), bool(x), complex(x) == 2.5 + 0j, m.tensor(3).item(), bool(m.tensor(False)), [10, 20, 30][m.tensor(1)], list(range(m.tensor(2))), m.tensor([True]).item()]


@scenario
def lists(m):
    return [m.tensor(3.5).tolist(), m.tensor([[1, 2], [3, 4]]).tolist(), m.zeros(0, 2).tolist(), m.tensor([True]).tolist(), m.tensor([1.5], dtype=m.bfloat16).tolist()]


@scenario
def unpacking(m):
    a, b = m.tensor([[1, 2], [3, 4]])
    return [a, b, [t.item() for t in m.arange(3)], list(reversed([t.item() for t in m.arange(3)])), max(m.tensor([1.0, 3.0, 2.0])).item(), sum(m.arange(4)).item()]


@scenario
def operators(m):
    x, y = m.tensor([7.0, -7.0, 2.5]), m.tensor([2.0, 2.0, -1.0])
    n, k = m.tensor([7, -7, 5]), m.tensor([2, 2, -3])
    return [x + y, x - y, x * y, x / y, x // y, x % y, x**2, 2**y, 1 / y, 10 // n, 10 % k, 3 - x, -x, +x, abs(x), n // k, n % k, n / k, n & k, n | k, n ^ k, ~n, n * 2,
            x == y, x != y, x < y, x <= y, x > y, x >= y, 1 < x, x @ y, True & (n > 0), (n > 0) | False, (n > 0) ^ True]  # fmt: skip


@scenario
def augmented_operators(m):
    x = m.tensor([8.0, 6.0])
    held = x
    x += 1
    x -= 0.5
    x *= 2
    x /= 4
    x //= 1
    x **= 2
    x %= 5
    n = m.tensor([6, 3])
    n &= 3
    n |= 8
    n ^= 1
    return [x, x is held, n]


@scenario
def comparison_with_other_things(m):
    x = m.tensor([1.0])
    return [x == None, x != None, x == "a", (x == "a") is False]  # noqa: E711


@scenario
def conversions_by_to(m):
    x = m.tensor([1.5, 2.5])
    return [x.to(m.float64), x.to("cpu"), x.to("cpu", m.int64), x.to(m.device("cpu")), x.to(m.tensor([1])), x.to(dtype=m.float16).float(), x.to(x.dtype) is x, x.to(x.dtype, copy=True) is x,
            x.cpu() is x, x.type_as(m.tensor([1])), x.to(device="cpu", dtype=m.int32)]  # fmt: skip


@scenario
def clones_and_views(m):
    x = m.arange(4.0)
    y, z = x.clone(), x.view(2, 2)
    x[0] = 9.0
    return [y, z, x.detach(), x.data]


@scenario
def deep_copies(m):
    x = m.tensor([1.0, 2.0], requires_grad=True)
    (x * 2).sum().backward()
    y = copy.deepcopy(x)
    shared = copy.deepcopy([x, x])
    return [y, y.requires_grad, y.is_leaf, y.grad, y is x, shared[0] is shared[1]]


@scenario
def names_that_are_the_same_function(m):
    x, y = m.tensor([1.0, -2.5]), m.tensor([2.0, 3.0])
    return [x.absolute(), x.negative(), x.multiply(y), x.divide(y), x.true_divide(y), x.subtract(y), x.clip(0, 1), x.greater(y), x.greater_equal(y), x.less(y), x.less_equal(y), x.not_equal(y),
            x.fix(), m.zeros(2, 3).swapaxes(0, 1), m.zeros(2, 3).moveaxis(0, 1), y.arctan(), (y / 4).arcsin(), (y / 4).arccos()]  # fmt: skip


@scenario
def properties_of_empty_and_zero_dimensional_tensors(m):
    e, s = m.zeros(0), m.tensor(2.0)
    return [e.sum(), e.prod(), e.all(), e.any(), e.mean(), e.numel(), s.sum(), s.shape.numel(), s.reshape(1), s.view(-1), s.flatten(), s.unsqueeze(0), s.squeeze(), s.max(), s.argmax()]


@scenario
def nan_and_infinity(m):
    x = m.tensor([float("nan"), float("inf"), -float("inf"), 0.0, -1.0])
    return [x.max(), x.min(), x.sum(), x.sqrt(), x.log(), 1 / x, x.sort().values, x.argmax(), x.clamp(-1, 1), x.sign(), x.relu(), x.sigmoid(), x.tanh(), x.exp(), x.isnan(), x.isinf(), x.isfinite(),
            m.maximum(x, x.flip(0)), m.nan_to_num(x), x.floor(), x % 2, x // 2, x.amax(), x.cumsum(0), x.softmax(0), m.tensor([0.0]) / 0]  # fmt: skip


@scenario
def integers_at_their_limits(m):
    x = m.tensor([127, -128], dtype=m.int8)
    y = m.tensor([255, 0], dtype=m.uint8)
    return [x + 1, x - 1, x * 2, -x, abs(x), y + 1, y - 1, x.sum(), y.sum(), x // 2, x % 3, y + 300, x * -1, x.to(m.int16) + 1, m.tensor([2**62], dtype=m.int64) * 2]


@pytest.mark.torch
@pytest.mark.parametrize("name", scenario)
def test_as_in_pytorch(name, torch):
    compare(scenario[name], torch)


@pytest.mark.parametrize("name", scenario)
def test_it_runs(name):
    scenario[name](ek)


# ---- NumPy -----------------------------------------------------------------------------------------------------------


def test_numpy_arrays_in_operators():
    x, a = ek.tensor([1.0, 2.0]), np.array([10.0, 20.0])
    for fn, expected in ((operator.add, [11.0, 22.0]), (operator.mul, [10.0, 40.0]), (operator.sub, [-9.0, -18.0]), (operator.truediv, [0.1, 0.1])):
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
    for x in (ek.ones(3).sum(), ek.ones(3)[0], ek.tensor(1.0) + 1, ek.ones(3) @ ek.ones(3), ek.ones(3).max(), -ek.tensor(1.0), ek.tensor(2.0) ** 2, ek.ones(2).mean()):
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
        with pytest.raises(DeviceError, match="expected cpu, cuda|device index"):
            ek.device(wrong)
    with pytest.raises(TypeError):
        ek.device(1.5)
    with pytest.raises(DeviceError, match="Did you mean 'cuda'"):
        ek.device("cuad")


def test_a_gpu_that_is_not_there():
    if ek.cuda.is_available():
        pytest.skip("there is a GPU")
    assert ek.cuda.device_count() == 0
    for ask in (lambda: ek.zeros(1, device="cuda"), lambda: ek.ones(1).cuda(), lambda: ek.ones(1).to("cuda:0"), lambda: ek.rand(2, device="cuda")):
        with pytest.raises(DeviceError, match="CuPy|GPU"):
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
