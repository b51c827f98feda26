"""Which run of a sweep was best, and the table that says so."""

import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from expkit.trainer.metrics import direction


def criterion(config: dict[str, Any]) -> tuple[str | None, str]:
    """(metric, "min" | "max") that runs are ranked by: `optimized_metric`, else the monitor of a callback."""
    monitors = {
        entry["monitor"]: entry.get("mode")
        for entry in (config.get("callbacks") or {}).values()
        if isinstance(entry, dict) and entry.get("monitor")
    }
    metric = config.get("optimized_metric") or next(iter(monitors), None)
    said = monitors.get(metric)
    return metric, said if said in ("min", "max") else direction(metric or "") or "max"


def value_of(metrics: dict[str, Any], metric: str | None) -> float | None:
    value = metrics.get(metric) if metric else None
    return None if value is None else float(value)


def ranked(values: Sequence[float | None], mode: str) -> list[int]:
    """Indices from best to worst; what has no value, or NaN, comes last, in its own order."""

    def key(i: int) -> tuple[bool, float]:
        value = values[i]
        if value is None or math.isnan(value):
            return True, 0.0
        return False, value if mode == "min" else -value

    return sorted(range(len(values)), key=key)


def table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """The ranked table."""
    drawn = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None)
    for n, header in enumerate(headers):
        drawn.add_column(header, justify="right" if n == 0 else "left", overflow="fold")
    for n, row in enumerate(rows):
        drawn.add_row(*row, style="green" if n == 0 and row[-1] == "FINISHED" else None)
    return drawn
