"""Initialisation: distributions, bounds and errors, one row for each function of nn.init."""

import inspect
import math

import numpy as np
import pytest

import expkit as ek
from expkit import nn
from expkit.errors import ShapeError
from expkit.nn import init

SHAPE = (40, 30, 3, 3)  # fan in 270, fan out 360
SQUARE = (300, 200)


def uniform(bound, low=None):
    """Mean, standard deviation, and least and greatest value of a uniform distribution."""
    low = -bound if low is None else low
    return ((low + bound) / 2, (bound - low) / math.sqrt(12), low, bound)


def normal(std, mean=0.0):
    return (mean, std, -math.inf, math.inf)


# function, arguments, shape, (mean, std, least, greatest)
ROWS = [
    ("uniform_", {}, SQUARE, uniform(1.0, 0.0)),
    ("uniform_", {"a": -3.0, "b": 5.0}, SQUARE, uniform(5.0, -3.0)),
    ("normal_", {}, SQUARE, normal(1.0)),
    ("normal_", {"mean": 2.0, "std": 0.5}, SQUARE, normal(0.5, 2.0)),
    ("trunc_normal_", {}, SQUARE, (0.0, 0.8796, -2.0, 2.0)),
    ("trunc_normal_", {"mean": 1.0, "std": 2.0, "a": -1.0, "b": 3.0}, SQUARE, (1.0, 2 * 0.5396, -1.0, 3.0)),
    ("constant_", {"val": 0.25}, SHAPE, (0.25, 0.0, 0.25, 0.25)),
    ("ones_", {}, SHAPE, (1.0, 0.0, 1.0, 1.0)),
    ("zeros_", {}, SHAPE, (0.0, 0.0, 0.0, 0.0)),
    ("eye_", {}, (10, 10), (0.1, 0.3, 0.0, 1.0)),
    ("dirac_", {}, (10, 10, 3), (1 / 30, math.sqrt(29) / 30, 0.0, 1.0)),
    ("sparse_", {"sparsity": 0.25, "std": 2.0}, SQUARE, normal(math.sqrt(3.0))),
    ("xavier_uniform_", {}, SHAPE, uniform(math.sqrt(6 / 630))),
    ("xavier_uniform_", {"gain": 2.0}, SHAPE, uniform(2 * math.sqrt(6 / 630))),
    ("xavier_normal_", {}, SHAPE, normal(math.sqrt(2 / 630))),
    ("kaiming_uniform_", {}, SHAPE, uniform(math.sqrt(6 / 270))),
    ("kaiming_uniform_", {"a": math.sqrt(5)}, SQUARE, uniform(1 / math.sqrt(200))),
    ("kaiming_uniform_", {"mode": "fan_out", "nonlinearity": "tanh"}, SHAPE, uniform(5 / 3 * math.sqrt(3 / 360))),
    ("kaiming_normal_", {"nonlinearity": "relu"}, SHAPE, normal(math.sqrt(2 / 270))),
    ("orthogonal_", {}, SQUARE, normal(1 / math.sqrt(300))),
]


@pytest.mark.parametrize(("name", "kwargs", "shape", "expected"), ROWS, ids=lambda v: str(v).replace(" ", ""))
def test_distributions(name, kwargs, shape, expected):
    mean, std, least, greatest = expected
    p = nn.Parameter(ek.empty(shape))
    assert getattr(init, name)(p, **kwargs) is p
    values = p.detach().numpy()
    assert p.is_leaf
    assert p.requires_grad
    spread = max(std, 1e-9)
    assert abs(values.mean() - mean) < 5 * spread / math.sqrt(values.size)
    assert abs(values.std() - std) < 0.02 * spread
    assert values.min() >= least - 1e-6
    assert values.max() <= greatest + 1e-6


def test_every_initialiser_has_a_row():
    public = {name for name, f in vars(init).items() if inspect.isfunction(f) and name.endswith("_") and name[0] != "_"}
    assert public == {row[0] for row in ROWS}


RANDOM = [
    "uniform_", "normal_", "trunc_normal_", "xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_",
    "orthogonal_", "sparse_",
]  # fmt: skip


@pytest.mark.parametrize("name", RANDOM)
def test_a_generator_decides_the_draws(name):
    def draw(seed):
        generator = ek.Generator().manual_seed(seed)
        share = (0.3,) if name == "sparse_" else ()
        return getattr(init, name)(ek.empty(4, 5), *share, generator=generator).numpy()

    before = ek.Generator().get_state() and ek.randn(3).numpy()
    ek.manual_seed(0)
    first, again, other = draw(1), draw(1), draw(2)
    assert (first == again).all()
    assert (first != other).any()
    assert (ek.randn(3).numpy() == before).all()  # the global generator was left alone


@pytest.mark.parametrize(("shape", "groups"), [((4, 3, 3), 2), ((2, 3, 2, 3), 1), ((5, 2, 1, 3, 3), 5)])
def test_dirac_passes_channels_on(shape, groups, torch):
    ours, theirs = (lib.nn.init.dirac_(lib.ones(shape), groups).numpy() for lib in (ek, torch))
    np.testing.assert_array_equal(ours, theirs)


def test_sparse_columns_have_their_share_of_zeros():
    w = init.sparse_(ek.empty(7, 30), 0.3).numpy()
    assert ((w == 0).sum(0) == 3).all()
    assert len({tuple(column) for column in (w == 0).T}) > 5


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (3, 2, 2)])
def test_orthogonal_rows_or_columns(shape):
    w = init.orthogonal_(ek.empty(shape, dtype=ek.float64), gain=2.0).numpy().reshape(shape[0], -1)
    rows, cols = w.shape
    gram = w @ w.T if rows <= cols else w.T @ w
    np.testing.assert_allclose(gram, 4 * np.eye(min(rows, cols)), atol=1e-9)


GAINS = [("linear", None), ("conv2d", None), ("sigmoid", None), ("tanh", None), ("relu", None), ("selu", None),
         ("leaky_relu", None), ("leaky_relu", 0.2)]  # fmt: skip


@pytest.mark.parametrize(("name", "param"), GAINS)
def test_gains_are_pytorchs(name, param, torch):
    assert init.calculate_gain(name, param) == pytest.approx(torch.nn.init.calculate_gain(name, param))


WRONG = [
    (lambda: init.calculate_gain("relux"), ValueError, "Unsupported nonlinearity relux"),
    (lambda: init.eye_(ek.empty(3)), ShapeError, "2 dimensions"),
    (lambda: init.xavier_uniform_(ek.empty(3)), ShapeError, "at least 2 dimensions"),
    (lambda: init.orthogonal_(ek.empty(3)), ShapeError, "2 or more"),
    (lambda: init.dirac_(ek.empty(3, 3)), ShapeError, "3, 4 or 5"),
    (lambda: init.dirac_(ek.empty(3, 3, 3), 2), ShapeError, "divisible by groups"),
    (lambda: init.sparse_(ek.empty(3, 3, 3), 0.1), ShapeError, "sparse_: only tensors with 2"),
    (lambda: init.kaiming_normal_(ek.empty(3, 3), mode="fan"), ValueError, "Mode fan not supported"),
    (lambda: init.trunc_normal_(ek.empty(3), a=2.0, b=-2.0), ValueError, "empty"),
    (lambda: init.trunc_normal_(ek.empty(3), a=50.0, b=60.0), ValueError, "under 1 %"),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message for _, _, message in WRONG])
def test_wrong_use_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_empty_tensors_stay_empty():
    for name in ("kaiming_uniform_", "kaiming_normal_", "orthogonal_"):
        assert getattr(init, name)(ek.empty(0, 3)).shape == (0, 3)


# A layer, the parameter, and the bound of its uniform start as PyTorch has it.
STARTS = [
    (lambda: nn.Linear(100, 300), "weight", 0.1),
    (lambda: nn.Linear(100, 3000), "bias", 0.1),
    (lambda: nn.Conv2d(4, 500, 5), "weight", 0.1),
    (lambda: nn.Conv2d(4, 5000, 5), "bias", 0.1),
    (lambda: nn.Conv1d(20, 2000, 5), "bias", 0.1),
    (lambda: nn.Bilinear(100, 20, 30), "weight", 0.1),
]


@pytest.mark.parametrize(("make", "name", "bound"), STARTS)
def test_layers_start_as_in_pytorch(make, name, bound):
    values = getattr(make(), name).detach().numpy()
    assert abs(values).max() <= bound
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_embeddings_start_normal_with_a_zero_row_for_padding():
    table = nn.Embedding(2000, 50, padding_idx=3).weight.detach().numpy()
    assert (table[3] == 0).all()
    assert table.std() == pytest.approx(1, rel=0.02)
