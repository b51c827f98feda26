"""Banded matrices: what every resampling and averaging along one axis is."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

Recipe = Callable[[Any], tuple[list[Any], list[Any]]]


class Taps:
    """A banded matrix (n_out, n_in): row i has weights[i, :counts[i]] from the column starts[i] on; both never fall.

    step: how far neighbouring taps lie apart, where several channels are interleaved.
    recipe: makes the same from (array library) -> columns and weights of each tap, for devices other than the CPU.
    """

    recipe: Recipe | None = None
    transposed = False  # the recipe is that of the transpose

    def __init__(self, n_in: int, starts: Any, counts: Any, weights: Any, step: int = 1) -> None:
        self.n_in, self.n_out, self.width, self.step = n_in, len(starts), weights.shape[1], step
        self.starts, self.counts = np.asarray(starts, np.int32), np.asarray(counts, np.int32)
        self.weights = np.where(np.arange(self.width) < self.counts[:, None], weights, 0.0)
        self.picks = bool((self.counts == 1).all() and (self.weights[:, 0] == 1).all())  # elements, as they are

    def __repr__(self) -> str:
        return f"{self.n_in}->{self.n_out}"

    @cached_property
    def T(self) -> Taps:
        """The transpose."""
        ends, columns = self.starts + self.counts, np.arange(self.n_in)
        first, last = np.searchsorted(ends, columns, "right"), np.searchsorted(self.starts, columns, "right")
        counts = np.maximum(last - first, 0)
        rows = np.minimum(first[:, None] + np.arange(max(1, counts.max())), self.n_out - 1)
        places = np.clip(columns[:, None] - self.starts[rows], 0, self.width - 1)
        transposed = Taps(self.n_out, np.minimum(first, self.n_out - 1), counts, self.weights[rows, places])
        transposed.recipe, transposed.transposed, transposed.__dict__["T"] = self.recipe, not self.transposed, self
        return transposed

    @classmethod
    def of(cls, n_in: int, recipe: Recipe) -> Taps:
        """From columns, which ascend and are clipped at the borders; the weights of equal columns add up."""
        columns, weights = recipe(np)
        at = np.clip(np.stack(columns, 1), 0, n_in - 1).astype(int)
        start = at[:, 0]
        total = np.zeros((len(start), int((at[:, -1] - start).max()) + 1))
        np.add.at(total, (np.arange(len(start))[:, None], at - start[:, None]), np.stack(weights, 1))
        made = cls(n_in, start, at[:, -1] - start + 1, total)
        made.recipe = recipe
        return made

    def matrix(self, xp: Any, dtype: Any) -> Any:
        """The whole matrix (n_out, n_in), made on the device."""
        if self.recipe is None:
            raise TypeError(f"the taps {self!r} have no recipe for other devices")
        n_in = self.n_out if self.transposed else self.n_in
        every: Any = xp.arange(n_in)
        total: Any = 0.0
        for column, weight in zip(*self.recipe(xp), strict=True):
            here = xp.clip(column, 0, n_in - 1).reshape(-1, 1) == every
            total = total + xp.where(here, weight.reshape(-1, 1), 0.0)
        return (total.T if self.transposed else total).astype(dtype)

    def interleaved(self, channels: int) -> Taps:
        """The same for each of some channels that lie side by side."""
        starts = (self.starts[:, None] * channels + np.arange(channels)).reshape(-1)
        counts, weights = (np.repeat(a, channels, axis=0) for a in (self.counts, self.weights))
        return Taps(self.n_in * channels, starts, counts, weights, channels)

    def tables(self, dtype: Any, *, by_tap: bool) -> tuple[Any, Any]:
        """(starts and counts, weights) as the kernels read them; `by_tap`: the first of all rows, the second, ..."""
        weights = self.weights.astype(dtype)
        if by_tap:
            return np.concatenate([self.starts, self.counts]), np.ascontiguousarray(weights.T)
        return np.stack([self.starts, self.counts], 1), weights

    def spans(self, count: int) -> int:
        """How far, at most, the columns of `count` neighbouring rows reach."""
        first = np.arange(0, self.n_out, count)
        ends = np.maximum.reduceat(self.starts + (self.counts - 1) * self.step + 1, first)
        return int((ends - self.starts[first] + first % self.step).max())
