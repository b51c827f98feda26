"""Plain lines or rich tables: the same rows, for scripts and for people."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from typing import Any

Rows = Sequence[Sequence[str]]


def table(headers: Sequence[str], rows: Rows, title: str = "") -> None:
    """Prints rows: as a table on a terminal, as aligned columns without decoration elsewhere."""
    if sys.stdout.isatty():
        _rich_table(headers, rows, title)
    else:
        _plain_table(rows)


def _plain_table(rows: Rows) -> None:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)] if rows else []
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _rich_table(headers: Sequence[str], rows: Rows, title: str) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    drawn = Table(title=title or None, title_justify="left", title_style="bold", header_style="dim", box=None,
                  show_header=any(headers))  # fmt: skip
    for number, header in enumerate(headers):
        drawn.add_column(header, no_wrap=not number, style="" if number else "cyan", overflow="fold")
    for row in rows:
        drawn.add_row(*(escape(cell) for cell in row))
    Console().print(drawn)


def print_json(value: Any) -> None:
    """Prints a value as strict JSON: numbers that are not finite as the texts "nan", "inf" and "-inf"."""
    print(json.dumps(_strict(value), indent=2, allow_nan=False))


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _strict(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(child) for child in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def remarks_aside(aside: bool) -> AbstractContextManager[Any]:
    """Where `aside`, what is said within it goes to stderr: stdout is for JSON alone."""
    return redirect_stdout(sys.stderr) if aside else nullcontext()
