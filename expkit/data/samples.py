"""Samples without targets from a file: what a trained model is asked about.

.csv (and .tsv, .txt), .parquet: a row for each sample; columns are found by name where names are known.
.npz, .npy: an array (n, ...).
"""

import importlib
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from expkit.data.arrays import require_finite
from expkit.data.datasets.npzfile import BROKEN
from expkit.data.datasets.table import read_table, usable_file
from expkit.errors import DataError, did_you_mean

Shape = tuple[int, ...]
Names = Sequence[str] | None


def read_samples(path: str | Path, shape: Shape, names: Names = None, key: str = "x") -> np.ndarray:
    """The samples (n, *shape) in a file, in the order of its rows. `names`: of the columns, if the model knows them.

    Columns beside the named ones are passed over. key: the array of an .npz file. DataError for what cannot be used.
    """
    found = usable_file(path)
    reader = READERS.get(found.suffix.lower())
    if reader is None:
        raise DataError(f"{found}: files of this kind cannot be read. Kinds: {', '.join(READERS)}.")
    x = reader(found, shape, names, key)
    if len(x) == 0:
        raise DataError(f"{found}: there are no samples in it.")
    if x.shape[1:] != shape and prod(x.shape[1:]) != prod(shape):
        raise DataError(f"{found}: a sample has shape {x.shape[1:]}, but the model takes {shape}.")
    require_finite(x, str(found))
    return x.reshape(len(x), *shape)


def _from_csv(path: Path, shape: Shape, names: Names, key: str) -> np.ndarray:
    table = read_table(path)
    return table.numbers(_columns(path, table.names, table.width, shape, names))


def _from_parquet(path: Path, shape: Shape, names: Names, key: str) -> np.ndarray:
    parquet = load_parquet(path)
    arrow = importlib.import_module("pyarrow")
    try:
        table = parquet.read_table(path)
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    columns = _columns(path, table.column_names, table.num_columns, shape, names)
    return np.stack([_numbers(path, table.column_names[i], table.column(i)) for i in columns], axis=1)


def _numbers(path: Path, name: str, column: Any) -> np.ndarray:
    """A column of a Parquet file as float64."""
    values = column.to_numpy(zero_copy_only=False)
    if column.null_count:
        row = next(number for number, value in enumerate(column) if not value.is_valid)
        raise DataError(f"{path}: row {row}, column {name!r} is empty. Put a number there, or remove the row.")
    if values.dtype.kind not in "fiub":
        raise DataError(f"{path}: column {name!r} holds {column.type}; samples must be numbers.")
    return values.astype(np.float64)


def _columns(path: Path, found: Names, width: int, shape: Shape, names: Names) -> list[int]:
    """The numbers of the columns that make a sample, in the model's order."""
    if names and found:
        missing = [name for name in names if name not in found]
        if missing:
            listed = ", ".join(missing[:8]) + (", ..." if len(missing) > 8 else "")
            raise DataError(
                f"{path}: {len(missing)} of {len(names)} columns are missing: {listed}."
                f"{did_you_mean(missing[0], found)}\n  There are: {', '.join(found)}."
            )
        return [list(found).index(name) for name in names]
    if width != prod(shape):
        which = f": {', '.join(names)}" if names else ""
        raise DataError(f"{path} has {width} columns, but a sample has {prod(shape)} numbers{which}.")
    return list(range(width))


def _from_npz(path: Path, shape: Shape, names: Names, key: str) -> np.ndarray:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = list(archive.files)
            chosen = key if key in arrays or len(arrays) != 1 else arrays[0]
            if chosen not in arrays:
                raise DataError(
                    f"{path}: there is no array {key!r}.{did_you_mean(key, arrays)} Arrays: {', '.join(arrays)}."
                )
            return _numeric(path, archive[chosen])
    except BROKEN as error:
        raise DataError(f"{path} is damaged, or no .npz file: {error}.") from None


def _from_npy(path: Path, shape: Shape, names: Names, key: str) -> np.ndarray:
    try:
        with path.open("rb") as file:
            return _numeric(path, np.load(file, allow_pickle=False))
    except BROKEN as error:
        raise DataError(f"{path} is damaged, or no .npy file: {error}.") from None


def _numeric(path: Path, x: np.ndarray) -> np.ndarray:
    if x.dtype.kind not in "fiub" or x.ndim == 0:
        raise DataError(f"{path}: an array of numbers (n, ...) is wanted, this is {x.dtype} of shape {x.shape}.")
    return x


def load_parquet(path: Path) -> Any:
    """pyarrow.parquet. DataError where it is not installed."""
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise DataError(f"{path}: Parquet files need pyarrow: pip install 'expkit[parquet]'.") from None


Reader = Callable[[Path, Shape, Names, str], np.ndarray]
READERS: dict[str, Reader] = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), _from_csv),
    **dict.fromkeys((".parquet", ".pq"), _from_parquet),
    ".npz": _from_npz,
    ".npy": _from_npy,
}
