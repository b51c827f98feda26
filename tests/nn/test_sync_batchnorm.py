"""SyncBatchNorm over ranks is one BatchNorm on their batches joined: values, running statistics, gradients."""

import numpy as np
import pytest

import expkit as ek
from expkit import distributed as dist
from expkit import nn

RNG = np.random.default_rng(0)
SHAPES = {"even": [(4, 3, 2, 2)] * 3, "uneven": [(1, 3, 5), (4, 3, 5), (2, 3, 5)], "two dims": [(1, 3)] * 4}


def seeded(module):
    with ek.no_grad():
        for i, p in enumerate(module.parameters()):
            p.copy_(ek.tensor(np.random.default_rng(i).standard_normal(tuple(p.shape))))
    return module.double()


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("name", SHAPES)
def test_as_one_batch_norm(name, affine, momentum):
    xs = [RNG.standard_normal(shape) for shape in SHAPES[name]]
    ws = [RNG.standard_normal(shape) for shape in SHAPES[name]]

    def rank():
        r = dist.get_rank()
        norm = seeded(nn.SyncBatchNorm(3, affine=affine, momentum=momentum))
        for _ in range(2):
            x = ek.tensor(xs[r], requires_grad=True)
            out = norm(x)
        (out * ek.tensor(ws[r])).sum().backward()
        norm.eval()
        again = norm(x)
        return [t.detach().numpy() for t in (out, x.grad, norm.running_mean, norm.running_var, again,
                                             *(p.grad for p in norm.parameters()))]  # fmt: skip

    found = dist.threads(rank, len(xs))
    one = seeded(
        {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[xs[0].ndim](3, affine=affine, momentum=momentum)
    )
    for _ in range(2):
        x = ek.tensor(np.concatenate(xs), requires_grad=True)
        out = one(x)
    (out * ek.tensor(np.concatenate(ws))).sum().backward()
    one.eval()
    close = lambda a, b: np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-9, atol=1e-10)  # noqa: E731
    for part, expected in ((0, out), (1, x.grad), (4, one(x))):
        close(np.concatenate([f[part] for f in found]), expected)
    for f in found:
        close(f[2], one.running_mean)
        close(f[3], one.running_var)
    for i, p in enumerate(one.parameters()):
        close(sum(f[5 + i] for f in found), p.grad)


def test_in_a_world_of_one_it_is_batch_norm():
    x = ek.randn(4, 3, 2)
    np.testing.assert_allclose(nn.SyncBatchNorm(3)(x).detach().numpy(), nn.BatchNorm1d(3)(x).detach().numpy())
    with pytest.raises(RuntimeError, match="dimensions"):
        nn.SyncBatchNorm(3)(ek.ones(3))


def test_one_value_in_all_is_refused():
    with pytest.raises(RuntimeError, match="more than 1 value"):
        dist.threads(lambda: nn.SyncBatchNorm(3)(ek.ones(1 - dist.get_rank(), 3)), 2)


def test_two_byte_floats_are_normalised_in_float32():
    def rank():
        ek.manual_seed(0)
        return nn.SyncBatchNorm(2, dtype=ek.bfloat16)(ek.full((4, 2), 100.0 + dist.get_rank(), dtype=ek.bfloat16)).dtype

    assert dist.threads(rank, 2) == [ek.bfloat16] * 2


def test_converting_a_model():
    net = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4, eps=0.1), nn.Sequential(nn.BatchNorm2d(2, affine=False))
    ).eval()
    keys = list(net.state_dict())
    made = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert made is net
    assert isinstance(net[1], nn.SyncBatchNorm)
    assert isinstance(net[2][0], nn.SyncBatchNorm)
    assert (net[1].eps, net[1].training, net[2][0].affine) == (0.1, False, False)
    assert list(net.state_dict()) == keys
    single = nn.BatchNorm1d(4)
    assert nn.SyncBatchNorm.convert_sync_batchnorm(single).weight is single.weight
