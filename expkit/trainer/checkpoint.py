"""Checkpoints: directories of safetensors + JSON that are either whole or not there.

    <name>/model.safetensors    the weights under the model's own names
    <name>/state.safetensors    all other tensors (optimizer, metrics, ...)
    <name>/state.json           everything else, referring to those tensors (serialization/codec.py)
    <name>/manifest.json        format, version, sha256 of each file, shapes, epoch, step, metrics, config
    last.json                   a pointer to the newest checkpoint; moves only after that one is on the disk

A checkpoint is written under a temporary name, every file fsynced, renamed, and the folder fsynced. Nothing is pickled.
"""

import hashlib
import os
import shutil
from pathlib import Path
from time import time
from typing import Any
from uuid import uuid4

import numpy as np

from expkit.errors import CheckpointError
from expkit.serialization import codec, tensorfile
from expkit.tensor import Tensor, from_numpy
from expkit.tracking.process import started
from expkit.trainer.version import expkit_version

FORMAT = "expkit-checkpoint"
VERSION = 1
FILES = ("model.safetensors", "state.safetensors", "state.json")
MANIFEST = "manifest.json"
POINTER = "last.json"
MAX_JSON = 256 * 2**20


def save(path: str | Path, checkpoint: dict[str, Any], *, config: Any = None, metrics: Any = None) -> Path:
    """Writes `checkpoint` (its "state_dict" are the weights) as directory `path`, atomically; returns the path."""
    path = Path(path)
    if path.exists() and not (path / MANIFEST).is_file():
        raise CheckpointError(f"{path} exists and is not a checkpoint: refusing to replace it. Choose another path.")
    files = _serialize(checkpoint)
    head = {"epoch": checkpoint.get("epoch"), "global_step": checkpoint.get("global_step"), "time": time()}
    manifest = _manifest(files, checkpoint, head, config, metrics)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    temporary.mkdir()
    try:
        for name, data in {**files, MANIFEST: codec.dumps(manifest, indent=1)}.items():
            _write(temporary / name, data)
        fsync_directory(temporary)
        _swap(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return path


def _serialize(checkpoint: dict[str, Any]) -> dict[str, bytes]:
    weights = {name: _to_numpy(value) for name, value in checkpoint.get("state_dict", {}).items()}
    rest, arrays = codec.encode({key: value for key, value in checkpoint.items() if key != "state_dict"})
    data = (tensorfile.dump(weights), tensorfile.dump(arrays), codec.dumps(rest))
    return dict(zip(FILES, data, strict=True))


def _manifest(files: dict[str, bytes], checkpoint: dict[str, Any], head: dict, config: Any, metrics: Any) -> dict:
    shapes = {name: [str(_to_numpy(v).dtype), list(v.shape)] for name, v in checkpoint.get("state_dict", {}).items()}
    digests = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    manifest = {"format": FORMAT, "version": VERSION, "expkit": expkit_version(), **head}
    manifest |= {"metrics": codec.encode(metrics)[0], "files": digests, "tensors": shapes}
    manifest |= {"config": codec.encode(config)[0]}
    return {**manifest, "sha256": _digest(manifest)}


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(codec.dumps({k: v for k, v in manifest.items() if k != "sha256"})).hexdigest()


def _to_numpy(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def fsync_directory(path: Path) -> None:
    """Makes the names in directory `path` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap(temporary: Path, path: Path) -> None:
    """Renames `temporary` to `path`. An older one there is put aside first: `resolve` brings it back if we die."""
    aside = _aside(path)
    if path.exists():
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
    temporary.rename(path)
    fsync_directory(path.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _aside(path: Path) -> Path:
    return path.parent / f".old-{path.name}"


def remove(path: Path) -> None:
    """Deletes a checkpoint so that a half-deleted one can never be taken for a good one."""
    if path.exists():
        doomed = _temporary(path)
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _temporary(path: Path) -> Path:
    return path.parent / f".tmp-{os.getpid()}-{uuid4().hex[:8]}-{path.name}"


def clean(folder: Path) -> None:
    """Removes what an interrupted save or removal has left in `folder`, and nothing of processes that live."""
    for leftover in folder.glob(".tmp-*"):
        owner = leftover.name.split("-")[1]
        if not owner.isdigit() or started(int(owner)) is None:
            shutil.rmtree(leftover, ignore_errors=True)
    for old in folder.glob(".old-*"):
        path = folder / old.name.removeprefix(".old-")
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(path)


def point_last(path: Path) -> None:
    """Moves `last` in the checkpoint's folder to `path`, which is committed; atomic and durable."""
    temporary = _temporary(path.parent / POINTER)
    _write(temporary, codec.dumps({"format": f"{FORMAT}-pointer", "checkpoint": path.name}))
    temporary.replace(path.parent / POINTER)
    fsync_directory(path.parent)


def last(folder: Path) -> Path | None:
    """The checkpoint that `last` points to in `folder`, or None."""
    pointer = folder / POINTER
    if not pointer.is_file():
        return None
    target = codec.loads(pointer.read_bytes(), pointer)
    name = target.get("checkpoint") if isinstance(target, dict) else None
    if not isinstance(name, str) or name in ("", ".", "..") or Path(name).name != name:
        raise CheckpointError(f"{pointer} is not a pointer to a checkpoint. Name a checkpoint beside it instead.")
    return folder / name


def best(newest: Path) -> Path:
    """The best checkpoint, by what the newest one knows of it; the newest one where nothing ranks them."""
    states = load(newest).get("callbacks", {}).values()
    paths = [state["best_model_path"] for state in states if isinstance(state, dict) and state.get("best_model_path")]
    for path in map(Path, paths):
        for place in (path, newest.parent / path.name):  # the second one where the run was moved
            if (place / MANIFEST).is_file():
                return place
    return newest


def best_of(path: str | Path) -> Path:
    """`resolve`, but of a run directory the best checkpoint."""
    found = resolve(path)
    return found if found == Path(path) or Path(path).name in ("last", POINTER) else best(found)


def resolve(path: str | Path) -> Path:
    """The checkpoint directory meant by `path`: itself, `last` in its folder, checkpoints/ or a run directory."""
    path = Path(path)
    if not path.exists() and _aside(path).is_dir():
        _aside(path).rename(path)  # a replacement was killed between its two renames
    if (path / MANIFEST).is_file():
        return path
    folders = [path.parent] if path.name in ("last", POINTER) else [path, path / "checkpoints"]
    for folder in folders:
        target = last(folder)
        if target is not None:
            return target
    raise CheckpointError(_why_not(path))


def _why_not(path: Path) -> str:
    if path.name in ("last", POINTER):
        return f"{path.parent} has no {POINTER}: no checkpoint was saved there as the last one.{_others(path.parent)}"
    if not path.exists():
        return f"{path} does not exist. Give a checkpoint directory or a run directory.{_others(path.parent)}"
    if path.is_dir():
        return f"{path} is not an expkit checkpoint: it has no {MANIFEST}.{_others(path)}"
    if path.suffix == ".safetensors":
        return f"{path} is a bare safetensors file; an expkit checkpoint is the directory with {MANIFEST}."
    return f"{path} is a file, not an expkit checkpoint (a directory). Pickled checkpoints of other tools are not read."


def _others(folder: Path) -> str:
    found = sorted(manifest.parent.name for manifest in folder.glob(f"*/{MANIFEST}"))
    return f" Checkpoints in {folder}: {', '.join(found)}." if found else ""


def read_manifest(path: str | Path) -> dict[str, Any]:
    """The checked manifest of checkpoint `path`. CheckpointError for foreign, newer or damaged ones."""
    file = resolve(path) / MANIFEST
    try:
        data = file.read_bytes() if file.stat().st_size <= MAX_JSON else b""
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}.") from error
    manifest = codec.loads(data, file)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointError(f"{file.parent} is not an expkit checkpoint: {MANIFEST} does not say {FORMAT!r}.")
    if manifest.get("version") != VERSION:
        raise CheckpointError(
            f"{file.parent} has checkpoint format version {manifest.get('version')!r}, written by expkit "
            f"{manifest.get('expkit')}; this is expkit {expkit_version()}, which reads version {VERSION}. "
            "Use the expkit that wrote it."
        )
    files = manifest.get("files")
    if manifest.get("sha256") != _digest(manifest) or not isinstance(files, dict) or set(files) != set(FILES):
        raise CheckpointError(
            f"{file} is damaged: its digest does not match. Use another checkpoint.{_others(file.parent.parent)}"
        )
    return manifest


def load(path: str | Path) -> dict[str, Any]:
    """The checkpoint dictionary that `save` was given; every file checked against its digest before use."""
    path = resolve(path)
    manifest = read_manifest(path)
    weights, arrays, state = (_checked(path / name, manifest["files"][name]) for name in FILES)
    checkpoint = codec.decode(codec.loads(state, path / FILES[2]), tensorfile.load(arrays, path / FILES[1]))
    return {**checkpoint, "state_dict": _weights(weights, path / FILES[0])}


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Only the weights: name -> Tensor, for `model.load_state_dict`."""
    path = resolve(path)
    return _weights(_checked(path / FILES[0], read_manifest(path)["files"][FILES[0]]), path / FILES[0])


def _weights(data: bytes, path: Path) -> dict[str, Tensor]:
    return {name: from_numpy(array) for name, array in tensorfile.load(data, path).items()}


def _checked(file: Path, expected: dict[str, Any]) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}. The checkpoint is incomplete.") from error
    if len(data) != expected.get("bytes"):
        what = f"has {len(data)} bytes where {MANIFEST} says {expected.get('bytes')}: truncated or replaced"
    elif hashlib.sha256(data).hexdigest() != expected.get("sha256"):
        what = f"does not match the sha256 in {MANIFEST}: corrupt"
    else:
        return data
    raise CheckpointError(f"{file} {what}. Use another checkpoint.{_others(file.parent.parent)}")
