"""Columns of equal length as files: .csv, .jsonl, .parquet, .npz; written beside their place and renamed."""

import csv
import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from expkit.data.samples import load_parquet
from expkit.errors import ConfigError, DataError

Columns = Mapping[str, np.ndarray]


def usable_output(path: str | Path) -> Path:
    """The path, absolute. ConfigError for a kind of file that cannot be written, or a folder that is not there."""
    found = Path(path).expanduser().absolute()
    if found.suffix.lower() not in WRITERS:
        raise ConfigError(f"{path}: files of this kind cannot be written. Kinds: {', '.join(WRITERS)}.")
    if found.is_dir():
        raise ConfigError(f"{path} is a folder; give the path of a file.")
    if not found.parent.is_dir():
        raise ConfigError(f"{path}: the folder {found.parent} does not exist.")
    if found.suffix.lower() == ".parquet":
        load_parquet(found)
    return found


def write(path: Path, columns: Columns) -> None:
    """Writes a file, by the end of its name; nobody ever sees half of it. DataError for columns that do not fit."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        WRITERS[path.suffix.lower()](temporary, columns)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_csv_text(columns: Columns, file: TextIO | None = None) -> None:
    """The columns as CSV text, by default to stdout."""
    writer = csv.writer(file or sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*_lists(columns, texts=True).values(), strict=True))


def _lists(columns: Columns, texts: bool = False) -> dict[str, list[Any]]:
    """The columns as lists. texts: numbers in the digits that their own precision has."""
    for name, values in columns.items():
        if values.ndim != 1:
            raise DataError(
                f"{name!r} holds an array of shape {values.shape[1:]} for each sample, which is no cell of a table. "
                "Write an .npz file (--output predictions.npz)."
            )
    return {name: [str(v) for v in values] if texts else values.tolist() for name, values in columns.items()}


def _csv(path: Path, columns: Columns) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        write_csv_text(columns, file)


def _jsonl(path: Path, columns: Columns) -> None:
    lists = {name: values.tolist() for name, values in columns.items()}
    with path.open("w", encoding="utf-8") as file:
        for values in zip(*lists.values(), strict=True):
            file.write(json.dumps(dict(zip(lists, values, strict=True))) + "\n")


def _parquet(path: Path, columns: Columns) -> None:
    arrow, parquet = importlib.import_module("pyarrow"), load_parquet(path)
    parquet.write_table(arrow.table(_lists(columns)), path)


def _npz(path: Path, columns: Columns) -> None:
    np.savez(path, **dict(columns))  # type: ignore[arg-type]


Writer = Callable[[Path, Columns], None]
WRITERS: dict[str, Writer] = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet, ".npz": _npz}
