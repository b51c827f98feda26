"""Collectives over ranks that are threads: values, gradients of every order, transforms, in-place forms, misuse."""

import numpy as np
import pytest

import expkit as ek
from expkit import distributed as dist
from expkit.distributed import ReduceOp
from expkit.distributed.nn import functional as F

N = 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, N, 2))  # of each rank: (N, 2)
SEED = RNG.standard_normal((N, N, N, 2))  # weights that make each rank's loss its own


def stack(xs):
    return ek.stack(list(xs))


# name: the collective on one rank, the same on the values of all ranks at once (rank first)
CASES = {
    "all_reduce": (lambda x: F.all_reduce(x), lambda xs: xs.sum(0, keepdim=True).expand(N, N, 2)),
    "all_reduce avg": (lambda x: F.all_reduce(x, ReduceOp.AVG), lambda xs: xs.mean(0, keepdim=True).expand(N, N, 2)),
    "all_reduce max": (lambda x: F.all_reduce(x, ReduceOp.MAX), lambda xs: xs.amax(0, keepdim=True).expand(N, N, 2)),
    "all_reduce min": (lambda x: F.all_reduce(x, ReduceOp.MIN), lambda xs: xs.amin(0, keepdim=True).expand(N, N, 2)),
    "all_reduce product": (
        lambda x: F.all_reduce(x, ReduceOp.PRODUCT),
        lambda xs: xs.prod(0, keepdim=True).expand(N, N, 2),
    ),
    "broadcast": (lambda x: F.broadcast(x, 1), lambda xs: xs[1:2].expand(N, N, 2)),
    "reduce": (lambda x: F.reduce(x, 2), lambda xs: ek.cat([ek.zeros_like(xs[:2]), xs.sum(0, keepdim=True)])),
    "gather": (
        lambda x: stack(F.gather(x, 1)),
        lambda xs: ek.stack([ek.zeros_like(xs), xs, ek.zeros_like(xs)]),
    ),
    "scatter": (lambda x: F.scatter(list(x.unbind(0)), 2), lambda xs: xs[2]),
    "all_gather": (lambda x: stack(F.all_gather(x)), lambda xs: xs.unsqueeze(0).expand(N, N, N, 2)),
    "reduce_scatter": (lambda x: F.reduce_scatter(None, list(x.unbind(0))), lambda xs: xs.sum(0)),
    "all_to_all": (lambda x: stack(F.all_to_all(None, list(x.unbind(0)))), lambda xs: xs.transpose(0, 1)),
    "all_to_all_single": (lambda x: F.all_to_all_single(None, x), lambda xs: xs.transpose(0, 1)),
}


def weights(rank, like):
    return ek.tensor(SEED[rank].reshape(-1)[: like.numel()].reshape(tuple(like.shape)))


def joint_loss(whole, xs):
    return sum((out.exp() * weights(rank, out)).sum() for rank, out in enumerate(whole(xs).unbind(0)))


def own_loss(collective, x):
    out = collective(x)
    return (out.exp() * weights(dist.get_rank(), out)).sum()


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_all_ranks_at_once(name):
    collective, whole = CASES[name]

    def rank():
        x = ek.tensor(X[dist.get_rank()], requires_grad=True)
        (g,) = ek.autograd.grad(own_loss(collective, x), x, create_graph=True)
        (h,) = ek.autograd.grad((g * g).sum(), x)
        return collective(x).detach().numpy(), g.detach().numpy(), h.numpy()

    values, first, second = zip(*dist.threads(rank, N), strict=True)
    xs = ek.tensor(X, requires_grad=True)
    (g,) = ek.autograd.grad(joint_loss(whole, xs), xs, create_graph=True)
    (h,) = ek.autograd.grad((g * g).sum(), xs)
    np.testing.assert_allclose(np.stack(values), whole(xs).detach().numpy())
    np.testing.assert_allclose(np.stack(first), g.detach().numpy())
    np.testing.assert_allclose(np.stack(second), h.numpy(), atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_forward_mode_and_vmap(name):
    collective, whole = CASES[name]
    tangents = RNG.standard_normal(X.shape)
    batch = RNG.standard_normal((4, *X.shape))

    def rank():
        r = dist.get_rank()
        pushed = ek.func.jvp(collective, (ek.tensor(X[r]),), (ek.tensor(tangents[r]),))[1]
        mapped = ek.vmap(collective)(ek.tensor(batch[:, r]))
        return pushed.numpy(), mapped.numpy()

    pushed, mapped = zip(*dist.threads(rank, N), strict=True)
    expected = ek.func.jvp(whole, (ek.tensor(X),), (ek.tensor(tangents),))[1]
    np.testing.assert_allclose(np.stack(pushed), expected.numpy())
    np.testing.assert_allclose(np.stack(mapped, 1), ek.vmap(whole)(ek.tensor(batch)).numpy())


def test_in_place_forms():
    def rank():
        r, n = dist.get_rank(), dist.get_world_size()
        x = ek.arange(n).double() + 10 * r
        y, z = x.clone(), x.clone()
        dist.all_reduce(y)
        dist.broadcast(z, src=1)
        parts = [ek.empty(n, dtype=ek.float64) for _ in range(n)]
        assert dist.all_gather(parts, x, async_op=True).wait()
        joined, stacked = ek.empty(n * n, dtype=ek.float64), ek.empty(n, n, dtype=ek.float64)
        dist.all_gather_into_tensor(joined, x)
        dist.all_gather_into_tensor(stacked, x)
        one, same, swapped, single = (ek.empty(k, dtype=ek.float64) for k in (1, 1, n, n))
        dist.reduce_scatter(one, list(x.chunk(n)))
        dist.reduce_scatter_tensor(same, x)
        dist.all_to_all(list(swapped.split(1)), list(x.split(1)))
        dist.all_to_all_single(single, x)
        dist.barrier()
        total, here = x.clone(), ek.zeros(n, dtype=ek.float64)
        dist.reduce(total, dst=1)
        dist.gather(x, parts if r == 2 else None, dst=2)
        dist.scatter(here, [x, x + 1, x + 2] if r == 0 else None, src=0)
        assert total.tolist() == (y.tolist() if r == 1 else x.tolist())
        assert here.tolist() == (ek.arange(n) + r).tolist()
        return [t.tolist() for t in (y, z, ek.stack(parts), joined, stacked, one, same, swapped, single)]

    whole = np.arange(N) + 10.0 * np.arange(N)[:, None]
    for r, found in enumerate(dist.threads(rank, N)):
        total, column = whole.sum(0), whole[:, r].tolist()
        assert found == [total.tolist(), whole[1].tolist(), whole.tolist(), whole.reshape(-1).tolist(), whole.tolist(),
                         [total[r]], [total[r]], column, column]  # fmt: skip


def test_a_world_of_one():
    assert dist.is_available()
    assert not dist.is_initialized()
    with pytest.raises(ValueError, match="no default group"):
        dist.get_rank()
    dist.init_process_group("local", world_size=1, rank=0)
    try:
        assert (dist.get_rank(), dist.get_world_size(), dist.get_backend()) == (0, 1, "local")
        x = ek.ones(2, requires_grad=True)
        (F.all_reduce(x) * F.all_gather(x)[0] * F.broadcast(x, 0)).sum().backward()
        assert x.grad.tolist() == [3.0, 3.0]
        with pytest.raises(ValueError, match="already"):
            dist.init_process_group()
    finally:
        dist.destroy_process_group()
    assert not dist.is_initialized()
    for wrong in ({"backend": "nccl"}, {"world_size": 2, "rank": 1}):
        with pytest.raises(ValueError, match="init_process_group"):
            dist.init_process_group(**wrong)


# ---- misuse ----------------------------------------------------------------------------------------------------------


def test_ranks_that_do_not_agree():
    with pytest.raises(dist.CollectiveError, match=r"rank 1.*all_reduce\(\(3,\), float32\)"):
        dist.threads(lambda: F.all_reduce(ek.ones(2 + dist.get_rank())), 2)
    with pytest.raises(dist.CollectiveError, match="given up"):
        dist.threads(lambda: dist.get_rank() or dist.barrier(), 2, timeout=0.2)


def test_the_error_of_a_rank_is_raised():
    def rank():
        if dist.get_rank() == 1:
            raise ZeroDivisionError("meant")
        dist.barrier()

    with pytest.raises(ZeroDivisionError, match="meant"):
        dist.threads(rank, 3)


def test_wrong_arguments():
    def rank():
        x = ek.ones(3)
        for call, kind in (
            (lambda: F.all_reduce(3.0), TypeError),
            (lambda: F.all_to_all_single(None, 3.0), TypeError),
            (lambda: F.all_reduce(x, "sum"), TypeError),
            (lambda: F.all_reduce(x, group=4), TypeError),
            (lambda: F.broadcast(x, 2), ValueError),
            (lambda: F.reduce(x, 0, ReduceOp.MAX), ValueError),
            (lambda: F.reduce_scatter(None, [x]), ValueError),
            (lambda: F.all_to_all_single(None, x), RuntimeError),
            (lambda: dist.all_gather([x], x), ValueError),
            (lambda: dist.gather(x, None if dist.get_rank() == 0 else [x, x], 0), ValueError),
            (lambda: dist.scatter(x, None if dist.get_rank() == 0 else [x, x], 0), ValueError),
            (lambda: dist.all_gather_into_tensor(x, x), RuntimeError),
            (lambda: dist.reduce_scatter_tensor(x, x), RuntimeError),
        ):
            with pytest.raises(kind):
                call()
            dist.barrier()

    dist.threads(rank, 2)
    with pytest.raises(ValueError, match="at least one"):
        dist.threads(rank, 0)
