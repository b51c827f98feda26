"""Datasets and collation: indexing, concatenation, random splits, batches out of samples."""

from collections import namedtuple

import numpy as np
import pytest

import expkit as ek
from expkit.data import ConcatDataset, Dataset, Subset, TensorDataset, default_collate, random_split
from expkit.errors import DataError, ShapeError

Pair = namedtuple("Pair", "x y")


def counted(n, start=0):
    return TensorDataset(ek.arange(start, start + n))


def values(dataset):
    return [int(dataset[i][0]) for i in range(len(dataset))]


def test_samples_of_tensors():
    dataset = TensorDataset(ek.ones(3, 2), np.arange(3))
    x, y = dataset[1]
    assert (len(dataset), x.shape, int(y)) == (3, (2,), 1)
    assert [part.shape for part in dataset.batch(np.array([2, 0]))] == [(2, 2), (2,)]


@pytest.mark.parametrize("tensors", [(), (ek.ones(3), ek.ones(2)), (ek.tensor(1.0),)], ids=["none", "lengths", "0-d"])
def test_tensors_that_do_not_fit_together(tensors):
    with pytest.raises(ShapeError, match="first dimension"):
        TensorDataset(*tensors)


def test_one_after_the_other():
    both = counted(2) + counted(3, 10)
    assert isinstance(both, ConcatDataset)
    assert values(both) == [0, 1, 10, 11, 12]
    assert int(both[-1][0]) == 12
    for index in (5, -6):
        with pytest.raises(IndexError, match="5 samples"):
            both[index]
    with pytest.raises(DataError, match="at least one"):
        ConcatDataset([])


def test_subsets_of_subsets():
    inner = Subset(counted(6), [5, 3, 1])
    outer = Subset(inner, [2, 0])
    assert values(outer) == [1, 5]
    assert outer.batch(np.array([1, 0]))[0].tolist() == [5, 1]
    assert not hasattr(Subset(counted(2) + counted(2), [0]), "batch")


SPLITS = [([3, 7], [3, 7]), ([0.5, 0.5], [5, 5]), ([0.25, 0.25, 0.5], [3, 2, 5]), ([1.0], [10]), ([10, 0], [10, 0])]


@pytest.mark.parametrize(("lengths", "sizes"), SPLITS)
def test_random_splits(torch, lengths, sizes):
    parts = random_split(counted(10), lengths, generator=ek.Generator().manual_seed(4))
    assert [len(part) for part in parts] == sizes
    assert [len(part) for part in torch.utils.data.random_split(range(10), lengths)] == sizes
    found = [value for part in parts for value in values(part)]
    assert sorted(found) == list(range(10))
    assert found != list(range(10))
    again = random_split(counted(10), lengths, generator=ek.Generator().manual_seed(4))
    assert [part.indices for part in again] == [part.indices for part in parts]


@pytest.mark.parametrize("lengths", [[3, 3], [0.5, 0.6], [-1, 11], [0.5, 9.5], []])
def test_lengths_that_do_not_add_up(lengths):
    with pytest.raises(DataError, match="random_split"):
        random_split(counted(10), lengths)


@pytest.mark.parametrize("method", [len, lambda dataset: dataset[0]])
def test_the_base_says_what_is_missing(method):
    with pytest.raises(NotImplementedError, match="Mine has no"):
        method(type("Mine", (Dataset,), {})())


# ---------------------------------------------------------------------- collation

BATCHES = {
    "tensors": [ek.ones(2), ek.zeros(2)],
    "arrays": [np.ones(2, np.float32), np.zeros(2, np.float32)],
    "numpy numbers": [np.float32(1), np.float32(2)],
    "floats": [1.5, 2.5],
    "ints": [1, 2],
    "bools": [True, False],
    "pairs": [(np.ones(2), 3), (np.zeros(2), 4)],
    "lists": [[1.0, 2], [3.0, 4]],
    "mappings": [{"a": 1, "b": np.ones(1)}, {"a": 2, "b": np.zeros(1)}],
    "named tuples": [Pair(1, 2.0), Pair(3, 4.0)],
    "texts": ["a", "b"],
    "nested": [{"a": [(1, 2.0)]}, {"a": [(3, 4.0)]}],
}


def plain(tree):
    """Tensors as (dtype, values), so that ours and PyTorch's can be compared."""
    if hasattr(tree, "tolist"):
        return str(tree.dtype).split(".")[-1], tree.tolist()
    if isinstance(tree, dict):
        return {key: plain(value) for key, value in tree.items()}
    if isinstance(tree, tuple):
        return type(tree).__name__, [plain(value) for value in tree]
    return [plain(value) for value in tree] if isinstance(tree, list) else tree


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_collated_as_by_pytorch(torch, batch):
    theirs = [torch.tensor(item.numpy()) if isinstance(item, ek.Tensor) else item for item in batch]
    assert plain(default_collate(batch)) == plain(torch.utils.data.default_collate(theirs))


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ([ek.ones(2), ek.ones(3)], ShapeError, "sample 1 of a batch has shape"),
        ([(1, 2), (1,)], ShapeError, "entries each"),
        ([None, None], TypeError, "NoneType"),
        ([{1}, {2}], TypeError, "set"),
    ],
)
def test_samples_that_do_not_go_together(batch, error, message):
    with pytest.raises(error, match=message):
        default_collate(batch)
