"""Lazy modules: shapes from the first input or from a state dict, then ordinary modules with PyTorch's values."""

import copy

import numpy as np
import pytest

import expkit as ek
from expkit import nn
from expkit.errors import ShapeError
from expkit.nn.parameter import is_lazy

R = np.random.default_rng(4)
LINES, IMAGES, VOLUMES = (R.standard_normal(s) for s in ((2, 3, 5), (2, 3, 4, 5), (2, 3, 3, 4, 3)))
INPUTS = {1: LINES, 2: IMAGES, 3: VOLUMES}
# (lazy class, arguments, input)
LAYERS = [
    ("LazyLinear", (4,), {}, LINES),
    ("LazyLinear", (4,), {"bias": False}, LINES),
    *((f"LazyConv{n}d", (4, 2), {}, a) for n, a in INPUTS.items()),
    *((f"LazyConvTranspose{n}d", (4, 2), {"bias": n != 2}, a) for n, a in INPUTS.items()),
    *((f"LazyBatchNorm{n}d", (), {}, a) for n, a in INPUTS.items()),
    *((f"LazyInstanceNorm{n}d", (), {"affine": True, "track_running_stats": n == 2}, a) for n, a in INPUTS.items()),
    ("LazyInstanceNorm1d", (), {}, LINES),
]


def build(lib, modules, row):
    name, args, kwargs, _ = row
    return getattr(modules, name)(*args, **kwargs, dtype=lib.float64)


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize("row", LAYERS, ids=lambda row: row[0])
def test_a_first_forward_makes_it_pytorchs_module(row, torch):
    ours, theirs = build(ek, nn, row), build(torch, torch.nn, row)
    lazy = any(map(is_lazy, ours.parameters()))
    assert lazy == any(map(torch.nn.parameter.is_lazy, theirs.parameters()))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs(torch.tensor(row[3]))
    ours(ek.tensor(row[3]))
    assert type(ours).__name__ == type(theirs).__name__ == row[0].removeprefix("Lazy")
    assert repr(ours) == repr(theirs) or row[0].startswith("LazyBatch")
    ours.load_state_dict({k: ek.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    a, b = ours(ek.tensor(row[3])), theirs(torch.tensor(row[3]))
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-12)
    assert not ours._forward_pre_hooks


@pytest.mark.parametrize("row", LAYERS, ids=lambda row: row[0])
def test_a_state_dict_gives_the_shapes(row):
    made, lazy = build(ek, nn, row), build(ek, nn, row)
    made(ek.tensor(row[3]))
    lazy.load_state_dict(made.state_dict())
    np.testing.assert_array_equal(
        lazy.eval()(ek.tensor(row[3])).detach().numpy(), made.eval()(ek.tensor(row[3])).detach().numpy()
    )
    assert type(lazy) is type(made)


def test_an_uninitialized_parameter_has_a_dtype_and_no_shape():
    layer = nn.LazyLinear(3)
    assert layer.double().weight.dtype == ek.float64
    assert is_lazy(copy.deepcopy(layer).weight)
    assert layer.state_dict()["weight"] is layer.weight
    for ask in (lambda p: p.shape, lambda p: p + 1, lambda p: p.numel(), len):
        with pytest.raises(ValueError, match="no shape"):
            ask(layer.weight)
    layer.weight.materialize((3, 2))
    assert type(layer.weight) is nn.Parameter
    assert layer.weight.requires_grad
    buffer = nn.UninitializedBuffer()
    buffer.materialize((2,))
    assert type(buffer) is nn.Buffer


def test_an_input_of_another_rank_is_refused():
    with pytest.raises(ShapeError, match=r"expected 3 \(unbatched\) or 4"):
        nn.LazyConv2d(3, 2)(ek.ones(2, 3))
