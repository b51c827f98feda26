"""AdaptiveLogSoftmaxWithLoss beside PyTorch; what it refuses."""

import numpy as np
import pytest

import expkit as ek
from expkit import nn
from expkit.errors import DataError, ShapeError


def twins(torch, *args, **kw):
    ours, theirs = (lib.nn.AdaptiveLogSoftmaxWithLoss(*args, **kw, dtype=lib.float64) for lib in (ek, torch))
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    assert {k: v.shape for k, v in state.items()} == {k: tuple(v.shape) for k, v in ours.state_dict().items()}
    ours.load_state_dict({k: ek.from_numpy(v.copy()) for k, v in state.items()})
    return ours, theirs


def results(lib, layer, x, target):
    leaf = lib.tensor(x, requires_grad=True)
    out, loss = layer(leaf, lib.tensor(target))
    (out.sum() * 0.3 + loss).backward()
    # a cluster without targets has no gradient in one library, zeros in the other
    grads = [p.new_zeros(p.shape) if p.grad is None else p.grad for p in (leaf, *layer.parameters())]
    return [v.detach().numpy() for v in (out, loss, *grads)]


@pytest.mark.parametrize("options", [{}, {"head_bias": True, "div_value": 2.0}], ids=str)
@pytest.mark.parametrize("target", [[0, 9, 3, 5, 4, 12], [1, 0, 2, 1, 0, 2], 7], ids=["all", "frequent", "one"])
def test_against_torch(options, target, torch):
    ours, theirs = twins(torch, 64, 13, [3, 5, 9], **options)
    x = np.random.default_rng(0).standard_normal((*np.shape(target), 64))
    for a, b in zip(results(ek, ours, x, target), results(torch, theirs, x, target), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    assert repr(ours) == repr(theirs)
    rows = np.atleast_2d(x)
    logs, expected = (m.log_prob(lib.tensor(rows)).detach().numpy() for lib, m in ((ek, ours), (torch, theirs)))
    np.testing.assert_allclose(logs, expected, rtol=1e-9)
    np.testing.assert_array_equal(ours.predict(ek.tensor(rows)).numpy(), theirs.predict(torch.tensor(rows)).numpy())


def test_weights_are_drawn_anew():
    layer = nn.AdaptiveLogSoftmaxWithLoss(64, 13, [3, 5])
    before = [p.detach().clone() for p in layer.parameters()]
    layer.reset_parameters()
    assert all((p != b).any() for p, b in zip(layer.parameters(), before, strict=True))


def test_errors():
    for cutoffs in ([], [0, 3], [3, 3], [5, 3], [3, 13]):
        with pytest.raises(ValueError, match="cutoffs should be"):
            nn.AdaptiveLogSoftmaxWithLoss(8, 13, cutoffs)
    layer = nn.AdaptiveLogSoftmaxWithLoss(64, 13, [3, 5])
    with pytest.raises(ShapeError, match="same size in the batch dimension"):
        layer(ek.ones(2, 64), ek.tensor([1, 2, 3]))
    with pytest.raises(DataError, match=r"in \[0, 12\]"):
        layer(ek.ones(2, 64), ek.tensor([1, 13]))
