"""Headers: what can be said of data without reading its samples.

    with headers_only():
        data = build("data", {"name": "digits"})   # shapes, sizes, classes; samples are refused

A dataset writes `describe() -> Header`; one that does not is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from expkit.data.dataset import Dataset
from expkit.data.module import Task
from expkit.data.split import require_shares
from expkit.errors import DataError

_only: ContextVar[bool] = ContextVar("headers_only", default=False)


class Header(NamedTuple):
    """num_samples: of the whole source, or of its training part where the others are separate already.

    x_shape: of one sample. targets: classes, or numbers of a regression's target. num_val, num_test: None where these
    parts are shares of the source.
    """

    num_samples: int
    x_shape: tuple[int, ...]
    task: Task
    targets: int
    class_names: list[str] | None = None
    feature_names: list[str] | None = None
    num_val: int | None = None
    num_test: int | None = None


class Unread(Dataset):
    """So many samples of these shapes, of which only that is known."""

    def __init__(self, count: int, header: Header) -> None:
        self.count, self.header = count, header

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        """Arrays of the right shapes and dtypes, all of whose elements lie in one place and mean nothing."""
        regression = self.header.task == "regression"
        x = np.broadcast_to(np.zeros((), np.float32), self.header.x_shape)
        y = np.zeros((), np.float32 if regression else np.int64)
        shapes = {"regression": (self.header.targets,), "segmentation": self.header.x_shape[1:]}
        return x, np.broadcast_to(y, shapes.get(self.header.task, ()))

    def batch(self, indices: np.ndarray) -> Any:
        raise DataError("only the header of these data was read; there are no samples to take batches of.")


@contextmanager
def headers_only() -> Iterator[None]:
    """Within it registered datasets are built from their headers."""
    token = _only.set(True)
    try:
        yield
    finally:
        _only.reset(token)


def reading_headers() -> bool:
    """Whether that is so here."""
    return _only.get()


def divided_sizes(header: Header, val_fraction: float, test_fraction: float) -> tuple[int, int, int]:
    """How many samples are for training, validation and test.

    As `split` shares them out, but for classes of so few samples that one of them has to stay in training.
    """
    require_shares(
        0.0 if header.num_val is not None else val_fraction, 0.0 if header.num_test is not None else test_fraction
    )
    n = header.num_samples
    test = round(n * test_fraction) if header.num_test is None else 0
    val = round(n * val_fraction) if header.num_val is None else 0
    return n - test - val, header.num_val or val, header.num_test or test
