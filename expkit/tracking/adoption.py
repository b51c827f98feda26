"""Runs of a sweep are shipped by the sweep's shipper: how a run is handed to it.

A run is offered by a file in the sweep's directory. The shipper removes the file first and reads the run's journal
afterwards, so whatever was journalled before the offer is seen.
"""

from collections.abc import Container
from pathlib import Path

from expkit.tracking.files import read_json, write_json
from expkit.tracking.runinfo import RunInfo

FOLDER = ".runs"


def parent_of(run_dir: Path) -> Path | None:
    """The directory of the sweep that a run belongs to."""
    info = RunInfo.read(run_dir)
    return (run_dir / info.parent).resolve() if info is not None and info.parent else None


def offer(parent: Path, run_dir: Path) -> None:
    """Hand `run_dir` to the shipper of `parent`."""
    info = RunInfo.read(run_dir)
    name = info.uuid if info is not None else run_dir.name
    (parent / FOLDER).mkdir(exist_ok=True)
    write_json(parent / FOLDER / f"{name}.json", {"run_dir": str(run_dir)})


def adopted(parent: Path, known: Container[Path]) -> list[Path]:
    """The runs that were offered to `parent` since the last call, without those that are `known`."""
    found = []
    for path in sorted((parent / FOLDER).glob("[!.]*.json")):
        offered = read_json(path)
        path.unlink()
        if offered is not None and Path(offered["run_dir"]) not in known:
            found.append(Path(offered["run_dir"]))
    return found
