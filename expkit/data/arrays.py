"""Arrays in, DataModule out: splitting, standardising and checking, for every dataset that fits in memory."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from expkit.data.dataset import TensorDataset
from expkit.data.header import Header, Unread, divided_sizes, reading_headers
from expkit.data.module import DataModule, Task
from expkit.data.split import split
from expkit.data.transforms import Standardize
from expkit.errors import DataError
from expkit.tensor import from_numpy


class Part(NamedTuple):
    """Samples x (n, ...) and targets y: class numbers (n,), of pixels (n, height, width), regression targets (n, k)."""

    x: np.ndarray
    y: np.ndarray


@dataclass
class Source:
    """What was read: everything to be split, or parts that are separate already (`val`, `test`)."""

    data: Part
    task: Task
    class_names: list[str] | None = None
    feature_names: list[str] | None = None
    val: Part | None = None
    test: Part | None = None


class ArrayData(DataModule):
    """A DataModule out of arrays: a subclass writes `read() -> Source`, and arguments of its own if it has any.

    batch_size: samples of a training step. val_fraction, test_fraction: shares of all samples (where the source has no
    such part already), stratified by class. seed: of the split alone, so the same samples are tested whatever the run's
    seed. normalize: inputs to mean 0 and deviation 1, and the targets of a regression as well, by the training part.
    drop_last: leave out the last training batch where it is smaller.
    """

    def __init__(
        self,
        batch_size: int = 64,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        seed: int = 42,
        normalize: bool = True,
        drop_last: bool = False,
    ) -> None:
        if reading_headers():
            self._know(self.describe(), batch_size, val_fraction, test_fraction, drop_last)
            return
        source = self.read()
        self._check(source)
        train, val, test = divided(source, val_fraction, test_fraction, seed)
        if normalize:
            self.input_transform = Standardize.fit(train.x)
            if source.task == "regression":
                self.target_transform = Standardize.fit(train.y)
        super().__init__(
            self._dataset(train, source.task),
            self._dataset(val, source.task) if val is not None else None,
            self._dataset(test, source.task) if test is not None else None,
            task=source.task,
            class_names=source.class_names,
            batch_size=batch_size,
            drop_last=drop_last,
        )
        self.feature_names = source.feature_names

    def _check(self, source: Source) -> None:
        for name, part in (("data", source.data), ("val", source.val), ("test", source.test)):
            if part is not None and len(part.x) != len(part.y):
                raise DataError(
                    f"{type(self).__name__}.read() gave {len(part.x)} samples x and {len(part.y)} targets y as {name}: "
                    "there must be as many."
                )

    def read(self) -> Source:
        """The samples, as they are in the source."""
        raise NotImplementedError(f"{type(self).__name__} has no read()")

    def describe(self) -> Header:
        """What is known without the samples; unless a subclass finds it out more cheaply, they are read."""
        source = self.read()
        x, y = source.data
        targets = y.shape[1] if source.task == "regression" else len(source.class_names or ())
        val, test = (None if part is None else len(part.x) for part in (source.val, source.test))
        return Header(len(x), x.shape[1:], source.task, targets, source.class_names, source.feature_names, val, test)

    def _know(
        self, header: Header, batch_size: int, val_fraction: float, test_fraction: float, drop_last: bool
    ) -> None:
        """As a DataModule whose samples were not read."""
        parts = [Unread(n, header) if n else None for n in divided_sizes(header, val_fraction, test_fraction)]
        if parts[0] is None:
            raise DataError("there are no samples to train on.")
        super().__init__(
            *parts,
            task=header.task,
            output_size=header.targets,
            class_names=header.class_names,
            batch_size=batch_size,
            drop_last=drop_last,
        )
        self.feature_names = header.feature_names

    def _dataset(self, part: Part, task: Task) -> TensorDataset:
        x = self.input_transform(part.x) if self.input_transform else part.x.astype(np.float32)
        if part.y.ndim == 1 or task == "segmentation":
            y = part.y.astype(np.int64)
        else:
            y = self.target_transform(part.y) if self.target_transform else part.y.astype(np.float32)
        return TensorDataset(from_numpy(x), from_numpy(y))


def divided(
    source: Source, val_fraction: float, test_fraction: float, seed: int
) -> tuple[Part, Part | None, Part | None]:
    """Training, validation and test part; empty parts are None. DataError when nothing is left to train on."""
    x, y = source.data
    wanted_val = 0.0 if source.val is not None else val_fraction
    wanted_test = 0.0 if source.test is not None else test_fraction
    rows = split(len(x), wanted_val, wanted_test, seed, y if source.task == "classification" else None)
    if len(rows.train) == 0:
        raise DataError("there are no samples to train on.")
    val, test = (Part(x[index], y[index]) if len(index) else None for index in (rows.val, rows.test))
    return Part(x[rows.train], y[rows.train]), source.val or val, source.test or test


def require_finite(array: np.ndarray, what: str) -> None:
    """DataError that names the first NaN or infinity, as `data.npz: x[3, 0] is nan`."""
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        place = ", ".join(str(index) for index in bad[0])
        value = array[tuple(bad[0])]
        raise DataError(
            f"{what}[{place}] is {value}; {len(bad)} values in all are not finite. Replace them, or leave them out."
        )


def as_classes(labels: np.ndarray, names: list[str] | None = None) -> tuple[np.ndarray, list[str]]:
    """Class numbers (n,) and class names for labels of any kind; classes are sorted (numbers by value).

    With `names` (those of the training data) these numbers are used; a label that is not among them gets -1.
    """
    found, numbers = np.unique(labels, return_inverse=True)
    texts = [_text(label) for label in found]
    if names is None:
        return numbers.reshape(-1), texts
    position = {name: number for number, name in enumerate(names)}
    return np.array([position.get(text, -1) for text in texts], dtype=np.int64)[numbers.reshape(-1)], names


def _text(label: np.generic) -> str:
    value = label.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def looks_like_classes(numbers: np.ndarray) -> bool:
    """Whether numeric targets are classes rather than measurements: whole numbers, few different ones (at most 20,
    and each twice on average). What `task: auto` goes by."""
    if numbers.dtype.kind == "f" and not np.equal(np.mod(numbers, 1), 0).all():
        return False
    return len(np.unique(numbers)) <= min(20, len(numbers) // 2)
