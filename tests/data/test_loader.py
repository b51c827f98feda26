"""DataLoader: orders as functions of (seed, epoch), resume at every batch, uneven ends, and the ways to fetch."""

from itertools import chain

import numpy as np
import pytest

import expkit as ek
from expkit.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from expkit.errors import CheckpointError, DataError

N = 10


class Squares(Dataset):
    """Sample i is (i, i²): a dataset without a way to fetch batches."""

    def __len__(self):
        return N

    def __getitem__(self, index):
        return ek.tensor(float(index)), index * index


class Listed(Squares):
    """As Squares, with PyTorch's way to fetch several samples."""

    def __getitems__(self, indices):
        return [self[index] for index in indices]


def tensors():
    return TensorDataset(ek.arange(N).float(), ek.arange(N) ** 2)


def passed(loader):
    """The sample numbers of one pass, batch by batch."""
    batches = []
    for x, y in loader:
        assert (y == x.long() ** 2).all()
        batches.append([int(value) for value in x.tolist()])
    return batches


DATASETS = {
    "tensors": tensors,
    "by sample": Squares,
    "by list": Listed,
    "subset of tensors": lambda: Subset(ConcatDataset([tensors()]), range(N)),
    "subset by batch": lambda: Subset(tensors(), list(range(N))),
}


@pytest.mark.parametrize("make", DATASETS.values(), ids=DATASETS)
def test_every_kind_of_dataset_gives_the_same_batches(make):
    want = passed(DataLoader(tensors(), batch_size=4, shuffle=True, seed=5))
    assert passed(DataLoader(make(), batch_size=4, shuffle=True, seed=5)) == want
    assert sorted(chain(*want)) == list(range(N))
    x, y = next(iter(DataLoader(make(), batch_size=3)))
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((3,), ek.float32, (3,), ek.int64)


def test_the_order_hangs_on_seed_and_epoch_alone():
    def orders(seed, spoil=lambda: None):
        loader = DataLoader(tensors(), batch_size=4, shuffle=True, seed=seed)
        found = []
        for _ in range(3):
            spoil()
            found.append(passed(loader))
        return found

    first = orders(1)
    assert orders(1, spoil=lambda: ek.rand(7)) == first
    assert len({str(order) for order in first}) == 3
    assert orders(2) != first
    loader = DataLoader(tensors(), batch_size=4, shuffle=True, seed=1)
    for epoch in (2, 0, 1):
        loader.set_epoch(epoch)
        assert passed(loader) == first[epoch]


def test_without_a_seed_it_is_that_of_manual_seed_and_nothing_is_drawn():
    loader = DataLoader(tensors(), shuffle=True)
    ek.manual_seed(1)
    state = ek.get_rng_state()
    first = passed(loader)
    assert ek.get_rng_state() == state
    ek.manual_seed(2)
    loader.set_epoch(0)
    assert passed(loader) != first
    assert passed(DataLoader(tensors(), shuffle=True, generator=ek.Generator().manual_seed(1))) == first
    assert passed(DataLoader(tensors(), shuffle=True, seed=1)) == first


def test_large_orders_are_permutations_without_a_pattern():
    order = RandomSampler(range(20_000), seed=3).order()
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(20_000))
    assert abs(np.corrcoef(order, np.arange(20_000))[0, 1]) < 0.03


ENDS = [
    (4, False, [4, 4, 2]),
    (4, True, [4, 4]),
    (5, False, [5, 5]),
    (16, False, [10]),
    (16, True, []),
    (1, True, [1] * N),
]


@pytest.mark.parametrize(("size", "drop", "sizes"), ENDS)
def test_uneven_ends(size, drop, sizes):
    loader = DataLoader(tensors(), batch_size=size, drop_last=drop)
    assert [len(batch) for batch in passed(loader)] == sizes
    assert len(loader) == len(sizes)


@pytest.mark.parametrize("position", range(4))
def test_resumed_at_any_batch_it_gives_the_rest(position):
    loader = DataLoader(tensors(), batch_size=4, shuffle=True, seed=9)
    passed(loader)
    batches = iter(loader)
    for _ in range(position):
        next(batches)
    saved = loader.state_dict()
    rest = [x.tolist() for x, _ in batches]
    following = passed(loader)
    fresh = DataLoader(tensors(), batch_size=4, shuffle=True, seed=9)
    fresh.load_state_dict(saved)
    fresh.set_epoch(1)  # as a training loop does at the beginning of each epoch
    assert fresh.state_dict() == saved
    assert [x.tolist() for x, _ in fresh] == rest
    assert passed(fresh) == following


def test_a_second_resume_within_one_epoch():
    loader = DataLoader(tensors(), batch_size=2, shuffle=True, seed=9)
    whole = passed(loader)
    loader.set_epoch(0)
    for cut in (1, 3):
        batches = iter(loader)
        while loader.state_dict()["position"] < cut:
            next(batches)
        saved = loader.state_dict()
        loader = DataLoader(tensors(), batch_size=2, shuffle=True, seed=9)
        loader.load_state_dict(saved)
    assert passed(loader) == whole[3:]


def test_a_pass_that_was_left_early_is_followed_by_a_new_one():
    loader = DataLoader(tensors(), batch_size=4, shuffle=True, seed=9)
    orders = [passed(loader) for _ in range(2)]
    loader.set_epoch(0)
    next(iter(loader))
    assert passed(loader) == orders[1]
    loader.set_epoch(0)
    next(iter(loader))
    loader.set_epoch(0)
    assert passed(loader) == orders[0]


def test_another_epoch_forgets_the_loaded_position():
    loader = DataLoader(tensors(), batch_size=4)
    loader.load_state_dict({"epoch": 3, "position": 2})
    loader.set_epoch(4)
    assert len(passed(loader)) == 3


def test_a_position_beyond_the_end_is_refused():
    with pytest.raises(CheckpointError, match="7 batches of epoch 0"):
        DataLoader(tensors(), batch_size=4).load_state_dict({"epoch": 0, "position": 7})


def test_batches_are_copies():
    dataset = tensors()
    x, _ = next(iter(DataLoader(dataset, batch_size=4)))
    x.fill_(7)
    assert dataset.tensors[0].tolist() == list(range(N))


def test_a_collate_fn_gets_the_samples():
    loader = DataLoader(tensors(), batch_size=4, collate_fn=lambda samples: [int(x) for x, _ in samples])
    assert list(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_samplers_of_ones_own():
    assert passed(DataLoader(tensors(), batch_size=2, sampler=[3, 1, 7])) == [[3, 1], [7]]
    assert passed(DataLoader(tensors(), batch_sampler=[[1], [2, 3]])) == [[1], [2, 3]]
    random = SubsetRandomSampler([2, 4, 6], seed=1)
    loader = DataLoader(tensors(), batch_sampler=BatchSampler(random, 2))
    first = passed(loader)
    assert sorted(chain(*first)) == [2, 4, 6]
    assert {str(passed(loader)) for _ in range(8)} != {str(first)}  # new orders as the epochs go on


def test_arguments_for_workers_make_no_difference():
    ours = DataLoader(tensors(), batch_size=4, num_workers=0, pin_memory=True, worker_init_fn=print)
    assert passed(ours) == passed(DataLoader(tensors(), batch_size=4))


WRONG = [
    ({"num_workers": 2}, "num_workers=2"),
    ({"shuffle": True, "sampler": [1]}, "leave out shuffle"),
    ({"batch_sampler": [[1]], "batch_size": 3}, "excludes"),
    ({"batch_size": 0}, "batch_size=0"),
    ({"batch_size": 2.5}, "batch_size=2.5"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_arguments(arguments, message):
    with pytest.raises(DataError, match=message):
        DataLoader(tensors(), **arguments)


# ---------------------------------------------------------------------- samplers


def test_sequential_and_batches():
    assert list(SequentialSampler(range(5))) == [0, 1, 2, 3, 4]
    assert list(BatchSampler(SequentialSampler(range(5)), 2)) == [[0, 1], [2, 3], [4]]
    assert list(BatchSampler([5, 6, 7], 2, drop_last=True)) == [[5, 6]]


def test_random_with_another_number_of_samples():
    twice = list(RandomSampler(range(5), num_samples=12, seed=0))
    assert [sorted(twice[:5]), sorted(twice[5:10])] == [[0, 1, 2, 3, 4]] * 2
    assert twice[:5] != twice[5:10]
    assert len(twice) == 12
    assert len(list(RandomSampler(range(5), num_samples=3, seed=0))) == 3
    assert list(RandomSampler([], seed=0)) == []


def test_random_with_replacement():
    drawn = np.array(list(RandomSampler(range(4), replacement=True, num_samples=4000, seed=0)))
    assert np.bincount(drawn).min() > 800
    assert len(np.bincount(drawn)) == 4


def test_weighted_draws_follow_the_weights():
    drawn = list(WeightedRandomSampler([1, 0, 3], 4000, seed=0))
    counts = np.bincount(drawn, minlength=3) / 4000
    assert counts == pytest.approx([0.25, 0, 0.75], abs=0.03)


def test_weighted_draws_without_replacement():
    firsts = []
    for seed in range(300):
        drawn = list(WeightedRandomSampler([1, 0, 3, 0.001], 3, replacement=False, seed=seed))
        assert sorted(drawn) == [0, 2, 3]
        firsts.append(drawn[0])
    assert np.mean(np.array(firsts) == 2) == pytest.approx(0.75, abs=0.07)


WRONG_WEIGHTS = [
    ([-1, 1], 1, True),
    ([0, 0], 1, True),
    ([float("nan"), 1], 1, True),
    ([1, 0, 1], 3, False),
    ([[1]], 1, True),
]


@pytest.mark.parametrize(("weights", "count", "replacement"), WRONG_WEIGHTS)
def test_weights_that_cannot_be_drawn_by(weights, count, replacement):
    with pytest.raises(DataError, match="WeightedRandomSampler"):
        WeightedRandomSampler(weights, count, replacement)
