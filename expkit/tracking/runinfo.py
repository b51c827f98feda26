"""What is known about a run, in two files of its directory, each with one writer.

`tracking.json` (training process): where the run is tracked and who writes it.
`tracking.state.json` (shipper): how much of the journal MLflow has, and the ids that it gave.
"""

import dataclasses
import os
import time
import uuid
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from expkit import flags
from expkit.errors import ConfigError, TrackingError
from expkit.tracking import journal
from expkit.tracking.files import read_json, write_json
from expkit.tracking.names import STATUSES, has_password
from expkit.tracking.process import alive

INFO = "tracking.json"
STATE = "tracking.state.json"
DATABASE = "mlflow.db"


def outputs_root() -> Path:
    """The absolute folder of runs and of the MLflow database: EXPKIT_OUTPUTS, or `outputs` in the working directory."""
    return Path(str(flags.read("OUTPUTS") or "outputs")).expanduser().absolute()


def resolve_uri(uri: str | None) -> str:
    """The tracking store to use: `uri`, else MLFLOW_TRACKING_URI, else the database of the outputs folder.

    ConfigError for what MLflow no longer has: folders as stores.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{outputs_root() / DATABASE}"
    scheme, colon, rest = uri.partition(":")
    if scheme.startswith("databricks"):  # "databricks", "databricks://profile", "databricks-uc": MLflow's business
        return uri
    if not colon or scheme == "file" or len(scheme) == 1:
        raise ConfigError(
            f"logger.tracking_uri: {uri!r} is a folder; MLflow keeps runs in a database or on a server. "
            f"Legal: sqlite:////absolute/path/mlflow.db, postgresql://..., http://host:5000; or leave it out."
        )
    if scheme == "sqlite" and rest.startswith("///"):
        return f"sqlite:///{Path(rest[3:]).expanduser().absolute()}"
    return uri


def database_path(uri: str) -> Path | None:
    """The file of a sqlite store; None for every other store."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


@dataclass
class RunInfo:
    """Where a run is tracked, and who writes it."""

    experiment: str
    run_name: str
    tracking_uri: str
    artifact_location: str | None = None
    parent: str | None = None  # run directory of the parent run
    writer: dict[str, Any] | None = None  # identity of the training process
    system_metrics: float | None = None  # seconds between two looks at the machine; None: it is not looked at
    uuid: str = field(default_factory=lambda: uuid.uuid4().hex)  # finds the run again in MLflow, whatever happened
    created: int = field(default_factory=lambda: time.time_ns() // 1_000_000)

    @classmethod
    def read(cls, run_dir: Path) -> "RunInfo | None":
        """The info of a run directory; None where there is none. TrackingError when it is unreadable."""
        stored = read_json(run_dir / INFO)
        if stored is None:
            if (run_dir / INFO).exists():
                raise TrackingError(f"{run_dir / INFO}: is no tracking information (expected a JSON object).")
            return None
        try:
            return cls(**stored)
        except TypeError as error:
            raise TrackingError(f"{run_dir / INFO}: does not fit this version of expkit ({error}).") from None

    def write(self, run_dir: Path) -> None:
        write_json(run_dir / INFO, dataclasses.asdict(self), private=has_password(self.tracking_uri))

    def alive(self, run_dir: Path) -> bool:
        """Does the training process still live?"""
        return alive(self.writer, run_dir / journal.NAME)


def read_info(run_dir: Path) -> RunInfo:
    """The tracking information of a run directory; TrackingError where there is none."""
    info = RunInfo.read(run_dir)
    if info is None:
        raise TrackingError(f"{run_dir}: is no tracked run (it has no tracking.json).")
    return info


@dataclass
class State:
    """How far the shipper came. Losing it costs nothing but work: everything is sent again and found to be there."""

    destination: str = ""  # tracking store and experiment that the rest is about
    run_id: str | None = None
    experiment_id: str | None = None
    artifact_uri: str | None = None
    status: str = ""  # as set in MLflow: RUNNING, FINISHED, FAILED, KILLED
    offset: int = 0  # bytes of the journal that MLflow has
    last_t: int = 0  # time of the last record sent
    sessions: int = 0  # processes that wrote the run so far
    epoch: list[int] | None = None  # [step, epoch] of the last `epoch` metric
    artifacts: list[list[Any]] = field(default_factory=list)  # [path, folder, kind] still to be copied
    models: list[dict[str, Any]] = field(default_factory=list)  # records of models still to be published
    system_offset: int = 0  # bytes of system.jsonl that MLflow has
    problems: list[str] = field(default_factory=list)  # what MLflow refused for good
    error: str | None = None  # why it cannot go on at present
    failures: int = 0  # attempts in a row that ended in `error`

    @classmethod
    def read(cls, run_dir: Path) -> "State":
        stored = read_json(run_dir / STATE) or {}
        known = {f.name for f in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in known})

    def write(self, run_dir: Path) -> None:
        write_json(run_dir / STATE, dataclasses.asdict(self))

    @property
    def ended(self) -> bool:
        return self.status in STATUSES


def published(run_dir: Path) -> dict[str, Any]:
    """The journal's record of the model that the run published last. TrackingError when MLflow has none of it."""
    info, state = read_info(run_dir), State.read(run_dir)
    records = [record for _, record in journal.lines(run_dir / journal.NAME) if record and "model" in record]
    if not records or state.run_id is None or state.models or state.destination != destination(info):
        raise TrackingError(f"{run_dir}: MLflow has no model of this run (yet): `expkit sync {run_dir}` sends it.")
    return records[-1]


class Status(NamedTuple):
    """How a run stands in MLflow."""

    run_dir: Path
    experiment: str
    run_name: str
    tracking_uri: str
    run_id: str | None  # MLflow's id; None until the run was created there
    experiment_id: str | None
    artifact_uri: str | None
    status: str  # RUNNING, FINISHED, FAILED or KILLED as MLflow has it; "" when it does not know the run
    writing: bool  # the training process lives
    pending: int  # bytes of the journal that MLflow lacks
    caught_up: bool  # MLflow has everything that there is, the final status included
    error: str | None
    failures: int
    problems: tuple[str, ...]


def read_status(run_dir: str | os.PathLike[str]) -> Status | None:
    """How the run in `run_dir` stands in MLflow; None for a directory that is not tracked."""
    where = Path(run_dir).absolute()
    info = RunInfo.read(where)
    if info is None:
        return None
    writing = info.alive(where)
    state = State.read(where)
    if state.destination != destination(info):
        state = State()
    pending = journal.size(where) - state.offset
    shipped = pending <= 0 and not state.artifacts and not state.models
    return Status(
        run_dir=where, experiment=info.experiment, run_name=info.run_name, tracking_uri=info.tracking_uri,
        run_id=state.run_id, experiment_id=state.experiment_id, artifact_uri=state.artifact_uri,
        status=state.status, writing=writing, pending=max(0, pending), caught_up=shipped and state.ended,
        error=state.error, failures=state.failures, problems=tuple(state.problems),
    )  # fmt: skip


def destination(info: RunInfo) -> str:
    """Stands for the place that a run goes to: when it changes, everything is sent there anew."""
    return f"{zlib.crc32(f'{info.tracking_uri} {info.experiment}'.encode()):08x}"
