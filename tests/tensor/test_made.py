"""Tensors made like others or beside them, conversions, copies, and changes of a tensor's own shape, as in PyTorch."""

import copy

import numpy as np
import pytest

import expkit as ek
from tests.autograd.scenarios import Table, both_ways, grid, raises

scenario = Table()


def strides(*tensors):
    return [list(x.stride()) for x in tensors]


@scenario
def likes_keep_the_order_in_memory(m):
    x = m.ones(2, 3, 4, 5).to(memory_format=m.channels_last)
    t = m.ones(2, 3).t()
    made = [
        m.zeros_like(x),
        m.ones_like(t),
        m.full_like(x, 2),
        m.empty_like(t),
        m.zeros_like(x, memory_format=m.contiguous_format),
        m.ones_like(x[:, :2]),
        m.zeros_like(m.ones(3, 1).expand(3, 4)),
    ]
    return [
        strides(*made),
        m.empty(1, 2, 3, 4, memory_format=m.channels_last).stride(1),
        [x.stride(1), t.clone().stride(0)],
    ]


@scenario
def likes_take_other_dtypes(m):
    x = m.ones(2, dtype=m.int32)
    return [
        m.zeros_like(x, dtype=m.float64),
        m.full_like(x, 2.5),
        m.full_like(x, 2.5, dtype=m.float32),
        m.ones_like(x, dtype=m.float32, requires_grad=True).requires_grad,
        raises(lambda: m.zeros_like(x, requires_grad=True)),
        m.full((2,), 1 + 2j),
        m.full((), m.tensor(3)),
        m.full((1,), True),
        raises(lambda: m.full((2,), m.ones(1))),
    ]


@scenario
def beside_a_tensor(m):
    x = m.ones(2, dtype=m.float64)
    return [
        x.new_zeros(2, 3),
        x.new_ones((2,)),
        x.new_zeros(size=(1,)),
        x.new_full((2,), 3),
        x.new_tensor([1, 2]),
        x.new_zeros(2, dtype=m.int32),
        x.new_empty(2, 3).shape[1],
        x.new_tensor([1.5], requires_grad=True).requires_grad,
        list(x.new_empty_strided((2, 3), (1, 2)).stride()),
    ]


@scenario
def strided_and_permuted(m):
    return [
        strides(m.empty_strided((2, 3), (1, 2)), m.empty_permuted((2, 3, 4), (1, 0, 2))),
        m.scalar_tensor(3),
        m.asarray([1, 2]),
        m.asarray(m.ones(2)),
        m.asarray([1.5], dtype=m.int64),
    ]


@scenario
def sizes_by_name(m):
    x = m.arange(6.0)
    return [
        x.reshape(shape=(2, 3)),
        x.reshape(2, 3).permute(dims=(1, 0)),
        x.expand(size=(2, 6)),
        m.flip(x, dims=(0,)),
        x.repeat(repeats=(2,)),
        m.ones(size=(2,)),
        m.tile(x, dims=(1, 2)),
        m.ones(m.tensor(2), 3).shape[0],
    ]


@scenario
def numbers_out_of_range(m):
    return [m.tensor([-1, -255], dtype=m.uint8), m.full((1,), -1, dtype=m.uint8), m.tensor([1.9, -1.9], dtype=m.int32)]


@scenario
def ranges(m):
    return [
        m.arange(0.0, -8.000001, -4.0, dtype=m.int64),
        m.arange(2.1, -2.9, -1.0, dtype=m.int64),
        m.arange(m.tensor(3)),
        m.arange(0, 2, 0.5),
        m.linspace(4.3, 9, 4, dtype=m.int64),
        m.logspace(0.5, 3.2, 4, dtype=m.int64),
        m.linspace(0, 1, 3, dtype=m.complex64),
        m.linspace(0, 1j, 3),
        raises(lambda: m.arange(3, dtype=m.bool)),
    ]


@scenario
def casts(m):
    x = m.tensor([[1.7, -2.2]])
    y = m.ones(1, 2, 3, 4)
    kinds = [
        x.double(),
        x.half(),
        x.int(),
        x.short(),
        x.char(),
        x.bool(),
        x.cfloat(),
        x.byte().dtype == m.uint8,
        x.type(m.int64),
        x.type("torch.DoubleTensor"),
        x.type_as(m.tensor(1)),
    ]
    return [
        kinds,
        x.type().rpartition(".")[2],
        y.int(memory_format=m.channels_last).stride(1),
        y.to(m.float64, memory_format=m.channels_last).stride(1),
        x.to(m.float32, False, True) is x,
        x.to("cpu") is x,
        y.float() is y,
    ]


@scenario
def copies_keep_their_layout(m):
    x = m.ones(2, 3, 4, 5).to(memory_format=m.channels_last).requires_grad_()
    y = copy.deepcopy(x)
    z = copy.copy(x)
    return [
        strides(x, y),
        y.requires_grad,
        y.is_leaf,
        z.requires_grad,
        z.data_ptr() == x.data_ptr(),
        y.data_ptr() == x.data_ptr(),
        raises(lambda: copy.deepcopy(x * 2)),
    ]


@scenario
def own_shapes(m):
    x = grid(m, 2, 3)
    y = x * 1
    row, column = y[0], y[:, 1]
    out = [y.t_() is y, list(y.shape), list(y.stride())]
    row.mul_(2.0)
    column.add_(1.0)
    y.unsqueeze_(0).mul_(m.tensor([2.0, 3.0], dtype=m.float64))
    row.add_(y[0, :, 0])
    (y * y).sum().backward()
    z = m.ones(1, 2, 1)
    return [
        *out,
        y,
        row,
        column,
        x.grad,
        list(z.squeeze_().shape),
        list(m.ones(2, 3).swapaxes_(0, 1).shape),
        list(m.ones(4).as_strided_((2,), (2,)).shape),
        raises(lambda: x.t_()),
    ]


@scenario
def own_shapes_of_what_backward_needs(m):
    x = grid(m, 2, 3)
    y = x * 1
    z = (y * y).sum()
    y.t_()
    return raises(z.backward)


@scenario
def python_protocols(m):
    x = m.tensor([1.0, 2.0])
    return [
        f"{m.tensor(3.5)}|{m.tensor(2):03d}|{m.tensor(1.25):.1f}",
        raises(lambda: f"{x:.2f}"),
        2 in x,
        m.tensor(5.0) in x,
        raises(lambda: "a" in x),
        raises(lambda: [1] in x),
        raises(lambda: x.size(1)),
        raises(lambda: x.stride(3)),
        x.__array__(dtype="float32").dtype.name,
        m.ones(3).mT.shape[0] if False else 0,
        raises(lambda: m.ones(3).mT),
        x.equal(m.tensor([1, 2])),
        x.equal(m.ones(3)),
        list(m.combinations(x, 0).shape),
        x.allclose(x + 1e-9),
        m.is_tensor(x),
        m.is_tensor([1]),
        m.numel(x),
        m.is_floating_point(x),
        x.is_signed(),
        m.is_nonzero(m.tensor(0)),
        raises(lambda: m.is_nonzero(x)),
        x.is_same_size(x),
        x.ndimension(),
        x.get_device(),
    ]


@scenario
def joined_by_other_names(m):
    x = m.ones(2, 2)
    return [
        m.concat([x, x]),
        m.concatenate([x, x], 1),
        m.row_stack([x, x]),
        m.swapaxes(x, 0, 1),
        m.moveaxis(x, 0, 1),
        m.swapdims(x, 0, 1),
        m.cat([m.zeros(0), m.ones(1, 2, dtype=m.int64)]),
    ]


test_as_in_pytorch, test_it_runs = both_ways(scenario)


@pytest.mark.parametrize("name", ["resize_", "resize_as_", "set_"])
def test_what_is_not_there_says_what_to_do(name):
    with pytest.raises(RuntimeError, match=f"{name}.*not supported.*(reshape|copy_)"):
        getattr(ek.ones(2), name)(ek.ones(3))


def test_asarray_without_a_copy():
    x = np.ones(3)
    assert np.shares_memory(ek.asarray(x).numpy(), x)
    assert not np.shares_memory(ek.asarray(x, copy=True).numpy(), x)
    with pytest.raises(ValueError, match="copy"):
        ek.asarray([1, 2], copy=False)
