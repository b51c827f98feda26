"""Arrays of one's own in a NumPy .npz file."""

import struct
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np

from expkit.data.arrays import ArrayData, Part, Source, as_classes, looks_like_classes, require_finite
from expkit.data.datasets.table import usable_file
from expkit.data.header import Header
from expkit.errors import DataError, did_you_mean
from expkit.registry import register

# What zipfile and NumPy raise for damaged files, found by damaging every byte of one.
BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError, KeyError, IndexError,
    OverflowError, MemoryError, UnicodeError, TypeError,
)  # fmt: skip


@register("data", "npz")
class NpzFile(ArrayData):
    """An .npz file with samples x (n, ...) and targets y (n,), or (n, k) for a regression of k numbers.

    x, y: names of the arrays. task auto: classification for text, bool, and whole numbers of at most 20 different
    values in y (n,). val_path, test_path: files of the same make, instead of shares of the first (whose fractions do
    not count then). Object arrays are refused: reading them could run code.
    """

    def __init__(
        self,
        path: str,
        x: str = "x",
        y: str = "y",
        task: Literal["auto", "classification", "regression"] = "auto",
        val_path: str | None = None,
        test_path: str | None = None,
        batch_size: int = 64,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        seed: int = 42,
        normalize: bool = True,
        drop_last: bool = False,
    ) -> None:
        self.path, self.keys, self.wanted_task = path, (x, y), task
        self.other_paths = (val_path, test_path)
        super().__init__(batch_size, val_fraction, test_fraction, seed, normalize, drop_last)

    def read(self) -> Source:
        path, x, y = read_pair(self.path, *self.keys)
        task = self._found_task(y)
        names: list[str] | None = None
        if task == "classification":
            self._require_labels(path, y)
            y, names = as_classes(y.reshape(-1))
            if len(names) < 2:
                raise DataError(f"{path}: {self.keys[1]} is {names[0]!r} for every sample: nothing to tell apart.")
        else:
            y = self._measurements(path, y)
        val, test = (self._other(other, x, y, names) if other else None for other in self.other_paths)
        return Source(Part(x, y), task, names, val=val, test=test)

    def describe(self) -> Header:
        """The shape of x from the header of its array; the targets are read, to see what they are."""
        shape, y = read_header(self.path, *self.keys)
        task = self._found_task(y)
        names = as_classes(y.reshape(-1))[1] if task == "classification" else None
        targets = len(names) if names is not None else prod(y.shape[1:])
        others = (read_header(path, *self.keys)[0][0] if path else None for path in self.other_paths)
        return Header(shape[0], shape[1:] or (1,), task, targets, names, None, *others)

    def _found_task(self, y: np.ndarray) -> Literal["classification", "regression"]:
        if self.wanted_task != "auto":
            return self.wanted_task
        if y.dtype.kind in "USb":
            return "classification"
        flat = y.ndim == 1 or y.shape[1:] == (1,)
        return "classification" if flat and y.dtype.kind in "iu" and looks_like_classes(y) else "regression"

    def _require_labels(self, path: Path, y: np.ndarray) -> None:
        if y.size != len(y):
            raise DataError(
                f"{path}: {self.keys[1]} has shape {y.shape}; a classification needs one class per sample: "
                f"({len(y)},). One-hot rows: store their argmax."
            )
        if y.dtype.kind == "f":
            require_finite(y, f"{path}: {self.keys[1]}")

    def _measurements(self, path: Path, y: np.ndarray) -> np.ndarray:
        if y.dtype.kind not in "fiub":
            raise DataError(f"{path}: {self.keys[1]} holds {y.dtype}; a regression needs numbers.")
        if y.ndim > 2:
            raise DataError(f"{path}: {self.keys[1]} has shape {y.shape}; a regression needs (n,) or (n, k).")
        require_finite(y, f"{path}: {self.keys[1]}")
        return y.reshape(len(y), -1).astype(np.float64)

    def _other(self, other: str, x: np.ndarray, y: np.ndarray, names: list[str] | None) -> Part:
        """The part in a file of its own: samples and targets of the same shape, no new classes."""
        path, own_x, own_y = read_pair(other, *self.keys)
        if own_x.shape[1:] != x.shape[1:]:
            raise DataError(f"{path}: a sample has shape {own_x.shape[1:]}; in {self.path} {x.shape[1:]}.")
        if names is None:
            own_y = self._measurements(path, own_y)
            if own_y.shape[1] != y.shape[1]:
                raise DataError(f"{path}: {own_y.shape[1]} targets per sample, but {y.shape[1]} in {self.path}.")
            return Part(own_x, own_y)
        self._require_labels(path, own_y)
        numbers, _ = as_classes(own_y.reshape(-1), names)
        if (numbers < 0).any():
            row = int(np.argmin(numbers))
            raise DataError(
                f"{path}: {self.keys[1]}[{row}]: the class {own_y.reshape(-1)[row].item()!r} does not occur in "
                f"{Path(self.path).name}. Classes: {', '.join(names)}."
            )
        return Part(own_x, numbers)


def read_header(path: str, x_key: str, y_key: str) -> tuple[tuple[int, ...], np.ndarray]:
    """(shape of the samples, targets). DataError where the file is none, is damaged or lacks one of the arrays."""
    found = _archive(path)
    try:
        with found.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            y = _array(found, archive, y_key)
            _require(found, archive, x_key)
            with archive.zip.open(f"{x_key}.npy") as member:
                version = np.lib.format.read_magic(member)
                read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                return read[version](member)[0], y
    except BROKEN as error:
        raise DataError(f"{found} is damaged: {error}. Write it again.") from None


def _archive(path: str) -> Path:
    found = usable_file(path)
    if not zipfile.is_zipfile(found):
        raise DataError(f"{found} is not an .npz file, or cut short. numpy.savez(path, x=..., y=...) writes one.")
    return found


def read_pair(path: str, x_key: str, y_key: str) -> tuple[Path, np.ndarray, np.ndarray]:
    """(absolute path, samples (n, ...) float64 or float32, targets (n, ...)). DataError for all that cannot be used."""
    found = _archive(path)
    try:
        with found.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            x, y = (_array(found, archive, key) for key in (x_key, y_key))
    except BROKEN as error:
        raise DataError(f"{found} is damaged: {error}. Write it again.") from None
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        raise DataError(f"{found}: {x_key} has shape {x.shape} and {y_key} {y.shape}: their lengths must be the same.")
    if len(x) == 0 or x.size == 0:
        raise DataError(f"{found}: {x_key} has shape {x.shape}: there are no samples.")
    if x.dtype.kind not in "fiub":
        raise DataError(f"{found}: {x_key} holds {x.dtype}; samples must be numbers.")
    require_finite(x, f"{found}: {x_key}")
    return found, (x.reshape(-1, 1) if x.ndim == 1 else x), y


def _require(path: Path, archive: np.lib.npyio.NpzFile, key: str) -> None:
    if key not in archive.files:
        raise DataError(
            f"{path}: there is no array {key!r}.{did_you_mean(key, archive.files)}\n"
            f"  Arrays: {', '.join(archive.files) or 'none'}. Set data.x and data.y to the names of yours."
        )


def _array(path: Path, archive: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    _require(path, archive, key)
    try:
        return archive[key]
    except ValueError as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            raise DataError(
                f"{path}: {key!r} is an object array, which could run code when read. Store an array of numbers "
                "(rows of one length, one dtype)."
            ) from None
        raise DataError(f"{path}: {key!r} is damaged: {error}.") from None
