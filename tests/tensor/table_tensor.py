"""Scenarios of attributes, conversions and operators. Written once for expkit and PyTorch."""

import copy

from tests.autograd.scenarios import Table

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
            x == y, x != y, x < y, x <= y, x > y, x >= y, x > 1, x @ y, True & (n > 0), (n > 0) | False, (n > 0) ^ True]  # fmt: skip


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
