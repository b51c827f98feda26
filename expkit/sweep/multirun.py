"""`expkit train -m ...`: composes and checks every job, then runs them one after the other.

All jobs are composed before the first starts, so that a mistake in the tenth is known at once. A job that fails is
reported where it happens; the others go on, and the command ends with an error that names it.
"""

import json
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.markup import escape

from expkit import config, flags
from expkit.config.composition import Composed
from expkit.errors import ExpkitError
from expkit.sweep import grid, ranking
from expkit.tensor import default_generator, get_default_dtype, set_default_dtype
from expkit.tracking import wait_for
from expkit.trainer import experiment
from expkit.trainer.console import console, warn
from expkit.trainer.signals import Interrupted

RESULTS = "multirun.json"


@dataclass
class Job:
    """One run of the sweep."""

    number: int
    overrides: list[str]
    varied: dict[str, str]
    composed: Composed = field(repr=False)
    status: str = "NOT RUN"
    value: float | None = None
    error: str = ""
    run_dir: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.varied.items()) or "(as configured)"

    def record(self) -> dict[str, Any]:
        """What multirun.json says of the job."""
        return {key: value for key, value in vars(self).items() if key != "composed"}


def multirun(overrides: Sequence[str], config_name: str = "config", config_dir: str | Path | None = None) -> int:
    """Runs every combination of the values in `overrides`; the exit code (1: a job failed, 130, 143: interrupted).

    ConfigError, before anything runs, when one of the jobs is configured wrongly.
    """
    whole = config.compose(overrides, config_name, config_dir, multirun=True)
    jobs = _jobs(whole, overrides, config_name, config_dir)
    metric, mode = ranking.criterion(jobs[0].composed.resolved())
    sweep_dir = config.make_run_dir(whole, whole.hydra.sweep.dir)
    console.print(f"[bold]{len(jobs)} runs[/] in {escape(str(sweep_dir))}", soft_wrap=True)
    parent = experiment.open_parent(whole, sweep_dir, {"overrides": list(overrides), "jobs": len(jobs)})
    code = 0
    try:
        for job in jobs:
            _run(job, len(jobs), sweep_dir, parent is not None, metric)
            _save(sweep_dir, jobs)
    except KeyboardInterrupt as interrupt:
        code = getattr(interrupt, "exit_code", 130)
        _save(sweep_dir, jobs)
    _report(jobs, metric, mode)
    failed = [job for job in jobs if job.status == "FAILED"]
    if failed:
        names = "; ".join(f"job {job.number} ({job.label}): {job.error}" for job in failed)
        warn(f"{len(failed)} of {len(jobs)} runs failed: {names}")
    if parent is not None:
        _close_parent(parent, sweep_dir, jobs, metric, mode, code)
        _wait(jobs)
    return code or (1 if failed else 0)


def _wait(jobs: list[Job]) -> None:
    """Waits (bounded, for all together) until the dashboard has every run; otherwise says how it will."""
    until = time.monotonic() + float(str(flags.read("SYNC_TIMEOUT")))
    started = [Path(job.run_dir) for job in jobs if job.run_dir and (Path(job.run_dir) / "tracking.json").exists()]
    late = [path for path in started if not wait_for(path, max(until - time.monotonic(), 0.1))]
    if late:
        warn(f"{len(late)} of {len(started)} runs have not arrived in MLflow yet: `expkit sync` sends the rest.")


def _jobs(whole: Composed, overrides: Sequence[str], config_name: str, config_dir: str | Path | None) -> list[Job]:
    combinations = grid.jobs(whole, overrides, config_dir)
    varied = grid.varied(combinations)
    jobs = []
    for number, (combination, differs) in enumerate(zip(combinations, varied, strict=True)):
        composed = config.compose([*combination, "hydra.mode=RUN"], config_name, config_dir)
        config.validate(composed)
        jobs.append(Job(number, list(combination), differs, composed))
        _name(jobs[-1])
    return jobs


def _name(job: Job) -> None:
    """Shows the run in the dashboard under what is special about it, unless the config names it."""
    logger = job.composed.config.get("logger")
    if logger and "run_name" in logger and logger.run_name is None:
        logger.run_name = job.label


def _run(job: Job, total: int, sweep_dir: Path, tracked: bool, metric: str | None) -> None:
    """Runs one job in this process; its failure is kept in it. KeyboardInterrupt ends the sweep."""
    console.rule(f"[bold]{job.number + 1}/{total}[/]  {escape(job.label)}", align="left")
    dtype, state = get_default_dtype(), default_generator.get_state()
    try:
        run_dir = config.make_run_dir(job.composed, sweep_dir / str(job.number))
        job.run_dir = str(run_dir)
        result = experiment.run(job.composed, run_dir, parent=sweep_dir if tracked else None)
        job.status, job.metrics = result.status, dict(result.metrics)
        job.value = ranking.value_of(job.metrics, metric)
        if result.signal is not None:
            raise Interrupted(result.signal, saved=result.checkpoint)
    except KeyboardInterrupt:
        job.status = "KILLED"
        raise
    except ExpkitError as error:
        _failed(job, str(error), sweep_dir if tracked else None)
    except Exception as error:  # noqa: BLE001  (one broken run must not take the others with it)
        _failed(job, f"{type(error).__name__}: {error}", sweep_dir if tracked else None)
    finally:
        set_default_dtype(dtype)
        default_generator.set_state(state)


def _failed(job: Job, message: str, parent: Path | None) -> None:
    job.status, job.error = "FAILED", message.splitlines()[0] if message else "failed"
    warn(f"job {job.number} ({job.label}) failed: {message}")
    if parent is not None and not (Path(job.run_dir) / "tracking.json").exists():
        experiment.record_failure(job.composed, Path(job.run_dir), job.varied, job.error, parent)
    if flags.DEBUG:
        console.print(traceback.format_exc(), markup=False)


def _report(jobs: list[Job], metric: str | None, mode: str) -> None:
    """Prints the ranked table."""
    order = ranking.ranked([job.value if job.status == "FINISHED" else None for job in jobs], mode)
    keys = list(jobs[0].varied)
    headers = ["", "job", *keys, metric or "metric", "status"]
    rows = []
    for place, i in enumerate(order, 1):
        job = jobs[i]
        value = "" if job.value is None else f"{job.value:.4f}"
        rank = str(place) if job.status == "FINISHED" else "-"
        rows.append([rank, str(job.number), *(job.varied[key] for key in keys), value, job.status])
    title = f"{len(jobs)} runs by {metric} ({mode})" if metric else f"{len(jobs)} runs"
    console.print(ranking.table(title, headers, rows))


def _save(sweep_dir: Path, jobs: list[Job]) -> None:
    path = sweep_dir / RESULTS
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps([job.record() for job in jobs], indent=2, default=str), encoding="utf-8")
    temporary.replace(path)


def _close_parent(parent: Any, sweep_dir: Path, jobs: list[Job], metric: str | None, mode: str, code: int) -> None:
    order = ranking.ranked([job.value if job.status == "FINISHED" else None for job in jobs], mode)
    best = jobs[order[0]]
    if best.value is not None and metric:
        parent.log_metrics({f"best/{metric}": best.value}, step=best.number)
        parent.set_tags({"best_job": str(best.number), "best_overrides": best.label})
    if (sweep_dir / RESULTS).exists():
        parent.log_artifact(sweep_dir / RESULTS)
    status = "KILLED" if code else "FAILED" if any(job.status == "FAILED" for job in jobs) else "FINISHED"
    experiment.close_logger(parent, status)
