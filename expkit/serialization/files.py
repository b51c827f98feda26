"""`ek.save` and `ek.load`: nested data with tensors in one safetensors file. Nothing in a file is ever executed.

The tensors are the file's tensors, under the path that they have in the data: a state_dict is under its own names, and
every reader of safetensors files can read it. How they were nested stands in the header, as JSON (codec.py).
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from expkit import tree
from expkit.errors import CheckpointError
from expkit.serialization import codec, tensorfile
from expkit.tensor import Tensor, device, devices, from_numpy

FORMAT, VERSION = "expkit", "1"
File = str | os.PathLike[str] | BinaryIO
Location = str | device | Mapping[str, str] | Callable[[Tensor, str], Any] | None
_PICKLES = {
    b"PK\x03\x04": "a zip archive, as torch.save writes them (pickled objects)",
    b"\x80": "pickled data",
}
_CONVERT = (
    "expkit never unpickles, because that runs whatever the file says. Where it was made, write instead: "
    "from safetensors.torch import save_file; save_file(model.state_dict(), 'model.safetensors')."
)


def save(obj: Any, f: File) -> None:
    """Writes nested dicts, lists, tuples and sets of tensors, arrays, numbers, texts and bytes to a path or open file.

    Tensors that share memory share it again after `load`; those that require grad do so again. A path is written under
    a temporary name and renamed, so that it never holds half a file. CheckpointError for what a file cannot hold.
    """
    tree_, arrays = codec.encode(obj)
    places = {str(path): str(x.device) for path, x in tree.items(obj) if isinstance(x, Tensor) and x.is_cuda}
    described = {"format": FORMAT, "version": VERSION, "tree": codec.dumps(tree_).decode().strip()}
    if places:
        described["devices"] = codec.dumps(places).decode().strip()
    data = tensorfile.dump(arrays, described)
    if hasattr(f, "write"):
        f.write(data)
    else:
        _replace(Path(f), data)


def _replace(path: Path, data: bytes) -> None:
    temporary = path.parent / f".tmp-{os.getpid()}-{uuid4().hex[:8]}-{path.name}"
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def load(f: File, map_location: Location = None, weights_only: bool = True) -> Any:
    """What `save` wrote, or the tensors of any safetensors file as a dict.

    map_location: the device for tensors that were on another one: a device, {saved: wanted}, or function of (tensor,
    saved device); None: the one that they were on. weights_only: for PyTorch's sake; a file holds data alone anyway.
    CheckpointError, naming the file, for anything malformed, and for pickles, which are refused.
    """
    path = getattr(f, "name", "<file>") if hasattr(f, "read") else os.fspath(f)
    data = f.read() if hasattr(f, "read") else _bytes(Path(path))
    for start, what in _PICKLES.items():
        if data.startswith(start) and int.from_bytes(data[:8], "little") > tensorfile.MAX_HEADER:
            raise CheckpointError(f"{path} is {what}. {_CONVERT}")
    arrays, metadata = tensorfile.read(data, path)
    if metadata.get("format") != FORMAT or "tree" not in metadata:
        return _mapped(tensors(arrays, path), {}, map_location)
    if metadata.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has version {metadata.get('version')!r} of the format; this expkit reads {VERSION}."
        )
    try:
        places = codec.loads(metadata.get("devices", "{}").encode(), path)
        found = codec.decode(codec.loads(metadata["tree"].encode(), path), arrays)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return _mapped(found, places if isinstance(places, dict) else {}, map_location)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error


def tensors(arrays: dict[str, Any], path: Any) -> dict[str, Tensor]:
    """The arrays of a file as tensors. CheckpointError for a dtype that tensors cannot have."""
    found = {}
    for name, array in arrays.items():
        try:
            found[name] = from_numpy(array)
        except TypeError:
            raise CheckpointError(
                f"{path}: tensor {name!r} has dtype {array.dtype}, which no tensor can have."
            ) from None
    return found


def _mapped(found: Any, places: dict[str, Any], location: Location) -> Any:
    """The tensors on the devices that they are wanted on; those that are one stay one."""
    if not places and (location is None or location == "cpu"):
        return found
    moved: dict[int, Any] = {}
    paths = iter([path for path, _ in tree.items(found)])

    def move(x: Any) -> Any:
        saved = str(places.get(next(paths), "cpu"))
        if not isinstance(x, Tensor):
            return x
        if id(x) not in moved:
            moved[id(x)] = _moved(x, saved, location)
        return moved[id(x)]

    return tree.map(move, found)


def _moved(x: Tensor, saved: str, location: Location) -> Any:
    wanted: Any = location
    if location is None:
        wanted = saved
    elif isinstance(location, Mapping):
        wanted = location.get(saved, saved)
    elif callable(location) and not isinstance(location, device):
        result = location(x, saved)
        if isinstance(result, Tensor):
            return result
        wanted = saved if result is None else result
    where = devices.resolve(wanted)
    return x if where == x.device else x.detach().to(where).requires_grad_(x.requires_grad)
