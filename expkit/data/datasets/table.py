"""CSV files as tables of text, and their columns as numbers; every complaint names file, line, column and value."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from expkit.errors import DataError, did_you_mean

DELIMITERS = ",;\t|"
REPAIR = "Put a number there, or remove the line"
ENCODE = "Leave the column out (columns=[...]), or encode it as numbers"


@dataclass
class Table:
    """Cells of a CSV file: `rows` without the header, the line in the file of each, and the columns' names."""

    path: Path
    rows: list[list[str]]
    lines: list[int]
    names: list[str] | None  # None where the file has no header

    @property
    def width(self) -> int:
        return len(self.rows[0])

    def name(self, column: int) -> str:
        """How a message calls a column."""
        return f"column {self.names[column]!r}" if self.names else f"column {column}"

    def find(self, key: str | int, purpose: str) -> int:
        """Number of the column that `key` (a name, or a number, negative from the end) means."""
        if isinstance(key, str) and self.names is None:
            raise DataError(
                f"{self.path}: {purpose} {key!r} is a name, but the file has no header. "
                f"Give a number from 0 to {self.width - 1}, or set header=true."
            )
        if isinstance(key, str) and self.names is not None and key in self.names:
            return self.names.index(key)
        if isinstance(key, int) and -self.width <= key < self.width:
            return key % self.width
        raise DataError(
            f"{self.path}: there is no column {key!r} ({purpose}).{did_you_mean(str(key), self.names or [])}\n"
            f"  Columns: {', '.join(self.names) if self.names else f'0 to {self.width - 1} (no header)'}."
        )

    def text(self, column: int) -> list[str]:
        """The cells of a column. DataError for an empty one."""
        cells = [row[column].strip() for row in self.rows]
        if "" in cells:
            raise self._bad(cells.index(""), column, f"is empty. {REPAIR}")
        return cells

    def numbers(self, columns: Sequence[int], advice: str = ENCODE) -> np.ndarray:
        """The columns as float64 (rows, columns). DataError for the first cell that is not a finite number."""
        out = np.empty((len(self.rows), len(columns)))
        for place, column in enumerate(columns):
            cells = self.text(column)
            try:
                out[:, place] = cells
            except ValueError:
                row = next(row for row, cell in enumerate(cells) if not is_number(cell))
                raise self._bad(row, column, f"is not a number. {advice}") from None
            finite = np.isfinite(out[:, place])
            if not finite.all():
                raise self._bad(int(np.argmin(finite)), column, f"is not finite. {REPAIR}")
        return out

    def _bad(self, row: int, column: int, problem: str) -> DataError:
        cell = self.rows[row][column]
        shown = repr(cell if len(cell) <= 60 else f"{cell[:57]}...")
        return DataError(f"{self.path}: line {self.lines[row]}, {self.name(column)}: {shown} {problem}.")


def is_number(cell: str) -> bool:
    """Whether a cell can be read as a number (nan and inf are)."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def usable_file(path: str | Path) -> Path:
    """The path, made absolute. DataError when there is no such file, or it is empty."""
    found = Path(path).expanduser().absolute()
    if found.is_dir():
        raise DataError(f"{found} is a folder; give the path of a file.")
    if not found.exists():
        near = [other.name for other in found.parent.iterdir()] if found.parent.is_dir() else []
        missing = "" if found.parent.is_dir() else f" The folder {found.parent} does not exist either."
        raise DataError(f"{found}: there is no such file.{missing}{did_you_mean(found.name, near)}")
    if found.stat().st_size == 0:
        raise DataError(f"{found} is empty.")
    return found


def read_table(path: str | Path, delimiter: str = "auto", header: bool | str = "auto") -> Table:
    """A CSV file (UTF-8). `delimiter` and `header` are found out where they are "auto"."""
    found = usable_file(path)
    try:
        with found.open(newline="", encoding="utf-8-sig") as file:
            rows, lines = _read_rows(found, file, delimiter)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{found}: byte {error.start} ({error.object[error.start]:#04x}) is not UTF-8. Save the file as UTF-8."
        ) from None
    except OSError as error:
        raise DataError(f"{found} cannot be read: {error.strerror}.") from None
    if not rows:
        raise DataError(f"{found} has only empty lines.")
    has_header = _has_header(found, rows) if header == "auto" else bool(header)
    names = [cell.strip() for cell in rows[0]] if has_header else None
    table = Table(found, rows[has_header:], lines[has_header:], names)
    if not table.rows:
        raise DataError(f"{found} has a header but no lines of data (header=false takes line 1 as data).")
    if names and len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{found}: line {lines[0]}: two columns are called {twice!r}. Rename one of them.")
    return table


def _read_rows(path: Path, file: TextIO, delimiter: str) -> tuple[list[list[str]], list[int]]:
    """All rows that are not empty, and the lines where they end."""
    if delimiter == "auto":
        first = next((line for line in file if line.strip()), "")
        file.seek(0)
        delimiter = max(DELIMITERS, key=first.count)
    elif len(delimiter) != 1:
        raise DataError(f"delimiter={delimiter!r} cannot be: it is one character, or auto.")
    rows: list[list[str]] = []
    lines: list[int] = []
    reader = csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        for row in reader:
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            rows.append(row)
            lines.append(reader.line_num)
            if len(row) != len(rows[0]):
                raise DataError(
                    f"{path}: line {reader.line_num} has {len(row)} cells, line {lines[0]} has {len(rows[0])} "
                    f"(delimiter {delimiter!r})."
                )
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: {error}.") from None
    return rows, lines


def _has_header(path: Path, rows: list[list[str]]) -> bool:
    """Whether the first row names the columns: it holds no number; a mixed one must look like the row below."""
    first = [is_number(cell) for cell in rows[0]]
    if not any(first) or len(rows) == 1:
        return not any(first)
    second = [is_number(cell) for cell in rows[1]]
    for column, (above, below) in enumerate(zip(first, second, strict=True)):
        if below and not above:
            raise DataError(
                f"{path}: is the first line a header? It has numbers, but {rows[0][column]!r} stands above a number. "
                "Set header=true or header=false."
            )
    return False
