"""nn.functional: every function's values and gradients, from table_functions.ROWS; its subgradients and its errors."""

import inspect

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit.errors import DataError, ShapeError
from tests.nn import reference as ref
from tests.nn.table_functions import ACTIVATIONS, ROWS, UNLIKE_ROWS

# PyTorch rounds these functions' constants to float32, whatever the dtype.
COARSE_IN_TORCH = {"celu", "hardsigmoid"}


def is_real(value):
    return isinstance(value, np.ndarray) and value.dtype == np.float64


def trained(row):
    """Positions of the arguments that have a gradient: real ones, the running statistics of batch_norm aside."""
    fixed = (1, 2) if row.name == "batch_norm" else ()
    return [i for i, arg in enumerate(row.args) if is_real(arg) and i not in fixed]


ROWS_WITH_GRADIENT = [row for row in ROWS if trained(row)]


def tensor_of(lib, value):
    if not isinstance(value, np.ndarray):
        return value
    return lib.tensor(value.tolist(), dtype=lib.float64 if is_real(value) else lib.int64).reshape(value.shape)


def run(lib, module, row):
    """The function of `module` in `lib` (expkit or torch): its output, and the gradients of a fixed cotangent."""
    args = [tensor_of(lib, a) for a in row.args]
    inputs = [args[i].requires_grad_() for i in trained(row)]
    out = getattr(module, row.name)(*args, **{k: tensor_of(lib, v) for k, v in row.kwargs.items()})
    if inputs:
        (out * tensor_of(lib, cotangent(tuple(out.shape)))).sum().backward()
    return out.detach().numpy(), [x.grad.numpy() for x in inputs]


def cotangent(shape):
    return np.random.default_rng(3).standard_normal(shape)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_values_against_numpy(row):
    out, _ = run(ek, F, row)
    expected = row.oracle(*row.args, **row.kwargs)
    assert out.shape == np.shape(expected)
    np.testing.assert_allclose(out, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("row", ROWS_WITH_GRADIENT, ids=lambda row: row.id)
def test_gradients_against_differences(row):
    out, grads = run(ek, F, row)
    weights = cotangent(out.shape)
    for position, grad in zip(trained(row), grads, strict=True):
        expected = ref.numeric_gradient(lambda *a: (row.oracle(*a, **row.kwargs) * weights).sum(), row.args, position)
        np.testing.assert_allclose(grad, expected, rtol=2e-5, atol=1e-7)


def test_the_numeric_gradient_tells_a_wrong_rule_from_a_right_one():
    x = np.array([0.3, -1.2])
    found = ref.numeric_gradient(lambda a: np.sin(a).sum(), [x], 0)
    np.testing.assert_allclose(found, np.cos(x), rtol=1e-8)
    assert abs(found - np.cos(x) * 1.001).max() > 1e-4


@pytest.mark.filterwarnings("ignore:reduction", "ignore:Using padding", "ignore:.*upsample")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_values_and_gradients_against_torch(row, torch):
    ours, our_grads = run(ek, F, row)
    theirs, their_grads = run(torch, torch.nn.functional, row)
    rtol = 1e-6 if row.name in COARSE_IN_TORCH else 1e-9
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-12)
    for a, b in zip(our_grads, their_grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)


def test_every_function_has_a_row():
    public = {name for name, value in vars(F).items() if inspect.isfunction(value) and name.strip("_") == name}
    assert public - {row.name for row in ROWS} == set(UNLIKE_ROWS)


# The bends of the activations, far out, infinities and NaN.
SPECIAL = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 3.0, -3.0, 6.0, -6.0, 20.0, 21.0, 120.0, -120.0, np.inf, -np.inf, np.nan]
NAN_AT_MINUS_INFINITY = {"gelu", "hardswish"}  # in one form or the other: -inf times 0
ELEMENTWISE = sorted(
    {row.name for row in ACTIVATIONS} - {"glu", "softmax", "softmin", "log_softmax", "prelu", "threshold"}
)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_activations_where_they_bend_and_where_they_overflow(name, torch):
    def at_special_points(lib, module):
        x = lib.tensor(SPECIAL, dtype=lib.float32).requires_grad_()
        out = getattr(module, name)(x)
        out.sum().backward()
        return out.detach().numpy(), x.grad.numpy()

    (ours, our_grad), (theirs, their_grad) = at_special_points(ek, F), at_special_points(torch, torch.nn.functional)
    finite = np.isfinite(SPECIAL)
    defined = finite | np.full(len(SPECIAL), name not in NAN_AT_MINUS_INFINITY)
    np.testing.assert_allclose(ours[defined], theirs[defined], rtol=2e-6, atol=1e-6)
    assert np.isnan(ours[-1])
    np.testing.assert_allclose(our_grad[finite], their_grad[finite], rtol=2e-6, atol=1e-6)


INPLACE = [name for name in ELEMENTWISE if "inplace" in inspect.signature(getattr(F, name)).parameters]


@pytest.mark.parametrize("name", INPLACE)
def test_in_place_activations_overwrite_their_input_and_keep_the_gradient(name):
    x = ek.tensor(np.linspace(-7, 7, 9), requires_grad=True)
    y = ek.tensor(np.linspace(-7, 7, 9), requires_grad=True)
    plain = getattr(F, name)(x * 1)
    plain.sum().backward()
    overwritten = y * 1
    result = getattr(F, name)(overwritten, inplace=True)
    assert result is overwritten
    result.sum().backward()
    np.testing.assert_array_equal(result.detach().numpy(), plain.detach().numpy())
    np.testing.assert_array_equal(y.grad.numpy(), x.grad.numpy())


@pytest.mark.parametrize("name", ["l1_loss", "smooth_l1_loss", "huber_loss"])
@pytest.mark.parametrize("count", [1, 3000])
def test_losses_of_infinite_distances(name, count, torch):
    values = np.tile([1.0, np.inf, -np.inf, np.nan, 0.3, -1.0], count)

    def gradient(lib, functional):
        x, y = lib.tensor(values, requires_grad=True), lib.tensor(0 * np.nan_to_num(values, posinf=0, neginf=0))
        getattr(functional, name)(x, y, reduction="sum").backward()
        return x.grad.numpy()

    np.testing.assert_array_equal(gradient(ek, F), gradient(torch, torch.nn.functional))


def test_binary_cross_entropy_at_certainty_is_finite():
    p = ek.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
    loss = F.binary_cross_entropy(p, ek.tensor([0.0, 1.0, 1.0, 0.0]), reduction="none")
    np.testing.assert_allclose(loss.detach().numpy(), [0, 0, 100, 100])  # PyTorch's cut
    loss.sum().backward()
    assert np.isfinite(p.grad.numpy()).all()


def test_ignoring_every_target_leaves_nothing_to_average():
    x, y = ek.randn(3, 4), ek.full((3,), -100)
    assert np.isnan(F.cross_entropy(x, y).item())
    assert F.cross_entropy(x, y, reduction="sum").item() == 0


@pytest.mark.parametrize(
    ("drop", "shape"), [(F.dropout, (50, 400)), (F.dropout1d, (100, 200, 3)), (F.dropout2d, (100, 200, 2, 3))]
)
def test_dropout_zeroes_its_share_and_keeps_the_expectation(drop, shape):
    x = ek.ones(shape, requires_grad=True)
    out = drop(x, 0.3)
    out.sum().backward()
    values = out.detach().numpy()
    np.testing.assert_allclose(np.unique(values), [0, 1 / 0.7], rtol=1e-6)
    assert abs((values == 0).mean() - 0.3) < 0.01
    np.testing.assert_array_equal(x.grad.numpy(), values)
    if drop is not F.dropout:  # a channel is zeroed as a whole or not at all
        assert (np.ptp(values.reshape(*shape[:2], -1), axis=2) == 0).all()
    assert (drop(x, 0.3) != out).any()
    ek.manual_seed(5)
    first = drop(x, 0.3).detach().numpy()
    ek.manual_seed(5)
    np.testing.assert_array_equal(drop(x, 0.3).detach().numpy(), first)


def test_batch_norm_moves_the_running_statistics():
    x = ek.tensor(np.random.default_rng(0).standard_normal((6, 3, 2)))
    mean, var = ek.zeros(3, dtype=ek.float64), ek.ones(3, dtype=ek.float64)
    F.batch_norm(x, mean, var, training=True, momentum=0.25)
    np.testing.assert_allclose(mean.numpy(), 0.25 * x.numpy().mean((0, 2)))
    np.testing.assert_allclose(var.numpy(), 0.75 + 0.25 * x.numpy().var((0, 2), ddof=1))


def test_functions_differentiate_twice_and_batch():
    """The functions are plain compositions: a Hessian and a vmap go through them."""
    y = ek.tensor(2)
    hessian = ek.func.hessian(lambda x: F.cross_entropy(x, y))(ek.tensor([0.1, 0.5, -0.3], dtype=ek.float64))
    p = ref.softmax(np.array([0.1, 0.5, -0.3]), 0)
    np.testing.assert_allclose(hessian.numpy(), np.diag(p) - np.outer(p, p), atol=1e-10)
    x, t = ek.randn(4, 3), ek.tensor([0, 2, 1, 1])
    each = ek.vmap(F.cross_entropy)(x, t)
    np.testing.assert_allclose(each.numpy(), F.cross_entropy(x, t, reduction="none").numpy(), rtol=1e-6)


ONES, INTS = ek.ones(4, 3), ek.tensor([0, 1, 2, 0])
ERRORS = [
    (lambda: F.linear(ONES, ek.ones(5, 4)), ShapeError, r"last dimension is 3.*\(5, 4\) expects 4"),
    (lambda: F.bilinear(ONES, ONES, ek.ones(5, 3, 2)), ShapeError, "do not fit weight"),
    (lambda: F.conv2d(ek.ones(1, 3, 4, 4), ek.ones(2, 4, 3, 3)), ShapeError, "expects 4 input channels.*has 3"),
    (lambda: F.conv2d(ek.ones(4, 4), ek.ones(2, 4, 3, 3)), ShapeError, "expected 4 dimensions"),
    (lambda: F.conv2d(ek.ones(1, 1, 4, 4), ek.ones(1, 1, 3, 3), padding="sme"), ValueError, "'same' or 'valid'"),
    (lambda: F.conv2d(ek.ones(1, 1, 4, 4), ek.ones(1, 1, 3, 3), stride=2, padding="same"), ValueError, "strided"),
    (lambda: F.max_pool2d(ek.ones(1, 1, 2, 2), 3), ShapeError, "do not fit an input"),
    (lambda: F.max_pool2d(ek.ones(1, 1, 4, 4), 2, padding=2), ValueError, "half of the kernel size"),
    (lambda: F.max_pool2d(ek.ones(1, 1, 4, 4), (2, 2, 2)), ValueError, "kernel_size must be an int or 2 ints"),
    (lambda: F.layer_norm(ONES, (4,)), ShapeError, r"shape \(\*, 4\)"),
    (lambda: F.group_norm(ONES, 2), ShapeError, "3 channels.*2 groups"),
    (lambda: F.batch_norm(ek.ones(1, 3), None, None, training=True), ShapeError, "more than 1 value per channel"),
    (lambda: F.batch_norm(ONES, None, None), ValueError, "running_mean"),
    (lambda: F.glu(ONES), ShapeError, "odd"),
    (lambda: F.prelu(ONES, ek.ones(2)), ShapeError, "2 slopes for 3 channels"),
    (lambda: F.gelu(ONES, "exact"), ValueError, "'none' or 'tanh'"),
    (lambda: F.hardtanh(ONES, 1.0, 0.0), ValueError, "greater than"),
    (lambda: F.dropout(ONES, 1.5), ValueError, "between 0 and 1, but got 1.5"),
    (lambda: F.embedding(ONES, ONES), TypeError, "integer indices"),
    (lambda: F.mse_loss(ONES, ONES, weight=ek.ones(3)), ShapeError, r"weights must have the input's shape \(4, 3\)"),
    (lambda: F.huber_loss(ONES, ONES, weight=ek.ones(3)), ShapeError, r"weights must have the input's shape \(4, 3\)"),
    (lambda: F.huber_loss(ONES, ONES, delta=1j), TypeError, "float or int, got complex"),
    (lambda: F.mse_loss(ONES, ONES, reduction="avg"), ValueError, "avg is not a valid value for reduction"),
    (lambda: F.huber_loss(ONES, ONES, delta=0.0), ValueError, "non-positive"),
    (lambda: F.smooth_l1_loss(ONES, ONES, beta=-1.0), ValueError, "negative"),
    (lambda: F.cross_entropy(ONES, ek.tensor([0, 1, 2, 3])), DataError, "class index 3 is out of range for 3 classes"),
    (lambda: F.cross_entropy(ONES, ek.tensor([0, -1, 2, 1])), DataError, "class index -1 is out of range"),
    (lambda: F.cross_entropy(ONES, ek.tensor([0, 1, 2])), ShapeError, r"class indices of shape \(4,\), got \(3,\)"),
    (lambda: F.cross_entropy(ONES, ek.ones(4)), DataError, "Class indices must be integers"),
    (lambda: F.cross_entropy(ONES, INTS > 0), DataError, "must be integers"),
    (lambda: F.cross_entropy(ONES, INTS, weight=ek.ones(4)), ShapeError, r"one entry per class: expected \(3,\)"),
    (lambda: F.cross_entropy(ONES, INTS, label_smoothing=1.5), ValueError, "between 0.0 and 1.0"),
    (lambda: F.cross_entropy(ek.tensor(1.0), ek.tensor(0)), ShapeError, "dimension of classes"),
    (lambda: F.nll_loss(ONES, ek.tensor([0, 9, 2, 0])), DataError, "class index 9"),
    (lambda: F.cross_entropy(ONES, ONES, ignore_index=1), ValueError, "ignore_index is not supported"),
    (lambda: F.cross_entropy(ONES, INTS, weight=ek.ones(3, dtype=ek.float16)), TypeError, "input's dtype"),
    (lambda: F.binary_cross_entropy(ONES, ek.ones(4)), ShapeError, r"target has shape \(4,\).*\(4, 3\)"),
    (
        lambda: F.binary_cross_entropy_with_logits(ek.ones(4, 1), ek.ones(4)), ShapeError,
        r"Reshape it: target.reshape\(4, 1\)",
    ),
    (lambda: F.kl_div(ONES, INTS), TypeError, "floating-point"),
    (lambda: F.cross_entropy(INTS.reshape(2, 2), INTS[:2]), TypeError, "must be floating-point"),
    (lambda: F.cross_entropy(ONES, None), TypeError, "expected Tensors, got a NoneType"),
    (lambda: F.mse_loss(INTS, INTS), TypeError, "expected floating-point"),
    (lambda: F.binary_cross_entropy(ONES * 2, ONES), ValueError, "between 0 and 1"),
    (lambda: F.elu(None), TypeError, "elu: expected a Tensor"),
    (lambda: F.soft_margin_loss(ONES, ek.ones(4, 1, 1)), ShapeError, "must be equal"),
    (lambda: F.multi_margin_loss(ONES, INTS, weight=ek.ones(2)), ShapeError, "weight must be"),
    (lambda: F.cosine_embedding_loss(ONES, ONES[0], ek.ones(4)), ShapeError, "cosine_embedding_loss"),
    (lambda: F.triplet_margin_loss(ONES, ONES[0], ONES), ShapeError, "same number of dimensions"),
    (lambda: F.margin_ranking_loss(ONES, ONES, ek.ones(3)), ShapeError, "same number of dimensions"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "error", "message"), ERRORS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_errors_say_what_does_not_fit(call, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        call()


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_targets_of_other_shapes_are_broadcast_with_a_warning(name, reduction, torch):
    x, y = np.random.default_rng(0).standard_normal((4, 1)), np.arange(3.0)

    def run(lib):
        with pytest.warns(UserWarning, match="broadcast"):
            return getattr(lib.nn.functional, name)(lib.tensor(x), lib.tensor(y), reduction=reduction).numpy()

    np.testing.assert_allclose(run(ek), run(torch), rtol=1e-12)


@pytest.mark.parametrize(("size_average", "reduce"), [(None, True), (True, None), (False, None), (None, False)])
def test_older_arguments_for_the_reduction(size_average, reduce, torch):
    x, y = np.random.default_rng(0).standard_normal((2, 3, 4))

    def run(lib):
        args = lib.tensor(x), lib.tensor(y)
        with pytest.warns(UserWarning, match="reduction"):
            out = [lib.nn.functional.mse_loss(*args, size_average, reduce)]
        for loss in (lib.nn.SoftMarginLoss, lib.nn.L1Loss):
            with pytest.warns(UserWarning, match="reduction"):
                made = loss(size_average, reduce)
            out.append(made(*args))
        return [v.numpy() for v in out]

    for ours, theirs in zip(run(ek), run(torch), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("shape", "target"), [((), 0), ((), [0]), ((5,), [3]), ((5,), 3)], ids=str)
def test_margins_of_one_sample(shape, target, reduction, torch):
    x = np.random.default_rng(0).standard_normal(shape)

    def run(lib):
        return lib.nn.functional.multi_margin_loss(lib.tensor(x), lib.tensor(target), reduction=reduction).numpy()

    ours, theirs = run(ek), run(torch)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("name", ["smooth_l1_loss", "huber_loss"])
def test_curvature_at_the_target_and_where_losses_bend(name, torch):
    def run(lib):
        x = lib.tensor([0.0, 1.0, -1.0, 0.5, 2.0], dtype=lib.float64, requires_grad=True)
        loss = getattr(lib.nn.functional, name)(x, lib.zeros(5, dtype=lib.float64), reduction="sum")
        (slope,) = lib.autograd.grad(loss, x, create_graph=True)
        return lib.autograd.grad(slope.sum(), x)[0].numpy()

    np.testing.assert_array_equal(run(ek), run(torch))


@pytest.mark.parametrize("length", [1.0, 1e-9, 0.0])
def test_similarity_of_short_vectors(length, torch):
    def run(lib):
        x = lib.tensor([[1.0 * length, 2.0 * length]], dtype=lib.float64, requires_grad=True)
        y = lib.tensor([[2.0, -0.5]], dtype=lib.float64, requires_grad=True)
        out = lib.nn.functional.cosine_similarity(x, y)
        out.sum().backward()
        return [v.detach().numpy() for v in (out, x.grad, y.grad)]

    for ours, theirs in zip(run(ek), run(torch), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
def test_weighted_means(name, torch):
    arrays = np.random.default_rng(0).uniform(0.1, 1, (3, 4, 2))

    def run(lib):
        x, y, w = map(lib.tensor, arrays)
        return getattr(lib.nn.functional, name)(x, y, weight=w).item()

    assert run(ek) == pytest.approx(run(torch))


def test_softmax_without_a_dim_warns_and_takes_pytorchs():
    with pytest.warns(UserWarning, match="pass dim"):
        out = F.softmax(ONES)
    np.testing.assert_allclose(out.sum(1).numpy(), 1, rtol=1e-6)
