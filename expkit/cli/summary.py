"""What a run directory says of itself: status, config, metrics. The engine is not needed for it."""

import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expkit.cli.runs import CONFIG, run_name
from expkit.config.plain import plain_content, read_content
from expkit.errors import ExpkitError
from expkit.tracking import RunInfo, history, journal


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run directory says: status, config, and every metric's newest value.

    status: FINISHED, FAILED, KILLED, RUNNING, DIED (its process is gone, and it never ended), NEW (nothing
    written) or BROKEN (cannot be read).
    best: (metric, value) that its runs are ranked by, at its best. started: of the newest session, local time.
    """

    path: Path
    status: str
    config: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    best: tuple[str, float] | None = None
    started: datetime.datetime | None = None
    epochs: int = 0

    @property
    def name(self) -> str:
        return run_name(self.path)


def summarize(path: Path, strict: bool = False) -> RunSummary:
    """What a run directory says of itself. strict: a config that cannot be read is a ConfigError, not an empty one."""
    config = (read_content if strict else plain_content)(path / CONFIG)
    table = history(path)
    begun = [record for _, record in journal.lines(path / journal.NAME) if record and "start" in record]
    started = datetime.datetime.fromtimestamp(begun[-1]["t"] / 1000) if begun else None
    newest = {name: values[-1][1] for name, values in table.items() if name != "epoch"}
    return RunSummary(path, _status(path, bool(begun)), config, newest, _best(config, table), started, _epochs(path))


def summarize_any(path: Path) -> RunSummary:
    """As `summarize`; a run directory that cannot be read is a row of its own, BROKEN, in a list of others."""
    try:
        return summarize(path)
    except (ExpkitError, OSError):
        return RunSummary(path, "BROKEN", plain_content(path / CONFIG))


def _status(path: Path, begun: bool) -> str:
    end = ""
    for _, record in journal.lines(path / journal.NAME):
        if record and ("end" in record or "start" in record):
            end = str(record.get("end", ""))
    if end:
        return end
    info = RunInfo.read(path)
    if info is not None and info.alive(path):
        return "RUNNING"
    return "DIED" if begun else "NEW"


def _epochs(path: Path) -> int:
    """How many epochs of training there are metrics of."""
    seen = (row.epoch for row in journal.rows(path) if any(name.startswith("train/") for name in row.values))
    return max((epoch + 1 for epoch in seen if epoch is not None), default=0)


def _best(config: dict[str, Any], table: dict[str, list[tuple[int, float]]]) -> tuple[str, float] | None:
    """(metric, best value) of optimized_metric, else of what the checkpoints monitor."""
    entries = config.get("callbacks")
    checkpoint = (entries.get("model_checkpoint") if isinstance(entries, dict) else None) or {}
    name = config.get("optimized_metric") or checkpoint.get("monitor")
    values = [value for _, value in table.get(str(name), []) if value == value]
    if not values:
        return None
    monitored = checkpoint.get("monitor") == name
    larger = checkpoint.get("mode") == "max" if monitored else str(name).rpartition("/")[2] not in ("loss", "mae")
    return str(name), max(values) if larger else min(values)
