"""Recurrent layers and cells beside PyTorch in float64; derivatives of higher order, transforms, packed sequences."""

import itertools

import numpy as np
import pytest

import expkit as ek
from expkit import nn
from expkit.errors import ShapeError
from expkit.nn.utils import rnn as utils

OPTIONS = [
    {}, {"bias": False}, {"batch_first": True}, {"num_layers": 2}, {"bidirectional": True},
    {"num_layers": 2, "bidirectional": True, "batch_first": True, "bias": False},
]  # fmt: skip
KINDS = [("RNN", {}), ("RNN", {"nonlinearity": "relu"}), ("LSTM", {}), ("LSTM", {"proj_size": 2}), ("GRU", {})]
CASES = [(name, kind | options) for name, kind in KINDS for options in OPTIONS]
CELLS = [("RNNCell", {}), ("RNNCell", {"nonlinearity": "relu"}), ("LSTMCell", {}), ("GRUCell", {})]
LENGTHS = [2, 5, 3, 5]


def names(case):
    return "-".join([case[0], *(f"{k}={v}" for k, v in case[1].items())])


def twins(torch, name, *sizes, **kw):
    """The same module of both libraries, with the same weights in float64."""
    ours, theirs = (getattr(lib.nn, name)(*sizes, **kw, dtype=lib.float64) for lib in (ek, torch))
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    assert [*ours.state_dict()] == [*state]
    ours.load_state_dict({k: ek.from_numpy(v.copy()) for k, v in state.items()})
    return ours, theirs


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def states_of(module, batch, seed=1):
    layers = module.num_layers * (1 + module.bidirectional)
    sizes = [module.proj_size or module.hidden_size, module.hidden_size]
    shapes = [(layers, *batch, n) for n in (sizes if isinstance(module, nn.LSTM) else sizes[:1])]
    return [random(*shape, seed=seed + k) for k, shape in enumerate(shapes)]


def results(lib, module, x, states, pack=None):
    """Outputs, final states and all gradients of a weighted sum of them, as arrays."""
    leaves = [lib.tensor(a, requires_grad=True) for a in (x, *states)]
    data = leaves[0] if pack is None else pack(lib, leaves[0])
    out, last = module(data, *([tuple(leaves[1:]) if len(states) == 2 else leaves[1]] if states else []))
    outs = [out if pack is None else out.data, *(last if isinstance(last, tuple) else [last])]
    weighted = [(v * lib.tensor(random(*v.shape, seed=9 + k))).sum() for k, v in enumerate(outs)]
    sum(weighted[1:], weighted[0]).backward()
    grads = [v.grad for v in (*leaves, *module.parameters())]
    module.zero_grad()
    return [v.detach().numpy() for v in (*outs, *grads)]


def same(ours, theirs):
    assert len(ours) == len(theirs)
    for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10, err_msg=str(k))


# ---- layers ----------------------------------------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("case", CASES, ids=names)
def test_as_pytorch(case, torch):
    name, kw = case
    ours, theirs = twins(torch, name, 3, 4, **kw)
    assert repr(ours) == repr(theirs)
    shape = (4, 5, 3) if kw.get("batch_first") else (5, 4, 3)
    for x, batch in ((random(*shape), (4,)), (random(5, 3), ())):
        for states in ([], states_of(ours, batch)):
            same(results(ek, ours, x, states), results(torch, theirs, x, states))


@pytest.mark.torch
@pytest.mark.parametrize("case", CASES, ids=names)
def test_packed_sequences_as_pytorch(case, torch):
    name, kw = case
    ours, theirs = twins(torch, name, 3, 4, **kw)
    first = kw.get("batch_first", False)
    x = random(4, 5, 3) if first else random(5, 4, 3)

    def pack(lib, leaf):
        return lib.nn.utils.rnn.pack_padded_sequence(leaf, LENGTHS, first, enforce_sorted=False)

    for states in ([], states_of(ours, (4,))):
        same(results(ek, ours, x, states, pack), results(torch, theirs, x, states, pack))


@pytest.mark.torch
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sizes_that_kernels_are_for(name, dtype, torch):
    ours, theirs = twins(torch, name, 20, 33, bidirectional=True)
    x, states = random(9, 35, 20), states_of(ours, (35,))
    if dtype == "float64":
        same(results(ek, ours, x, states), results(torch, theirs, x, states))
        return
    exact = results(torch, theirs, x, states)
    rough = results(ek, ours.float(), x.astype("f4"), [v.astype("f4") for v in states])
    for a, b in zip(rough, exact, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


def test_dropout_is_between_layers_and_only_while_training():
    with pytest.warns(UserWarning, match="all but last recurrent layer"):
        single = nn.LSTM(3, 4, dropout=0.5)
    x = ek.randn(5, 2, 3)
    np.testing.assert_array_equal(single(x)[0].detach().numpy(), single(x)[0].detach().numpy())
    deep = nn.LSTM(3, 4, 2, dropout=1.0)
    hidden = deep(x)[1][0][1]
    np.testing.assert_array_equal(hidden.detach().numpy(), deep(x * 7)[1][0][1].detach().numpy())
    deep.eval()
    assert np.abs((deep(x)[0] - deep(x * 7)[0]).detach().numpy()).max() > 1e-3


def test_initial_weights_are_uniform_in_their_bound():
    ek.manual_seed(0)
    for name, param in nn.GRU(30, 100).named_parameters():
        largest = param.abs().max().item()
        assert 0.09 < largest <= 0.1, name
    layer = nn.GRU(3, 4, 2)
    layer.flatten_parameters()
    assert [len(v) for v in layer.all_weights] == [4, 4]


def test_half_precision():
    layer = nn.LSTM(3, 4).bfloat16()
    out, _ = layer(ek.randn(5, 2, 3).bfloat16())
    assert out.dtype == ek.bfloat16
    out.sum().backward()
    assert layer.weight_hh_l0.grad.dtype == ek.bfloat16


ERRORS = [
    (lambda m: m(ek.ones(2, 3, 4, 5)), ValueError, "LSTM: Expected input to be 2D or 3D, got 4D"),
    (lambda m: m(ek.ones(5, 2, 4)), ShapeError, "equal to input_size. Expected 3, got 4"),
    (lambda m: m(ek.ones(5, 2, 3).double()), ValueError, "does not match weight dtype"),
    (lambda m: m(ek.ones(0, 2, 3)), ShapeError, "sequence length to be larger than 0"),
    (lambda m: m(ek.ones(5, 2, 3), (ek.ones(1, 3, 4), ek.ones(1, 2, 4))), ShapeError,
     r"Expected hidden\[0\] size \(1, 2, 4\), got \[1, 3, 4\]"),
    (lambda m: m(ek.ones(5, 3), (ek.ones(1, 2, 4), ek.ones(1, 4))), ShapeError,
     "For unbatched 2-D input, hx and cx should also be 2-D but got 3-D and 2-D"),
    (lambda m: m(ek.ones(5, 2, 3), (ek.ones(1, 2, 4), ek.ones(1, 2, 4).double())), ValueError, "not the same dtype"),
    (lambda m: m(None), TypeError, "expected a Tensor or a PackedSequence"),
    (lambda m: m(ek.ones(5, 2, 3), ek.ones(1, 2, 4)), TypeError, "pair of Tensors"),
    (lambda m: m(ek.ones(5, 2, 3), (ek.ones(1, 2, 4),) * 3), TypeError, "got a tuple"),
    (lambda m: m(utils.PackedSequence(ek.ones(4, 3), ek.tensor([1, 3]))), ShapeError, "must decrease and add up"),
    (lambda m: m(utils.PackedSequence(ek.ones(4, 3), ek.tensor([2, 1]))), ShapeError, "length of data, 4"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "words"), ERRORS, ids=[row[2] for row in ERRORS])
def test_inputs_that_do_not_fit(call, error, words):
    with pytest.raises(error, match=words):
        call(nn.LSTM(3, 4))


ARGUMENTS = [
    ({"dropout": 1.5}, ValueError, "dropout should be a number"),
    ({"bias": 1}, TypeError, "bias should be of type bool"),
    ({"hidden_size": 0}, ValueError, "hidden_size must be greater than zero"),
    ({"input_size": 2.0}, TypeError, "input_size should be of type int"),
    ({"num_layers": 0}, ValueError, "num_layers must be greater than zero"),
    ({"proj_size": 4}, ValueError, "smaller than hidden_size"),
    ({"proj_size": -1}, ValueError, "positive integer or zero"),
]  # fmt: skip


@pytest.mark.parametrize(("kw", "error", "words"), ARGUMENTS, ids=[row[2] for row in ARGUMENTS])
def test_arguments_that_make_no_sense(kw, error, words):
    with pytest.raises(error, match=words):
        nn.LSTM(**{"input_size": 3, "hidden_size": 4, **kw})
    with pytest.raises(ValueError, match="Unknown nonlinearity 'selu'"):
        nn.RNN(3, 4, nonlinearity="selu")


# ---- cells -----------------------------------------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", CELLS, ids=names)
def test_cells_as_pytorch(case, bias, torch):
    name, kw = case
    ours, theirs = twins(torch, name, 3, 4, bias=bias, **kw)
    assert repr(ours) == repr(theirs)
    states = 2 if name == "LSTMCell" else 1
    for batch, given in itertools.product(((5,), ()), (True, False)):
        found = []
        for lib, cell in ((ek, ours), (torch, theirs)):
            leaves = [
                lib.tensor(random(*batch, n, seed=k), requires_grad=True) for k, n in enumerate([3] + [4] * states)
            ]
            hx = tuple(leaves[1:]) if states == 2 else leaves[1]
            made = cell(leaves[0], hx) if given else cell(leaves[0])
            made = made if isinstance(made, tuple) else (made,)
            sum((v * v).sum() for v in made).backward()
            grads = [v.grad for v in (leaves if given else leaves[:1])] + [p.grad for p in cell.parameters()]
            found.append([v.detach().numpy() for v in (*made, *grads)])
            cell.zero_grad()
        same(*found)


def test_what_cells_refuse():
    cell = nn.LSTMCell(3, 4)
    with pytest.raises(TypeError, match="expected Tensors, got a NoneType"):
        cell(None)
    with pytest.raises(TypeError, match="pair of Tensors"):
        cell(ek.ones(2, 3), (ek.ones(2, 4),))
    with pytest.raises(ValueError, match="LSTMCell: Expected input to be 1D or 2D, got 3D"):
        cell(ek.ones(1, 2, 3))
    with pytest.raises(ValueError, match=r"Expected hx\[1\] to be 1D or 2D, got 3D"):
        cell(ek.ones(2, 3), (ek.ones(2, 4), ek.ones(1, 2, 4)))
    with pytest.raises(ShapeError, match=r"expected \(2, 4\)"):
        cell(ek.ones(2, 3), (ek.ones(3, 4), ek.ones(2, 4)))
    with pytest.raises(ValueError, match=r"hx\[0\] is expkit.float64, the input expkit.float32"):
        cell(ek.ones(2, 3), (ek.ones(2, 4).double(), ek.ones(2, 4)))
    with pytest.raises(ShapeError, match="got 5 expected 3"):
        cell(ek.ones(2, 5))


@pytest.mark.parametrize("size", [4, 80])
def test_a_state_may_be_changed_in_place(size):
    """By loops and by kernels: what backward needs is no memory that the caller got."""
    cell, x = nn.RNNCell(3, size), ek.randn(5, 3)
    h = cell(x)
    (expected,) = ek.autograd.grad(h.sum(), cell.weight_ih, retain_graph=True)
    h.mul_(2.0)
    (found,) = ek.autograd.grad(h.sum(), cell.weight_ih)
    np.testing.assert_allclose(found.numpy(), 2 * expected.numpy(), rtol=1e-6)


# ---- derivatives and transforms --------------------------------------------------------------------------------------

SMALL = [("RNN", {}), ("LSTM", {}), ("LSTM", {"proj_size": 1}), ("GRU", {})]


def function_of(name, kw):
    """(a function of the input and all weights, these tensors)"""
    ek.manual_seed(0)
    module = getattr(nn, name)(1, 2, **kw, dtype=ek.float64)
    given = dict(module.named_parameters())

    def fn(x, *weights):
        out, last = ek.func.functional_call(module, dict(zip(given, weights, strict=True)), (x,))
        last = last if isinstance(last, tuple) else (last,)
        return (out, *last)

    weights = [p.detach().clone().requires_grad_() for p in given.values()]
    return fn, (ek.randn(2, 2, 1, dtype=ek.float64).requires_grad_(), *weights)


@pytest.mark.parametrize("case", SMALL, ids=names)
def test_derivatives_of_first_and_second_order(case):
    fn, given = function_of(*case)
    assert ek.autograd.gradcheck(fn, given)
    assert ek.autograd.gradgradcheck(lambda *v: fn(*v)[::2], given)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_second_order_where_operands_depend_on_each_other(name):
    """The input and the first state come from one tensor: only direct paths count in the layer's own rule."""
    module = getattr(nn, name)(2, 2, dtype=ek.float64)

    def fn(z):
        h = (z * z)[:1]
        return module(z, (h, h) if name == "LSTM" else h)[0]

    assert ek.autograd.gradgradcheck(fn, (ek.randn(2, 2, 2, dtype=ek.float64).requires_grad_(),))


@pytest.mark.parametrize("case", SMALL, ids=names)
def test_forward_mode_and_vmap(case):
    fn, given = function_of(*case)
    given = tuple(v.detach() for v in given)
    tangents = tuple(ek.randn(*v.shape, dtype=ek.float64) for v in given)
    _, moved = ek.func.jvp(fn, given, tangents)
    step = 1e-6
    ahead, back = (fn(*(v + s * t for v, t in zip(given, tangents, strict=True))) for s in (step, -step))
    for t, a, b in zip(moved, ahead, back, strict=True):
        np.testing.assert_allclose(t.numpy(), ((a - b) / (2 * step)).numpy(), rtol=1e-6, atol=1e-7)
    batch = ek.randn(3, *given[0].shape, dtype=ek.float64)
    mapped = ek.func.vmap(fn, in_dims=(0, *(None for _ in given[1:])))(batch, *given[1:])
    for k, out in enumerate(mapped):
        np.testing.assert_allclose(out.numpy(), ek.stack([fn(x, *given[1:])[k] for x in batch]).numpy(), rtol=1e-12)
    slopes = ek.func.vmap(ek.func.grad(lambda x: fn(x, *given[1:])[0].sum()))(batch)
    np.testing.assert_allclose(slopes[1].numpy(), ek.func.grad(lambda x: fn(x, *given[1:])[0].sum())(batch[1]).numpy())


def test_a_trace_shows_its_steps():
    module = nn.GRU(2, 3)
    traced = ek.func.trace(lambda x: module(x)[0], ek.randn(4, 2, 2))
    assert str(traced).count("tanh") == 4


# ---- sequences of different lengths ----------------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("given", [[5, 3, 3, 1], [2, 5, 3, 5]], ids=str)
def test_packing_as_pytorch(given, batch_first, torch):
    ordered = given == sorted(given, reverse=True)
    x = random(4, 6, 2) if batch_first else random(6, 4, 2)
    found = []
    for lib in (ek, torch):
        r, leaf = lib.nn.utils.rnn, lib.tensor(x, requires_grad=True)
        packed = r.pack_padded_sequence(leaf, lib.tensor(given), batch_first, enforce_sorted=ordered)
        wide, lengths = r.pad_packed_sequence(packed, batch_first, padding_value=-1.0, total_length=7)
        (wide * wide).sum().backward()
        parts = r.unpad_sequence(wide * 1, lengths, batch_first)  # PyTorch turns the axes in place
        indices = [v for v in packed[2:] if v is not None]
        assert (packed.sorted_indices is None) == ordered
        found.append([v.detach().numpy() for v in (*packed[:2], *indices, wide, lengths, leaf.grad, *parts)])
    same(*found)


@pytest.mark.torch
def test_lists_of_sequences_as_pytorch(torch):
    lists = [random(n, 2, seed=n) for n in (3, 1, 4)]
    found = []
    for lib in (ek, torch):
        r, rows = lib.nn.utils.rnn, [lib.tensor(v) for v in lists]
        packed = r.pack_sequence(rows, enforce_sorted=False)
        padded = [
            r.pad_sequence(rows), r.pad_sequence(rows, batch_first=True, padding_value=2.5),
            r.pad_sequence(rows, padding_side="left"),
        ]  # fmt: skip
        found.append([v.numpy() for v in (*packed, *r.unpack_sequence(packed), *padded)])
    same(*found)
    same([v.numpy() for v in utils.unpack_sequence(utils.pack_sequence([ek.tensor(v) for v in lists], False))], lists)


def test_what_packing_refuses():
    x = ek.ones(5, 3, 2)
    for lengths, words in {
        (5, 4): r"batch_size, but got 2 \(batch_size=3\)", (5, 4, 0): "has to be greater than 0",
        (3, 4, 5): "must be sorted in decreasing order", (6, 4, 2): "lengths of at most 5",
    }.items():  # fmt: skip
        with pytest.raises(ShapeError, match=words):
            utils.pack_padded_sequence(x, list(lengths))
    with pytest.raises(ShapeError, match="Cannot pack empty tensors"):
        utils.pack_padded_sequence(ek.ones(5, 0, 2), [])
    with pytest.raises(ValueError, match="total_length=2 and max sequence length being 5"):
        utils.pad_packed_sequence(utils.pack_padded_sequence(x, [5, 4, 1]), total_length=2)
    with pytest.raises(ShapeError, match="Expected iterable"):
        utils.pad_sequence(3)
    with pytest.raises(ValueError, match="padding_side"):
        utils.pad_sequence([x], padding_side="top")
    with pytest.raises(ShapeError, match="empty list"):
        utils.pad_sequence([])


def test_a_packed_sequence_changes_its_dtype():
    packed = utils.pack_sequence([ek.ones(2, 3), ek.ones(4, 3)], enforce_sorted=False)
    assert packed.to(ek.float32) is packed
    assert not packed.is_cuda
    assert packed.cpu() is packed
    for moved, dtype in (
        (packed.double(), ek.float64),
        (packed.half(), ek.float16),
        (packed.half().float(), ek.float32),
    ):
        assert moved.data.dtype == dtype
        assert moved.batch_sizes.tolist() == [2, 2, 1, 1]
        assert moved.sorted_indices.tolist() == [1, 0]
    bare = utils.PackedSequence(ek.ones(3, 2), ek.tensor([2, 1]))
    assert bare.unsorted_indices is None
