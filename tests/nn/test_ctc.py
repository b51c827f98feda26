"""CTC: losses and gradients beside PyTorch, all alignments of small cases, derivatives of higher order, errors."""

import itertools

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit.errors import ExpkitError, ShapeError

STEPS, BATCH, CLASSES = 7, 4, 5
INPUTS, LENGTHS = [7, 4, 5, 6], [3, 1, 0, 3]
TARGETS = np.array([[1, 1, 2], [3, 9, 9], [9, 9, 9], [2, 4, 2]])  # 9: padding, no class


def log_probs(*shape, seed=0):
    x = np.random.default_rng(seed).standard_normal(shape)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def results(lib, x, targets, inputs, lengths, **kw):
    """The loss, and the gradient of its weighted sum."""
    leaf = lib.tensor(x, requires_grad=True)
    tensors = [lib.tensor(v) for v in (targets, inputs, lengths)]
    out = lib.nn.functional.ctc_loss(leaf, *tensors, **kw)
    (out * lib.arange(1, out.numel() + 1).reshape(out.shape)).sum().backward()
    return out.detach().numpy(), leaf.grad.numpy()


def same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("joined", [False, True], ids=["padded", "joined"])
def test_against_torch(reduction, joined, torch):
    targets = np.concatenate([row[:n] for row, n in zip(TARGETS, LENGTHS, strict=True)]) if joined else TARGETS
    args = log_probs(STEPS, BATCH, CLASSES), targets, INPUTS, LENGTHS
    same(*(results(lib, *args, reduction=reduction) for lib in (ek, torch)))


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_targets_that_do_not_fit(zero_infinity, torch):
    """Three equal labels need five steps; without labels, no step is certain."""
    targets, inputs, lengths = np.full((4, 3), 2), [4, 5, 0, 0], [3, 3, 1, 0]
    args = log_probs(5, 4, 3), targets, inputs, lengths
    ours, theirs = (results(lib, *args, reduction="none", zero_infinity=zero_infinity) for lib in (ek, torch))
    same(ours, theirs)
    assert np.isfinite(ours[0]).tolist() == [zero_infinity, True, zero_infinity, True]


def test_another_blank_no_batch_and_lists(torch):
    x, target = log_probs(5, 4), np.array([0, 1])
    same(*(results(lib, x, target, [5], [2], blank=3, reduction="none") for lib in (ek, torch)))
    assert F.ctc_loss(ek.tensor(x), ek.tensor(target), [5], (2,), 3).shape == ()
    assert ek.nn.CTCLoss(3, "sum")(ek.tensor(x), ek.tensor(target), 5, 2).shape == ()


def test_it_is_the_sum_over_all_alignments():
    x, target = log_probs(4, 3), [1, 2]
    total = 0.0
    for path in itertools.product(range(3), repeat=4):
        merged = [c for c, _ in itertools.groupby(path) if c]
        if merged == target:
            total += np.exp(sum(x[t, c] for t, c in enumerate(path)))
    loss = F.ctc_loss(ek.tensor(x), ek.tensor(target), [4], [2], reduction="sum")
    assert loss.item() == pytest.approx(-np.log(total))


def of_logits(z):
    targets = ek.tensor(np.array([[1, 1], [2, 0]]))
    return F.ctc_loss(z.log_softmax(-1), targets, [4, 3], [2, 1], reduction="none")


def test_derivatives_of_logits_of_any_order():
    z = ek.tensor(np.random.default_rng(1).standard_normal((4, 2, 3)), requires_grad=True)
    assert ek.autograd.gradcheck(of_logits, (z,), check_forward_ad=True)
    assert ek.autograd.gradgradcheck(of_logits, (z,))


def test_batches():
    z = ek.tensor(np.random.default_rng(1).standard_normal((3, 4, 2, 3)))
    each = ek.stack([of_logits(v) for v in z])
    np.testing.assert_allclose(ek.vmap(of_logits)(z).numpy(), each.numpy())
    slope = ek.func.grad(lambda v: of_logits(v).sum())
    np.testing.assert_allclose(ek.vmap(slope)(z).numpy(), ek.stack([slope(v) for v in z]).numpy(), atol=1e-12)


X = ek.tensor(log_probs(4, 2, 3))
Y = ek.tensor(np.ones((2, 2), np.int64))
WRONG = [
    (lambda: F.ctc_loss(X, Y, [4, 4], [2, 2], blank=3), ValueError, "label range"),
    (lambda: F.ctc_loss(X, Y, [4, 5], [2, 2]), ShapeError, "input_lengths to be between 0 and 4"),
    (lambda: F.ctc_loss(X, Y, [4, 4], [-1, 2]), ShapeError, "target_lengths to be at least 0"),
    (lambda: F.ctc_loss(X, Y, [4], [2, 2]), ShapeError, "batch_size 2"),
    (lambda: F.ctc_loss(X, Y, [4, 4], [2, 3]), ShapeError, r"expected targets \(2, at least 3\)"),
    (lambda: F.ctc_loss(X, Y[0], [4, 4], [2, 2]), ShapeError, "add up to, 4"),
    (lambda: F.ctc_loss(X, Y, ek.tensor([4.0, 4.0]), [2, 2]), TypeError, "integral"),
    (lambda: F.ctc_loss(X, Y + 2, [4, 4], [2, 2]), IndexError, "targets"),
    (lambda: F.ctc_loss(X, Y > 0, [4, 4], [2, 2]), ExpkitError, "integers"),
    (lambda: F.ctc_loss(X[0, 0], Y, [4, 4], [2, 2]), ShapeError, "log_probs must be"),
    (lambda: F.ctc_loss(X[:0], Y, [0, 0], [2, 2]), ShapeError, "empty"),
    (lambda: F.ctc_loss(X.half(), Y, [4, 4], [2, 2]), TypeError, "float32 or float64"),
    (lambda: F.ctc_loss(X, Y, [4, 4], [2, 2], reduction="all"), ValueError, "reduction"),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message for _, _, message in WRONG])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
