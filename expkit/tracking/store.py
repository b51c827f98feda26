"""The MLflow side: one store, one client. Only the shipper process imports this module, since it imports mlflow."""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS, MLFLOW_LOGGED_IMAGES
from sqlalchemy.exc import SQLAlchemyError

from expkit.errors import TrackingError
from expkit.tracking import names
from expkit.tracking.files import locked
from expkit.tracking.runinfo import database_path

UUID_TAG = "expkit.uuid"
# Without it the dashboard opens our experiments as if they were about language-model applications.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
_UNKNOWN = ("ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED", "FEATURE_DISABLED")


class Unavailable(TrackingError):
    """The store does not answer at present: trying again later makes sense."""


class Refused(TrackingError):
    """The store refuses what it was sent: sending it again makes no sense."""


class Gone(TrackingError):
    """The run or its experiment was deleted in MLflow: nothing more can be sent."""


@contextmanager
def translated(too_old: bool = False) -> Iterator[None]:
    """Turns what MLflow and its libraries raise into Refused and Unavailable.

    too_old: for what servers of MLflow 2 do not know, and will not know when asked again.
    """
    try:
        yield
    except MlflowException as error:
        refusals = _REFUSALS + (_UNKNOWN if too_old else ())
        kind = Refused if error.error_code in refusals else Unavailable
        raise kind(_reworded(error)) from error
    except (SQLAlchemyError, OSError) as error:  # OSError: also what `requests` raises
        raise Unavailable(f"{type(error).__name__}: {error}") from error


def _reworded(error: MlflowException) -> str:
    """MLflow's message; where it is about a connection, just the address and why."""
    address = re.match(r"API request to (\w+://[^/\s]+)\S* failed with exception", error.message)
    if address is None:
        return f"{error.error_code}: {error.message}"
    reason = re.search(r"\[Errno -?\d+\] ([^'\")]+)|(timed out)|(Name or service not known)", error.message)
    why = next(filter(None, reason.groups()), "") if reason else error.message.partition("exception ")[2]
    return f"{address[1]} does not answer: {why}"


def create_database(path: Path) -> None:
    """Make an MLflow database at `path` unless there is one.

    Making its tables takes seconds and does not survive being interrupted or done by two processes at once. So it is
    made under a lock, under another name, and appears as a whole.
    """
    if not path.parent.is_dir():
        raise Unavailable(f"{path.parent}: the folder of the MLflow database does not exist (was it moved?).")
    with locked(path.with_name(f"{path.name}.lock")):
        if path.exists() and path.stat().st_size > 0:
            return
        temporary = path.with_name(f".{path.name}.new")
        temporary.unlink(missing_ok=True)
        store = SqlAlchemyStore(f"sqlite:///{temporary}", (path.parent / "artifacts").as_uri())
        store.engine.dispose()
        os.replace(temporary, path)


class Store:
    """An MLflow tracking store. Every method raises Unavailable or Refused, and nothing of MLflow's own."""

    def __init__(self, uri: str) -> None:
        database = database_path(uri)
        with translated():
            if database is not None:
                create_database(database)
            self.client = MlflowClient(tracking_uri=uri)
        self.uri = uri

    def experiment(self, name: str, artifact_location: str | None) -> str:
        """The id of the experiment `name`, which is created where it is missing. Gone when it was deleted."""
        with translated():
            found = self.client.get_experiment_by_name(name)
            if found is None:
                try:
                    return str(self.client.create_experiment(name, artifact_location, EXPERIMENT_TAGS))
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
                    found = self.client.get_experiment_by_name(name)  # another process was faster
        if found is None or found.lifecycle_stage != "active":
            ident = found.experiment_id if found else "?"
            raise Gone(
                f"experiment {name!r} was deleted in MLflow. Bring it back (mlflow experiments restore -x {ident}) "
                f"or choose another logger.experiment_name."
            )
        return str(found.experiment_id)

    def find_run(self, uuid: str, experiment_id: str) -> Run | None:
        """The run that carries our `uuid`; None where there is none. Gone when it was deleted."""
        with translated():
            found = self.client.search_runs(
                [experiment_id], f"tags.`{UUID_TAG}` = '{uuid}'", run_view_type=ViewType.ALL, max_results=1
            )
        return _active(found[0]) if found else None

    def create_run(self, experiment_id: str, name: str, started: int, tags: Mapping[str, str]) -> Run:
        with translated():
            return self.client.create_run(experiment_id, start_time=started, run_name=name, tags=dict(tags))

    def run(self, run_id: str) -> Run:
        """The run as MLflow has it. Gone when it was deleted."""
        with translated():
            return _active(self.client.get_run(run_id))

    def log_metrics(self, run_id: str, metrics: list[tuple[str, float, int, int]]) -> None:
        """Send (name, value, t, step) rows. Rows that are there already stay single."""
        for start in range(0, len(metrics), names.METRICS_PER_BATCH):
            batch = [Metric(*row) for row in metrics[start : start + names.METRICS_PER_BATCH]]
            with translated():
                self.client.log_batch(run_id, metrics=batch)

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        for chunk in names.chunks(params, names.PARAMS_PER_BATCH):
            with translated():
                self.client.log_batch(run_id, params=[Param(name, text) for name, text in chunk.items()])

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        for chunk in names.chunks(tags, names.TAGS_PER_BATCH):
            with translated():
                self.client.log_batch(run_id, tags=[RunTag(name, text) for name, text in chunk.items()])

    def set_experiment_tags(self, experiment_id: str, tags: Mapping[str, str]) -> None:
        for name, text in tags.items():
            with translated():
                self.client.set_experiment_tag(experiment_id, name, text)

    def log_dataset(self, run_id: str, entry: Mapping[str, Any]) -> None:
        dataset = Dataset(
            name=entry["name"], digest=entry["digest"], schema=_json(entry["schema"]), profile=_json(entry["profile"]),
            source_type="local", source=json.dumps({"uri": entry["source"]}),
        )  # fmt: skip
        context = InputTag("mlflow.data.context", entry["context"])
        with translated():
            self.client.log_inputs(run_id, datasets=[DatasetInput(dataset, tags=[context])])

    def upload(self, run_id: str, path: Path, folder: str | None) -> None:
        """Copy a file or folder to the run's artifacts (over what is there under its name)."""
        with translated():
            self.client.log_artifact(run_id, str(path), folder)

    def announce(self, run_id: str, path: str, kind: str) -> None:
        """Tag the run so that MLflow shows the artifact `path` as what it is: a "table", or an "image" of a series."""
        if kind == "image":
            self.set_tags(run_id, {MLFLOW_LOGGED_IMAGES: "True"})
            return
        known = json.loads(self.run(run_id).data.tags.get(MLFLOW_LOGGED_ARTIFACTS, "[]"))
        entry = {"path": path, "type": kind}
        text = json.dumps([*known, entry])
        if entry not in known and len(text) <= names.TAG_LENGTH:  # more tables than that are found among the artifacts
            self.set_tags(run_id, {MLFLOW_LOGGED_ARTIFACTS: text})

    def set_status(self, run_id: str, status: str, end: int | None = None) -> None:
        with translated():
            if status == "RUNNING":
                self.client.update_run(run_id, status=status)
            else:
                self.client.set_terminated(run_id, status, end or time.time_ns() // 1_000_000)


def _active(run: Run) -> Run:
    if run.info.lifecycle_stage != "active":
        ident = run.info.run_id
        raise Gone(f"run {ident} was deleted in MLflow. Bring it back: mlflow runs restore --run-id {ident}")
    return run


def _json(value: Mapping[str, Any]) -> str | None:
    return json.dumps(value) if value else None
