"""Banded matrices: what every resampling and averaging along one axis is."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np


class Taps:
    """A banded matrix (n_out, n_in): row i has weights[i, :counts[i]] from the column starts[i] on; both never fall.

    step: how far neighbouring taps lie apart, where several channels are interleaved.
    """

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
        transposed.__dict__["T"] = self
        return transposed

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
        return np.stack([self.starts, self.counts], 1).copy(), weights

    def spans(self, count: int) -> int:
        """How far, at most, the columns of `count` neighbouring rows reach."""
        first = np.arange(0, self.n_out, count)
        ends = np.maximum.reduceat(self.starts + (self.counts - 1) * self.step + 1, first)
        return int((ends - self.starts[first] + first % self.step).max())
