"""Datasets: samples by number. A dataset with a `batch` method gives whole batches, which is much faster."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from expkit.errors import DataError, ShapeError
from expkit.tensor import Generator, Tensor, as_tensor, randperm


class Dataset:
    """Samples by number: a subclass writes `__len__` and `__getitem__(index) -> (x, y)`.

    Optional, for speed: `batch(indices)` with an int64 array gives what `default_collate` would make of these samples;
    `__getitems__(indices)` gives the list of samples.
    """

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} has no __len__")

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__")

    def __add__(self, other: "Dataset") -> "ConcatDataset":
        return ConcatDataset([self, other])


class TensorDataset(Dataset):
    """Samples along the first dimension of tensors (or arrays) of equal length. ShapeError when they differ."""

    def __init__(self, *tensors: Any) -> None:
        self.tensors: tuple[Tensor, ...] = tuple(as_tensor(tensor) for tensor in tensors)
        lengths = [tensor.shape[0] if tensor.ndim else None for tensor in self.tensors]
        if not tensors or None in lengths or len(set(lengths)) > 1:
            raise ShapeError(f"TensorDataset needs tensors with one first dimension in common, got lengths {lengths}.")

    def __len__(self) -> int:
        return self.tensors[0].shape[0]

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def batch(self, indices: np.ndarray) -> list[Tensor]:
        """The samples of `indices`, stacked: one copy for each tensor."""
        return [tensor[indices] for tensor in self.tensors]


class Subset(Dataset):
    """The samples of `dataset` at `indices`, in that order."""

    def __init__(self, dataset: Any, indices: Sequence[int] | np.ndarray) -> None:
        self.dataset, self.indices = dataset, indices
        self._order = np.asarray(indices, dtype=np.int64)
        if hasattr(dataset, "batch"):
            self.batch = self._batch

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self._order[index])]

    def _batch(self, indices: np.ndarray) -> Any:
        return self.dataset.batch(self._order[indices])


class ConcatDataset(Dataset):
    """The samples of several datasets, one after the other."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise DataError("ConcatDataset needs at least one dataset.")
        self.cumulative_sizes = list(accumulate(len(dataset) for dataset in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"sample {index} of a dataset with {len(self)} samples")
        which = bisect_right(self.cumulative_sizes, position)
        return self.datasets[which][position - (self.cumulative_sizes[which - 1] if which else 0)]


def random_split(dataset: Any, lengths: Sequence[int | float], generator: Generator | None = None) -> list[Subset]:
    """Subsets of the given lengths, or fractions that add up to 1, drawn without repetition.

    Samples that fractions leave over go to the subsets in turn. DataError when the lengths do not add up.
    """
    total = len(dataset)
    sizes = _sizes(total, lengths)
    order = randperm(total, generator=generator).numpy()
    ends = list(accumulate(sizes))
    return [Subset(dataset, order[end - size : end].tolist()) for size, end in zip(sizes, ends, strict=True)]


def _sizes(total: int, lengths: Sequence[int | float]) -> list[int]:
    if abs(sum(lengths) - 1) < 1e-6 and all(0 <= length <= 1 for length in lengths):
        sizes = [int(total * fraction) for fraction in lengths]
        for turn in range(total - sum(sizes)):
            sizes[turn % len(sizes)] += 1
    else:
        sizes = [int(length) for length in lengths]
        whole = all(size == length >= 0 for size, length in zip(sizes, lengths, strict=True))
        sizes = sizes if whole else []
    if not sizes or sum(sizes) != total:
        raise DataError(
            f"random_split: {list(lengths)} is neither lengths that add up to {total} (the dataset) nor fractions "
            "that add up to 1."
        )
    return sizes
