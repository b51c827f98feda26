"""Views by strides and their writes, shapes as values, and changes of a tensor's own shape, as in PyTorch."""

import numpy as np
import pytest

import expkit as ek
from tests.autograd.scenarios import Table, both_ways, raises

scenario = Table()


@scenario
def broadcast_shapes(m):
    return [
        list(m.broadcast_shapes((2, 1), 3, (1,))),
        list(m.broadcast_shapes()),
        list(m.broadcast_shapes((0, 1), (1, 4))),
    ]


@scenario
def layouts_of_views(m):
    x = m.arange(24.0).reshape(2, 3, 4)
    views = [
        x,
        x[1],
        x[:, 1:],
        x.transpose(0, 2),
        x[0, :, ::2],
        x.as_strided((2, 2), (1, 5), 3),
        x[1].as_strided((2,), (3,)),
        x.unfold(2, 2, 1),
    ]
    return [[v.storage_offset(), list(v.stride()), v.is_contiguous(), v] for v in views]


@scenario
def writes_through_strides(m):
    x = m.arange(6.0, dtype=m.float64).requires_grad_()
    y = x * 2
    z = y[1:].as_strided((2, 2), (2, 1))
    z.mul_(m.tensor([[2.0, 3.0], [4.0, 5.0]], dtype=m.float64))
    (y * y).sum().backward()
    return [y, z, x.grad]


@scenario
def gradients_of_overlapping_strides(m):
    x = m.arange(6.0, dtype=m.float64).requires_grad_()
    (a,) = m.autograd.grad((x.as_strided((2, 4), (1, 1), 1) ** 2).sum(), x)
    (b,) = m.autograd.grad((x.unfold(0, 3, 1) ** 2).sum(), x)
    (c,) = m.autograd.grad((x[1:5].reshape(2, 2).t().as_strided((3,), (1,)) ** 2).sum(), x)
    return [a, b, c]


@scenario
def bits(m):
    x = m.tensor([[1.0, -2.0], [0.5, 3.0]])
    whole = x.view(m.int32)
    whole[0, 0] = 0
    return [
        whole,
        x,
        x.view(m.int16).shape[-1],
        x.view(m.uint8).view(m.float32),
        m.tensor(1.0).view(m.int32),
        x.view(m.float64).shape[-1],
    ]


@scenario
def writes_to_expanded_tensors(m):
    x = m.ones(3, 1)
    wide = x.expand(3, 4)
    wide[:, 1].mul_(m.tensor([1.0, 2.0, 3.0]))
    return [
        x,
        wide,
        raises(lambda: wide.add_(1.0)),
        raises(lambda: wide.copy_(m.zeros(3, 4))),
    ]


test_as_in_pytorch, test_it_runs = both_ways(scenario)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: x.as_strided((4,), (4,)), "storage of 13 elements"),
        (lambda x: x.as_strided((2,), (1, 1)), "mismatch in length"),
        (lambda x: x.t().view(6), "not compatible"),
        (lambda x: x[:, :1].view(ek.float64), "divisible|stride"),
        (lambda x: x.unfold(0, 2, 1)[0].unfold(0, 2, 1).add_(1), "share one place"),
        (lambda x: ek.broadcast_shapes((2,), (3,)), "do not fit"),
    ],
)
def test_refusals_say_what_is_wrong(call, message):
    with pytest.raises(RuntimeError, match=message):
        call(ek.zeros(2, 3))


def test_a_view_by_strides_shares_memory():
    x = ek.arange(6.0)
    y = x[1:].as_strided((2,), (2,), 0)
    assert np.shares_memory(x.numpy(), y.numpy())
    x[2] = 9.0
    assert y.tolist() == [0.0, 9.0]
