"""Samplers: in which order the samples of an epoch come.

The built-in ones give the whole order of an epoch at once (`order()`, an int64 array), a pure function of a seed and
the number of the epoch. Without a seed of their own they use that of their generator, or of the default one
(`manual_seed`), and draw nothing from it.
"""

from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np

from expkit.data.order import permutation, seeded
from expkit.errors import DataError
from expkit.tensor import Generator, default_generator, rand, randint


class Sampler:
    """Base of all samplers: a subclass writes `__iter__` (over sample numbers) and `__len__`, or `order` alone."""

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose order comes next."""
        self.epoch = epoch

    def order(self) -> np.ndarray:
        """All sample numbers of the epoch: int64."""
        raise NotImplementedError(f"{type(self).__name__} has no order()")

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    def __len__(self) -> int:
        return len(self.order())


class SequentialSampler(Sampler):
    """0, 1, 2, ..."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def order(self) -> np.ndarray:
        return np.arange(len(self.data_source), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.data_source)


class _Seeded(Sampler):
    """A sampler whose order hangs on (seed, epoch)."""

    def __init__(self, generator: Generator | None, seed: int | None) -> None:
        self.generator, self._seed = generator, seed

    @property
    def seed(self) -> int:
        """The seed of the orders: the sampler's own, or its generator's, or that of `manual_seed`."""
        if self._seed is not None:
            return self._seed
        return (self.generator or default_generator).initial_seed()


class RandomSampler(_Seeded):
    """A new permutation of all samples every epoch; with `replacement` each one is drawn from all samples.

    `num_samples` (default: as many as there are) may exceed the dataset: further permutations follow.
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(generator, seed)
        if num_samples is not None and num_samples <= 0:
            raise DataError(f"RandomSampler: num_samples={num_samples} cannot be: it is above zero.")
        self.data_source, self.replacement, self._num_samples = data_source, replacement, num_samples

    @property
    def num_samples(self) -> int:
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def order(self) -> np.ndarray:
        n, wanted = len(self.data_source), self.num_samples
        if n == 0:
            return np.empty(0, dtype=np.int64)
        if self.replacement:
            return randint(0, n, (wanted,), generator=seeded(self.seed, self.epoch)).numpy()
        rounds = [permutation(n, self.seed, self.epoch, *([turn] if turn else [])) for turn in range(-(-wanted // n))]
        return np.concatenate(rounds)[:wanted]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(_Seeded):
    """A new permutation of `indices` every epoch."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None, seed: int | None = None) -> None:
        super().__init__(generator, seed)
        self.indices = indices

    def order(self) -> np.ndarray:
        indices = np.asarray(self.indices, dtype=np.int64)
        return indices[permutation(len(indices), self.seed, self.epoch)]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(_Seeded):
    """`num_samples` drawn with the given `weights` (they need not add up to 1)."""

    def __init__(
        self,
        weights: Any,
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(generator, seed)
        self.weights, self.num_samples, self.replacement = np.asarray(weights, np.float64), num_samples, replacement
        usable = np.isfinite(self.weights).all() and (self.weights >= 0).all() and self.weights.sum() > 0
        if self.weights.ndim != 1 or not usable:
            raise DataError("WeightedRandomSampler: weights are one number per sample, none negative, not all zero.")
        if not replacement and num_samples > np.count_nonzero(self.weights):
            raise DataError(
                f"WeightedRandomSampler: {num_samples} samples without replacement, but only "
                f"{np.count_nonzero(self.weights)} weights are above zero."
            )

    def order(self) -> np.ndarray:
        size = self.num_samples if self.replacement else len(self.weights)
        draws = rand(size, generator=seeded(self.seed, self.epoch)).numpy().astype(np.float64)
        if self.replacement:
            sums = np.cumsum(self.weights)
            return np.searchsorted(sums, draws * sums[-1], side="right").clip(0, len(sums) - 1)
        # The smallest of independent exponential waiting times win (Efraimidis and Spirakis, 2006).
        with np.errstate(divide="ignore"):
            waiting = -np.log1p(-draws) / self.weights
        waiting[self.weights == 0] = np.inf
        return np.argsort(waiting, kind="stable")[: self.num_samples]

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler:
    """Lists of `batch_size` sample numbers from `sampler`; `drop_last` leaves out a last, smaller one."""

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool = False) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            raise DataError(f"batch_size={batch_size!r} cannot be: it is a whole number above zero.")
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose order comes next, where the sampler cares."""
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def arrays(self) -> Iterator[np.ndarray]:
        """The batches as int64 arrays."""
        order = self.sampler.order() if hasattr(self.sampler, "order") else np.fromiter(self.sampler, np.int64)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield order[start : start + self.batch_size]

    def __iter__(self) -> Iterator[list[int]]:
        return (batch.tolist() for batch in self.arrays())

    def __len__(self) -> int:
        total = len(self.sampler)  # type: ignore[arg-type]
        return total // self.batch_size if self.drop_last else -(-total // self.batch_size)
