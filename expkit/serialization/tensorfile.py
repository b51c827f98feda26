"""The safetensors format: named arrays in one file, with the header checked before anything in it is used.

    8 bytes little-endian header length | JSON header | the arrays' bytes, back to back

The header maps each name to {"dtype", "shape", "data_offsets": [begin, end]}; "__metadata__" maps strings to strings.
Readers elsewhere accept duplicate names, huge headers and BOOL bytes other than 0 and 1; this one refuses them.
Source: the format's description in the safetensors project.
"""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from expkit.errors import CheckpointError

MAX_HEADER = 8 * 2**20
MAX_TENSORS = 65_536
MAX_RANK = 32
MAX_BYTES = 2**62

DTYPES = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"), "U32": np.dtype("<u4"), "U16": np.dtype("<u2"), "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"), "C64": np.dtype("<c8"),
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def dump(arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file that holds `arrays`; wide types first, so that every array is aligned."""
    header: dict[str, Any] = {}
    if "__metadata__" in arrays:
        raise CheckpointError("a tensor cannot be named '__metadata__': safetensors files keep that name for texts.")
    chunks: list[bytes] = []
    position = 0
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        code = _NAMES.get(array.dtype.newbyteorder("<"))
        if code is None:
            raise CheckpointError(f"tensor {name!r}: dtype {array.dtype} cannot be stored; legal: {', '.join(DTYPES)}.")
        data = array.astype(DTYPES[code], copy=False).tobytes()
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [position, position + len(data)]}
        chunks.append(data)
        position += len(data)
    described = {"__metadata__": metadata, **header} if metadata else header
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    _check_limits("<memory>", header, len(text))
    return len(text).to_bytes(8, "little") + text + b"".join(chunks)


def load(data: bytes, path: str | Path) -> dict[str, np.ndarray]:
    """The arrays in `data`, the content of file `path`. CheckpointError, naming the file, for anything malformed."""
    return read(data, path)[0]


def read(data: bytes, path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays, and the texts under __metadata__."""
    if len(data) < 8:
        raise _bad(path, f"has {len(data)} bytes, fewer than the 8 that every file starts with")
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER, len(data) - 8):
        raise _bad(path, f"claims a header of {length} bytes in a file of {len(data)} (at most {MAX_HEADER} allowed)")
    header, metadata = _parse(data[8 : 8 + length], path)
    _check_limits(path, header, length)
    body = memoryview(data)[8 + length :]
    spans: list[tuple[int, int]] = []
    arrays = {name: _array(name, entry, body, path, spans) for name, entry in header.items()}
    _check_spans(spans, len(body), path)
    return arrays, metadata


def _parse(text: bytes, path: str | Path) -> tuple[dict[str, Any], dict[str, str]]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [key for key, _ in pairs]
        if len(set(names)) < len(names):
            repeated = next(name for name in names if names.count(name) > 1)
            raise _bad(path, f"names {repeated!r} twice in its header")
        return dict(pairs)

    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise _bad(path, f"has a header that is not JSON ({error})") from None
    if not isinstance(header, dict):
        raise _bad(path, "has a header that is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _bad(path, "has __metadata__ that is not a map of strings")
    return header, metadata


def _check_limits(path: str | Path, header: dict[str, Any], length: int) -> None:
    if length > MAX_HEADER:
        raise _bad(path, f"needs a header of {length} bytes (at most {MAX_HEADER} allowed)")
    if len(header) > MAX_TENSORS:
        raise _bad(path, f"has {len(header)} tensors (at most {MAX_TENSORS} allowed)")
    for name, entry in header.items():
        if isinstance(entry, dict) and isinstance(shape := entry.get("shape"), list) and len(shape) > MAX_RANK:
            raise _bad(path, f"has tensor {name!r} of rank {len(shape)} (at most {MAX_RANK} allowed)")


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < MAX_BYTES


def _array(name: str, entry: Any, body: memoryview, path: str | Path, spans: list[tuple[int, int]]) -> np.ndarray:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _bad(path, f"describes tensor {name!r} by something else than dtype, shape and data_offsets")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise _bad(path, f"has tensor {name!r} of unknown dtype {code!r}; legal: {', '.join(DTYPES)}")
    if not isinstance(shape, list) or not all(map(_is_size, shape)):
        raise _bad(path, f"has tensor {name!r} of impossible shape {shape!r}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
        raise _bad(path, f"has tensor {name!r} at impossible data_offsets {offsets!r}")
    size = DTYPES[code].itemsize
    for extent in shape:
        size *= extent  # Python's integers do not overflow; the bound below refuses what would elsewhere
    begin, end = offsets
    if size >= MAX_BYTES or begin + size != end or end > len(body):
        raise _bad(path, f"has tensor {name!r} ({code} {shape}) at bytes {begin} to {end} of {len(body)}: does not fit")
    spans.append((begin, end))
    if code == "BOOL" and np.frombuffer(body[begin:end], np.uint8).max(initial=0) > 1:
        raise _bad(path, f"has BOOL tensor {name!r} with bytes other than 0 and 1")
    # The copy makes the array writable, aligned, and free of the file's buffer.
    return np.frombuffer(body[begin:end], DTYPES[code]).reshape(shape).copy()


def _check_spans(spans: list[tuple[int, int]], total: int, path: str | Path) -> None:
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise _bad(path, f"has {'overlapping tensors' if begin < position else 'a hole'} at byte {begin}")
        position = end
    if position != total:
        raise _bad(path, f"has {total - position} bytes after its last tensor")


def _bad(path: str | Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path} {what}: the file is corrupt, truncated or not a safetensors file. Use another checkpoint."
    )
