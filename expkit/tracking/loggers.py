"""The loggers that a Trainer writes to. Each keeps the journal, `metrics.jsonl`; that is all that `none` does.

    build("logger", {"name": "mlflow", "experiment_name": "digits"}, given={"run_dir": "outputs/runs/..."})

Making a logger touches nothing: a run begins with the first thing that is logged, or with `start()`.
"""

import csv
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expkit.errors import ConfigError
from expkit.registry import register
from expkit.tracking import metadata, names
from expkit.tracking.artifacts import Artifacts
from expkit.tracking.journal import Journal, rows
from expkit.tracking.names import registration
from expkit.tracking.process import identity
from expkit.tracking.runinfo import RunInfo, Status, database_path, outputs_root, read_status, resolve_uri
from expkit.tracking.syncing import start_shipper, sync_hint, wait_for

_STATUS_WORDS = {"success": "FINISHED", "finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_CHECK_EVERY = 5.0  # seconds between looks whether the shipper is in trouble

log = logging.getLogger("expkit.tracking")


def new_run_dir() -> Path:
    """A new directory below the outputs folder, made at once so that nobody else takes it."""
    root = outputs_root() / "runs"
    root.mkdir(parents=True, exist_ok=True)
    stem = time.strftime("%Y-%m-%d_%H-%M-%S")
    for number in range(1, 10_000):
        path = root / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"{root}: no name left for a run of this second")


@register("logger", "none")
class JournalLogger(Artifacts):
    """Keep the local journal only: metrics.jsonl and environment.json in the run directory.

    run_dir: directory of the run (default: a new one in the outputs folder).
    """

    system_metrics: float | None = None  # seconds between two looks at the machine, where that is logged

    def __init__(self, run_dir: str | None = None) -> None:
        self._run_dir = run_dir
        self._journal: Journal | None = None
        self._tables: list[MetricsTable] = []

    @property
    def run_dir(self) -> Path:
        return self.journal.run_dir

    @property
    def journal(self) -> Journal:
        if self._journal is None:
            self._journal = Journal(self._run_dir or new_run_dir(), before_start=self._before_start)
        return self._journal

    @property
    def name(self) -> str:
        """The experiment's name."""
        return ""

    @property
    def version(self) -> str:
        """What tells this run from others of the experiment."""
        return self.run_dir.name

    @property
    def log_dir(self) -> str:
        return str(self.run_dir)

    save_dir = log_dir

    def start(self) -> None:
        """Begin the run, or go on with the one in the run directory. Does nothing when it has begun."""
        if not self.journal.is_open:
            self.journal.open()
            self._started(metadata.write(self.run_dir))

    def _before_start(self) -> None:
        """What a kind of logger does once the run directory is its own, before the run begins or goes on."""

    def _started(self, collected: dict[str, Any]) -> None:
        """What a kind of logger does when the run has begun or goes on; `collected`: see metadata.py."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None, epoch: int | None = None) -> None:
        """Log numbers (also 0-d tensors) at a global step. Never waits for anything but the local disk."""
        self.start()
        if self.journal.log_metrics(metrics, step, epoch):
            for table in self._tables:
                table.add(metrics, epoch)

    def keep_table(self) -> "MetricsTable":
        """From now on also keep metrics.csv; the table."""
        self._tables.append(MetricsTable(self))
        return self._tables[-1]

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters, nested or flat."""
        self.start()
        self.journal.log_params(params)

    log_hyperparams = log_params

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        self.start()
        self.journal.set_tags(tags)

    def log_artifact(self, path: str | os.PathLike[str], artifact_path: str | None = None, kind: str = "") -> None:
        """Attach a file or folder to the run, in the folder `artifact_path` of its artifacts.

        kind: "table" or "image" for what `log_table` and `log_image` wrote, which MLflow shows as such.
        """
        self.start()
        self.journal.log_artifact(path, artifact_path, kind)

    def log_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Attach the best checkpoint to the run, where the logger keeps checkpoints."""

    @property
    def keeps_models(self) -> bool:
        """Does the logger do something with a packaged model?"""
        return False

    def log_model(
        self,
        folder: str | os.PathLike[str],
        step: int = 0,
        metrics: Mapping[str, float] | None = None,
        primary: tuple[str, bool] | None = None,
    ) -> None:
        """Publish a packaged model (packaged.py) of `step`, with what was measured of it, where models are kept.

        primary: the metric that models are compared by, and whether greater is better.
        """

    def log_dataset(self, name: str, digest: str, **details: Any) -> None:
        """Note a data set that the run reads; `details` as for Journal.log_dataset."""
        self.start()
        self.journal.log_dataset(name, digest, **details)

    def set_primary_metric(self, name: str, greater_is_better: bool) -> None:
        """Say by which metric the runs of this experiment are ranked."""
        self.start()
        better = {"name": names.key(name), "greaterIsBetter": str(greater_is_better)}
        self.journal.set_experiment_tags({f"mlflow.experiment.primaryMetric.{word}": v for word, v in better.items()})

    def rewind(self, step: int) -> None:
        """The run goes on from the checkpoint of `step`: what it repeats exactly is not logged twice."""
        self.journal.rewind(step)

    def finalize(self, status: str = "FINISHED") -> None:
        """End the run: FINISHED, FAILED or KILLED (or Lightning's words success, failed). Does nothing when no run
        has begun or it has ended; what is logged later begins it again."""
        if self._journal is not None and self._journal.is_open:
            self._journal.finalize(_STATUS_WORDS.get(status, status))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait (bounded) until everything has arrived where it goes; False when something has not."""
        return True

    def problem(self) -> str | None:
        """A sentence for the user when something has not arrived where it goes."""
        return None


@register("logger", "csv")
class CSVLogger(JournalLogger):
    """Also keep metrics.csv in the run directory: a row for each call, a column for each metric.

    run_dir: directory of the run (default: a new one in the outputs folder).
    """

    def __init__(self, run_dir: str | None = None) -> None:
        super().__init__(run_dir)
        self._table = self.keep_table()

    @property
    def path(self) -> Path:
        return self._table.path


class MetricsTable:
    """metrics.csv beside a logger's journal: a row for each call, a column for each metric."""

    def __init__(self, logger: JournalLogger) -> None:
        self.logger = logger
        self._columns: list[str] = []

    @property
    def path(self) -> Path:
        return self.logger.run_dir / "metrics.csv"

    def add(self, metrics: Mapping[str, Any], epoch: int | None) -> None:
        """Append what the journal has just taken."""
        step = self.logger.journal.step
        row = {"step": step, "epoch": epoch, **{name: float(value) for name, value in metrics.items()}}
        if not self._columns or not row.keys() <= set(self._columns):
            self._rewrite()  # the journal holds the rows so far, this one included
        else:
            with open(self.path, "a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns).writerow(row)

    def _rewrite(self) -> None:
        table = [{"step": row.step, "epoch": row.epoch, **row.values} for row in rows(self.logger.run_dir)]
        self._columns = list(dict.fromkeys(name for row in table for name in row))
        with open(self.path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(table)


@register("logger", "mlflow")
class MLFlowLogger(JournalLogger):
    """Track the run in MLflow, by a process of its own that reads the journal: training never waits for it.

    experiment_name: MLflow experiment, created where it is missing.
    run_name: shown in MLflow (default: the name of the run directory).
    tracking_uri: store (default: MLFLOW_TRACKING_URI, else the database mlflow.db in the outputs folder).
    artifact_location: where a new experiment keeps files (default: `artifacts` beside the database, or the server's).
    tags: tags of the run, beside those for git, command and machine.
    log_checkpoints: copy the best checkpoint to the artifacts.
    log_model: publish the best model as one of MLflow's, for mlflow.pyfunc.load_model.
    register_as: name in the model registry under which the best model becomes a new version.
    aliases: what that version is called as well, e.g. ["candidate"].
    champion: alias that the version takes over if it beats, by the run's primary metric, the one that has it.
    log_system_metrics: also log use of processor, memory, disk, network and GPUs.
    system_metrics_interval: seconds between two looks at them.
    parent: directory of the run under which MLflow shows this one (a sweep's).
    run_dir: directory of the run (default: a new one in the outputs folder). One that holds a run goes on with it.
    """

    def __init__(self, experiment_name: str = "default", run_name: str | None = None, tracking_uri: str | None = None,
                 artifact_location: str | None = None, tags: dict[str, Any] | None = None, log_checkpoints: bool = True,
                 log_model: bool = True, register_as: str | None = None, aliases: list[str] | None = None,
                 champion: str | None = "champion", log_system_metrics: bool = True,
                 system_metrics_interval: float = 10.0, parent: str | None = None,
                 run_dir: str | None = None) -> None:  # fmt: skip
        super().__init__(run_dir)
        if system_metrics_interval <= 0:
            raise ConfigError(f"system_metrics_interval={system_metrics_interval}: expected seconds above 0.")
        self.experiment_name = experiment_name
        self.run_name = run_name
        self.tracking_uri = resolve_uri(tracking_uri)
        self.artifact_location = artifact_location
        self.tags = dict(tags or {})
        self.log_checkpoints = log_checkpoints
        self.keep_model = log_model
        self.registration = registration(register_as, aliases, champion)
        self.system_metrics = float(system_metrics_interval) if log_system_metrics else None
        self.parent = parent
        self._next_check = 0.0
        self._warned = False
        self._goes_on = False

    @property
    def name(self) -> str:
        return self.experiment_name

    @property
    def status(self) -> Status | None:
        """How the run stands in MLflow; None before it begins."""
        return read_status(self.run_dir)

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None until the shipper has created it."""
        status = self.status
        return status.run_id if status else None

    def start(self) -> None:
        """Begin the run: tracking.json, the journal, the shipper. Does nothing when it has begun."""
        if not self.journal.is_open:
            super().start()
            start_shipper(self.run_dir)

    def _before_start(self) -> None:
        database = database_path(self.tracking_uri)
        if database is not None:
            database.parent.mkdir(parents=True, exist_ok=True)
        self._goes_on = RunInfo.read(self.run_dir) is not None
        self._info().write(self.run_dir)

    def _started(self, collected: dict[str, Any]) -> None:
        known = metadata.tags(collected, self.run_dir)
        if self._goes_on:  # what the run was begun with stays, and so do notes that were written in MLflow since
            known["expkit.resume_command"] = known.pop("expkit.command")
            del known["mlflow.note.content"]
        self.journal.set_tags({**known, **self.tags})

    def _info(self) -> RunInfo:
        """The tracking information of this run; a run that goes on keeps its identity and its name."""
        before = RunInfo.read(self.run_dir)
        info = RunInfo(
            experiment=self.experiment_name,
            run_name=self.run_name or self._default_name(),
            tracking_uri=self.tracking_uri,
            artifact_location=self.artifact_location or self._default_artifacts(),
            parent=os.path.relpath(Path(self.parent).absolute(), self.run_dir) if self.parent else None,
            writer=identity(),
            system_metrics=self.system_metrics,
        )
        if before is not None:
            info.uuid, info.created, info.parent = before.uuid, before.created, info.parent or before.parent
            info.run_name = self.run_name or before.run_name
        return info

    def _default_name(self) -> str:
        """The run directory's name; below a sweep with that of the sweep, since "0" alone says little."""
        return f"{Path(self.parent).name}/{self.run_dir.name}" if self.parent else self.run_dir.name

    def _default_artifacts(self) -> str | None:
        database = database_path(self.tracking_uri)
        if database is None:
            return None
        return (database.parent / "artifacts" / names.key(self.experiment_name).replace("/", "_")).as_uri()

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None, epoch: int | None = None) -> None:
        super().log_metrics(metrics, step, epoch)
        now = time.monotonic()
        if now >= self._next_check:
            self._next_check = now + _CHECK_EVERY
            self._say_when_unreachable()

    def _say_when_unreachable(self) -> None:
        status = self.status
        failing = status is not None and status.failures > 0
        if failing and not self._warned and status is not None:
            address = names.redacted(self.tracking_uri)
            log.warning(
                "MLflow at %s cannot be reached (%s). Training goes on; everything is kept in %s and sent when it is "
                "back, or by `expkit sync`.", address, status.error, self.journal.path,
            )  # fmt: skip
        self._warned = failing

    def log_checkpoint(self, path: str | os.PathLike[str]) -> None:
        if self.log_checkpoints:
            self.log_artifact(path, "checkpoints")

    @property
    def keeps_models(self) -> bool:
        return self.keep_model

    def log_model(
        self,
        folder: str | os.PathLike[str],
        step: int = 0,
        metrics: Mapping[str, float] | None = None,
        primary: tuple[str, bool] | None = None,
    ) -> None:
        self.start()
        self.journal.log_model(folder, step, metrics or {}, primary, self.registration)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait (bounded, default EXPKIT_SYNC_TIMEOUT) until MLflow has everything; False when it has not."""
        return self._journal is None or self.status is None or wait_for(self.run_dir, timeout)  # None: never begun

    def problem(self) -> str | None:
        return None if self._journal is None else sync_hint(self.run_dir)
