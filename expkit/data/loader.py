"""DataLoader: batches of a dataset, epoch after epoch, in an order that is a function of (seed, epoch) only."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from expkit.data.collate import default_collate
from expkit.data.sampler import BatchSampler, RandomSampler, SequentialSampler
from expkit.errors import CheckpointError, DataError
from expkit.tensor import Generator


class DataLoader:
    """Batches of `dataset`; arguments as PyTorch's, and `seed` for the order (default: that of `manual_seed`).

    Batches are made in-process, so num_workers must be 0; pin_memory and worker_init_fn then make no difference.

    Each pass is an epoch with a permutation of its own where `shuffle`; `set_epoch` says which one comes next.
    `state_dict` holds the position: after `load_state_dict` the next pass goes on with the first batch not yet given.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        worker_init_fn: Callable[[int], None] | None = None,
        generator: Generator | None = None,
        seed: int | None = None,
    ) -> None:
        if num_workers != 0:
            raise DataError(f"num_workers={num_workers} cannot be: batches are made in-process. Set num_workers=0.")
        if sampler is not None and shuffle:
            raise DataError("DataLoader: a sampler decides on the order itself: leave out shuffle.")
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            raise DataError("DataLoader: a batch_sampler excludes batch_size, shuffle, sampler and drop_last.")
        if sampler is None:
            random = RandomSampler(dataset, generator=generator, seed=seed) if shuffle else None
            sampler = random or SequentialSampler(dataset)
        self.dataset, self.sampler, self.collate_fn = dataset, sampler, collate_fn
        self.batch_sampler = BatchSampler(sampler, batch_size, drop_last) if batch_sampler is None else batch_sampler
        self.batch_size = batch_size if batch_sampler is None else None
        self.drop_last, self.num_workers, self.generator = drop_last, num_workers, generator
        self.epoch = 0  # of the pass that is under way, or comes next
        self.position = 0  # batches of it that were handed out
        self._resuming = False  # the next pass starts at `position`

    def __len__(self) -> int:
        return len(self.batch_sampler)  # type: ignore[arg-type]

    def set_epoch(self, epoch: int) -> None:
        """The next pass is that of `epoch`: from its beginning, or from the position loaded for this same epoch."""
        if not (self._resuming and epoch == self.epoch):
            self.epoch, self.position, self._resuming = int(epoch), 0, False

    def state_dict(self) -> dict[str, int]:
        """{"epoch", "position"}: the pass under way and how many of its batches were handed out."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """The next pass goes on at the saved position. CheckpointError when it lies beyond the dataset's end."""
        epoch, position = int(state_dict["epoch"]), int(state_dict["position"])
        if not 0 <= position <= len(self):
            raise CheckpointError(
                f"DataLoader: {position} batches of epoch {epoch} were handed out, but an epoch has {len(self)}: "
                "the dataset or the batch size has changed since."
            )
        self.epoch, self.position, self._resuming = epoch, position, position > 0

    def __iter__(self) -> Iterator[Any]:
        if self.position and not self._resuming:  # the last pass was left early: a new one, in a new order
            self.epoch, self.position = self.epoch + 1, 0
        self._resuming = False
        for part in (self.sampler, self.batch_sampler):
            if hasattr(part, "set_epoch"):
                part.set_epoch(self.epoch)
        return self._batches(self.epoch, self.position)

    def _batches(self, epoch: int, start: int) -> Iterator[Any]:
        fetch = self._fetcher()
        sampler = self.batch_sampler
        indices = sampler.arrays() if hasattr(sampler, "arrays") else iter(sampler)
        for number, batch in enumerate(islice(indices, start, None), start + 1):
            self.epoch, self.position = epoch, number
            yield fetch(batch)
        self.epoch, self.position = epoch + 1, 0

    def _fetcher(self) -> Callable[[Any], Any]:
        """indices -> batch, the fastest way that the dataset offers."""
        dataset, collate = self.dataset, self.collate_fn or default_collate
        if self.collate_fn is None and hasattr(dataset, "batch"):
            return lambda indices: dataset.batch(np.asarray(indices, dtype=np.int64))
        if hasattr(dataset, "__getitems__"):
            return lambda indices: collate(dataset.__getitems__([int(i) for i in indices]))
        return lambda indices: collate([dataset[int(i)] for i in indices])
