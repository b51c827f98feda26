"""Cross entropy of a linear map beside PyTorch; what it refuses."""

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit import nn
from expkit.errors import ShapeError

BATCH, WIDTH, CLASSES = 4, 3, 5
CASES = [
    ((), {}), ((), {"bias": True}), ((2, 3), {"bias": True}), ((2,), {"reduction": "none"}),
    ((), {"ignore_index": 1, "label_smoothing": 0.2}),
]  # fmt: skip


@pytest.mark.parametrize(("extra", "options"), CASES, ids=str)
@pytest.mark.parametrize("kind", ["classes", "probabilities", "one"])
def test_against_torch(extra, options, kind, torch):
    rng = np.random.default_rng(0)
    if kind == "probabilities":
        options = {k: v for k, v in options.items() if k != "ignore_index"}
        target = rng.dirichlet(np.ones(CLASSES), (BATCH, *extra))
        target = np.moveaxis(target, -1, 1)
    else:
        target = rng.integers(0, CLASSES, (BATCH, *extra))
    x, weight = rng.standard_normal((BATCH, WIDTH)), rng.uniform(0.5, 1, CLASSES)
    if kind == "one":
        x, target, extra = x[0], target.reshape(BATCH, -1)[0, 0], ()

    def run(lib):
        make = {"out_features": extra, "weight": lib.tensor(weight), "dtype": lib.float64, **options}
        loss = lib.nn.LinearCrossEntropyLoss(WIDTH, CLASSES, **make)
        values = np.random.default_rng(1)
        state = {k: lib.tensor(values.standard_normal(tuple(v.shape))) for k, v in loss.state_dict().items()}
        loss.load_state_dict(state | {"weight": lib.tensor(weight)})
        leaf = lib.tensor(x, requires_grad=True)
        out = loss(leaf, lib.tensor(target))
        out.sum().backward()
        return [repr(loss)], [v.detach().numpy() for v in (out, leaf.grad, *(p.grad for p in loss.parameters()))]

    (shown, ours), (their_shown, theirs) = run(ek), run(torch)
    assert shown == their_shown
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_options_change_nothing():
    x, y = ek.randn(BATCH, WIDTH), ek.tensor([0, 1, 2, 4])
    w = ek.randn(CLASSES, WIDTH)
    chunks = nn.LinearCrossEntropyOptions(batch_chunk_size=2)
    assert F.linear_cross_entropy(x, w, y, options=chunks) == F.linear_cross_entropy(x, w, y)


X, Y, W = ek.ones(BATCH, WIDTH), ek.tensor([0, 1, 2, 4]), ek.ones(CLASSES, WIDTH)
WRONG = [
    (lambda: F.linear_cross_entropy(X[:, :2], W, Y), ShapeError, "in_features"),
    (lambda: F.linear_cross_entropy(X, W, Y[:3]), ShapeError, "batch_size"),
    (lambda: F.linear_cross_entropy(X[0], ek.ones(2, 4, 3), Y), ShapeError, "one sample"),
    (lambda: F.linear_cross_entropy(X, W, Y, linear_bias=ek.ones(4)), ShapeError, "linear_bias"),
    (lambda: F.linear_cross_entropy(X, W[0], Y), ShapeError, "linear_weight"),
    (lambda: F.linear_cross_entropy(X, W, ek.zeros(BATCH, CLASSES, dtype=ek.int64)), TypeError, "probabilities"),
    (lambda: F.linear_cross_entropy(X, W, Y > 0), TypeError, "bools"),
    (lambda: nn.LinearCrossEntropyLoss(3, 2, weight=ek.ones(3)), ShapeError, "weight must have shape"),
    (lambda: nn.LinearCrossEntropyLoss(3, 2, label_smoothing=2.0), ValueError, "label_smoothing"),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message for _, _, message in WRONG])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
