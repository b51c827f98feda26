"""embedding and embedding_bag beyond their rows: renormalised tables, gradients by frequency, empty bags, errors."""

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit.errors import ShapeError

TABLE = np.random.default_rng(2).standard_normal((5, 3)) * 3
INDEX = [[0, 2, 2], [4, 2, 0]]


def both(torch, run):
    """What run(library, functional) gives in expkit and in PyTorch, as lists of arrays."""
    ours = [x.detach().numpy() for x in run(ek, F)]
    theirs = [x.detach().numpy() for x in run(torch, torch.nn.functional)]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    return ours


@pytest.mark.parametrize("norm_type", [1.0, 2.0, float("inf")])
@pytest.mark.parametrize("name", ["embedding", "embedding_bag"])
def test_max_norm_scales_the_rows_that_are_looked_up_in_place(name, norm_type, torch):
    def run(lib, functional):
        table = lib.tensor(TABLE.copy())
        out = getattr(functional, name)(lib.tensor(INDEX), table, max_norm=1.5, norm_type=norm_type)
        return [out, table]

    _, table = both(torch, run)
    np.testing.assert_array_equal(table[[1, 3]], TABLE[[1, 3]])


@pytest.mark.parametrize("padding", [None, 0, -3])
@pytest.mark.parametrize("name", ["embedding", "embedding_bag"])
def test_gradients_by_frequency(name, padding, torch):
    def run(lib, functional):
        table = lib.tensor(TABLE.copy(), requires_grad=True)
        out = getattr(functional, name)(lib.tensor(INDEX), table, padding_idx=padding, scale_grad_by_freq=True)
        (out * lib.tensor(np.arange(1.0, out.numel() + 1)).reshape(tuple(out.shape))).sum().backward()
        return [out, table.grad]

    both(torch, run)


def test_a_scaled_gradient_batches():
    table, index = ek.tensor(TABLE), ek.tensor(INDEX)
    slopes = ek.func.grad(lambda t, i: F.embedding(i, t, scale_grad_by_freq=True).square().sum())
    each = ek.vmap(slopes, in_dims=(None, 0))(table, index)
    for k in range(2):
        np.testing.assert_allclose(each[k].numpy(), slopes(table, index[k]).numpy())


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_without_rows(mode, torch):
    def run(lib, functional):
        table = lib.tensor(TABLE.copy(), requires_grad=True)
        out = functional.embedding_bag(lib.tensor([1, 1, 3]), table, lib.tensor([0, 0, 3]), mode=mode, padding_idx=3)
        out.square().sum().backward()
        return [out, table.grad]

    both(torch, run)
    nothing = F.embedding_bag(ek.empty(0, dtype=ek.int64), ek.tensor(TABLE), ek.tensor([0, 0]), mode=mode)
    np.testing.assert_array_equal(nothing.numpy(), np.zeros((2, 3)))


INDICES, T = ek.tensor([0, 1, 2]), ek.tensor(TABLE)
ERRORS = [
    (lambda: F.embedding(INDICES.double(), T), TypeError, "integer indices"),
    (lambda: F.embedding([0, 1], T), TypeError, "must be a Tensor"),
    (lambda: F.embedding(INDICES, T[0]), ShapeError, "'weight' must be 2-D"),
    (lambda: F.embedding(INDICES + 4, T), IndexError, "out of"),
    (lambda: F.embedding(INDICES, T, padding_idx=5), ValueError, "within num_embeddings 5"),
    (lambda: F.embedding_bag(INDICES, T), ValueError, "1D offsets"),
    (lambda: F.embedding_bag(INDICES, T, ek.tensor([1, 2])), ValueError, r"offsets\[0\] has to be 0"),
    (lambda: F.embedding_bag(INDICES.reshape(1, 3), T, ek.tensor([0])), ValueError, "offsets has to be None"),
    (lambda: F.embedding_bag(INDICES.reshape(1, 1, 3), T), ValueError, "1D or 2D"),
    (lambda: F.embedding_bag(INDICES, T, ek.tensor([0]), mode="min"), ValueError, "sum, mean or max"),
    (lambda: F.embedding_bag(INDICES, T, ek.tensor([0]), per_sample_weights=ek.ones(3)), NotImplementedError, "sum"),
    (lambda: F.embedding_bag(INDICES, T, ek.tensor([0]), per_sample_weights=ek.ones(2)), ValueError, "shape"),
    (lambda: F.embedding_bag(INDICES, T, ek.tensor([0]), mode="max", scale_grad_by_freq=True), RuntimeError, "max"),
    (lambda: F.one_hot(INDICES, 0), ValueError, "positive"),
    (lambda: F.one_hot(INDICES.double()), TypeError, "int64"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_errors_say_what_does_not_fit(call, error, message):
    with pytest.raises(error, match=message):
        call()
