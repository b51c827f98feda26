"""What the shipper does with one run: read the journal from where it stopped, send, note how far it came.

It may be killed at any moment: progress is noted after each batch, a batch that is sent twice is found to be there
(its timestamps are the journal's), and a run that was created but not noted is found by its `expkit.uuid` tag.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from expkit.tracking import journal, metadata, names, system
from expkit.tracking.adoption import parent_of
from expkit.tracking.files import locked
from expkit.tracking.models import publish
from expkit.tracking.runinfo import RunInfo, State, destination, read_info
from expkit.tracking.store import UUID_TAG, Refused, Store, Unavailable

CREATE_LOCK = ".create.lock"

log = logging.getLogger("expkit.tracking.shipper")


class Shipper:
    """Ships the run of `run_dir`. `connect` makes the store from a tracking URI."""

    def __init__(self, run_dir: Path, connect: Callable[[str], Store] = Store) -> None:
        self.run_dir = run_dir
        self.connect = connect
        self.info = read_info(run_dir)
        self.state = State.read(run_dir)  # what is certain: it changes and is written after MLflow took something
        self._store: Store | None = None
        self._params: dict[str, str] | None = None  # as MLflow has them
        self._metrics: list[tuple[str, float, int, int]] = []  # read from the journal, not sent yet
        self._read: dict[str, Any] = {}  # what sending them adds to the state

    def tick(self) -> bool:
        """Ship what there is; True when the run has ended and MLflow has all of it.

        Unavailable, Gone (store.py): it could not; call `failed` before the next try.
        """
        try:
            return self._tick()
        except Refused as error:
            if self._store is not None and self.state.run_id is not None:
                self._store.run(self.state.run_id)  # Gone when that is why
            raise Unavailable(str(error)) from error

    def _tick(self) -> bool:
        self.info = read_info(self.run_dir)
        writing = self.info.alive(self.run_dir)  # looked at before the journal, so that its last words are read
        store, run_id = self._connected()
        for offset, record in journal.lines(self.run_dir / journal.NAME, self.state.offset):
            self._ship(store, run_id, offset, record)
        self._flush(store, run_id)
        if not writing and not self.state.ended:
            self._bury(store, run_id)
        self._upload(store, run_id)
        self._publish(store, run_id)
        self._ship_system(store, run_id)
        if self.state.error:
            self.state.error, self.state.failures = None, 0
            self._save()
        return self.state.ended

    def failed(self, error: Exception) -> None:
        """Forget what was read but not sent, and note why."""
        fresh = State.read(self.run_dir)
        self.state = fresh if fresh.destination == self.state.destination else State(destination=self.state.destination)
        self._metrics, self._read, self._params = [], {}, None
        self.state.error, self.state.failures = names.redacted(str(error)), self.state.failures + 1
        self._save()

    def _connected(self) -> tuple[Store, str]:
        """The store, and the id of the run in it (created if need be)."""
        where = destination(self.info)
        if self.state.destination != where:
            self.state, self._store, self._params = State(destination=where), None, None
        if self._store is None:
            self._store = self.connect(self.info.tracking_uri)
        if self.state.run_id is None:
            ident = self._store.experiment(self.info.experiment, self.info.artifact_location)
            run = ensure_run(self._store, self.run_dir, self.info, ident)
            self.state.experiment_id, self.state.artifact_uri = ident, run.info.artifact_uri
            self.state.run_id, self.state.status = run.info.run_id, "RUNNING"
            self._save()
            log.info("run %s in experiment %s (%s)", run.info.run_id, ident, self.info.experiment)
        return self._store, str(self.state.run_id)

    def _save(self) -> None:
        self.state.write(self.run_dir)

    def _problem(self, text: str) -> None:
        """Something that will never get to MLflow: said in the log and by `expkit sync`."""
        log.warning("%s", text)
        self.state.problems.append(names.shortened(names.redacted(text), 500))

    def _ship(self, store: Store, run_id: str, offset: int, record: dict[str, Any] | None) -> None:
        if record is not None and "metrics" in record:
            self._collect(offset, record)
            if len(self._metrics) >= names.METRICS_PER_BATCH:
                self._flush(store, run_id)
            return
        self._flush(store, run_id)
        kind = next((kind for kind in _SENDERS if record and kind in record), None)
        if record is None or kind is None:
            self._problem(f"{journal.NAME}: the line before byte {offset} is no record and was passed over")
        else:
            _SENDERS[kind](self, store, run_id, record)
            self.state.last_t = record["t"]
        self.state.offset = offset
        self._save()

    def _collect(self, offset: int, record: dict[str, Any]) -> None:
        """Metrics wait for company; the epoch becomes a metric of its own, once per step."""
        t, step, epoch = record["t"], record["step"], record.get("epoch")
        for name, value in record["metrics"].items():
            self._metrics.append((names.key(name), float(value), t, step))
        known = self._read.get("epoch", self.state.epoch)
        if epoch is not None and (known is None or known[0] != step):
            self._metrics.append(("epoch", float(epoch), t, step))
            known = [step, epoch]
        self._read = {"offset": offset, "last_t": t, "epoch": known}

    def _flush(self, store: Store, run_id: str) -> None:
        if not self._read:
            return
        self._send(store, run_id, store.log_metrics, self._metrics)
        for name, value in self._read.items():
            setattr(self.state, name, value)
        self._metrics, self._read = [], {}
        self._save()

    def _send(self, store: Store, run_id: str, method: Callable[[str, Any], None], items: Any) -> None:
        """Send `items` (a dict or list); of what the store refuses, only the refused items are left out."""
        try:
            method(run_id, items)
        except Refused as error:
            store.run(run_id)  # Gone when that is why
            if len(items) <= 1:
                self._problem(f"MLflow refused {items}: {error}")
                return
            for half in _halves(items):
                self._send(store, run_id, method, half)

    def _send_params(self, store: Store, run_id: str, record: dict[str, Any]) -> None:
        """Parameters are write-once: one that changed since (by a resume) becomes a tag that shows both values."""
        if self._params is None:
            self._params = dict(store.run(run_id).data.params)
        given = names.cleaned(record["params"].items(), names.PARAM_LENGTH)
        new = {name: text for name, text in given.items() if name not in self._params}
        changed = {
            f"expkit.changed.{name}": f"{self._params[name]} -> {text}"
            for name, text in given.items()
            if self._params.get(name, text) != text
        }
        self._send(store, run_id, store.log_params, new)
        self._params.update(new)
        self._send(store, run_id, store.set_tags, names.cleaned(changed.items(), names.TAG_LENGTH))

    def _send_tags(self, store: Store, run_id: str, record: dict[str, Any]) -> None:
        self._send(store, run_id, store.set_tags, names.cleaned(record["tags"].items(), names.TAG_LENGTH))

    def _send_experiment_tags(self, store: Store, run_id: str, record: dict[str, Any]) -> None:
        tags = names.cleaned(record["experiment_tags"].items(), names.TAG_LENGTH)
        ident = str(self.state.experiment_id)
        self._send(store, run_id, lambda _, items: store.set_experiment_tags(ident, items), tags)

    def _send_dataset(self, store: Store, run_id: str, record: dict[str, Any]) -> None:
        self._send(store, run_id, lambda ident, items: store.log_dataset(ident, items[0]), [record["dataset"]])

    def _send_start(self, store: Store, run_id: str, _record: dict[str, Any]) -> None:
        self.state.sessions += 1
        if self.state.sessions > 1:
            store.set_status(run_id, "RUNNING")
            store.set_tags(run_id, {"expkit.sessions": str(self.state.sessions)})
        self.state.status = "RUNNING"

    def _send_end(self, store: Store, run_id: str, record: dict[str, Any]) -> None:
        store.set_status(run_id, record["end"], record["t"])
        self.state.status = record["end"]

    def _note_artifact(self, _store: Store, _run_id: str, record: dict[str, Any]) -> None:
        """Artifacts are copied after the metrics, so that one that fails holds up nothing else."""
        entry = [record["artifact"], record["to"], record.get("kind", "")]
        if entry not in self.state.artifacts:
            self.state.artifacts.append(entry)

    def _upload(self, store: Store, run_id: str) -> None:
        while self.state.artifacts:
            name, folder, kind = self.state.artifacts[0]
            path = self.run_dir / name
            if path.exists():
                self._send(store, run_id, lambda ident, items: store.upload(ident, *items[0]), [(path, folder)])
                if kind:
                    store.announce(run_id, f"{folder}/{path.name}" if folder else path.name, kind)
            else:
                self._problem(f"artifact {name}: is not there any more")
            del self.state.artifacts[0]
            self._save()

    def _note_model(self, _store: Store, _run_id: str, record: dict[str, Any]) -> None:
        """Models are published when everything else has arrived."""
        if record not in self.state.models:
            self.state.models.append(record)

    def _publish(self, store: Store, run_id: str) -> None:
        while self.state.models:
            record = self.state.models[0]
            if (self.run_dir / record["model"]).is_dir():
                self._send(store, run_id, partial(self._publish_one, store), [record])
            else:
                self._problem(f"model {record['model']}: is not there any more")
            del self.state.models[0]
            self._save()

    def _publish_one(self, store: Store, run_id: str, records: list[dict[str, Any]]) -> None:
        publish(store, str(self.state.experiment_id), run_id, self.run_dir, records[0])

    def _ship_system(self, store: Store, run_id: str) -> None:
        """What was seen of the machine, which the shipper's own process writes down (system.py)."""
        found, offset = system.read(self.run_dir, self.state.system_offset)
        if offset > self.state.system_offset:
            self._send(store, run_id, store.log_metrics, found)
            self.state.system_offset = offset
            self._save()

    def _bury(self, store: Store, run_id: str) -> None:
        """The training process died without a word."""
        store.set_tags(run_id, {"expkit.died": f"session {self.state.sessions} ended without a final status"})
        store.set_status(run_id, "FAILED", self.state.last_t or None)
        self.state.status = "FAILED"
        self._save()


_SENDERS: dict[str, Callable[[Shipper, Store, str, dict[str, Any]], None]] = {
    "start": Shipper._send_start,
    "params": Shipper._send_params,
    "tags": Shipper._send_tags,
    "experiment_tags": Shipper._send_experiment_tags,
    "artifact": Shipper._note_artifact,
    "dataset": Shipper._send_dataset,
    "model": Shipper._note_model,
    "end": Shipper._send_end,
}


def ensure_run(store: Store, run_dir: Path, info: RunInfo, experiment_id: str) -> Any:
    """The MLflow run of a run directory: found by its uuid, else created below its parent's (which is made likewise).

    The lock in the run directory keeps two shippers (a child's and the parent's own) from both creating it.
    """
    with locked(run_dir / CREATE_LOCK):
        found = store.find_run(info.uuid, experiment_id)
        if found is not None:
            return found
        tags = {UUID_TAG: info.uuid, "expkit.run_dir": str(run_dir), "mlflow.user": metadata.user()}
        parent_id = _parent_id(store, run_dir)
        if parent_id is not None:
            tags["mlflow.parentRunId"] = parent_id
        return store.create_run(experiment_id, info.run_name, info.created, tags)


def _parent_id(store: Store, run_dir: Path) -> str | None:
    parent_dir = parent_of(run_dir)
    if parent_dir is None:
        return None
    parent = RunInfo.read(parent_dir)
    if parent is None or parent_dir == run_dir.resolve():
        log.warning("%s holds no tracked run: this run gets no parent", parent_dir)
        return None
    experiment_id = store.experiment(parent.experiment, parent.artifact_location)
    return str(ensure_run(store, parent_dir, parent, experiment_id).info.run_id)


def _halves(items: Any) -> list[Any]:
    middle = len(items) // 2
    if isinstance(items, Mapping):
        pairs = list(items.items())
        return [dict(pairs[:middle]), dict(pairs[middle:])]
    return [items[:middle], items[middle:]]
