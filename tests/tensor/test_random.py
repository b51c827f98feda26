"""Random numbers: Philox by its published vectors, the generator's two integers, distributions."""

import numpy as np
import pytest

import expkit as ek
from expkit.tensor.ops import generator as engine

# Random123's known answers for philox4x32-10 (Salmon et al., SC 2011): counter, key -> result.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def block(counter, key):
    words = engine.rounds(tuple(np.array([c], np.uint64) for c in counter), key[0] | key[1] << 32)
    return tuple(int(w[0]) for w in words)


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_philox_gives_the_published_words(counter, key, result):
    assert block(counter, key) == result


def test_a_draw_is_one_block_after_the_other():
    words = engine.philox(0, 0, 8)
    assert tuple(words[:4].tolist()) == KNOWN[0][2]
    assert (engine.philox(0, 1, 4) == words[4:]).all()
    assert (engine.philox(0, 0, 5) == words[:5]).all()
    key = (0xA4093822, 0x299F31D0)
    assert tuple(engine.philox(key[0] | key[1] << 32, 5 + (1 << 32), 4).tolist()) == block((5, 1, 0, 0), key)


# ---- the generator ---------------------------------------------------------------------------------------------------


def test_a_generators_state_is_two_integers():
    g = ek.Generator().manual_seed(7)
    assert g.get_state() == (7, 0)
    ek.rand(5, generator=g)
    assert g.get_state() == (7, 2)
    state = g.get_state()
    first = ek.rand(5, generator=g)
    g.set_state(state)
    assert (ek.rand(5, generator=g) == first).all()
    assert g.initial_seed() == 7
    assert "seed=7" in repr(g)


def test_manual_seed_starts_again():
    ek.manual_seed(3)
    a = ek.randn(4)
    b = ek.randn(4)
    ek.manual_seed(3)
    assert (ek.randn(4) == a).all()
    assert not (a == b).any()
    assert ek.initial_seed() == 3
    state = ek.get_rng_state()
    c = ek.rand(2)
    ek.set_rng_state(state)
    assert (ek.rand(2) == c).all()


def test_generators_do_not_disturb_each_other():
    ek.manual_seed(0)
    expected = ek.rand(3)
    ek.manual_seed(0)
    ek.rand(100, generator=ek.Generator().manual_seed(1))
    assert (ek.rand(3) == expected).all()


def test_seeds():
    a, b = ek.Generator(), ek.Generator()
    assert a.seed() != b.seed()
    assert ek.Generator().manual_seed(-1).get_state()[0] == 2**64 - 1
    assert ek.Generator().manual_seed(np.int64(5)).get_state()[0] == 5
    for wrong in ("1", 1.5, None, True):
        with pytest.raises(TypeError, match="seed must be an int"):
            ek.manual_seed(wrong)


def test_a_wrong_state_is_refused():
    for wrong in (None, 3, (1,), (1, 2, 3), ("a", "b")):
        with pytest.raises((TypeError, ValueError)):
            ek.Generator().set_state(wrong)


@pytest.mark.parametrize("draw", [ek.rand, ek.randn], ids=["rand", "randn"])
@pytest.mark.parametrize("dtype", [ek.float32, ek.float64, ek.bfloat16, ek.float16], ids=str)
def test_values_depend_on_the_logical_index_only(draw, dtype):
    g = ek.Generator()
    flat = draw(24, generator=g.manual_seed(1), dtype=dtype)
    assert flat.dtype is dtype
    assert (draw(2, 3, 4, generator=g.manual_seed(1), dtype=dtype).flatten() == flat).all()
    assert (draw(7, generator=g.manual_seed(1), dtype=dtype) == flat[:7]).all()


def test_nothing_is_drawn_for_an_empty_tensor():
    g = ek.Generator().manual_seed(1)
    assert ek.rand(0, 3, generator=g).shape == (0, 3)
    assert g.get_state() == (1, 0)


# ---- distributions ---------------------------------------------------------------------------------------------------

N = 40_000


def close_to_uniform(values, low, high):
    """Kolmogorov and Smirnov: the largest distance to the uniform distribution, at the 0.1 % level."""
    ordered = (np.sort(values) - low) / (high - low)
    steps = np.arange(1, len(ordered) + 1) / len(ordered)
    return np.abs(ordered - steps).max() < 1.95 / np.sqrt(len(ordered)) + 1 / len(ordered)


@pytest.mark.parametrize("dtype", [ek.float32, ek.float64], ids=str)
def test_rand_is_uniform(dtype):
    u = ek.rand(N, generator=ek.Generator().manual_seed(11), dtype=dtype).numpy().astype(float)
    assert u.min() >= 0.0
    assert u.max() < 1.0
    assert close_to_uniform(u, 0.0, 1.0)
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.02


@pytest.mark.parametrize("dtype", [ek.float16, ek.bfloat16], ids=str)
def test_rand_in_two_bytes_stays_below_one(dtype):
    u = ek.rand(N, generator=ek.Generator().manual_seed(2), dtype=dtype).float().numpy()
    assert u.min() >= 0.0
    assert u.max() < 1.0
    assert abs(u.mean() - 0.5) < 0.01


@pytest.mark.parametrize("dtype", [ek.float32, ek.float64, ek.bfloat16], ids=str)
def test_randn_is_normal(dtype):
    z = ek.randn(N, generator=ek.Generator().manual_seed(12), dtype=dtype).double().numpy()
    assert np.isfinite(z).all()
    assert abs(z.mean()) < 4 / np.sqrt(N)
    assert abs(z.std() - 1) < 0.02
    assert abs((z**3).mean()) < 0.08
    assert abs((z**4).mean() - 3) < 0.2
    for edge, share in ((1.0, 0.31731), (2.0, 0.0455), (3.0, 0.0027)):
        assert abs((np.abs(z) > edge).mean() - share) < 4 * np.sqrt(share / N) + (0.005 if dtype is ek.bfloat16 else 0)


def test_randint_covers_its_range_evenly():
    x = ek.randint(-3, 4, (N,), generator=ek.Generator().manual_seed(5))
    assert x.dtype is ek.int64
    counts = np.bincount(x.numpy() + 3, minlength=7)
    assert len(counts) == 7
    assert ((counts - N / 7) ** 2 / (N / 7)).sum() < 25
    assert ek.randint(5, (2, 2), dtype=ek.uint8).dtype is ek.uint8
    big = ek.randint(0, 2**62, (1000,)).numpy()
    assert big.max() > 2**61


def test_randperm_is_a_permutation():
    seen = {tuple(ek.randperm(3).tolist()) for _ in range(100)}
    assert len(seen) == 6
    assert sorted(ek.randperm(100).tolist()) == list(range(100))
    assert ek.randperm(0).shape == (0,)
    assert ek.randperm(4, dtype=ek.int32).dtype is ek.int32


def test_bernoulli():
    p = ek.tensor([0.0, 0.25, 1.0]).reshape(3, 1).expand(3, N)
    draws = ek.bernoulli(p, generator=ek.Generator().manual_seed(3))
    assert draws.dtype is ek.float32
    means = draws.mean(1).tolist()
    assert (means[0], means[2]) == (0.0, 1.0)
    assert abs(means[1] - 0.25) < 0.01
    assert set(ek.zeros(50).bernoulli_(0.5).tolist()) == {0.0, 1.0}


def test_normal_and_in_place_fills():
    g = ek.Generator()
    x = ek.normal(ek.full((N,), 2.0), 3.0, generator=g.manual_seed(1)).numpy()
    assert abs(x.mean() - 2) < 0.06
    assert abs(x.std() - 3) < 0.06
    assert ek.normal(1.0, 2.0, (3, 2)).shape == (3, 2)
    u = ek.zeros(N).uniform_(-2.0, 3.0, generator=g.manual_seed(2)).numpy()
    assert close_to_uniform(u, -2, 3)
    z = ek.zeros(N).normal_(5.0, 0.5, generator=g.manual_seed(3)).numpy()
    assert abs(z.mean() - 5) < 0.02
    w = ek.zeros(1000, dtype=ek.int64).random_(3, 6)
    assert set(w.tolist()) == {3, 4, 5}
    with pytest.raises(TypeError, match="size"):
        ek.normal(0.0, 1.0)


def test_multinomial():
    weights = ek.tensor([0.0, 1.0, 3.0])
    draws = ek.multinomial(weights, N, replacement=True, generator=ek.Generator().manual_seed(4)).numpy()
    share = np.bincount(draws, minlength=3) / N
    np.testing.assert_allclose(share, [0, 0.25, 0.75], atol=0.01)
    rows = ek.multinomial(ek.ones(5, 4), 4)
    assert all(sorted(row) == [0, 1, 2, 3] for row in rows.tolist())
    first = np.array([ek.multinomial(ek.tensor([1.0, 3.0]), 2).tolist()[0] for _ in range(2000)])
    assert abs((first == 1).mean() - 0.75) < 0.05
    with pytest.raises(RuntimeError, match="without replacement"):
        ek.multinomial(ek.ones(2), 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ek.rand(2, dtype=ek.int64),
        lambda: ek.randn(2, dtype=ek.bool),
        lambda: ek.randint(3, 3, (2,)),
        lambda: ek.randint(0, 5),
        lambda: ek.randperm(-1),
        lambda: ek.rand(-1),
        lambda: ek.multinomial(ek.tensor([-1.0, 2.0]), 1),
        lambda: ek.multinomial(ek.zeros(2), 1),
        lambda: ek.multinomial(ek.ones(2), 0),
        lambda: ek.multinomial(ek.ones(2, 2, 2), 1),
        lambda: ek.bernoulli(ek.tensor([1.5])),
        lambda: ek.bernoulli(ek.tensor([1])),
        lambda: ek.zeros(2).uniform_(2.0, 1.0),
        lambda: ek.zeros(2).normal_(0.0, -1.0),
        lambda: ek.zeros(2).bernoulli_(1.5),
        lambda: ek.normal(ek.zeros(2), -1.0),
        lambda: ek.rand(2, generator=3),
    ],
)
def test_wrong_arguments_are_refused(call):
    with pytest.raises((TypeError, ValueError, RuntimeError)) as caught:
        call()
    assert str(caught.value)


# ---- distributions ---------------------------------------------------------------------------------------------------

N = 40_000
FILLS = {  # (call on a tensor of N elements, mean, standard deviation)
    "exponential_": (lambda x: x.exponential_(2.0), 0.5, 0.5),
    "log_normal_": (lambda x: x.log_normal_(0.0, 0.5), 1.1331, 0.6039),
    "geometric_": (lambda x: x.geometric_(0.25), 4.0, 3.4641),
    "uniform_": (lambda x: x.uniform_(-1, 3), 1.0, 1.1547),
    "uniform_ by name": (lambda x: x.uniform_(**{"from": -1, "to": 3}), 1.0, 1.1547),
    "normal_": (lambda x: x.normal_(2, 3), 2.0, 3.0),
    "random_": (lambda x: x.random_(2, 6), 3.5, 1.1180),
    "bernoulli_": (lambda x: x.bernoulli_(0.3), 0.3, 0.4583),
    "bernoulli_ of a tensor": (lambda x: x.bernoulli_(ek.tensor([0.3], dtype=ek.float64)), 0.3, 0.4583),
    "poisson, small rate": (lambda x: ek.poisson(x.fill_(3.0)), 3.0, 1.7321),
    "poisson, large rate": (lambda x: ek.poisson(x.fill_(60.0)), 60.0, 7.7460),
    "bernoulli with p": (lambda x: ek.bernoulli(x, 0.3), 0.3, 0.4583),
    "randint_like": (lambda x: ek.randint_like(x, 2, 6), 3.5, 1.1180),
}


@pytest.mark.parametrize("name", FILLS)
@pytest.mark.parametrize("dtype", [ek.float64, ek.float32])
def test_moments(name, dtype):
    fill, mean, std = FILLS[name]
    ek.manual_seed(11)
    x = fill(ek.zeros(N, dtype=dtype)).double()
    assert abs(x.mean().item() - mean) < 5 * std / N**0.5
    assert abs(x.std().item() / std - 1) < 0.05


def test_cauchy_has_its_quartiles():
    ek.manual_seed(11)
    x = ek.zeros(N, dtype=ek.float64).cauchy_(1.0, 2.0)
    assert np.allclose(ek.quantile(x, ek.tensor([0.25, 0.5, 0.75], dtype=ek.float64)).tolist(), [-1, 1, 3], atol=0.1)


def test_poisson_counts_as_often_as_it_should():
    ek.manual_seed(5)
    for rate in (0.5, 12.0):
        counts = ek.bincount(ek.poisson(ek.full((N,), rate)).long(), minlength=40)[:40].double() / N
        k = ek.arange(40, dtype=ek.float64)
        expected = ek.exp(k * np.log(rate) - rate - ek.lgamma(k + 1))
        assert (counts - expected).abs().max().item() < 0.01


def test_complex_normals_have_variance_one():
    ek.manual_seed(5)
    x = ek.randn(N, dtype=ek.complex64)
    assert abs((x.abs() ** 2).mean().item() - 1) < 0.05
    assert abs(x.real.var().item() - 0.5) < 0.05


@pytest.mark.parametrize("draw", [ek.bernoulli, ek.poisson, lambda x: ek.normal(x, 0.1), lambda x: ek.normal(0.0, x)])
def test_a_draw_has_gradient_zero(draw):
    x = ek.full((3,), 0.5, requires_grad=True)
    draw(x).sum().backward()
    assert x.grad.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: ek.zeros(2).exponential_(-1), ValueError),
        (lambda: ek.zeros(2).cauchy_(0, 0), ValueError),
        (lambda: ek.zeros(2).log_normal_(0, -1), ValueError),
        (lambda: ek.zeros(2).geometric_(1.5), ValueError),
        (lambda: ek.zeros(2).uniform_(1, 0), ValueError),
        (lambda: ek.zeros(2, dtype=ek.int64).uniform_(), TypeError),
        (lambda: ek.zeros(2).random_(3, 3), RuntimeError),
        (lambda: ek.zeros(2).bernoulli_(ek.rand(3)), RuntimeError),
        (lambda: ek.randint_like(ek.zeros(2), 3, 3), RuntimeError),
        (lambda: ek.randint(0, 300, (2,), dtype=ek.uint8), RuntimeError),
        (lambda: ek.poisson(ek.tensor([-1.0])), RuntimeError),
        (lambda: ek.rand(2, size=(2,)), TypeError),
        (lambda: ek.rand(2, shape=(2,)), TypeError),
        (lambda: ek.normal(0.0, -1.0, (2,)), RuntimeError),
        (lambda: ek.bernoulli(ek.rand(2), 1.5), ValueError),
    ],
)
def test_what_is_no_distribution_is_refused(call, error):
    with pytest.raises(error):
        call()


def test_sizes_may_be_named():
    assert ek.rand(size=(2, 3)).shape == ek.randn(size=(2, 3)).shape == (2, 3)


def test_seed_takes_entropy():
    assert ek.seed() != ek.seed()
