"""A CSV file of one's own."""

from pathlib import Path
from typing import Literal

import numpy as np

from expkit.data.arrays import ArrayData, Part, Source, as_classes, looks_like_classes
from expkit.data.datasets.table import Table, is_number, read_table
from expkit.errors import DataError
from expkit.registry import register

AS_CLASSES = "Put a number there, or set task=classification"


@register("data", "csv")
class CsvFile(ArrayData):
    """A CSV file: numeric input columns and one target column.

    target: name or number of its column. columns: those to use as inputs (default: all others). header and delimiter
    are found out where they are auto. task auto: classification for text, and for whole numbers of at most 20 different
    values. val_path, test_path: files with the same columns, instead of shares of the first (whose fractions do not
    count then).
    """

    def __init__(
        self,
        path: str,
        target: str | int = -1,
        columns: list[str | int] | None = None,
        task: Literal["auto", "classification", "regression"] = "auto",
        delimiter: str = "auto",
        header: bool | Literal["auto"] = "auto",
        val_path: str | None = None,
        test_path: str | None = None,
        batch_size: int = 64,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        seed: int = 42,
        normalize: bool = True,
        drop_last: bool = False,
    ) -> None:
        self.path, self.target, self.columns, self.wanted_task = path, target, columns, task
        self.delimiter, self.header = delimiter, header
        self.other_paths = (val_path, test_path)
        super().__init__(batch_size, val_fraction, test_fraction, seed, normalize, drop_last)

    def read(self) -> Source:
        table = read_table(self.path, self.delimiter, self.header)
        inputs, target = self._chosen(table)
        task = self._found_task(table, target)
        names: list[str] | None = None
        if task == "classification":
            y, names = as_classes(_labels(table, target))
            if len(names) < 2:
                raise DataError(f"{table.path}: {table.name(target)} is {names[0]!r} throughout: nothing to learn.")
        else:
            y = table.numbers([target], AS_CLASSES)
        features = [table.names[column] for column in inputs] if table.names else None
        val, test = (self._other(path, table, task, names) if path else None for path in self.other_paths)
        return Source(Part(table.numbers(inputs), y), task, names, features, val, test)

    def _chosen(self, table: Table) -> tuple[list[int], int]:
        """Numbers of the input columns and of the target."""
        target = table.find(self.target, "target")
        if self.columns is None:
            inputs = [column for column in range(table.width) if column != target]
        else:
            inputs = [table.find(key, "in columns") for key in self.columns]
        if target in inputs:
            raise DataError(f"{table.path}: {table.name(target)} is the target, so it cannot be an input as well.")
        if not inputs:
            raise DataError(f"{table.path}: no column is left as input (target: {table.name(target)}).")
        return inputs, target

    def _found_task(self, table: Table, target: int) -> Literal["classification", "regression"]:
        if self.wanted_task != "auto":
            return self.wanted_task
        cells = table.text(target)
        numeric = sum(map(is_number, cells))
        if len(cells) / 2 < numeric < len(cells):
            table.numbers([target], AS_CLASSES)  # mostly numbers: the rest are slips, and this names the first
        if numeric < len(cells) or looks_like_classes(table.numbers([target])[:, 0]):
            return "classification"
        return "regression"

    def _other(self, path: str, first: Table, task: str, names: list[str] | None) -> Part:
        """The part in a file of its own: the same columns, no new classes."""
        table = read_table(path, self.delimiter, self.header)
        inputs, target = self._chosen(table)
        own, expected = ([t.name(column) for column in self._chosen(t)[0]] for t in (table, first))
        if own != expected:
            raise DataError(f"{table.path}: the inputs are {', '.join(own)}; in {first.path} {', '.join(expected)}.")
        if task == "regression":
            return Part(table.numbers(inputs), table.numbers([target], AS_CLASSES))
        y, _ = as_classes(_labels(table, target), names)
        if (y < 0).any():
            row = int(np.argmin(y))
            raise DataError(
                f"{table.path}: line {table.lines[row]}, {table.name(target)}: the class {table.rows[row][target]!r} "
                f"does not occur in {Path(self.path).name}. Classes: {', '.join(names or [])}."
            )
        return Part(table.numbers(inputs), y)


def _labels(table: Table, target: int) -> np.ndarray:
    """The target's cells: as numbers where all are, so that 1 and 1.0 are one class and 10 comes after 9."""
    cells = table.text(target)
    return table.numbers([target])[:, 0] if all(map(is_number, cells)) else np.array(cells)
