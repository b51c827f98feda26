"""Splits: disjoint, complete, stratified, a function of the seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expkit.data.order import mixed, permutation
from expkit.data.split import split
from expkit.errors import ConfigError

fractions = st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.3, 0.45])


@settings(deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=80),
    val=fractions,
    test=fractions,
    seed=st.integers(0, 2**40),
)
def test_every_sample_is_in_one_part_and_classes_are_shared_out(labels, val, test, seed):
    classes = np.array(labels)
    parts = split(len(labels), val, test, seed, classes)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for part in parts:
        assert (np.diff(part) > 0).all()
    for kind, count in zip(*np.unique(classes, return_counts=True), strict=True):
        train, val_part, test_part = (int((classes[part] == kind).sum()) for part in parts)
        assert train >= 1
        assert abs(test_part - test * count) <= 1.5
        assert val_part <= val * count + 1.5
        if count > 10:
            assert abs(val_part - val * count) <= 1.5


@settings(deadline=None)
@given(n=st.integers(1, 200), val=fractions, test=fractions)
def test_without_classes_the_sizes_are_exact(n, val, test):
    parts = split(n, val, test, 0)
    if n > 20:
        assert [len(parts.val), len(parts.test)] == [round(n * val), round(n * test)]
    assert len(parts.train) >= 1


def test_the_seed_decides():
    a, b, c = split(100, 0.1, 0.2, 1), split(100, 0.1, 0.2, 1), split(100, 0.1, 0.2, 2)
    assert all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))
    assert not np.array_equal(a.test, c.test)


def test_the_order_is_the_same_on_every_machine():
    assert [mixed(0), mixed(1, 2)] == [8147104208329303767, 6804074658870690613]
    assert permutation(10, 1, 2).tolist() == [6, 7, 3, 9, 0, 8, 1, 4, 5, 2]


def test_seeds_and_epochs_do_not_collide():
    seeds = {mixed(seed, epoch) for seed in range(100) for epoch in range(100)}
    assert len(seeds) == 10_000
    assert mixed(1, 2) != mixed(2, 1)
    assert mixed(5) != mixed(5, 0)
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(("val", "test"), [(1.0, 0.0), (-0.1, 0.0), (0.0, 1.5), (0.6, 0.4), (float("nan"), 0.0)])
def test_shares_that_cannot_be(val, test):
    with pytest.raises(ConfigError, match="fraction"):
        split(10, val, test, 0)
