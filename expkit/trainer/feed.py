"""Loaders and batches: how many there are, on which device, in which precision."""

from collections.abc import Iterable, Mapping, Sized
from itertools import islice
from typing import Any

import numpy as np

from expkit import tree
from expkit.errors import ConfigError, DataError
from expkit.tensor import Tensor, as_tensor
from expkit.trainer.triggers import batch_limit


def move(batch: Any, device: Any, dtype: Any) -> Any:
    """`batch` with its tensors on `device` and its floating-point ones as `dtype`; NumPy arrays become tensors."""
    if isinstance(batch, Tensor):
        if batch.dtype is dtype or not batch.dtype.is_floating_point:
            return batch if batch.device == device else batch.to(device)
        return batch.to(device=device, dtype=dtype)
    if isinstance(batch, np.ndarray):
        return move(as_tensor(batch), device, dtype)
    if isinstance(batch, list | tuple):
        moved = [move(part, device, dtype) for part in batch]
        return type(batch)(*moved) if hasattr(batch, "_fields") else type(batch)(moved)
    if isinstance(batch, Mapping):
        return {key: move(part, device, dtype) for key, part in batch.items()}
    return batch


def batch_size(batch: Any) -> int:
    """The length of the first tensor in a batch; 1 where there is none."""
    for _, leaf in tree.items(dict(batch) if isinstance(batch, Mapping) else batch):
        if isinstance(leaf, Tensor | np.ndarray):
            return len(leaf) if leaf.ndim else 1
    return 1


def length(loader: Any) -> int | None:
    """The number of batches of a loader; None where it does not know."""
    try:
        return len(loader) if isinstance(loader, Sized) else None
    except TypeError:
        return None


def as_loaders(given: Any, what: str) -> list[Any]:
    """One loader, several in a list, or none, as a list of loaders."""
    if given is None:
        return []
    loaders = list(given) if isinstance(given, list | tuple) and _holds_loaders(given) else [given]
    for loader in loaders:
        if not isinstance(loader, Iterable):
            raise ConfigError(f"{what}: {type(loader).__name__} is no loader: it cannot be iterated over.")
    return loaders


def _holds_loaders(given: Any) -> bool:
    """A list of loaders, and not one loader that is a list of batches."""
    return len(given) > 0 and all(hasattr(item, "dataset") for item in given)


def limits(loaders: list[Any], limit: int | float, where: str) -> list[int | None]:
    """How many batches of each loader are used; None = all of one that does not know its length."""
    return [batch_limit(limit, length(loader), where) for loader in loaders]


def first_batch(loader: Any, what: str) -> Any:
    """The first batch of a loader, which can be iterated over anew afterwards. DataError when it has none."""
    for batch in loader:
        return batch
    raise DataError(f"{what} has no batches: the data set is empty, or smaller than a batch with drop_last.")


def restartable(loader: Any) -> bool:
    """Whether looking at a first batch leaves the loader as it was: not so for generators."""
    return not hasattr(loader, "__next__")


class FirstBatches:
    """The first `count` batches of epoch 0, the same ones and in the same order in each epoch (overfit_batches)."""

    def __init__(self, loader: Any, count: int | None) -> None:
        if hasattr(loader, "set_epoch"):
            loader.set_epoch(0)
        self.batches = list(islice(loader, count))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Any:
        return iter(self.batches)
