"""The local journal of a run, `metrics.jsonl`: the source of truth from which MLflow is fed.

One JSON object a line, each with its time `t` (ms, fixed when written) and one of:

    {"t", "start": {pid, started, host}}            a process begins (or resumes) the run
    {"t", "step", "epoch", "metrics": {name: value}}     not finite values are the texts "nan", "inf", "-inf"
    {"t", "params": {dotted name: text}}            {"t", "tags": {name: text}}     {"t", "experiment_tags": {...}}
    {"t", "artifact": path, "to": folder | null, "kind": "table" | "image"}   path: relative to the run directory
    {"t", "dataset": {name, digest, source, ...}}
    {"t", "model": path, "step", "measured": {...}, "primary": [name, greater is better], "register": {...}}
    {"t", "end": "FINISHED" | "FAILED" | "KILLED"}

A line counts once its newline is there. Whatever a crash leaves after the last newline is passed over by
readers and removed by the next writer.
"""

import json
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from expkit.errors import TrackingError
from expkit.tracking.files import try_lock
from expkit.tracking.names import STATUSES, flatten
from expkit.tracking.process import identity

NAME = "metrics.jsonl"

_writers: "weakref.WeakValueDictionary[Path, Journal]" = weakref.WeakValueDictionary()


class Row(NamedTuple):
    """One call of log_metrics."""

    t: int
    step: int
    epoch: int | None
    values: dict[str, float]


def lines(path: Path, offset: int = 0) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """(offset after it, record) of each complete line from `offset` on; None for a line that holds no record.

    A torn last line is left for the next call: this is also how one tails the journal.
    """
    if not path.exists():
        return
    with open(path, "rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield offset, _parse(line)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("t"), int) else None


def rows(run_dir: str | os.PathLike[str]) -> Iterator[Row]:
    """Everything that log_metrics wrote, in order. TrackingError for a line that somebody else wrote."""
    path = Path(run_dir) / NAME
    for offset, record in lines(path):
        if record and "metrics" in record:
            try:
                values = {name: float(value) for name, value in record["metrics"].items()}
                yield Row(record["t"], record["step"], record.get("epoch"), values)
            except (AttributeError, KeyError, TypeError, ValueError):
                raise TrackingError(f"{path}: the line up to byte {offset} holds no metrics. Remove it.") from None


def history(run_dir: str | os.PathLike[str]) -> dict[str, list[tuple[int, float]]]:
    """Metric name -> [(step, value)] by step. A step that was run again after a resume counts as it was run last."""
    table: dict[str, dict[int, float]] = {}
    for row in rows(run_dir):
        for name, value in row.values.items():
            table.setdefault(name, {})[row.step] = value
    return {name: sorted(values.items()) for name, values in table.items()}


def has_ended(run_dir: str | os.PathLike[str]) -> bool:
    """Was the run finalized, and not begun again since?"""
    try:
        with open(Path(run_dir) / NAME, "rb") as file:
            last = _tail(file)[0]
    except FileNotFoundError:
        return False
    record = _parse(last)
    return record is not None and "end" in record


def size(run_dir: str | os.PathLike[str]) -> int:
    """Bytes of the journal that are complete lines."""
    try:
        with open(Path(run_dir) / NAME, "rb") as file:
            return file.seek(0, os.SEEK_END) - len(_tail(file)[1])
    except FileNotFoundError:
        return 0


class Journal:
    """The writer of a run's journal. It opens the file at the first record, and again after `finalize` or `close`.

    One process writes a run at a time: TrackingError when another one does. The same process may take over from
    itself (the older writer is closed). Safe to call from several threads.

    before_start: called when the journal is ours, before its first record of this process is written.
    """

    def __init__(self, run_dir: str | os.PathLike[str], before_start: Callable[[], None] | None = None) -> None:
        self.run_dir = Path(run_dir).absolute()
        self.path = self.run_dir / NAME
        self.step = 0
        self._before_start = before_start
        self._file: IO[bytes] | None = None
        self._lock = threading.RLock()
        self._known: dict[tuple[str, int], float | str] = {}

    @property
    def is_open(self) -> bool:
        return self._file is not None

    def open(self) -> None:
        """Open the journal (made with its folder where it is missing) and note that this process begins."""
        with self._lock:
            if self._file is not None:
                return
            self.run_dir.mkdir(parents=True, exist_ok=True)
            previous = _writers.get(self.path)
            if previous is not None and previous is not self:
                previous.close()
            file = open(self.path, "r+b" if self.path.exists() else "w+b", buffering=0)  # noqa: SIM115
            try:
                self._claim(file)
                _repair(file)
            except BaseException:
                file.close()
                raise
            self._file = file
            _writers[self.path] = self
            if self._before_start is not None:
                self._before_start()
            self.write({"start": identity()})

    def _claim(self, file: IO[bytes]) -> None:
        try:
            mine = try_lock(file)
        except OSError:
            return  # a file system without locks: nothing can be found out
        if not mine:
            raise TrackingError(
                f"{self.run_dir}: another process is writing this run. Wait until it ends, or choose another directory."
            )

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record with the present time. TrackingError when the disk does not take it."""
        with self._lock:
            self.open()
            assert self._file is not None
            line = json.dumps({"t": time.time_ns() // 1_000_000, **record}, allow_nan=False) + "\n"
            _append(self._file, line.encode())

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None, epoch: int | None = None) -> bool:
        """Journal numbers (anything that `float` takes, so 0-d tensors too); `step` defaults to the last one given.

        False when there was nothing that the journal does not hold already (see `rewind`).
        """
        self.step = self.step if step is None else int(step)
        values = {str(name): _number(name, value) for name, value in metrics.items()}
        if self._known:
            values = {name: value for name, value in values.items() if self._known.get((name, self.step)) != value}
        if values:
            self.write({"step": self.step, "epoch": None if epoch is None else int(epoch), "metrics": values})
        return bool(values)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Journal parameters, nested or flat; they are flattened to dotted names."""
        self.write({"params": dict(flatten(params))})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        self.write({"tags": {str(name): str(value) for name, value in tags.items()}})

    def set_experiment_tags(self, tags: Mapping[str, Any]) -> None:
        self.write({"experiment_tags": {str(name): str(value) for name, value in tags.items()}})

    def log_artifact(self, path: str | os.PathLike[str], artifact_path: str | None = None, kind: str = "") -> None:
        """Journal that a file or folder belongs to the run. It is copied later, so it must stay where it is."""
        full = Path(path).absolute()
        inside = full.is_relative_to(self.run_dir)
        record = {"artifact": str(full.relative_to(self.run_dir) if inside else full), "to": artifact_path}
        self.write({**record, "kind": kind} if kind else record)

    def log_model(
        self,
        folder: str | os.PathLike[str],
        step: int,
        metrics: Mapping[str, float],
        primary: tuple[str, bool] | None,
        registration: Mapping[str, Any],
    ) -> None:
        """Journal a packaged model (packaged.py) of a step: what was measured of it, and how it is to be registered."""
        path = str(Path(folder).absolute().relative_to(self.run_dir))
        values = {str(name): _number(name, value) for name, value in metrics.items()}
        self.write(
            {"model": path, "step": int(step), "measured": values, "primary": list(primary) if primary else None,
             "register": dict(registration)}
        )  # fmt: skip

    def log_dataset(self, name: str, digest: str, *, source: str = "", profile: Mapping[str, Any] | None = None,
                    schema: Mapping[str, Any] | None = None, context: str = "training") -> None:  # fmt: skip
        """Journal a data set that the run read; `digest` tells its content from others (at most 36 characters)."""
        self.write(
            {"dataset": {"name": name, "digest": digest[:36], "source": source, "profile": dict(profile or {}),
                         "schema": dict(schema or {}), "context": context}}
        )  # fmt: skip

    def rewind(self, step: int) -> None:
        """The run goes on from the checkpoint of `step`: what it now repeats exactly is not journalled twice."""
        with self._lock:
            self._known = {
                (name, row.step): _number(name, value)
                for row in rows(self.run_dir)
                if row.step >= step
                for name, value in row.values.items()
            }

    def flush(self) -> None:
        """Bring everything onto the disk itself, so that it also outlives a crash of the machine."""
        with self._lock:
            if self._file is not None:
                os.fsync(self._file.fileno())

    def finalize(self, status: str) -> None:
        """End the run: FINISHED, FAILED or KILLED. A later record begins it again."""
        if status not in STATUSES:
            raise TrackingError(f"finalize: {status!r} is no final status. Legal: {', '.join(STATUSES)}.")
        with self._lock:
            self.write({"end": status})
            self.flush()
            self.close()

    def close(self) -> None:
        """Let go of the file without ending the run."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:  # dropped without `close`: let go of the run
            self.close()


def _number(name: str, value: Any) -> float | str:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TrackingError(f"metric {name!r}: {value!r} is not a number.") from None
    return number if math.isfinite(number) else str(number)


def _append(file: IO[bytes], data: bytes) -> None:
    """Write all of `data` at the end; a failed write is taken back so that no torn line stays in the middle."""
    end = file.seek(0, os.SEEK_END)
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        file.truncate(end)
        raise TrackingError(f"{file.name}: cannot be written: {error.strerror}.") from error


def _repair(file: IO[bytes]) -> None:
    """Give a last record without newline its newline; remove what is no record."""
    torn = _tail(file)[1]
    if torn and _parse(torn) is not None:
        _append(file, b"\n")
    elif torn:
        file.truncate(file.seek(0, os.SEEK_END) - len(torn))


def _tail(file: IO[bytes]) -> tuple[bytes, bytes]:
    """The last complete line, and what stands after it."""
    end = start = file.seek(0, os.SEEK_END)
    tail = b""
    while start > 0 and tail.count(b"\n") < 2:
        start = max(0, start - 65536)
        file.seek(start)
        tail = file.read(end - start)
    complete, newline, torn = tail.rpartition(b"\n")
    return (complete.rpartition(b"\n")[2] if newline else b""), torn
