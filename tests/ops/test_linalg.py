"""Linear algebra beyond its table: complex matrices, degenerate ones, and what is said of those that have no factor."""

import numpy as np
import pytest

import expkit as ek
from expkit.errors import LinAlgError

GRADIENTS = {  # complex functions that do not depend on phases
    "inv": lambda m, x: m.linalg.inv(x),
    "solve": lambda m, x: m.linalg.solve(x, x.mT.conj()[..., :2]),
    "det": lambda m, x: m.linalg.det(x),
    "slogdet": lambda m, x: m.linalg.slogdet(x)[0] * m.linalg.slogdet(x)[1],
    "cholesky": lambda m, x: m.linalg.cholesky(x @ x.mT.conj()),
    "eigvalsh": lambda m, x: m.linalg.eigvalsh(x + x.mT.conj()),
    "eigh": lambda m, x: m.linalg.eigh(x + x.mT.conj())[1].abs(),
    "eigh of the upper triangle": lambda m, x: m.linalg.eigh(x + x.mT.conj(), "U")[1].abs(),
    "eig": lambda m, x: m.linalg.eig(x)[1].abs(),
    "svdvals": lambda m, x: m.linalg.svdvals(x),
    "svd": lambda m, x: (lambda u, s, vh: u.abs() + (u @ vh).abs())(*m.linalg.svd(x, full_matrices=False)),
    "qr": lambda m, x: m.linalg.qr(x)[0].abs() + m.linalg.qr(x)[1].abs(),
    "lu": lambda m, x: m.linalg.lu(x)[1] * m.linalg.lu(x)[2],
    "pinv": lambda m, x: m.linalg.pinv(x[..., :2]),
    "matrix_exp": lambda m, x: m.linalg.matrix_exp(x),
    "matmul": lambda m, x: x @ x.conj(),
    "einsum": lambda m, x: m.einsum("ij,kj->ik", x, x.conj()),
}


@pytest.mark.torch
@pytest.mark.parametrize("name", GRADIENTS)
def test_complex_gradients_are_pytorchs(name, torch):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((3, 3)) + 1j * rng.standard_normal((3, 3))
    ours, theirs = ek.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    got, expected = GRADIENTS[name](ek, ours), GRADIENTS[name](torch, theirs)
    np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-10)
    weight = rng.standard_normal(got.shape) + (1j * rng.standard_normal(got.shape) if got.is_complex() else 0)
    got.backward(ek.tensor(weight))
    expected.backward(torch.tensor(weight))
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-8, atol=1e-9)


def test_forward_and_reverse_mode_agree_on_complex_singular_vectors():
    rng = np.random.default_rng(4)
    x, t = (ek.tensor(rng.standard_normal((3, 2)) + 1j * rng.standard_normal((3, 2))) for _ in range(2))

    def f(y):
        u, s, vh = ek.linalg.svd(y, full_matrices=False)
        return (u * s) @ vh * (u @ vh).abs()

    (_, slope), c = ek.func.jvp(f, (x,), (t,)), f(x)
    y = x.clone().requires_grad_()
    (grad,) = ek.autograd.grad(f(y), y, c)
    np.testing.assert_allclose((grad.conj() * t).sum().real.item(), (c.conj() * slope).sum().real.item(), rtol=1e-9)


@pytest.mark.parametrize("values", [lambda x: ek.linalg.eigh(x)[0], ek.linalg.eigvalsh, ek.linalg.svdvals])
def test_equal_values_have_gradients(values):
    x = ek.eye(3, dtype=ek.float64, requires_grad=True)
    values(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.eye(3), atol=1e-12)


@pytest.mark.torch
def test_singular_matrices_have_infinite_gradients_of_the_logarithm(torch):
    x = [[1.0, 2.0], [2.0, 4.0]]
    ours, theirs = ek.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    assert ek.linalg.slogdet(ours)[1].item() == -np.inf
    ek.linalg.slogdet(ours)[1].backward()
    torch.linalg.slogdet(theirs)[1].backward()
    assert np.isinf(ours.grad.numpy()).tolist() == np.isinf(theirs.grad.numpy()).tolist()


@pytest.mark.parametrize(
    "call",
    [
        lambda: ek.linalg.inv(ek.zeros(2, 2)),
        lambda: ek.linalg.solve(ek.zeros(2, 2), ek.ones(2)),
        lambda: ek.linalg.cholesky(-ek.eye(2)),
        lambda: ek.linalg.inv_ex(ek.zeros(2, 2), check_errors=True),
        lambda: ek.linalg.cholesky_ex(-ek.eye(2), check_errors=True),
        lambda: ek.linalg.lu_factor_ex(ek.zeros(2, 2), check_errors=True),
        lambda: ek.linalg.lstsq(ek.ones(3, 2), ek.ones(3, 1), driver="gels"),
    ],
)
def test_a_matrix_without_a_factor_is_an_error(call):
    with pytest.raises(LinAlgError):
        call()
    assert issubclass(LinAlgError, RuntimeError)  # as in PyTorch
    assert ek.linalg.LinAlgError is LinAlgError


@pytest.mark.torch
def test_or_a_number_on_demand(torch):
    x = np.stack([np.diag([2.0, 3.0]), np.diag([1.0, -1.0]), np.zeros((2, 2))])
    for name in ("inv_ex", "cholesky_ex", "lu_factor_ex"):
        ours, theirs = getattr(ek.linalg, name)(ek.tensor(x)), getattr(torch.linalg, name)(torch.tensor(x))
        assert ours.info.tolist() == theirs.info.tolist(), name
        assert ours.info.dtype is ek.int32
        np.testing.assert_allclose(ours[0][0].numpy(), theirs[0][0].numpy(), err_msg=name)
    result, info = ek.linalg.solve_ex(ek.tensor(x), ek.ones(2, dtype=ek.float64))
    assert info.tolist() == [0, 0, 1]
    assert result.isnan().any(-1).tolist() == [False, False, True]


def test_dtypes_are_not_promoted():
    for call in (
        lambda: ek.linalg.solve(ek.eye(2), ek.ones(2, dtype=ek.float64)),
        lambda: ek.linalg.lstsq(ek.eye(2), ek.ones(2, 1, dtype=ek.float64)),
        lambda: ek.matmul(ek.eye(2), ek.eye(2, dtype=ek.float64)),
        lambda: ek.linalg.inv(ek.eye(2, dtype=ek.int64)),
        lambda: ek.linalg.svd(ek.eye(2, dtype=ek.float16)),
    ):
        with pytest.raises(TypeError):
            call()


@pytest.mark.torch
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 0, 3), (0, 3, 3)])
def test_empty_matrices(shape, torch):
    ours, theirs = ek.zeros(*shape), torch.zeros(*shape)
    for name in ("pinv", "svdvals", "matrix_rank", "matrix_norm"):
        got, expected = getattr(ek.linalg, name)(ours), getattr(torch.linalg, name)(theirs)
        assert tuple(got.shape) == tuple(expected.shape), name
        np.testing.assert_array_equal(got.numpy(), expected.numpy())
    for order in ("fro", "nuc", 1, np.inf, 2):
        got, expected = ek.linalg.matrix_norm(ours, order), torch.linalg.matrix_norm(theirs, order)
        np.testing.assert_array_equal(got.numpy(), expected.numpy(), err_msg=str(order))


def test_out_takes_the_result():
    out = ek.empty(2, 2)
    assert ek.linalg.inv(ek.eye(2) * 2, out=out) is out
    assert out.tolist() == [[0.5, 0.0], [0.0, 0.5]]
    q, r = ek.empty(0), ek.empty(0)
    ek.linalg.qr(ek.eye(2), out=(q, r))
    assert tuple(q.shape) == tuple(r.shape) == (2, 2)


def test_least_squares_of_any_rank_is_the_smallest():
    a = ek.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    found = ek.linalg.lstsq(a, ek.tensor([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(found.solution.numpy(), [1.0, 1.0], rtol=1e-5)
    assert found.rank.item() == 1


def test_a_factor_beyond_the_first_columns_has_no_gradient():
    x = ek.randn(4, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match="complete"):
        ek.linalg.qr(x, "complete")[1].sum().backward()
    u = ek.linalg.svd(x)[0]
    (u[:, 2:] ** 2).sum().backward()
    assert (x.grad.abs() < 1e-5).all()
